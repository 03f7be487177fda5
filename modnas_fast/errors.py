"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input from a user: the message names the argument, what was wanted, what came, and the remedy.

    The command line prints it in one or two lines without a traceback; every other exception is a bug.
    """
