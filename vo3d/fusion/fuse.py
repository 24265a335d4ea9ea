"""One point cloud from many depth maps, in which a surface point that several views saw appears once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from vo3d.depth_map import Outcome, PosedDepthMap, count_outcomes
from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud
from vo3d.fusion.diagnosis import diagnose, warning
from vo3d.fusion.filtering import FusionRules, Survivors, filter_view, reproject
from vo3d.geometry import full_precision, pixel_grid, rays, se3


@dataclass(frozen=True, kw_only=True)
class ViewCounts:
    """Counts of the pixels of a view that were left after each step, and why the others were dropped."""

    name: str
    pixels: int
    known: int  # that are wanted and have a depth
    confident: int  # that passed the photometric filter too
    consistent: int  # that passed the geometric filter too
    fused: int  # that became points
    dropped: Mapping[str, int] = field(default_factory=dict)  # words of the outcome -> pixels

    @classmethod
    def of(cls, name: str, outcomes: UInt8[Tensor, "h w"]) -> "ViewCounts":
        """Count the outcomes of a view's pixels."""
        counts = count_outcomes(outcomes)
        left = {outcome: sum(counts[later] for later in Outcome if later > outcome) for outcome in Outcome}
        return cls(
            name=name,
            pixels=outcomes.numel(),
            known=left[Outcome.NO_DEPTH],
            confident=left[Outcome.UNSURE],
            consistent=left[Outcome.SEEN_THROUGH],
            fused=counts[Outcome.KEPT],
            dropped={outcome.words: count for outcome, count in counts.items() if outcome != Outcome.KEPT},
        )


