"""A trajectory as coloured lines: the path from camera to camera, and a frustum at some of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vo3d.formats.ply import PointCloud
from vo3d.formats.trajectories import read_trajectory

ENDINGS = (".tum", ".txt", ".csv", ".kitti")  # of files of trajectories
POSES = "poses.tum"  # in the folder that a verb left
MOST_FRUSTA = 24
SHARE = 0.04  # of the path's extent: the depth of a frustum
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

    def moved(self, shift: Float64[np.ndarray, " 3"]) -> "DrawnPath":
        """Return the same lines, moved."""
        return replace(self, lines=self.lines + shift)

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


def draw_path(world_T_cam: Float64[Tensor, "n 4 4"], *, frusta: bool = True) -> DrawnPath:
    """Draw lines from camera to camera, and frusta at up to 24 of them: a fixed share of the path's extent deep."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    count, centres = len(world_T_cam), world_T_cam[:, :3, 3]
    lines = [torch.stack((centres[:-1], centres[1:]), dim=1)]  # n-1 2 3
    when = [torch.arange(count - 1)]
    if frusta:
        chosen = torch.linspace(0, count - 1, min(count, MOST_FRUSTA)).round().long()
        size = SHARE * float((centres.amax(0) - centres.amin(0)).norm()) or 1.0  # of a camera that stands, any
        corners = size * CORNERS.to(world_T_cam) @ world_T_cam[chosen, :3, :3].mT + centres[chosen, None]  # k 5 3
        lines.append(corners[:, EDGES].flatten(0, 1))
        when.append(chosen.repeat_interleave(len(EDGES)))
    shares = torch.cat(when).numpy() / max(count - 1, 1)
    colours = colormaps["viridis"](0.1 + 0.8 * shares, bytes=True)[:, :3]
    return DrawnPath(torch.cat(lines).numpy(), colours, world_T_cam)


def with_path(cloud: PointCloud | None, path: DrawnPath, grey: int) -> PointCloud:
    """Return the points of a cloud, `grey` where it has no colours, and those of a path."""
    if cloud is None:
        return path.points()
    own = cloud if cloud.colours is not None else replace(cloud, colours=np.full((len(cloud), 3), grey, np.uint8))
    parts = (own, path.points())
    colours = [part.colours for part in parts if part.colours is not None]
    return PointCloud(points=np.concatenate([part.points for part in parts]), colours=np.concatenate(colours))
