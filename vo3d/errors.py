"""The one error that a user can cause and mend, and what a refusal of the system means."""

import errno


class Vo3dError(ValueError):
    """A mistake in a file, an option or the data: one line with what was found, expected, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


REMEDIES = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EACCES: "choose a place that you may use, or change its permissions",
    errno.EPERM: "choose a place that you may use, or change its permissions",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOTDIR: "a part of this path is a file: choose another place",
    errno.EEXIST: "something of this name is in the way: choose another name, or remove it",
    errno.EISDIR: "a folder of this name is in the way: choose another name",
}


def system_fault(error: OSError) -> str:
    """Name the file, what the system says, and what to do."""
    name = error.filename2 or error.filename
    remedy = REMEDIES.get(error.errno or 0, "check the path and try again")
    return f"{name}: {error.strerror or error}: {remedy}" if name else f"{error.strerror or error}: {remedy}"
