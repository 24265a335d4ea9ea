"""The one error that a user can cause and mend."""


class Vo3dError(ValueError):
    """A mistake in a file, an option or the data: one line with what was found, expected, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
