"""Files of optical flow and of disparity: Middlebury's .flo, and the 16-bit PNG of KITTI's benchmarks."""

import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import LFS_POINTER, write_whole
from vo3d.formats.images import read_counts, write_counts

FLOW_SUFFIXES = (".flo", ".png")

_MAGIC = struct.pack("<f", 202021.25)  # the bytes "PIEH"
_HEADER = 12  # bytes: the magic number, width, height
_UNKNOWN = 1e9  # of .flo files: a component of this size or more says that the flow of its pixel is not known
_WRITTEN_UNKNOWN = 1e10
_STEPS = 64  # of KITTI's flow: counts a pixel
_ZERO = 1 << 15  # of KITTI's flow: the count that says 0
_LARGEST = (1 << 16) - 1
_DISPARITY_STEPS = 256  # of KITTI's disparity: counts a pixel


def read_flow(path: Path) -> Float32[Tensor, "2 h w"]:
    """Read a map of flow by its suffix, .flo or KITTI's .png; see `read_flo` and `read_kitti_flow`."""
    suffix = path.suffix.lower()
    if suffix not in FLOW_SUFFIXES:
        raise Vo3dError(f"{path}: no known file of flow: expected {' or '.join(FLOW_SUFFIXES)}")
    return read_flo(path) if suffix == ".flo" else read_kitti_flow(path)


