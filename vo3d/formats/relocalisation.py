"""Tables of relocalisation: the true and the estimated pose of each frame, its deviation and nearest training view."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted, shown
from vo3d.formats.files import write_whole
from vo3d.formats.text import parse_number, parse_whole, read_text
from vo3d.formats.trajectories import check_poses
from vo3d.geometry import rotations

_POSE = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
_POSES = ("frame", "image", *(f"true_{axis}" for axis in _POSE), *(f"estimated_{axis}" for axis in _POSE))
_DEVIATION = ("deviation_m", "deviation_deg")
_NEAREST = ("nearest_recording", "nearest_index", "nearest_m", "nearest_deg")
_UNIT = 1e-6  # how far the length of a quaternion may be from 1
_EXPECTED = "a table that the task relocalisation of vo3d evaluate wrote"


@dataclass(frozen=True, kw_only=True, eq=False)
class Relocalised:
    """The frames of one recording, with the pose that a model gave of each.

    Args:
        frames: their numbers in the source, see `Recording.frames`.
        names: of each frame, see `Recording.names`.
        truth: `world_T_cam`, metres.
        estimate: the same by the model.
        deviation: the standard deviation that the model predicts of each position (metres) and rotation (degrees); None
            where it predicts none.
        nearest: of each frame the nearest training view, by recording's name and index; None where none is known.
        nearest_distance: metres and degrees from the true pose to that view; None together with `nearest`.

    Raises:
        Vo3dError: the fields are of different lengths; one of the two about the nearest view is missing.
    """

    frames: Int64[Tensor, " n"]
    names: Sequence[str]
    truth: Float64[Tensor, "n 4 4"]
    estimate: Float64[Tensor, "n 4 4"]
    deviation: Float64[Tensor, "n 2"] | None = None
    nearest: Sequence[tuple[str, int]] | None = None
    nearest_distance: Float64[Tensor, "n 2"] | None = None

    def __post_init__(self) -> None:
        fields = ("names", "truth", "estimate", "deviation", "nearest", "nearest_distance")
        for name in fields:
            if (value := getattr(self, name)) is not None and len(value) != len(self.frames):
                raise Vo3dError(f"{name} of {len(value)} frames: expected one for each of {len(self.frames)}")
        if (self.nearest is None) != (self.nearest_distance is None):
            raise Vo3dError("nearest and nearest_distance belong together: give both or neither")


def write_relocalised(path: Path, found: Relocalised) -> None:
    """Write a table of comma-separated values with a header, one row a frame; quaternions scalar first, w >= 0.

    Columns of a deviation or of nearest views are there where `found` has them. Raises Vo3dError for a value that is
    not finite or a pose that is none, and when the system refuses.
    """
    for what, poses in (("true poses", found.truth), ("estimated poses", found.estimate)):
        check_poses(poses, Path(f"{path}, {what}"))
    columns = [*_POSES]
    rows: list[list[object]] = [[int(frame), name] for frame, name in zip(found.frames, found.names, strict=True)]

    def add(values: Tensor) -> None:
        if not bool(values.isfinite().all()):
            raise Vo3dError(f"{path}: a deviation or distance is NaN or infinite: expected finite numbers")
        for row, of_row in zip(rows, values.tolist(), strict=True):
            row.extend(of_row)

    for poses in (found.truth, found.estimate):
        add(torch.cat((poses[:, :3, 3], rotations.quaternion_from_matrix(poses[:, :3, :3])), -1))
    if found.deviation is not None:
        columns += _DEVIATION
        add(found.deviation)
    if found.nearest is not None and found.nearest_distance is not None:
        columns += _NEAREST
        for row, (recording, index) in zip(rows, found.nearest, strict=True):
            row.extend((recording, index))
        add(found.nearest_distance)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((columns, *rows))
    write_whole(path, text.getvalue())


def read_relocalised(path: Path) -> Relocalised:
    """Read what `write_relocalised` wrote.

    Raises Vo3dError when the file is missing or is no such table, with the line of what is wrong.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, _EXPECTED)), restval="")
    header = tuple(reader.fieldnames or ())
    deviates, is_near = _DEVIATION[0] in header, _NEAREST[0] in header
    columns = (*_POSES, *(_DEVIATION if deviates else ()), *(_NEAREST if is_near else ()))
    if header != columns:
        raise Vo3dError(f"{path}:1: columns {quoted(','.join(header))}: expected {','.join(columns)}: {_EXPECTED}")
    rows: list[Mapping[str, str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if None in row or "" in [row[column] for column in columns if column not in {"image", _NEAREST[0]}]:
                wrong = f"{path}:{reader.line_num}: expected {len(columns)} values"
                raise Vo3dError(f"{wrong}: correct it or evaluate again")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise Vo3dError(f"{path}:{reader.line_num + 1}: {error}: expected {_EXPECTED}") from error
    if not rows:
        raise Vo3dError(f"{path}: no frame in it: expected {_EXPECTED}")

    def whole(column: str) -> list[int]:
        return [parse_whole(row[column], path, line, column) for row, line in zip(rows, lines, strict=True)]

    def numbers(names: Sequence[str]) -> Float64[Tensor, "n k"]:
        found = [[parse_number(row[name], path, line) for name in names] for row, line in zip(rows, lines, strict=True)]
        return torch.tensor(found, dtype=torch.float64)

    return Relocalised(
        frames=torch.tensor(whole("frame"), dtype=torch.long),
        names=[row["image"] for row in rows],
        truth=_poses(numbers([f"true_{name}" for name in _POSE]), path, lines),
        estimate=_poses(numbers([f"estimated_{name}" for name in _POSE]), path, lines),
        deviation=numbers(_DEVIATION) if deviates else None,
        nearest=list(zip([row[_NEAREST[0]] for row in rows], whole(_NEAREST[1]), strict=True)) if is_near else None,
        nearest_distance=numbers(_NEAREST[2:]) if is_near else None,
    )


def read_all_relocalised(folder: Path, recordings: Sequence[str]) -> dict[str, Relocalised]:
    """Read the tables of some recordings, `<recording>.csv` each, out of the folder that an evaluation wrote them to.

    Raises Vo3dError as `read_relocalised`.
    """
    return {name: read_relocalised(folder / f"{name}.csv") for name in recordings}


def _poses(values: Float64[Tensor, "n 7"], path: Path, lines: Sequence[int]) -> Float64[Tensor, "n 4 4"]:
    """Make poses of positions and quaternions; Vo3dError for a quaternion that is not of unit length."""
    q = values[:, 3:]
    if len(bad := ((q.norm(dim=-1) - 1).abs() > _UNIT).nonzero()):
        at = int(bad[0])
        found = shown(" ".join(f"{value:g}" for value in q[at].tolist()))
        raise Vo3dError(f"{path}:{lines[at]}: quaternion {found}: expected one of unit length, scalar first")
    poses = torch.eye(4, dtype=torch.float64).repeat(len(values), 1, 1)
    poses[:, :3, :3] = rotations.matrix_from_quaternion(q)
    poses[:, :3, 3] = values[:, :3]
    return poses
