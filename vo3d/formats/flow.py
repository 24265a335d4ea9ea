"""Files of optical flow: Middlebury's .flo."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole

MAGIC = np.float32(202021.25)
UNKNOWN = 1e9  # a flow above it is not defined


def read_flo(path: Path) -> Float32[Tensor, "2 h w"]:
    """Read a flow, pixels; NaN where it is not defined. Raises Vo3dError for a file that is absent or no such one."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected an optical flow (.flo)")
    content = path.read_bytes()
    head = np.frombuffer(content[:12].ljust(12, b"\0"), "<i4")
    w, h = int(head[1]), int(head[2])
    if head[:1].view("<f4")[0] != MAGIC or min(w, h) < 1 or len(content) != 12 + 8 * w * h:
        raise Vo3dError(f"{path}: not an optical flow of {w}x{h} pixels: expected a whole Middlebury .flo")
    flow = torch.from_numpy(np.frombuffer(content, "<f4", offset=12).reshape(h, w, 2).astype(np.float32))
    flow[(flow.abs() > UNKNOWN).any(-1)] = torch.nan
    return flow.permute(2, 0, 1)


def write_flo(path: Path, flow: Float[Tensor, "2 h w"]) -> None:
    """Write a flow, pixels, NaN = not defined."""
    h, w = flow.shape[-2:]
    pixels = torch.where(flow.isnan(), 10 * UNKNOWN, flow).permute(1, 2, 0).cpu().numpy().astype("<f4")
    write_whole(path, MAGIC.astype("<f4").tobytes() + np.array([w, h], "<i4").tobytes() + pixels.tobytes())
