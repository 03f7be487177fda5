"""The command line: arguments, words and tables on the terminal, one file per command."""

import sys

from modnas_fast.runtime.extras import named_extras

__all__ = ["main"]


def main() -> None:
    """Runs the command line, or says which extra brings what it lacks."""
    try:
        with named_extras():
            from modnas_fast.cli.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"modnas-fast: {error}")
    run()
