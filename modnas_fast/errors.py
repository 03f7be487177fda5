"""What a program that uses this package may want to catch."""

from modnas_fast.runtime.errors import InputError

__all__ = ["InputError"]
