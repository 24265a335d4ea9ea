"""Which points lie in a solid of the rendered world, told from the shapes' definitions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vo3d.world.scene import Solids


def inside(kind: Int[Tensor, " n"], point: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Tell whether points in normalised axes lie in their solid; below (y > 0) for a plane."""
    size = point.abs()
    radius = torch.hypot(point[:, 0], point[:, 2])
    checks = (
        point[:, 1] > 0,
        size.amax(1) < 1,
        (radius < 1) & (size[:, 1] < 1),
        point.square().sum(1) < 1,
    )
    return torch.stack(checks).gather(0, kind[None])[0]


def contain(solids: Solids, point: Float[Tensor, "3"]) -> Bool[Tensor, " n"]:
    """Find which of the solids (given in the world's axes) contain a point."""
    local = ((point - solids.centre)[:, None] @ solids.rotation)[:, 0] / solids.half
    return inside(solids.kind, local)
