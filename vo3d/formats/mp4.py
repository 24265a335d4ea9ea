"""The boxes of MP4 and MOV files: whether such a file is whole."""

import struct
from pathlib import Path


def is_whole_mp4(path: Path) -> bool | None:
    """Tell whether all boxes of an MP4 or MOV file end within it; None for a file of another kind.

    Such a file may have more frames than it shows: those that were cut off without encoding the video again.

    Source: ISO/IEC 14496-12 section 4.2: boxes follow each other, each with its length and kind.
    """
    position, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + 8 <= end:
            file.seek(position)
            head = file.read(16)
            length, kind = struct.unpack_from(">I4s", head)
            if position == 0 and kind != b"ftyp":
                return None
            if length == 1 and len(head) == 16:  # the length follows, in 64 bits
                (length,) = struct.unpack_from(">Q", head, 8)
            if length == 0:  # the last box, up to the end of the file
                return True
            if length < 8:
                return False
            position += length
    return position == end if end else None
