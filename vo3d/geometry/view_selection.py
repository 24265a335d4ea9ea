"""Choose views that go together, and depths to look at, by sparse points that several cameras see, or by poses.

Observation i says that view `view[i]` sees point `point[i]`, both as indices; their order is free, and one that comes
twice counts once. Everything is computed in float64.

Source: Yao et al., "MVSNet", ECCV 2018; the constants and the percentiles are those of the authors' program that
converts COLMAP's models.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import cell_centres, project, rays
from vo3d.geometry.se3 import inverse, transform

BEST_ANGLE = 5.0  # degrees between the rays of two views to a point
SIGMA_BELOW, SIGMA_ABOVE = 1.0, 10.0  # degrees: too small a baseline is worse than too large a one
PERCENTILES = (0.01, 0.99)  # of the depths that a view sees


def pair_scores(
    cam_T_world: Float[Tensor, "v 4 4"],
    points: Float[Tensor, "p 3"],
    point: Int64[Tensor, " m"],
    view: Int64[Tensor, " m"],
) -> Float64[Tensor, "v v"]:
    """Measure how well each two views suit each other: symmetric, zero on the diagonal and where no point is shared.

    The sum over the points that both see of `angle_weight` for the rays from the point to the two cameras.
    """
    num_views = len(cam_T_world)
    view, point = _once(view, point, len(points))  # by view, then by point
    ray = inverse(cam_T_world.double())[view, :3, 3] - points.double()[point]  # m 3
    ray = ray / ray.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    first = torch.searchsorted(view, torch.arange(num_views + 1, device=view.device)).tolist()
    scores = points.new_zeros(num_views, num_views, dtype=torch.float64)
    row = point.new_full((len(points),), -1)  # of the observation of each point in the view at hand
    for index in range(num_views - 1):
        begin, end = first[index], first[index + 1]
        row[point[begin:end]] = torch.arange(begin, end, device=row.device)
        partner = row[point[end:]]  # observations of later views: the other half is symmetric
        shared = (partner >= 0).nonzero()[:, 0]
        cosine = (ray[end:][shared] * ray[partner[shared]]).sum(-1)
        scores[index].index_add_(0, view[end:][shared], angle_weight(cosine))
        row[point[begin:end]] = -1
    return scores + scores.mT


def frustum_scores(
    K: Float[Tensor, "v 3 3"],
    world_T_cam: Float[Tensor, "v 4 4"],
    sizes: Sequence[tuple[int, int]],
    depth: float,
    *,
    grid: tuple[int, int] = (4, 5),
) -> Float64[Tensor, "v v"]:
    """Score each two views where no sparse points are known: as `pair_scores`, with made-up points.

    They lie at `depth` (z) before each view, at the centres of a `grid` of rows and columns over its image, whose
    height and width are in `sizes`. A view shares those of another that lie inside its image; what hides them is
    unknown.
    """
    K, world_T_cam = K.double(), world_T_cam.double()
    scores = torch.zeros(len(K), len(K), dtype=torch.float64, device=K.device)
    size = torch.tensor(sizes, dtype=torch.float64, device=K.device)  # v 2: height, width
    pixels = torch.stack([cell_centres(one, *grid) for one in sizes]).to(K)  # v g 2
    points = transform(world_T_cam, rays(K, pixels) * depth)  # v g 3
    cam_T_world, centre = inverse(world_T_cam), world_T_cam[:, None, :3, 3]  # v 1 3
    last = (size - 0.5).flip(-1)[:, None]
    for index, seen in enumerate(points):
        found, _ = project(K, transform(cam_T_world, seen.expand(len(K), -1, -1)))  # v g 2
        inside = ((found >= -0.5) & (found <= last)).all(-1)
        ray = torch.nn.functional.normalize(centre - seen, dim=-1)  # v g 3
        scores[index] = (angle_weight((ray * ray[index]).sum(-1)) * inside).sum(-1)
    return (scores + scores.mT).fill_diagonal_(0.0)


def angle_weight(cosine: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Weigh a point for two views by the cosine of the angle between its rays to them.

    exp(-(angle - `BEST_ANGLE`)^2 / (2 sigma^2)), sigma being `SIGMA_BELOW` up to the best angle, else `SIGMA_ABOVE`.
    """
    angle = cosine.clamp(-1, 1).acos().rad2deg()
    sigma = torch.where(angle <= BEST_ANGLE, SIGMA_BELOW, SIGMA_ABOVE)
    return torch.exp(-((angle - BEST_ANGLE) ** 2) / (2 * sigma**2))


def best_sources(scores: Float[Tensor, "v v"], num_sources: int = 10) -> list[tuple[list[int], list[float]]]:
    """For each view the indices and scores of at most `num_sources` others, best first, in equal rank by index.

    Views that share no point (score 0) and the view itself are left out, so a list may be short or empty.
    """
    values, order = scores.sort(dim=-1, descending=True, stable=True)
    chosen = []
    for index, (row, found) in enumerate(zip(values.tolist(), order.tolist(), strict=True)):
        kept = [(j, score) for j, score in zip(found, row, strict=True) if j != index and score > 0][:num_sources]
        chosen.append(([j for j, _ in kept], [score for _, score in kept]))
    return chosen


def depth_ranges(
    cam_T_world: Float[Tensor, "v 4 4"],
    points: Float[Tensor, "p 3"],
    point: Int64[Tensor, " m"],
    view: Int64[Tensor, " m"],
    *,
    names: Sequence[str] | None = None,
) -> Float64[Tensor, "v 2"]:
    """Near and far depth (z) of each view: the `PERCENTILES` of the depths of the points that it sees.

    Of n depths in ascending order the one at index floor(n * percentile) is taken. Points beside or behind a camera do
    not count. `names` are those of the views, for messages.

    Raises:
        Vo3dError: a view sees no point in front of it, or all that it sees are at one depth.
    """
    view, point = _once(view, point, len(points))
    rows = cam_T_world.double()[view, 2]  # m 4: what maps a point to its depth
    z = (rows[:, :3] * points.double()[point]).sum(-1) + rows[:, 3]
    view, z = view[z > 0], z[z > 0]
    order = z.argsort()
    order = order[view[order].argsort(stable=True)]  # by view, then by depth
    z = z[order]
    counts = view.bincount(minlength=len(cam_T_world))
    first = counts.cumsum(0) - counts
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        raise Vo3dError(
            f"view {_name(empty, names)} sees no sparse point in front of it: its depth range is unknown: leave the "
            "view out, or give it a depth range"
        )
    index = torch.stack([(counts * share).long().clamp(max=counts - 1) for share in PERCENTILES], dim=-1)
    ranges = z[first[:, None] + index]  # v 2
    flat = (ranges[:, 1] <= ranges[:, 0]).nonzero()[:, 0]
    if len(flat):
        raise Vo3dError(
            f"view {_name(flat, names)} sees its {int(counts[flat[0]])} sparse points at one depth: expected a range: "
            "leave the view out, or give it a depth range"
        )
    return ranges


def _once(view: Tensor, point: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """The observations without repetitions, ordered by view, then by point."""
    key = torch.unique(view * max(num_points, 1) + point)
    return key // max(num_points, 1), key % max(num_points, 1)


def _name(indices: Tensor, names: Sequence[str] | None) -> str:
    return str(int(indices[0])) if names is None else repr(names[int(indices[0])])
