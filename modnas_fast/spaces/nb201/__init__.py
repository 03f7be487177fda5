"""NAS-Bench-201: its choices, keys, standalone network, supernet, and published tables."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.spaces.nb201.space import NB201Space

__all__ = ["NB201Space"]

__getattr__ = names_from(__name__, {"NB201Space": "modnas_fast.spaces.nb201.space"})
