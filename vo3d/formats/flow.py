"""Files of optical flow: Middlebury's .flo."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole

_MAGIC = np.float32(202021.25).tobytes()
_UNKNOWN = 1e9  # what is greater is not known; it is written for NaN, too


def read_flo(path: Path) -> Float32[Tensor, "2 h w"]:
    """Read flow in pixels from a .flo file; NaN where it is not known.

    Source: Baker et al., "A database and evaluation methodology for optical flow", 2011, and its README.
    Raises Vo3dError where the file is absent, is no .flo, or holds more or less than its size says.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected optical flow (.flo)")
    content = path.read_bytes()
    if content[:4] != _MAGIC or len(content) < 12:
        raise Vo3dError(f"{path}: not a .flo file: expected the number 202021.25, width and height at its beginning")
    w, h = np.frombuffer(content, "<i4", 2, 4).tolist()
    if w < 1 or h < 1 or len(content) != 12 + 8 * w * h:
        raise Vo3dError(f"{path}: {len(content)} bytes, expected {12 + 8 * w * h} for {w}x{h}: make it again")
    values = np.frombuffer(content, "<f4", offset=12).reshape(h, w, 2).transpose(2, 0, 1)
    flow = torch.from_numpy(values.astype(np.float32))
    return torch.where(flow.abs() >= _UNKNOWN, torch.nan, flow)


def write_flo(path: Path, flow: Float[Tensor, "2 h w"]) -> None:
    """Write flow in pixels as a .flo file, which is whole or absent; NaN becomes the number for what is not known."""
    known = torch.where(flow.isfinite(), flow, _UNKNOWN).detach().cpu().float()
    size = np.array([flow.shape[-1], flow.shape[-2]], "<i4").tobytes()
    write_whole(path, _MAGIC + size + known.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes())