def read_flo(path: Path) -> Float32[Tensor, "2 h w"]:
    """Read a .flo file: flow to the right and down in pixels, NaN where either is not known.

    Source: Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A Database and Evaluation Methodology for Optical Flow",
    IJCV 2011, and the C++ code that comes with it: little endian; 202021.25, width, height, then u and v in turns, rows
    from the top down; components beyond 1e9 stand for unknown flow.

    Raises:
        Vo3dError: the file is absent, empty, no .flo file, or holds more or less than its size says.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a map of flow (.flo)")
    content = path.read_bytes()
    if not content:
        raise Vo3dError(f"{path}: is empty: expected a map of flow (.flo): copy or make it again")
    if content.startswith(LFS_POINTER):
        raise Vo3dError(f"{path}: a Git LFS pointer stands for the map of flow: run 'git lfs pull'")
    if content[:4] != _MAGIC:
        raise Vo3dError(f"{path}: begins with {content[:4]!r}: expected {_MAGIC!r}, as Middlebury's .flo files do")
    if len(content) < _HEADER:
        raise Vo3dError(f"{path}: truncated: {len(content)} bytes: expected width and height: copy or make it again")
    w, h = struct.unpack_from("<ii", content, 4)
    if w < 1 or h < 1:
        raise Vo3dError(f"{path}: a map of {w} x {h} pixels: expected at least one pixel")
    expected, found = 8 * w * h, len(content) - _HEADER
    if found != expected:
        what = "truncated" if found < expected else "too long"
        raise Vo3dError(
            f"{path}: {what}: {found} bytes of flow, expected {expected} for {w} x {h} pixels: copy or make it again"
        )
    values = np.frombuffer(content, "<f4", offset=_HEADER).reshape(h, w, 2)
    flow = torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32))
    known = (flow.abs() < _UNKNOWN).all(0)  # nor is NaN
    return torch.where(known, flow, torch.nan)


def write_flo(path: Path, flow: Float[Tensor, "2 h w"]) -> None:
    """Write a map of flow as Middlebury's .flo; NaN becomes what such files have for unknown. Whole or absent.

    Raises:
        Vo3dError: the map is empty, or holds infinity or numbers that would be read as unknown.
    """
    values = _checked(path, flow)
    large = values.abs() >= _UNKNOWN
    if bool(large.any()):
        raise Vo3dError(
            f"{path}: the flow to write holds {values[large][0]:g}: expected pixels below {_UNKNOWN:g}, or NaN"
        )
    values = torch.where(values.isnan().any(0), _WRITTEN_UNKNOWN, values)
    h, w = values.shape[1:]
    pixels = values.permute(1, 2, 0).numpy().astype("<f4")
    write_whole(path, _MAGIC + struct.pack("<ii", w, h) + pixels.tobytes())


def read_kitti_flow(path: Path) -> Float32[Tensor, "2 h w"]:
    """Read flow of KITTI 2012 or 2015, pixels to the right and down; NaN where the file has none.

    Source: readme of KITTI's development kits: a PNG of three channels of 16 bits, u and v as 64 times the value and
    2^15, and 1 where they are valid.

    Raises:
        Vo3dError: the file is missing, truncated, damaged, or has other channels or bits.
    """
    counts = read_counts(path)
    if counts.dtype != np.uint16 or counts.shape[2:] != (3,):
        raise Vo3dError(f"{path}: {_words(counts)}: expected flow as KITTI has it, three channels of 16 bits")
    values = torch.from_numpy(counts.transpose(2, 0, 1).astype(np.float32))
    return torch.where(values[2] > 0, (values[:2] - _ZERO) / _STEPS, torch.nan)


def write_kitti_flow(path: Path, flow: Float[Tensor, "2 h w"]) -> None:
    """Write flow as KITTI's benchmarks have it, rounded to 1/64 pixel, invalid where it is NaN. Whole or absent.

    Raises:
        Vo3dError: the map is empty, or holds flow outside of -512..511.98 pixels.
    """
    values = _checked(path, flow)
    valid = ~values.isnan().any(0)
    counts = torch.where(valid, (values.double() * _STEPS).round() + _ZERO, 0)
    wrong = (counts < 0) | (counts > _LARGEST)
    if bool(wrong.any()):
        raise Vo3dError(
            f"{path}: the flow to write holds {values[wrong][0]:g}: expected -512 to 511.98 pixels, or write .flo"
        )
    write_counts(path, torch.cat([counts, valid[None]]).long(), bits=16)


def read_kitti_disparity(path: Path) -> Float32[Tensor, "h w"]:
    """Read disparity of KITTI 2012 or 2015, pixels; 0 = none.

    Source: readme of KITTI's development kits: a PNG of one channel of 16 bits, 256 times the value.

    Raises:
        Vo3dError: the file is missing, truncated, damaged, or has other channels or bits.
    """
    counts = read_counts(path)
    if counts.dtype != np.uint16 or counts.ndim != 2:
        raise Vo3dError(f"{path}: {_words(counts)}: expected disparity as KITTI has it, one channel of 16 bits")
    return torch.from_numpy(counts.astype(np.float32)) / _DISPARITY_STEPS


def write_kitti_disparity(path: Path, disparity: Float[Tensor, "h w"]) -> None:
    """Write disparity as KITTI's benchmarks have it, rounded to 1/256 pixel; what is above 0 stays so. Whole or absent.

    Raises:
        Vo3dError: the map is empty, or holds disparities outside of 0..255.99 pixels.
    """
    _check_filled(path, disparity)
    counts = (disparity.detach().cpu().double() * _DISPARITY_STEPS).round()
    wrong = ~((counts >= 0) & (counts <= _LARGEST))  # NaN too
    if bool(wrong.any()):
        raise Vo3dError(
            f"{path}: the disparity to write holds {disparity.cpu()[wrong][0]:g}: expected 0 (none) to 255.99 pixels"
        )
    counts = torch.where(disparity.cpu() > 0, counts.clamp(min=1), counts)
    write_counts(path, counts.long(), bits=16)


def _checked(path: Path, flow: Float[Tensor, "2 h w"]) -> Float32[Tensor, "2 h w"]:
    """Return flow as it is written; Vo3dError for none."""
    _check_filled(path, flow)
    return flow.detach().cpu().float()


def _check_filled(path: Path, values: Float[Tensor, "*c h w"]) -> None:
    if not values.numel():
        raise Vo3dError(f"{path}: the map to write has shape {tuple(values.shape)}: expected at least one pixel")


def _words(counts: np.ndarray) -> str:
    """Say what an image holds, for messages."""
    channels = 1 if counts.ndim == 2 else counts.shape[2]
    return f"{channels} channel{'s' * (channels > 1)} of {8 * counts.itemsize} bits"
