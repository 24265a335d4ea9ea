"""Lists of images with their poses, as PoseNet's authors released them for Cambridge Landmarks and for 7-Scenes.

Up to three lines of a header, then `path X Y Z W P Q R`: the camera's centre in the world, metres, and a quaternion,
scalar first. Of which rotation it is the file does not tell: that of world to camera in Cambridge Landmarks, whose
poses come from VisualSFM, that of camera to world in the lists of 7-Scenes of caffe-posenet.

Source: Kendall, Grimes, Cipolla, "PoseNet", ICCV 2015; https://github.com/alexgkendall/caffe-posenet.
"""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.images import IMAGE_SUFFIXES
from vo3d.formats.text import read_lines
from vo3d.formats.trajectories import QUATERNION_TOLERANCE, check_poses
from vo3d.geometry import rotations, se3

PoseConvention = Literal["world_to_camera", "camera_to_world"]
HEADER_LINES = 3  # at most


@dataclass(frozen=True, kw_only=True)
class PoseList:
    """The rows of a list, in its order; each image once."""

    names: list[str]  # paths below the folder of the scene, with /
    world_T_cam: Float64[Tensor, "n 4 4"]  # metres
    lines: list[int]  # of the rows in the file
    notes: tuple[str, ...] = ()


def read_pose_list(path: Path, pose_convention: PoseConvention) -> PoseList:
    """Read a list whose quaternions turn as `pose_convention` says.

    Quaternions are normalised; q and -q are one rotation. Backslashes in paths count as slashes; paths may hold blanks.
    Of rows that are there twice the first is kept, with a note.

    Raises Vo3dError with file and line for a row that is not a path and seven finite numbers, a quaternion whose length
    is not 1 within a per cent, a position beyond `vo3d.formats.trajectories.FARTHEST`, and an image that comes again
    with another pose; for a file that is missing, is not text, or has no row; and for another convention.
    """
    if pose_convention not in get_args(PoseConvention):
        raise Vo3dError(f"pose_convention {pose_convention!r}: expected {' or '.join(get_args(PoseConvention))}")
    names: list[str] = []
    lines: list[int] = []
    rows: list[list[float]] = []
    known: dict[str, list[float]] = {}
    again = 0
    for number, line in enumerate(read_lines(path, "a list of images with poses, path X Y Z W P Q R"), start=1):
        name, row = _parsed(line)
        if row is None:
            if line.strip() and not (number <= HEADER_LINES and not rows and not _names_an_image(line)):
                raise Vo3dError(
                    f"{path}:{number}: found {quoted(line.strip())}: expected path X Y Z W P Q R, seven finite numbers "
                    "behind the path of an image"
                )
            continue
        if (before := known.setdefault(name, row)) is not row:
            if before != row:
                raise Vo3dError(
                    f"{path}:{number}: {quoted(name)} again, with another pose than in line {lines[names.index(name)]}:"
                    " remove one of the two"
                )
            again += 1
            continue
        names.append(name)
        lines.append(number)
        rows.append(row)
    if not rows:
        raise Vo3dError(f"{path}: names no image: expected lines path X Y Z W P Q R")
    notes = (f"{path}: {again} rows are there twice: each is taken once",) if again else ()
    return PoseList(names=names, world_T_cam=_poses(path, lines, rows, pose_convention), lines=lines, notes=notes)


def _parsed(line: str) -> tuple[str, list[float] | None]:
    """Return path and numbers of a row; None for numbers where it is no row."""
    name, *tokens = line.rsplit(maxsplit=7) or [""]
    try:
        row = [float(token) for token in tokens]
    except ValueError:
        row = []
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return str(path), row if len(row) == 7 and all(map(isfinite, row)) and path.name else None


def _names_an_image(line: str) -> bool:
    """Tell a damaged row from a line of the header."""
    return PurePosixPath(line.split(maxsplit=1)[0].replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def _poses(
    path: Path, lines: list[int], rows: list[list[float]], pose_convention: PoseConvention
) -> Float64[Tensor, "n 4 4"]:
    """Make `world_T_cam` of the numbers of the rows."""
    centre, q_wxyz = torch.split(torch.tensor(rows, dtype=torch.float64), [3, 4], dim=1)
    length = q_wxyz.norm(dim=1)
    off = (length - 1).abs() > QUATERNION_TOLERANCE
    if bool(off.any()):
        index = int(off.nonzero()[0])
        raise Vo3dError(
            f"{path}:{lines[index]}: not a rotation: the quaternion has length {length[index].item():.6g}, expected 1 "
            "(within 1 %); check the order of the columns, X Y Z W P Q R"
        )
    rotation = rotations.matrix_from_quaternion(q_wxyz / length[:, None])
    if pose_convention == "world_to_camera":
        rotation = rotation.mT
    world_T_cam = se3.from_rotation_translation(rotation, centre)
    check_poses(world_T_cam, path, lines)
    return world_T_cam
