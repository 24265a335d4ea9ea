"""Cameras as coloured lines: a path from camera to camera, with frusta at some of them, or the frustum of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vo3d.formats.ply import PointCloud
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry import rays

ENDINGS = (".tum", ".txt", ".csv", ".kitti")  # of files of trajectories
POSES = "poses.tum"  # in the folder that a verb left
MOST_FRUSTA = 24
SHARE = 0.04  # of the path's extent: the depth of a frustum
STEEL = (70, 110, 160)  # RGB of cameras in no order
SAMPLES = 60_000  # points on all lines together, at least one a line
# The eye and the corners of the image of a camera of 60 degrees at depth 1, and the edges between them.
CORNERS = torch.tensor([[0, 0, 0], [-1, -0.75, 1.73], [1, -0.75, 1.73], [1, 0.75, 1.73], [-1, 0.75, 1.73]]) / 1.73
EDGES = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1]])


@dataclass(frozen=True)
class DrawnPath:
    """Lines in the world, each of one colour: blue where the path begins, over green, yellow where it ends."""

    lines: Float64[np.ndarray, "m 2 3"]
    colours: UInt8[np.ndarray, "m 3"]
    world_T_cam: Float64[Tensor, "n 4 4"]
    ordered: bool = True  # in time; else cameras side by side

    def words(self) -> str:
        """Say what it is."""
        count, poses = len(self.world_T_cam), "" if len(self.world_T_cam) == 1 else "s"
        return f"a path of {count:,} pose{poses}" if self.ordered else f"{count:,} camera{poses}"

    def moved(self, shift: Float64[np.ndarray, " 3"]) -> "DrawnPath":
        """Return the same lines, moved."""
        return replace(self, lines=self.lines + shift)

    def places(self) -> PointCloud:
        """Return the cameras alone, as points."""
        return PointCloud(points=self.lines.reshape(-1, 3), colours=np.repeat(self.colours, 2, axis=0))

    def points(self) -> PointCloud:
        """Strew points evenly along the lines, for pictures that are made of points."""
        lengths = np.linalg.norm(self.lines[:, 1] - self.lines[:, 0], axis=-1)
        counts = 1 + np.floor(SAMPLES * lengths / max(lengths.sum(), 1e-300)).astype(int)
        row = np.repeat(np.arange(len(counts)), counts)
        place = (np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)) / counts[row]
        first, last = self.lines[row, 0], self.lines[row, 1]
        return PointCloud(points=first + place[:, None] * (last - first), colours=self.colours[row])


def trajectory_at(path: Path) -> Path | None:
    """Find the file of a trajectory: `path` by its ending, or in the folder that a verb left; None where it is none."""
    if (path / POSES).is_file():
        return path / POSES
    return path if path.is_file() and path.suffix.lower() in ENDINGS else None


def read_path(path: Path) -> DrawnPath:
    """Read the trajectory at a path, and draw it; poses of bodies, not of cameras, have no frusta.

    Raises:
        Vo3dError: as `read_trajectory`.
    """
    found = read_trajectory(trajectory_at(path) or path, exact=False)
    return draw_path(found.world_T_cam, frusta=found.pose_of == "camera")


def draw_cameras(
    K: Float64[Tensor, "n 3 3"], sizes: Sequence[tuple[int, int]], world_T_cam: Float64[Tensor, "n 4 4"]
) -> DrawnPath:
    """Draw the frustum of each camera, as wide as its image; `sizes` are heights and widths."""
    h, w = torch.tensor(sizes, dtype=torch.float64).unbind(-1)
    left, top = torch.full_like(w, -0.5), torch.full_like(h, -0.5)
    borders = ((left, top), (w - 0.5, top), (w - 0.5, h - 0.5), (left, h - 0.5))
    pixels = torch.stack([torch.stack(corner, -1) for corner in borders], 1)  # n 4 2
    seen = rays(K, pixels)
    corners = _depth(world_T_cam[:, :3, 3]) * torch.cat((torch.zeros_like(seen[:, :1]), seen), 1)
    frusta = _frusta(corners, world_T_cam)
    colours = np.tile(np.array(STEEL, np.uint8), (frusta.shape[0] * len(EDGES), 1))
    return DrawnPath(frusta.flatten(0, 1).numpy(), colours, world_T_cam, ordered=False)


def _depth(centres: Float64[Tensor, "n 3"]) -> float:
    """Choose the depth of frusta: a share of the extent of all cameras; of a camera that stands, any."""
    return SHARE * float((centres.amax(0) - centres.amin(0)).norm()) or 1.0


def _frusta(corners: Float64[Tensor, "n 5 3"], world_T_cam: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 8 2 3"]:
    """Return the edges of frusta in the world, whose `corners` are in the cameras' frames."""
    return (corners @ world_T_cam[:, :3, :3].mT + world_T_cam[:, None, :3, 3])[:, EDGES]


def draw_path(world_T_cam: Float64[Tensor, "n 4 4"], *, frusta: bool = True) -> DrawnPath:
    """Draw lines from camera to camera, and frusta at up to 24 of them: a fixed share of the path's extent deep."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    count, centres = len(world_T_cam), world_T_cam[:, :3, 3]
    lines = [torch.stack((centres[:-1], centres[1:]), dim=1)]  # n-1 2 3
    when = [torch.arange(count - 1)]
    if frusta:
        chosen = torch.linspace(0, count - 1, min(count, MOST_FRUSTA)).round().long()
        corners = _depth(centres) * CORNERS.to(world_T_cam).expand(len(chosen), -1, -1)
        lines.append(_frusta(corners, world_T_cam[chosen]).flatten(0, 1))
        when.append(chosen.repeat_interleave(len(EDGES)))
    shares = torch.cat(when).numpy() / max(count - 1, 1)
    colours = colormaps["viridis"](0.1 + 0.8 * shares, bytes=True)[:, :3]
    return DrawnPath(torch.cat(lines).numpy(), colours, world_T_cam)


def joined(clouds: Sequence[PointCloud], grey: int) -> PointCloud:
    """Join clouds, at least one: those without colours become `grey`, and NaN stands for scalars that one has not."""
    if len(clouds) == 1:
        return clouds[0]
    plain = [np.full((len(one), 3), grey, np.uint8) if one.colours is None else one.colours for one in clouds]
    names = dict.fromkeys(name for one in clouds for name in one.scalars)
    normals = [np.zeros((len(one), 3)) if one.normals is None else one.normals for one in clouds]
    return PointCloud(
        points=np.concatenate([one.points for one in clouds]),
        colours=np.concatenate(plain) if any(one.colours is not None for one in clouds) else None,
        normals=np.concatenate(normals) if any(one.normals is not None for one in clouds) else None,
        scalars={
            name: np.concatenate([one.scalars.get(name, np.full(len(one), np.nan)) for one in clouds]) for name in names
        },
    )
