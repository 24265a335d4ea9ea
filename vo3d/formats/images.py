"""Images and depth maps: PNG, JPEG and whatever else OpenCV reads, whole or refused."""

import re
import zlib
from contextlib import suppress
from math import prod
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.image_headers import JPEG_SCAN, JPEG_SIGNATURE, PNG_SIGNATURE, header_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

HEAD = 2**16  # bytes of a file in which its size is looked for first
MAX_PIXELS = 2 * 10**8  # of an image: more are refused before they are unpacked, in float32 they would take 2.4 GB
# inside entropy-coded data 0xff is followed by 0x00 (stuffing), by a restart marker, or by 0xff (fill)
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JPEG_END = 0xD9


def read_image(path: Path, *, grey_to_rgb: bool = True, upright: bool = True) -> Float32[Tensor, "c h w"]:
    """Read an 8 or 16-bit image as RGB in [0, 1], shape (3, h, w); with `grey_to_rgb=False` grey stays (1, h, w).

    A transparency channel is dropped; an orientation in the EXIF header is applied, as image viewers do, unless
    `upright` is False: then the pixels come as they are stored, as COLMAP sees them.
    Raises Vo3dError naming the file when it is missing, truncated, damaged, no image, or has more than `MAX_PIXELS`
    pixels, as the headers of PNG, JPEG, BMP, TIFF, WebP and PNM tell before anything is unpacked. PNG data are checked
    by their checksums; damage inside the compressed data of a JPEG that leaves its structure whole cannot be seen.
    """
    flags = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_COLOR if grey_to_rgb else cv2.IMREAD_ANYCOLOR)
    pixels = _decode(path, flags if upright else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise Vo3dError(f"{path}: pixels are {pixels.dtype}: expected an image of 8 or 16 bits a channel")
    # not cvtColor: its threads do not survive a loader's fork
    pixels = pixels[..., ::-1].transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    values = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return torch.from_numpy(np.ascontiguousarray(values))


def image_size(path: Path, *, upright: bool = True) -> tuple[int, int]:
    """Height and width of what `read_image` would give, from the header alone where that tells them.

    Raises Vo3dError as `read_image` does; damage behind the header is not looked for.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such image file")
    with path.open("rb") as file:
        head = file.read(HEAD)
    turned = upright and (b"eXIf" in head or b"Exif" in head)
    if head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) and not turned:
        size = header_size(head) or header_size(path.read_bytes())  # a profile of colours may be a long one
        if size is not None and min(size) > 0:
            _check_size(path, size)
            return size
    _, height, width = read_image(path, upright=upright).shape
    return height, width


def read_depth_png(
    path: Path, *, metres_per_count: float = 0.001, invalid: tuple[int, ...] = (0,)
) -> Float32[Tensor, "h w"]:
    """Read a 16-bit depth image in metres; counts in `invalid` become 0 = no measurement.

    Raises Vo3dError naming the file when it is missing, truncated, damaged, or not one channel of 16 bits.
    """
    counts = _decode(path, cv2.IMREAD_UNCHANGED)
    if counts.dtype != np.uint16 or counts.ndim != 2:
        raise Vo3dError(
            f"{path}: {counts.dtype} of shape {counts.shape}: expected a depth image, one channel of 16 bits"
        )
    depth = counts.astype(np.float64) * metres_per_count
    depth[np.isin(counts, invalid)] = 0
    return torch.from_numpy(depth.astype(np.float32))


def write_image(path: Path, image: Float[Tensor, "*c h w"]) -> None:
    """Write an image in [0, 1], (h, w), (1, h, w) or (3, h, w) RGB, as 8 bits in the format of the path's suffix.

    Values are rounded to the nearest count; numbers outside of [0, 1] are clipped. The file is whole or absent.
    Raises Vo3dError for NaN and for a suffix that OpenCV cannot write.
    """
    if not bool(torch.isfinite(image).all()):
        raise Vo3dError(f"{path}: the image to write holds NaN or infinity: expected numbers in [0, 1]")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] not in (1, 3)):
        raise Vo3dError(f"{path}: the image to write has shape {tuple(image.shape)}: expected (h, w) or (1 or 3, h, w)")
    counts = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = counts.reshape(-1, *image.shape[-2:]).flip(0).permute(1, 2, 0).numpy()  # RGB to BGR, channels last
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise Vo3dError(
            f"{path}: cannot write the image format {path.suffix!r}: use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    written, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))
    if not written:
        raise Vo3dError(f"{path}: OpenCV could not encode an image of shape {tuple(image.shape)} as {path.suffix}")
    write_whole(path, encoded.tobytes())


def _decode(path: Path, flags: int) -> np.ndarray:
    """The pixels of a file that has been checked to be whole: OpenCV alone returns half an image without a word."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such image file")
    content = path.read_bytes()
    fault = None if content else "the file is empty"
    if content.startswith(PNG_SIGNATURE):
        fault = _png_fault(content)
    elif content.startswith(JPEG_SIGNATURE):
        fault = _jpeg_fault(content)
    size = header_size(content)
    if fault is None and size is not None:
        _check_size(path, size)
    pixels = None
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if fault is None else None
    if pixels is None:
        raise Vo3dError(f"{path}: not a whole image ({fault or 'OpenCV cannot decode it'}): copy or download it again")
    return np.asarray(pixels)


def _check_size(path: Path, size: tuple[int, int]) -> None:
    if prod(size) > MAX_PIXELS:
        raise Vo3dError(
            f"{path}: an image of {size[1]} x {size[0]} pixels: expected at most {MAX_PIXELS / 1e6:g} million: make it "
            "smaller"
        )


def _png_fault(content: bytes) -> str | None:
    """Tell what is wrong with the chunks of a PNG file (length, type, data, CRC; ISO/IEC 15948 section 5), or None."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 12 + length
        kind = content[position + 4 : position + 8]
        if end > len(content):
            return f"truncated PNG: chunk {kind!r} ends at byte {end} of {len(content)}"
        body = memoryview(content)[position + 4 : end - 4]
        if zlib.crc32(body) != int.from_bytes(content[end - 4 : end], "big"):
            return f"damaged PNG: wrong checksum in chunk {kind!r} at byte {position}"
        if kind == b"IEND":
            return None
        position = end
    return f"truncated PNG: no end chunk in {len(content)} bytes"


def _jpeg_fault(content: bytes) -> str | None:
    """Find a fault in the markers of a JPEG file (ITU-T T.81 annex B), if any; data after its end are allowed."""
    position, in_scan = 2, False
    while True:
        marker = _JPEG_MARKER.search(content, position)
        if marker is None:
            return f"truncated JPEG: no end marker in {len(content)} bytes"
        if not in_scan and marker.start() != position and content[position : marker.start()].strip(b"\xff"):
            return f"damaged JPEG: no marker at byte {position}"
        code = marker.group(1)[0]
        if code == _JPEG_END:
            return None
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        position, in_scan = marker.end() + length, code == JPEG_SCAN
        if length < 2 or position > len(content):
            return f"truncated JPEG: a segment ends at byte {position} of {len(content)}"
