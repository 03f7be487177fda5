"""The one exception for input that a user can mend, and what any exception says in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a user: the message names the argument, what was wanted, what came, and the remedy.

    The command line prints it in one or two lines without a traceback; every other exception is a bug.
    """


def one_line(error: Exception) -> str:
    """What an exception says, in one line; its kind too where it is not a user's.

    >>> one_line(InputError("no room")), one_line(KeyError("a"))
    ('no room', "KeyError: 'a'")
    """
    words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())
