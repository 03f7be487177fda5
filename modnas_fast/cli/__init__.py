"""The command line: arguments, words and tables on the terminal, one file per command."""

from modnas_fast.cli.app import main

__all__ = ["main"]
