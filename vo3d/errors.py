"""The one error that a user can cause and mend, words of others in messages, and what a refusal of the system means."""

import errno
from collections.abc import Iterable


class Vo3dError(ValueError):
    """A mistake in a file, an option or the data: one line with what was found, expected, and what to do.

    The command line prints it without a traceback and exits with status 2. Control characters, which a terminal would
    obey, show as Python spells them, wherever in the message they come from.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


LONGEST = 120  # characters of foreign text in a message


def visible(text: str) -> str:
    """Return a text with Python's escapes for control characters and whatever else a terminal does not show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str, most: int = LONGEST) -> str:
    """Return foreign text for a message: visible, and cut to `most` characters, its last one kept."""
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


def quoted(found: object, most: int = LONGEST) -> str:
    """Return what a file held as Python spells it, for a message; cut as by `shown`."""
    try:
        text = repr(found)
    except (ValueError, RecursionError):  # a number of too many digits, a list within a list within ...
        text = f"{type(found).__name__} too large to show"
    return shown(text, most)


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Return the first of some names for a message, and how many more there are."""
    every = list(names)
    return ", ".join(shown(name) for name in every[:most]) + (f" and {len(every) - most} more" * (len(every) > most))


def printable(text: str) -> str:
    """Return a text as one visible line: spaces for line breaks and whatever else is blank."""
    return visible(" ".join(text.split()))


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
