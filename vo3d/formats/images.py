"""Images and depth maps: PNG, JPEG and whatever else OpenCV reads, whole or refused."""

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import LFS_POINTER, write_whole
from vo3d.formats.image_headers import (
    JPEG_SCAN,
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    exif_focal,
    exif_orientation,
    exif_position,
    grey_png,
    header_size,
    may_be_transparent,
    upright_tiff,
)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

SIDEWAYS = 5  # EXIF orientations from here on change rows and columns
MAX_PIXELS = 2 * 10**8  # of an image: more are refused before they are unpacked, in float32 they would take 2.4 GB
# inside entropy-coded data 0xff is followed by 0x00 (stuffing), by a restart marker, or by 0xff (fill)
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JPEG_END = 0xD9


def read_image(path: Path, *, grey_to_rgb: bool = True, upright: bool = False) -> Float32[Tensor, "c h w"]:
    """Read an 8 or 16-bit image as RGB in [0, 1], shape (3, h, w); with `grey_to_rgb=False` grey stays (1, h, w).

    Pixels come as they are stored, which is what a camera that comes with an image describes, whatever way up the EXIF
    header says; `upright` is for images without a camera: they are turned as image viewers do. A transparency channel
    is dropped.
    Raises Vo3dError naming the file when it is missing, truncated, damaged, no image, or has more than `MAX_PIXELS`
    pixels, as the headers of PNG, JPEG, BMP, TIFF, WebP and PNM tell before anything is unpacked. PNG data are checked
    by their checksums; damage inside the compressed data of a JPEG that leaves its structure whole cannot be seen.
    """
    content = _whole_content(path)
    flags = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_COLOR if grey_to_rgb else cv2.IMREAD_ANYCOLOR)
    pixels = _decode(path, content, flags)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise Vo3dError(f"{path}: pixels are {pixels.dtype}: expected an image of 8 or 16 bits a channel")
    if upright:
        pixels = _turned(pixels, exif_orientation(content))
    return rgb_of(pixels)


def rgb_of(pixels: Shaped[np.ndarray, "h w *c"]) -> Float32[Tensor, "c h w"]:
    """Convert the pixels of OpenCV, 8 or 16 bits, grey or with blue first, into channels in [0, 1] with red first."""
    # not cvtColor: its threads do not survive a loader's fork; plane by plane, in one pass over the memory
    planes = cv2.split(pixels)[::-1]
    values = np.empty((len(planes), *pixels.shape[:2]), np.float32)
    for plane, value in zip(planes, values, strict=True):
        np.divide(plane, np.float32(np.iinfo(pixels.dtype).max), out=value)
    return torch.from_numpy(values)


def image_size(path: Path, *, upright: bool = False) -> tuple[int, int]:
    """Height and width of what `read_image` would give, from the header alone where that tells them.

    Raises Vo3dError as `read_image` does; damage behind the header is not looked for.
    """
    with _mapped(path) as content:
        size = header_size(content)
        turned = upright and exif_orientation(content) >= SIDEWAYS
    if size is None or min(size) < 1:
        _, *stored = read_image(path).shape
        size = (stored[0], stored[1])
    _check_size(path, size)
    return (size[1], size[0]) if turned else size


def may_have_alpha(path: Path) -> bool:
    """Tell whether an image may have an alpha channel, by the header of a PNG; images of other formats may.

    Raises Vo3dError when there is no such file.
    """
    with _mapped(path) as content:
        return may_be_transparent(content)


def image_position(path: Path) -> tuple[float, float] | None:
    """Return latitude and longitude, degrees, as the EXIF header of an image says; None where it does not.

    Raises Vo3dError when there is no such file.
    """
    with _mapped(path) as content:
        return exif_position(content)


def image_focal(path: Path) -> tuple[float, str] | None:
    """Return the focal length in pixels, and in words, as the EXIF header of an image says; None where it does not.

    Raises Vo3dError when there is no such file.
    """
    with _mapped(path) as content:
        return exif_focal(content)


def orientation_notes(paths: Sequence[Path]) -> list[str]:
    """Say in one line which images have an EXIF orientation that is ignored, because a camera comes with them."""
    found: list[tuple[Path, int]] = []
    for path in filter(Path.is_file, paths):  # one that is missing is told when it is read
        with _mapped(path) as content:
            if (orientation := exif_orientation(content)) > 1:
                found.append((path, orientation))
    if not found:
        return []
    path, orientation = found[0]
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [
        f"the EXIF orientation of {path} ({orientation}){others} is ignored: images with cameras are read as they are "
        "stored"
    ]


