"""The headers of images, read before a pixel is unpacked: sizes as stored, EXIF orientation, GPS and focal length.

Every reader takes a file's bytes or its memory map, and looks at the headers alone.
"""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from mmap import mmap

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_SCAN = 0xDA
_JPEG_APP1 = 0xE1
_PNG_TAIL = 2**16  # bytes behind the pixels of a PNG file
_PNG_HEADER_END = 33
_GREY, _PALETTE = 0, 3  # colour types of PNG
_STRETCHED = {1: 255, 2: 85, 4: 17}  # the number 1 of so many bits, once it is unpacked to 8
_EXIF = b"Exif\0\0"  # before the tags; some writers put it into the chunks of PNG and WebP too
_JPEG_NO_FRAME = (0xC4, 0xC8, 0xCC)  # tables among the markers that begin a frame
_PNM = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,18})(?:\s+|#[^\n]*\n)+(\d{1,18})\s")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF, and of EXIF, which is a TIFF file without pixels
_GPS = 34853  # tag of EXIF: where the folder of GPS is, whose tags 1 to 4 say a place
_CAMERA = 34665  # tag of EXIF: where the folder of the camera's settings is
_FOCAL, _FOCAL_IN_FILM = 37386, 41989  # its tags: the focal length in mm, and of a 35 mm film that sees as much
_PLANE, _PLANE_UNIT, _PLANE_WIDTH = 41486, 41488, 40962  # pixels a unit on the sensor, that unit, and of what width
_PLANE_UNITS = {2: 25.4, 3: 10.0}  # mm: inch and centimetre
_FOLDER_TAGS = 256  # more than there are
_TIFF_CODES = {3: "H", 4: "I", 16: "Q"}  # types of numbers: 16, 32 and, in BigTIFF, 64 bits

FILM_DIAGONAL = math.hypot(36, 24)  # mm
FOCAL_RANGE = (0.1, 30.0)  # focal lengths that lenses have, over the longer side of the image

Size = tuple[int, int]  # height and width
Content = bytes | mmap


def header_size(content: Content) -> Size | None:
    """Return height and width as a PNG, JPEG, BMP, TIFF, WebP or PNM file states them, as it is stored.

    None where the format is another, or the header is cut off or damaged; the rest of the file is not looked at.
    """
    with suppress(struct.error, OverflowError):
        return next((read(content) for start, read in _READERS.items() if content[: len(start)] == start), None)
    return None


def may_be_transparent(content: Content) -> bool:
    """Tell whether an image may have transparent pixels; formats other than PNG are not looked into, and may.

    Source: ISO/IEC 15948: colour types 4 and 6 have opacity, others the chunk tRNS at most, which precedes the pixels.
    """
    if content[: len(PNG_SIGNATURE)] != PNG_SIGNATURE:
        return True
    return content[25:26] in (b"\4", b"\6") or content.find(b"tRNS", 0, content.find(b"IDAT")) >= 0


def exif_orientation(content: Content) -> int:
    """Return the EXIF orientation of a PNG, JPEG, WebP or TIFF file, 2 to 8; 1 where it is upright as it is stored.

    Rows and columns change places from 5 on. A number that is none, as in a damaged header, counts as 1.

    Source: EXIF 2.32, tag 274; PNG has it in the chunk eXIf, WebP in EXIF, JPEG in its segment APP1.
    """
    with suppress(struct.error, OverflowError):
        for exif in _exif_blocks(content):
            found = {tag: value for tag, value, _ in _tiff_tags(exif)}.get(_ORIENTATION, 1)
            return found if 1 <= found <= 8 else 1
    return 1


def exif_position(content: Content) -> tuple[float, float] | None:
    """Return latitude and longitude, degrees, as a PNG, JPEG, WebP or TIFF file states them; None where it does not.

    Source: EXIF 2.32, section 4.6.6: degrees, minutes and seconds as fractions, and the letters N, S, E and W.
    """
    with suppress(struct.error, OverflowError, ZeroDivisionError, KeyError):
        for exif in _exif_blocks(content):
            order, found = _folder(exif, _GPS)
            degrees = [_gps_angle(exif, order, found[letter], found[letter + 1]) for letter in (1, 3)]
            inside = abs(degrees[0]) <= 90 and abs(degrees[1]) <= 180 and any(degrees)  # 0 0 is what no fix looks like
            return (degrees[0], degrees[1]) if inside else None
    return None


def exif_focal(content: Content) -> tuple[float, str] | None:
    """Return the focal length in pixels that a PNG, JPEG, WebP or TIFF file states, and in words how it does.

    FocalLengthIn35mmFilm is that of a film of 36 x 24 mm with the same angle of view from corner to corner, so it is to
    the diagonal of the image, in pixels, as to 43.27 mm; by the width, the images of 4:3 that telephones take would get
    4 % less. Where it is absent: FocalLength, in mm, times the pixels a mm of FocalPlaneXResolution, which hold for
    images of PixelXDimension.

    None where the tags are absent or 0, which means unknown, or make a field of view that no lens has.

    Source: EXIF 2.32, tags 37386, 40962, 41486, 41488 and 41989; CIPA DCG-001 for the diagonal.
    """
    if (size := header_size(content)) is None:
        return None
    with suppress(struct.error, OverflowError, ZeroDivisionError, KeyError):
        for exif in _exif_blocks(content):
            focal, words = _focal_pixels(exif, size)
            if FOCAL_RANGE[0] < focal / max(size) < FOCAL_RANGE[1]:
                return focal, words
    return None


def upright_tiff(content: bytes) -> bytes:
    """Return a TIFF file that states to be upright, and any other as it is: OpenCV turns TIFF whatever it is told."""
    changed = bytearray(content)
    with suppress(struct.error, OverflowError):
        if content[:4] in _TIFF_SIGNATURES:
            for tag, _, place in _tiff_tags(content):
                if tag == _ORIENTATION:
                    struct.pack_into("<H" if content[:1] == b"I" else ">H", changed, place, 1)
    return bytes(changed)


def grey_png(content: bytes) -> tuple[bytes, int]:
    """Return a PNG with the places of a palette as its grey values, and what a reader makes of the number 1 in it.

    A palette's image becomes one of grey values by its header alone; any other file is returned as it is. Numbers of
    less than 8 bits are stretched to 0..255 when they are unpacked: 1 is then 255, 85 or 17.

    Source: ISO/IEC 15948, sections 11.2.2 (colour types) and 13.12 (scaling of sample depths).
    """
    if not content.startswith(PNG_SIGNATURE) or content[12:16] != b"IHDR" or len(content) < _PNG_HEADER_END:
        return content, 1
    step = _STRETCHED.get(content[24], 1)
    pixels = next(_png_chunks(content, b"IDAT"), None)
    if content[25] != _PALETTE or pixels is None:
        return content, step
    header = content[12:25] + bytes([_GREY]) + content[26:29]
    start = content[: len(PNG_SIGNATURE) + 4] + header + struct.pack(">I", zlib.crc32(header))
    return start + content[pixels[0] - 8 :], step  # without the palette, which grey images have not


def _exif_blocks(content: Content) -> Iterator[Content]:
    """Yield what holds the tags of EXIF in a file."""
    if content[:4] in _TIFF_SIGNATURES:
        yield content
    elif content[:3] == JPEG_SIGNATURE:
        for code, start, stop in _jpeg_segments(content):
            if code == _JPEG_APP1 and content[start : start + 6] == _EXIF:
                yield content[start + 6 : stop]
    elif content[:8] == PNG_SIGNATURE:
        for start, stop in (*_png_chunks(content, b"eXIf"), *_late_chunk(content, b"eXIf")):
            yield content[start:stop].removeprefix(_EXIF)
    elif content[:4] == b"RIFF":
        for kind, start, stop in _riff_chunks(content):
            if kind == b"EXIF":
                yield content[start:stop].removeprefix(_EXIF)


def _folder(exif: Content, pointer: int) -> tuple[str, dict[int, int]]:
    """Return the order of bytes, and where the values of the tags of the folder behind a `pointer` stand."""
    order = "<" if exif[:1] == b"I" else ">"
    start = {tag: value for tag, value, _ in _tiff_tags(exif)}[pointer]
    (count,) = struct.unpack_from(order + "H", exif, start)
    places = (start + 2 + 12 * entry for entry in range(min(count, _FOLDER_TAGS)))
    return order, {struct.unpack_from(order + "H", exif, place)[0]: place + 8 for place in places}


def _focal_pixels(exif: Content, size: Size) -> tuple[float, str]:
    """Compute the focal length in pixels of images of a size; KeyError or ZeroDivisionError where it is not told."""
    order, found = _folder(exif, _CAMERA)

    def whole(tag: int) -> int:  # 16 or 32 bits, as its type says
        (kind,) = struct.unpack_from(order + "H", exif, found[tag] - 6)
        return int(struct.unpack_from(order + _TIFF_CODES[kind], exif, found[tag])[0])

    def fraction(tag: int) -> float:
        (place,) = struct.unpack_from(order + "I", exif, found[tag])
        above, below = struct.unpack_from(order + "2I", exif, place)
        return float(above / below)

    if _FOCAL_IN_FILM in found and (film := whole(_FOCAL_IN_FILM)):
        return film * math.hypot(*size) / FILM_DIAGONAL, f"{film} mm in 35 mm film"
    focal, unit = fraction(_FOCAL), _PLANE_UNITS[whole(_PLANE_UNIT) if _PLANE_UNIT in found else 2]
    return focal * fraction(_PLANE) / unit * size[1] / whole(_PLANE_WIDTH), f"{focal:g} mm"


def _gps_angle(exif: Content, order: str, letter: int, fractions: int) -> float:
    """Read an angle whose letter, and the place of whose three fractions, stand at these places."""
    (place,) = struct.unpack_from(order + "I", exif, fractions)
    terms = struct.unpack_from(order + "6I", exif, place)
    angle: float = terms[0] / terms[1] + terms[2] / terms[3] / 60 + terms[4] / terms[5] / 3600
    return -angle if exif[letter : letter + 1] in (b"S", b"W") else angle


def _png_chunks(content: Content, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of the chunks of a kind before the pixels (ISO/IEC 15948 section 5)."""
    position, kind = len(PNG_SIGNATURE), b""
    while position + 8 <= len(content) and kind != b"IDAT":
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == wanted:
            yield position + 8, position + 8 + length
        position += 12 + length


def _late_chunk(content: Content, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of a chunk behind the pixels, near the end: a walk there would read the whole file."""
    place = content.rfind(wanted, max(0, len(content) - _PNG_TAIL))
    if place >= 4:
        (length,) = struct.unpack_from(">I", content, place - 4)
        stop = place + 4 + length
        if content[stop : stop + 4] == zlib.crc32(content[place:stop]).to_bytes(4, "big"):  # and no pixels by chance
            yield place + 4, stop


def _riff_chunks(content: Content) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the chunks of a WebP file, which begin at even places."""
    position = 12
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        yield kind, position + 8, position + 8 + length
        position += 8 + length + length % 2


def _jpeg_segments(content: Content) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments before the pixels (ITU-T T.81 annex B)."""
    position = 2
    while content[position : position + 1] == b"\xff":
        code, length = struct.unpack_from(">xBH", content, position)
        if code in (JPEG_SCAN, 0xFF):
            return
        yield code, position + 4, position + 2 + length
        position += 2 + length


def _png_size(content: Content) -> Size | None:
    width, height = struct.unpack_from(">II", content, 16)
    return (height, width) if content[12:16] == b"IHDR" else None


def _jpeg_size(content: Content) -> Size | None:
    """Read the frame header (ITU-T T.81 annex B.2.2)."""
    for code, start, _ in _jpeg_segments(content):
        if 0xC0 <= code <= 0xCF and code not in _JPEG_NO_FRAME:
            height, width = struct.unpack_from(">HH", content, start + 1)
            return height, width
    return None


def _bmp_size(content: Content) -> Size:
    """Read the second header, with sizes of 16 bits in its oldest form; a height below zero is of rows from the top."""
    (length,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if length == 12 else "<ii", content, 18)
    return abs(height), abs(width)


def _tiff_size(content: Content) -> Size | None:
    sizes = {tag: value for tag, value, _ in _tiff_tags(content) if tag in (_WIDTH, _HEIGHT)}
    return (sizes[_HEIGHT], sizes[_WIDTH]) if len(sizes) == 2 else None


def _tiff_tags(content: Content) -> Iterator[tuple[int, int, int]]:
    """Yield the tags of the first folder that are one whole number: tag, value, and where in the file the value is.

    Source: TIFF 6.0 section 2; BigTIFF has numbers of 64 bits where TIFF has 32.
    """
    order, big = "<" if content[:1] == b"I" else ">", content[2:4] in (b"+\0", b"\0+")
    (folder,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, folder)
    first, step, value = (folder + 8, 20, 12) if big else (folder + 2, 12, 8)
    for start in range(first, min(first + count * step, len(content)), step):
        tag, kind = struct.unpack_from(order + "HH", content, start)
        if tag in (_WIDTH, _HEIGHT, _ORIENTATION, _GPS, _CAMERA) and kind in _TIFF_CODES:
            yield tag, *struct.unpack_from(order + _TIFF_CODES[kind], content, start + value), start + value


def _webp_size(content: Content) -> Size | None:
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


def _pnm_size(content: Content) -> Size | None:
    found = _PNM.match(content)
    return (int(found[2]), int(found[1])) if found else None


_READERS: dict[bytes, Callable[[Content], Size | None]] = {
    PNG_SIGNATURE: _png_size,
    JPEG_SIGNATURE: _jpeg_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    **dict.fromkeys(_TIFF_SIGNATURES, _tiff_size),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), _pnm_size),
}
