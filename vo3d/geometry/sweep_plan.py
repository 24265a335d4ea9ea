"""Plan a plane sweep by what its views can tell apart: parallax, angles, and the planes that they are worth.

Convention: as in `vo3d.geometry`; the first view is the reference, the others are its sources.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.camera import cell_centres, project, rays

FINEST_PER_PIXEL = 2  # of parallax, of a method with a number of planes of its own: more tell neighbours no better
LONGEST = 4.0  # times the range that is wanted: a scene of hardly any parallax must not fill it with what is not there
PLANES_PER_PIXEL = 4  # of parallax: neighbouring planes lie a quarter of a pixel apart in the widest source
INVERSE_FROM = 1.5  # far / near from which planes are even in 1 / depth
GRID = 5  # rows and columns of the pixels that stand for an image


def parallax(
    K: Float[Tensor, "s 3 3"],
    world_T_cam: Float[Tensor, "s 4 4"],
    depth_range: Float[Tensor, "2"],
    size: tuple[int, int],
) -> Float[Tensor, " k"]:
    """Measure how far the pixels of the reference move in each of the k = s - 1 sources between near and far.

    The median over a grid of pixels of the reference, of those that lie before the source at both depths; 0 where none
    does. `size` is height and width of the image that `K` is for; the parallax is in its pixels.
    """
    moved = []
    pixels = cell_centres(size, GRID, GRID).to(K)  # g 2
    near, far = (rays(K[0], pixels) * depth for depth in depth_range.tolist())  # g 3
    for source in range(1, len(K)):
        source_T_reference = se3.relative(world_T_cam[source], world_T_cam[0]).to(K)
        (at_near, _), (at_far, _) = (project(K[source], se3.transform(source_T_reference, end)) for end in (near, far))
        distance = (at_near - at_far).norm(dim=-1)
        distance = distance[distance.isfinite()]
        moved.append(distance.median() if len(distance) else distance.new_zeros(()))
    return torch.stack(moved)


def triangulation_angles(
    K: Float[Tensor, "s 3 3"], world_T_cam: Float[Tensor, "s 4 4"], depth: float, size: tuple[int, int]
) -> Float[Tensor, " k"]:
    """Measure the angle at which the rays of the reference and of each source meet at a depth, degrees.

    The median over a grid of pixels of the reference; `size` as in `parallax`.
    """
    points = se3.transform(
        world_T_cam[0], (rays(K[0], cell_centres(size, GRID, GRID).to(K)) * depth).to(world_T_cam)
    )  # g 3
    to_cameras = torch.nn.functional.normalize(world_T_cam[:, None, :3, 3] - points, dim=-1)  # s g 3
    cosine = (to_cameras[1:] * to_cameras[:1]).sum(-1).clamp(-1, 1)
    return cosine.acos().rad2deg().median(dim=-1).values.to(K)


def num_planes(parallax: float, *, least: int, most: int) -> int:
    """Count the planes that a parallax of so many pixels is worth: `PLANES_PER_PIXEL` for each, and the first one."""
    return max(least, min(most, round(PLANES_PER_PIXEL * parallax) + 1))


def widened(near: float, far: float, num: int, steps: float, *, inverse: bool) -> tuple[float, float]:
    """Widen a depth range so that, of `num` planes, so many `steps` at either end lie outside of the given one.

    The far end stays finite: where the steps reach beyond infinity it is ten times the given one; the near end stays
    positive: a tenth of the given one at least.
    """
    return stretched(near, far, 1 + 2 * steps / max(num - 1 - 2 * steps, 1), inverse=inverse)


def stretched(near: float, far: float, factor: float, *, inverse: bool) -> tuple[float, float]:
    """Make a depth range so many times as long, both ends alike, in depth or in 1 / depth; limits as in `widened`."""
    share = (factor - 1) / 2
    if not inverse:
        return max(near - share * (far - near), near / 10), far + share * (far - near)
    margin = share * (1 / near - 1 / far)
    return 1 / (1 / near + margin), 1 / max(1 / far - margin, 0.1 / far)
