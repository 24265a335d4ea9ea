"""EXIF orientations for image files that have none, as cameras write them."""

import zlib
from pathlib import Path

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def tags(orientation: int, *, order: str = "big") -> bytes:
    """A TIFF header with the one tag 274."""
    head, short = (b"MM\0*", "big") if order == "big" else (b"II*\0", "little")
    words = [(8, 4), (1, 2), (274, 2), (3, 2), (1, 4), (orientation, 2), (0, 2), (0, 4)]
    return head + b"".join(value.to_bytes(size, short) for value, size in words)


def set_orientation(path: Path, orientation: int, *, order: str = "big", late: bool = False) -> Path:
    """Write the orientation into a PNG (`late`: behind its pixels) or a JPEG file; returns its path."""
    content, exif = path.read_bytes(), tags(orientation, order=order)
    if content.startswith(JPEG):
        segment = b"Exif\0\0" + exif
        content = content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:]
    else:
        assert content.startswith(PNG)
        chunk = b"eXIf" + exif
        place = len(content) - 12 if late else 33  # before the end chunk, or behind the first
        stored = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        content = content[:place] + stored + content[place:]
    path.write_bytes(content)
    return path
