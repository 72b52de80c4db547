"""One exception for what a user can mend: a file, an option, a missing package."""


class KitError(ValueError):
    """Bad input, told in one line that names the file and the fault.

    The commands print it without a traceback and leave with exit code 2.
    """
