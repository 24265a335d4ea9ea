"""The table of located images: the pose that a model gave of each frame, and how sure it was."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.trajectories import check_poses
from vo3d.geometry import rotations
from vo3d.metrics.relocalisation import total_deviations

_POSE = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
_TOTALS = ("position_m", "rotation_deg")
_PARTS = ("std_x_m", "std_y_m", "std_z_m", "std_rx_deg", "std_ry_deg", "std_rz_deg")


@dataclass(frozen=True, kw_only=True, eq=False)
class Located:
    """The frames of one recording, with the pose that a model gave of each.

    Args:
        frames: their numbers in the source, see `Recording.frames`.
        names: of each frame, see `Recording.names`.
        world_T_cam: of each frame, metres.
        time: of each frame, seconds; None where the source does not tell.
        deviations: standard deviations that the model predicts: of the position along the axes of the world, metres,
            and of the rotation about those of the camera, radians; None where it predicts none.

    Raises:
        Vo3dError: the fields are of different lengths.
    """

    frames: Int64[Tensor, " n"]
    names: Sequence[str]
    world_T_cam: Float64[Tensor, "n 4 4"]
    time: Float64[Tensor, " n"] | None = None
    deviations: Float64[Tensor, "n 6"] | None = None

    def __post_init__(self) -> None:
        for name in ("names", "world_T_cam", "time", "deviations"):
            if (value := getattr(self, name)) is not None and len(value) != len(self.frames):
                raise Vo3dError(f"{name} of {len(value)} frames: expected one for each of {len(self.frames)}")

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.frames)

    @property
    def stamps(self) -> Float64[Tensor, " n"]:
        """Return the time of each frame, seconds, or its number where that is not known."""
        return self.frames.double() if self.time is None else self.time

    @property
    def totals(self) -> Float64[Tensor, "n 2"] | None:
        """Compute the roots of the traces of both covariances, metres and degrees; None without deviations."""
        return None if self.deviations is None else total_deviations(self.deviations)


def write_located(path: Path, found: Located) -> None:
    """Write a table of comma-separated values with a header, one row a frame; quaternions scalar first, w >= 0.

    Columns of time and deviations are there where `found` has them: `position_m` and `rotation_deg` are its `totals`,
    `std_...` the parts. Raises Vo3dError for a pose that is none, and when the system refuses.
    """
    check_poses(found.world_T_cam, path)
    columns: list[str] = [*_POSE]
    values = [found.world_T_cam[:, :3, 3], rotations.quaternion_from_matrix(found.world_T_cam[:, :3, :3])]
    if found.time is not None:
        columns.insert(0, "time_s")
        values.insert(0, found.time[:, None])
    if found.deviations is not None and found.totals is not None:
        columns += [*_TOTALS, *_PARTS]
        values += [found.totals, found.deviations[:, :3], found.deviations[:, 3:].rad2deg()]
    rows = zip(found.frames.tolist(), found.names, torch.cat(values, -1).tolist(), strict=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("frame", "name", *columns))
    table.writerows((frame, name, *row) for frame, name, row in rows)
    write_whole(path, text.getvalue())
