"""Files of what moves on its own: masks of ids, and the rigid motion of each id from frame to frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.images import read_counts
from vo3d.formats.text import parse_number, parse_whole, read_content
from vo3d.formats.trajectories import check_poses

LARGEST_ID = (1 << 16) - 1  # that a mask of 16 bits can show
_COLUMNS = 14  # frame, id, three rows of a rigid motion
_FORM = "expected frame, id, and 12 numbers of the motion to the next frame"


@dataclass(frozen=True)
class ObjectMotions:
    """Rigid motions in the world, metres: X(next frame) = motion X(frame); one for each frame that shows an object."""

    frame: Int64[Tensor, " n"]
    id: Int64[Tensor, " n"]  # of the object, from 1 on
    motion: Float64[Tensor, "n 4 4"]

    @property
    def k(self) -> int:
        """Find the largest id."""
        return int(self.id.max()) if len(self.id) else 0

    def at(self, frame: int) -> Float64[Tensor, "k 4 4"]:
        """Return the motions from a frame to the next, that of id i in row i - 1; NaN where it is not known."""
        motions = torch.full((self.k, 4, 4), torch.nan, dtype=torch.float64)
        known = self.frame == frame
        motions[self.id[known] - 1] = self.motion[known]
        return motions


def read_mask(path: Path) -> Int64[Tensor, "h w"]:
    """Read a mask of ids, 0 = static: a grey PNG of up to 16 bits, or one with a palette (DAVIS), whose places are ids.

    Raises:
        Vo3dError: the file is missing, truncated, damaged, or has colours.
    """
    counts = read_counts(path)
    if counts.ndim != 2:
        raise Vo3dError(
            f"{path}: has {counts.shape[2]} channels: expected a mask of ids, a grey image or one with a palette: "
            "colours are no ids"
        )
    return torch.from_numpy(counts.astype(np.int64))


def read_object_motion(path: Path, frames: int) -> ObjectMotions:
    """Read how the objects in a recording of so many `frames` move from each to the next, as `vo3d render` writes it.

    Raises:
        Vo3dError: the file is absent; with its line, one that is no such motion, a second one of a frame and an id, or
            one of a frame that has no next.
    """
    lines: dict[tuple[int, int], int] = {}  # by frame and id
    rows: list[list[float]] = []
    for line, text in read_content(path, "motions of objects (object_motion.txt of vo3d render)"):
        tokens = text.split()
        if len(tokens) != _COLUMNS:
            raise Vo3dError(f"{path}:{line}: {len(tokens)} columns: {_FORM}")
        frame, one = (parse_whole(tokens[place], path, line, what) for place, what in enumerate(("a frame", "an id")))
        if not 0 <= frame < frames - 1:
            raise Vo3dError(
                f"{path}:{line}: a motion from frame {frame} to the next, and there are {frames} frames: expected the "
                "file of these images"
            )
        if not 1 <= one <= LARGEST_ID:
            raise Vo3dError(f"{path}:{line}: id {one}: expected 1 to {LARGEST_ID}")
        if (frame, one) in lines:
            raise Vo3dError(f"{path}:{line}: frame {frame}, id {one} is in line {lines[frame, one]} already: {_FORM}")
        lines[frame, one] = line
        rows.append([parse_number(token, path, line) for token in tokens[2:]])
    motion = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    motion[:, :3] = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 4)
    check_poses(motion, path, list(lines.values()))
    frame_and_id = torch.tensor(list(lines), dtype=torch.long).reshape(-1, 2)
    return ObjectMotions(frame_and_id[:, 0], frame_and_id[:, 1], motion)
