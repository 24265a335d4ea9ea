"""Portable float maps: depth and confidence maps of MVSNet, DTU and BlendedMVS, 32-bit floats without compression."""

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.files import write_whole

# Writers differ in their blanks (one before the end of the line of the size is common); only the end of the line of
# the scale must be one newline, because the pixels follow it at once.
_HEADER = re.compile(rb"\s*(P[Ff])\s+(\d{1,18})\s+(\d{1,18})\s+(\S+)[ \t]*\r?\n")
_CHANNELS = {b"Pf": 1, b"PF": 3}


def read_pfm(path: Path, *, finite: bool = True) -> Float32[Tensor, "*c h w"]:
    """Read a map, top row first: (h, w) from a grey file (`Pf`), (3, h, w) from a colour file (`PF`).

    The sign of the scale in the header says which end of each number comes first, little (-) or big (+); its size has
    no agreed meaning and is ignored. `finite=False` lets NaN and infinity through, which some data sets write where
    there is no measurement.

    Source: Debevec, "PFM Portable FloatMap Image Format"; rows are stored from the bottom up.

    Raises:
        Vo3dError: the file is absent, is no PFM, holds more or less than its size says, or NaN or infinity.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a portable float map (.pfm)")
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None:
        raise Vo3dError(f"{path}: not a PFM file: expected 'Pf' or 'PF', width, height and scale in the first lines")
    kind, width, height, scale = header.groups()
    w, h, channels = int(width), int(height), _CHANNELS[kind]
    expected, found = 4 * w * h * channels, len(content) - header.end()
    if not expected:
        raise Vo3dError(f"{path}: a map of {w} x {h} pixels: expected at least one pixel")
    if found != expected:
        what = "truncated" if found < expected else "too long"
        raise Vo3dError(
            f"{path}: {what}: {found} bytes of pixels, expected {expected} for {w} x {h} x {channels}: "
            "copy or make it again"
        )
    values = np.frombuffer(content, _byte_order(path, scale) + "f4", offset=header.end())
    rows = values.reshape(h, w, channels)[::-1].astype(np.float32)
    image = torch.from_numpy(rows[..., 0].copy() if channels == 1 else rows.transpose(2, 0, 1).copy())
    if finite:
        _check_finite(path, image)
    return image


def write_pfm(path: Path, image: Float[Tensor, "*c h w"]) -> None:
    """Write a map of shape (h, w), (1, h, w) or (3, h, w) as little-endian float32; the file is whole or absent.

    Raises:
        Vo3dError: the map has another shape, is empty, or holds NaN or infinity.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] not in (1, 3)) or not image.numel():
        raise Vo3dError(f"{path}: the map to write has shape {tuple(image.shape)}: expected (h, w) or (1 or 3, h, w)")
    _check_finite(path, image)
    h, w = image.shape[-2:]
    pixels = image.detach().cpu().to(torch.float32).reshape(-1, h, w).permute(1, 2, 0).numpy()  # h w c
    header = f"{'PF' if pixels.shape[2] == 3 else 'Pf'}\n{w} {h}\n-1.0\n"
    write_whole(path, header.encode() + pixels[::-1].astype("<f4").tobytes())


def _byte_order(path: Path, scale: bytes) -> str:
    """`<` or `>`, by the sign of the scale."""
    try:
        value = float(scale)
    except ValueError:
        value = 0.0
    if not abs(value) > 0:  # NaN too
        raise Vo3dError(
            f"{path}: scale {quoted(scale.decode('ascii', 'replace'))} in the header: expected a number below zero "
            "(little-endian) or above"
        )
    return "<" if value < 0 else ">"


def _check_finite(path: Path, image: Tensor) -> None:
    bad = ~torch.isfinite(image)
    if bool(bad.any()):
        *_, y, x = bad.nonzero()[0].tolist()
        raise Vo3dError(
            f"{path}: {int(bad.sum())} of {image.numel()} values are NaN or infinite, the first at row {y}, column "
            f"{x}: expected finite numbers (0 = no measurement): mend the program that made the map"
        )
