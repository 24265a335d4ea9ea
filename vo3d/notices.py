"""Lines that tell of a choice that was made, or of something left out, while the work goes on."""

import logging

from vo3d.errors import visible

_LOG = logging.getLogger("vo3d")
_told: set[str] = set()


def notice(text: str) -> None:
    """Tell the user one line, on stderr unless the program sets up logging; the same line once in a process."""
    text = visible(text)
    if text not in _told:
        _told.add(text)
        _LOG.warning(text)
