"""Measure how far the depths of a sweep lie apart in the images that they are looked for in."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.depth_map import PosedDepthMap
from vo3d.geometry import se3
from vo3d.geometry.sweep_plan import PLANES_PER_PIXEL


@dataclass(frozen=True, kw_only=True)
class SweepSteps:
    """Medians over the views, in pixels of the maps, each of the source where it is most."""

    parallax: float  # between the near and the far end of the depth range; infinite where there is no source
    inverted: float  # the same, were the poses those of the world in the cameras
    coarsest: float  # between the two planes that are farthest apart; 0 where there are no planes
    inverse: bool | None  # whether they are even in 1 / depth
    far_over_near: float

    @property
    def num_wanted(self) -> int:
        """Count the planes, even in 1 / depth, that suit the parallax."""
        return max(2, 8 * ceil(PLANES_PER_PIXEL * self.parallax / 8)) if self.parallax < float("inf") else 2


def sweep_steps(maps: Sequence[PosedDepthMap]) -> SweepSteps:
    """Measure the parallax of the depths that were tried: focal length x baseline x the difference of 1 / depth.

    That is for cameras side by side; it is less where one stands before the other.
    """
    parallax, inverted, coarsest = [], [], []
    for view in maps:
        near, far = view.depth_range
        step = 0.0
        if (planes := view.planes) is not None:
            near, far = planes.near, planes.far
            second = near + planes.interval  # even steps in depth are coarsest at the near end
            step = (1 / near - 1 / far) / (planes.num - 1) if planes.inverse else 1 / near - 1 / second
        if view.sources:
            poses = torch.stack([view.world_T_cam, *(maps[source].world_T_cam for source in view.sources)])
            focal = float(view.K[0, 0])
            widest, other = (focal * _widest(every) for every in (poses, se3.inverse(poses)))  # pixels at a depth of 1
            parallax.append(widest * (1 / near - 1 / far))
            inverted.append(other * (1 / near - 1 / far))
            coarsest.append(widest * step)
    planes = next((view.planes for view in maps if view.planes is not None), None)
    return SweepSteps(
        parallax=median(parallax) if parallax else float("inf"),
        inverted=median(inverted) if inverted else float("inf"),
        coarsest=median(coarsest) if coarsest else 0.0,
        inverse=None if planes is None else planes.inverse,
        far_over_near=median(view.depth_range[1] / view.depth_range[0] for view in maps),
    )


def _widest(world_T_cam: Float64[Tensor, "v 4 4"]) -> float:
    """Measure the largest distance of a camera from the first."""
    return float((world_T_cam[:, :3, 3] - world_T_cam[0, :3, 3]).norm(dim=-1).max())
