"""One exception for what a user can fix: a file, an option, a missing package."""


class KitError(ValueError):
    """Bad input, described in one line: what was wrong, where, and what to do.

    The commands print it without a traceback and exit with code 2.
    """
