"""The one error that a user can cause and mend, words of others in messages, and what a refusal of the system means."""

import errno


class Vo3dError(ValueError):
    """A mistake in a file, an option or the data: one line with what was found, expected, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def printable(text: str) -> str:
    """Return `text` as one line: spaces for line breaks, and no character that a terminal would obey."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def quoted(text: object, most: int = 120) -> str:
    """Quote words that came from elsewhere, as Python writes them, cut to `most` characters."""
    try:
        whole = repr(text[: most + 1] if isinstance(text, str | bytes) else text)
    except (ValueError, RecursionError):  # a number of too many digits, a list within a list within ...
        whole = f"a {type(text).__name__} too large to show"
    return printable(whole if len(whole) <= most else f"{whole[: most - 3]}...")


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
