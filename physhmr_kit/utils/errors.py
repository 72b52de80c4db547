"""The exception for problems that a user can fix: a file, an option, a missing package."""


class KitError(ValueError):
    """Bad input, described in one line: what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 2.
    """