def read_depth_png(
    path: Path, *, metres_per_count: float = 0.001, invalid: tuple[int, ...] = (0,)
) -> Float32[Tensor, "h w"]:
    """Read a 16-bit depth image in metres; counts in `invalid` become 0 = no measurement.

    Raises Vo3dError naming the file when it is missing, truncated, damaged, or not one channel of 16 bits.
    """
    counts = _decode(path, _whole_content(path), cv2.IMREAD_UNCHANGED)
    if counts.dtype != np.uint16 or counts.ndim != 2:
        raise Vo3dError(
            f"{path}: {counts.dtype} of shape {counts.shape}: expected a depth image, one channel of 16 bits"
        )
    depth = counts.astype(np.float64) * metres_per_count
    depth[np.isin(counts, invalid)] = 0
    return torch.from_numpy(depth.astype(np.float32))


def read_counts(path: Path) -> Shaped[np.ndarray, "h w *c"]:
    """Read the whole numbers of an image as they are stored, 8 or 16 bits: (h, w), or (h, w, c) with red first.

    Of a PNG with a palette they are the places in the palette, (h, w): not colours but what `write_counts` would write.
    Raises Vo3dError naming the file when it is missing, truncated, damaged, or of other numbers.
    """
    content, step = grey_png(_whole_content(path))
    pixels = _decode(path, content, cv2.IMREAD_UNCHANGED)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise Vo3dError(f"{path}: pixels are {pixels.dtype}: expected an image of 8 or 16 bits a channel")
    if pixels.ndim == 3:
        pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=-1)  # OpenCV has blue first, opacity last
    return np.asarray(pixels // pixels.dtype.type(step))


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


def write_counts(path: Path, counts: Int[Tensor, "*c h w"], *, bits: Literal[8, 16]) -> None:
    """Write whole numbers, such as classes or millimetres, as a PNG of 8 or 16 bits: grey (h, w) or RGB (3, h, w).

    The file is whole or absent. Raises Vo3dError for a number that does not fit.
    """
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) < 1 << bits:
        raise Vo3dError(f"{path}: numbers from {counts.min()} to {counts.max()}: expected 0 to {(1 << bits) - 1}")
    numbers = counts.detach().cpu().numpy()
    pixels = numbers.astype(np.uint8) if bits == 8 else numbers.astype(np.uint16)
    pixels = pixels if pixels.ndim == 2 else pixels[::-1].transpose(1, 2, 0)  # blue first, channels last
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    write_whole(path, encoded.tobytes())


@contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap]:
    """Give a file's bytes, read from the disk as they are looked at; Vo3dError when there is none."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such image file")
    if not path.stat().st_size:  # nothing cannot be mapped
        yield b""
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        yield content


def _whole_content(path: Path) -> bytes:
    """Read the bytes of a file that is checked to be whole: OpenCV alone returns half an image without a word."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such image file")
    content = path.read_bytes()
    fault = None if content else "the file is empty"
    if content.startswith(LFS_POINTER):
        fault = "a Git LFS pointer stands for it: run 'git lfs pull'"
    elif content.startswith(PNG_SIGNATURE):
        fault = _png_fault(content)
    elif content.startswith(JPEG_SIGNATURE):
        fault = _jpeg_fault(content)
    if fault is not None:
        raise _not_whole(path, fault)
    if (size := header_size(content)) is not None:
        _check_size(path, size)
    return content


def _decode(path: Path, content: bytes, flags: int) -> np.ndarray:
    """Unpack the pixels as they are stored."""
    pixels = None
    with suppress(cv2.error):
        encoded = np.frombuffer(upright_tiff(content), np.uint8)
        pixels = cv2.imdecode(encoded, flags if flags < 0 else flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise _not_whole(path, "OpenCV cannot decode it")
    return np.asarray(pixels)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels, rows first, from how they are stored to upright; EXIF 2.32 says how for each orientation."""
    upright = pixels.swapaxes(0, 1) if orientation >= SIDEWAYS else pixels
    return upright[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _not_whole(path: Path, fault: str) -> Vo3dError:
    return Vo3dError(f"{path}: not a whole image ({fault}): copy or download it again")


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
