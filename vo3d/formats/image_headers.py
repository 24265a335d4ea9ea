"""Sizes of images out of their headers, so that what is too large is refused before its pixels are unpacked."""

import re
import struct
from collections.abc import Callable
from contextlib import suppress

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_SCAN = 0xDA
_JPEG_NO_FRAME = (0xC4, 0xC8, 0xCC)  # tables among the markers that begin a frame
_PNM = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,18})(?:\s+|#[^\n]*\n)+(\d{1,18})\s")
_TIFF_TAGS = {256: "width", 257: "height"}
_TIFF_CODES = {3: "H", 4: "I", 16: "Q"}  # types of numbers: 16, 32 and, in BigTIFF, 64 bits

Size = tuple[int, int]  # height and width


def header_size(content: bytes) -> Size | None:
    """Return height and width as a PNG, JPEG, BMP, TIFF, WebP or PNM file states them, as it is stored.

    None where the format is another, or the header is cut off or damaged; the rest of the file is not looked at.
    """
    with suppress(struct.error):
        return next((read(content) for signature, read in _READERS.items() if content.startswith(signature)), None)
    return None


def _png_size(content: bytes) -> Size | None:
    width, height = struct.unpack_from(">II", content, 16)
    return (height, width) if content[12:16] == b"IHDR" else None


def _jpeg_size(content: bytes) -> Size | None:
    """Read the frame header (ITU-T T.81 annex B.2.2)."""
    position = 2
    while content[position : position + 1] == b"\xff":
        code, length = struct.unpack_from(">xBH", content, position)
        if code in (JPEG_SCAN, 0xFF):
            return None
        if 0xC0 <= code <= 0xCF and code not in _JPEG_NO_FRAME:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return height, width
        position += 2 + length
    return None


def _bmp_size(content: bytes) -> Size:
    """Read the second header, with sizes of 16 bits in its oldest form; a height below zero is of rows from the top."""
    (length,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if length == 12 else "<ii", content, 18)
    return abs(height), abs(width)


def _tiff_size(content: bytes) -> Size | None:
    """Read the first folder of tags (TIFF 6.0 section 2; BigTIFF has numbers of 64 bits where TIFF has 32)."""
    order, big = "<" if content.startswith(b"I") else ">", content[2:4] in (b"+\0", b"\0+")
    (folder,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, folder)
    first, step, value = (folder + 8, 20, 12) if big else (folder + 2, 12, 8)
    sizes: dict[int, int] = {}
    for start in range(first, min(first + count * step, len(content)), step):
        tag, kind = struct.unpack_from(order + "HH", content, start)
        if tag in _TIFF_TAGS and kind in _TIFF_CODES:
            (sizes[tag],) = struct.unpack_from(order + _TIFF_CODES[kind], content, start + value)
    return (sizes[257], sizes[256]) if len(sizes) == len(_TIFF_TAGS) else None


def _webp_size(content: bytes) -> Size | None:
    """Read the first chunk: the canvas, a key frame of VP8 (RFC 6386 section 9.1), or a lossless image."""
    kind = content[8:16].removeprefix(b"WEBP")
    if kind == b"VP8X":
        low = struct.unpack_from("<HBHB", content, 24)
        return 1 + low[2] + (low[3] << 16), 1 + low[0] + (low[1] << 16)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    return None


def _pnm_size(content: bytes) -> Size | None:
    found = _PNM.match(content)
    return (int(found[2]), int(found[1])) if found else None


_READERS: dict[bytes, Callable[[bytes], Size | None]] = {
    PNG_SIGNATURE: _png_size,
    JPEG_SIGNATURE: _jpeg_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff_size),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), _pnm_size),
}