class NoPoints(Vo3dError):
    """No pixel became a point; the message has the likely cause."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fused:
    """The cloud, and what each view gave to it, in the order of the maps.

    `seen_by` names the maps that agree on each point, by their places, one point after the other: `num_seen` of them,
    that of its own pixel first. `outcomes` say what became of each pixel of each map, see `Outcome`; `warning` is one
    line where the cloud is likely to be wrong or nearly empty, and what to do, see `diagnose`.
    """

    cloud: PointCloud
    views: tuple[ViewCounts, ...]
    num_seen: Int64[np.ndarray, " n"]
    seen_by: Int64[np.ndarray, " m"]
    outcomes: tuple[UInt8[Tensor, "_ _"], ...] = ()
    warning: str | None = None


def fuse(
    maps: Sequence[PosedDepthMap],
    rules: FusionRules | None = None,
    *,
    progress: Callable[[ViewCounts], None] | None = None,
) -> Fused:
    """Filter depth maps and turn them into one cloud of points with colours, normals and how sure they are.

    A pixel that passes the filters becomes a point on its own ray, at the mean of the depths that its view and the
    sources that agree give it; its colour is the mean over these views. With `rules.visibility` it is left out where an
    earlier view has put a point already: where the point that the earlier view holds at the nearest pixel, seen from
    this one, is closer than `max_pixels` pixels and `max_relative` of the depth. Views with the finest
    pixels on the surface come first, so the order of `maps` does not matter.

    Normals point to the camera; a point without enough neighbours gets the direction to its camera. `scalars` are
    `views`, how many views agreed, and `confidence`. Points are in single precision where that holds them, see
    `single_if_enough`, else in double.

    Memory: the sequence may read maps from files on access, and then one map, one source and the depths that have
    become points are held.

    Arguments:
        maps: the views; their `sources` are positions in this sequence.
        rules: thresholds, those of MVSNet by default.
        progress: called with the counts of each view as soon as it is done.

    Raises:
        Vo3dError: there are no maps; `sources` names what is not there.
        NoPoints: no pixel passes.

    Source: Merrell et al., "Real-time visibility-based fusion of depth maps", 2007, for the idea of one point for all
    views that see it; Yao et al., MVSNet, 2018, section 4.2, for the filters.
    """
    rules = FusionRules() if rules is None else rules
    counts: dict[int, ViewCounts] = {}
    outcomes: dict[int, Tensor] = {}
    clouds: list[PointCloud] = []
    seen: list[tuple[Tensor, Tensor]] = []  # of each cloud, as `num_seen` and `seen_by`
    detail = float("inf")  # of the smallest pixel on the surface
    placed: dict[int, PosedDepthMap] = {}  # the points of each view so far, as depth maps
    for index in _finest_first(maps) if rules.visibility else range(len(maps)):
        view = maps[index]
        consistent = fused = filter_view(maps, index, rules)
        if rules.visibility:
            fused = consistent.take(~_already_placed(view, consistent, placed, rules), Outcome.REPEATED)
            if len(fused.pixels):
                placed[index] = _depths_alone(view, fused.depth_map())
        clouds.append(_points(view, consistent, fused))
        seen.append(_seen_by(index, view.sources, fused))
        if len(fused.pixels):
            detail = min(detail, float(fused.depth.min() / view.K[0, 0]))
        outcomes[index], counts[index] = fused.outcomes.cpu(), ViewCounts.of(view.name, fused.outcomes)
        if progress is not None:
            progress(counts[index])
    views = tuple(counts[index] for index in range(len(maps)))
    if not sum(map(len, clouds)):
        raise NoPoints(str(diagnose(maps, rules)))
    cloud = _joined(clouds)
    num_seen, seen_by = (torch.cat(parts).cpu().numpy() for parts in zip(*seen, strict=True))
    return Fused(
        cloud=replace(cloud, points=single_if_enough(cloud.points, detail)),
        views=views,
        num_seen=num_seen,
        seen_by=seen_by,
        outcomes=tuple(outcomes[index] for index in range(len(maps))),
        warning=_warning(maps, views, rules),
    )


def _warning(maps: Sequence[PosedDepthMap], views: Sequence[ViewCounts], rules: FusionRules) -> str | None:
    """Say what is likely wrong where few pixels survive or most depths lie at the ends of the range."""
    known = sum(view.known for view in views)
    wanted = sum(view.pixels - view.dropped[Outcome.BACKGROUND.words] for view in views)
    consistent = sum(view.consistent for view in views)
    ends = sum(view.dropped[Outcome.END.words] for view in views)
    return warning(maps, rules, consistent / max(wanted, 1), ends / max(known, 1))


def _finest_first(maps: Sequence[PosedDepthMap]) -> list[int]:
    """Positions of the views, the smallest pixel on the surface first; views alike, and empty ones, by their names."""
    return [index for *_, index in sorted((pixel_size(view), view.name, index) for index, view in enumerate(maps))]


def pixel_size(view: PosedDepthMap) -> float:
    """Measure a pixel on the surface, the median over a view, in the unit of the poses; infinite where it is empty."""
    known = view.depth[view.known]
    return float(known.median() / view.K[0, 0]) if len(known) else float("inf")


def _already_placed(
    view: PosedDepthMap, survivors: Survivors, placed: dict[int, PosedDepthMap], rules: FusionRules
) -> Bool[Tensor, " n"]:
    """Find which pixels of a view have a point in the cloud already; its sources, which see most, are asked first."""
    taken = torch.zeros_like(survivors.depth, dtype=torch.bool)
    for index in sorted(placed, key=lambda index: index not in view.sources):
        (left,) = (~taken).nonzero(as_tuple=True)
        pixels = survivors.pixels[left].to(survivors.depth.dtype)
        taken[left] = reproject(view, pixels, survivors.depth[left], placed[index]).agrees(rules)
    return taken


def _seen_by(index: int, sources: Sequence[int], fused: Survivors) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]:
    """Count the maps that agree on each point of view `index`, itself the first, and name them in one list."""
    agrees = torch.nn.functional.pad(fused.agrees, (1, 0), value=True)  # n 1+k
    places = torch.tensor([index, *sources], device=agrees.device).expand(agrees.shape)
    return agrees.sum(-1), places[agrees]


def _depths_alone(view: PosedDepthMap, depth: Float[Tensor, "h w"]) -> PosedDepthMap:
    """The view with other depths and without its colours: they take no memory."""
    nothing = depth.new_zeros(())
    return PosedDepthMap(
        name=view.name,
        depth=depth,
        confidence=nothing.expand_as(depth),
        K=view.K,
        world_T_cam=view.world_T_cam,
        image=nothing.expand(3, *depth.shape),
        sources=view.sources,
        depth_range=view.depth_range,
    )


def _points(view: PosedDepthMap, consistent: Survivors, fused: Survivors) -> PointCloud:
    """The points of one view in the world; their normals come from all depths that passed."""
    rays_seen = rays(view.K, fused.pixels.to(view.K.dtype))  # n 3
    surface = normals_from_depth(consistent.depth_map(), view.K)
    normals = surface[fused.pixels[:, 1], fused.pixels[:, 0]]
    to_camera = -torch.nn.functional.normalize(rays_seen, dim=-1)
    normals = torch.where((normals == 0).all(-1, keepdim=True), to_camera, normals)
    points = se3.transform(view.world_T_cam, (rays_seen * fused.depth[:, None]).double())
    colours = (fused.colour.clamp(0, 1) * 255).round().to(torch.uint8)
    return PointCloud(
        points=points.cpu().numpy(),
        colours=colours.cpu().numpy(),
        normals=(normals.double() @ view.world_T_cam[:3, :3].T).float().cpu().numpy(),
        scalars={
            "views": fused.views.to(torch.int32).cpu().numpy(),
            "confidence": fused.confidence.float().cpu().numpy(),
        },
    )


@full_precision
def normals_from_depth(
    depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"], *, radius: int = 2, max_step: float = 0.05
) -> Float[Tensor, "h w 3"]:
    """Unit normals in the camera's frame, towards the camera; 0 where there is no depth or no neighbours to tell.

    A plane is fitted to the depths (z) of each square of 2 `radius` + 1 pixels: the inverse depth of a plane n . X = 1
    is linear in the pixel, 1/z = a x + b y + c with (a, b, c) = K^-T n, so n = K^T (a, b, c). Neighbours whose depth
    differs from that of the pixel by more than the share `max_step` belong to another surface and are left out.
    """
    h, w = depth.shape
    known = (depth > 0) & depth.isfinite()
    inverse = torch.where(known, 1 / torch.where(known, depth, 1.0), 0.0)
    size = 2 * radius + 1
    around = torch.nn.functional.unfold(inverse[None, None], size, padding=radius).reshape(size * size, h, w)
    near = (around > 0) & known & ((around - inverse).abs() <= max_step * inverse)
    share = near.to(depth.dtype)
    offsets = pixel_grid(size, size, dtype=depth.dtype, device=depth.device) - radius
    x, y = offsets.reshape(-1, 2, 1, 1).unbind(1)  # each: size*size 1 1
    count = share.sum(0).clamp(min=1)
    mean_x, mean_y, mean = (x * share).sum(0) / count, (y * share).sum(0) / count, (around * share).sum(0) / count
    # Only what differs from the mean is summed: the squares of inverse depths far away would lose their digits.
    dx, dy, dw = (x - mean_x) * share, (y - mean_y) * share, (around - mean) * share
    xx, xy, yy = (dx * dx).sum(0), (dx * dy).sum(0), (dy * dy).sum(0)
    xw, yw = (dx * dw).sum(0), (dy * dw).sum(0)
    determinant = xx * yy - xy * xy  # 0 where the neighbours lie on one line; else at least 1/3
    told = determinant > 0.1
    safe = torch.where(told, determinant, 1.0)
    a, b = (xw * yy - yw * xy) / safe, (yw * xx - xw * xy) / safe
    column, row = pixel_grid(h, w, dtype=depth.dtype, device=depth.device).unbind(-1)
    c = mean - a * (mean_x + column) - b * (mean_y + row)
    fx, fy, cx, cy, skew = K[0, 0], K[1, 1], K[0, 2], K[1, 2], K[0, 1]
    # n . X = 1 for points in front of the camera: n points away from it.
    away = torch.stack((fx * a, skew * a + fy * b, cx * a + cy * b + c), dim=-1)
    return torch.where(told[..., None], -torch.nn.functional.normalize(away, dim=-1, eps=1e-30), 0.0)


def single_if_enough(
    points: Float64[np.ndarray, "n 3"], detail: float
) -> Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"]:
    """Return the points in float32, unless that moves one by more than a thousandth of the detail.

    It does so far from the origin, as at UTM coordinates. `detail` is the size of what is told apart, in their unit.
    """
    single = points.astype(np.float32)
    return points if np.abs(points - single).max(initial=0) > 1e-3 * detail else single


def _joined(clouds: Sequence[PointCloud]) -> PointCloud:
    """All points of clouds that have colours and normals, in order."""
    return PointCloud(
        points=np.concatenate([cloud.points for cloud in clouds]),
        colours=np.concatenate([cloud.colours for cloud in clouds if cloud.colours is not None]),
        normals=np.concatenate([cloud.normals for cloud in clouds if cloud.normals is not None]),
        scalars={name: np.concatenate([cloud.scalars[name] for cloud in clouds]) for name in clouds[0].scalars},
    )
