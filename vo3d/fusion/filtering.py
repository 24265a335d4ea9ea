"""Choose the pixels of a depth map to believe: those that the network is sure of and that other views confirm.

Source: Yao et al., "MVSNet: Depth inference for unstructured multi-view stereo", 2018, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from vo3d.depth_map import Outcome, PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.geometry import project, rays, sample_image, se3

# A source looks through a point when it measures a depth greater by this many times the share that agrees.
FREE_SPACE = 2.0


@dataclass(frozen=True, kw_only=True)
class FusionRules:
    """Tests that a pixel must pass to become a point; the defaults are those of MVSNet.

    Arguments:
        min_confidence: the least confidence. It is asked of the pixel itself; sources confirm with all their depths.
        max_pixels: pixels. The point, seen in the source, replaced there by the source's surface and seen back in
            its own view must come to lie closer than this to where it started.
        max_relative: share of the depth by which the point so seen back may differ.
        min_consistent: how many sources must confirm. A view with fewer needs all of them; one without any is never
            fused, and only confirms others.
        visibility: whether a surface point that several views saw appears once; False keeps a point for every view
            that saw it, as the public ports do.
        max_depth_step: depths of a source are interpolated between four neighbours only where these differ by at most
            this share: across an edge of an object, or beside a hole, the nearest depth stands as it is.
        max_violations: how many sources may look through a point for each view that agrees on it, its own included;
            None does not ask. Such points fly before what lies behind them: fringes of objects, and agreement by
            chance. A source looks through a point, whatever its confidence, where it and its neighbours are deeper
            by more than twice `max_relative`.
        drop_ends: steps of the sweep from either end of the depth range within which depths are dropped, because they
            stand for what lies beyond it, such as the sky; 0 keeps them. Maps without planes are left alone.
        drop_clipped: share of the range of intensities from black and from white within which all three colours of a
            pixel show nothing that could be matched, so that its depth is a guess: it is dropped, and so are the
            pixels at the border of such an area, which are part of it; 0 keeps them. Maps without planes are left
            alone.
    """

    min_confidence: float = 0.8
    max_pixels: float = 1.0
    max_relative: float = 0.01
    min_consistent: int = 3
    visibility: bool = True
    max_depth_step: float = 0.05
    max_violations: float | None = 1.0
    drop_ends: float = 3.0
    drop_clipped: float = 0.03

    def __post_init__(self) -> None:
        if self.drop_ends < 0 or not 0 <= self.drop_clipped < 0.5:
            raise Vo3dError(
                f"fusion that drops {self.drop_ends:g} steps at the ends and {self.drop_clipped:g} of the intensities: "
                "expected at least 0, and a share below 0.5"
            )
        if self.min_consistent < 1 or self.max_pixels <= 0 or self.max_relative <= 0:
            raise Vo3dError(
                f"fusion of points that {self.min_consistent} sources confirm, to {self.max_pixels:g} pixels and "
                f"{self.max_relative:g} of the depth: expected at least one source and limits above 0"
            )

    def views_needed(self, num_sources: int) -> int:
        """Count the sources, of so many, that must confirm a pixel: at least one, or a view without any would pass."""
        return max(1, min(self.min_consistent, num_sources))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reprojection:
    """n pixels of a view seen in one source and taken back: see `reproject`."""

    pixels: Float[Tensor, "n 2"]  # where the source sees the points; NaN behind it, where it has no pixel
    inside: Bool[Tensor, " n"]  # whether that is inside its image
    expected: Float[Tensor, " n"]  # depth of the points in the source
    found: Float[Tensor, " n"]  # depth of the source's surface there, 0 = none
    depth: Float[Tensor, " n"]  # depth of the source's surface, seen from the view; 0 = none
    distance: Float[Tensor, " n"]  # pixels of the view between the two, inf = none
    difference: Float[Tensor, " n"]  # share of the depth between the two, inf = none

    def agrees(self, rules: FusionRules) -> Bool[Tensor, " n"]:
        """Find where the source confirms the view."""
        return (self.distance < rules.max_pixels) & (self.difference < rules.max_relative)


@dataclass(frozen=True, kw_only=True, eq=False)
class Survivors:
    """The n pixels of a view that passed, with what its sources added to them."""

    pixels: Int[Tensor, "n 2"]  # column, row
    depth: Float[Tensor, " n"]  # mean of the view's depth and those of the sources that agree, seen from the view
    colour: Float[Tensor, "n 3"]  # mean over the same views
    confidence: Float[Tensor, " n"]  # the view's own
    views: Int[Tensor, " n"]  # how many views agree, its own included
    agrees: Bool[Tensor, "n k"]  # which sources do, in their order
    outcomes: UInt8[Tensor, "h w"]  # of all pixels of the view, see `Outcome`

    def take(self, kept: Bool[Tensor, " n"], otherwise: Outcome) -> "Survivors":
        """Those where `kept` is true; the others get the outcome `otherwise`."""
        outcomes = self.outcomes.clone()
        column, row = self.pixels[~kept].unbind(-1)
        outcomes[row, column] = otherwise
        return Survivors(
            pixels=self.pixels[kept],
            depth=self.depth[kept],
            colour=self.colour[kept],
            confidence=self.confidence[kept],
            views=self.views[kept],
            agrees=self.agrees[kept],
            outcomes=outcomes,
        )

    def depth_map(self) -> Float[Tensor, "h w"]:
        """The depths on their grid, 0 elsewhere."""
        grid = self.depth.new_zeros(self.outcomes.shape)
        grid[self.pixels[:, 1], self.pixels[:, 0]] = self.depth
        return grid


def judge_alone(view: PosedDepthMap, rules: FusionRules) -> UInt8[Tensor, "h w"]:
    """Test each pixel by itself, before other views are asked: `Outcome.KEPT` where it passes."""
    found = torch.full(view.depth.shape, Outcome.KEPT, dtype=torch.uint8, device=view.depth.device)
    found[~(view.confidence >= rules.min_confidence)] = Outcome.UNSURE
    if view.planes is not None:
        if rules.drop_clipped > 0:
            found[_clipped(view, rules.drop_clipped)] = Outcome.CLIPPED
        if rules.drop_ends > 0:
            steps = view.planes.steps(torch.where(view.known, view.depth, view.planes.near))
            margin = view.planes.margin(rules.drop_ends)
            found[(steps < margin) | (steps > view.planes.num - 1 - margin)] = Outcome.END
    found[~view.known] = Outcome.NO_DEPTH
    if view.foreground is not None:
        found[~view.foreground] = Outcome.BACKGROUND
    return found


def _clipped(view: PosedDepthMap, margin: float) -> Bool[Tensor, "h w"]:
    """Mark what is black or white, and around areas of 3 x 3 such pixels one more: there colours are mixed."""
    nothing = (view.image.amax(0) < margin) | (view.image.amin(0) > 1 - margin)
    holes = (~nothing).float()[None]
    area = 1 - torch.nn.functional.max_pool2d(holes, 3, stride=1, padding=1)  # whose neighbours are all clipped
    return nothing | (torch.nn.functional.max_pool2d(area, 5, stride=1, padding=2)[0] > 0)


def confident_pixels(view: PosedDepthMap, rules: FusionRules) -> Bool[Tensor, "h w"]:
    """The photometric filter: pixels of what is wanted whose depth means something and whose confidence suffices."""
    return judge_alone(view, rules) == Outcome.KEPT


def can_confirm(view: PosedDepthMap, rules: FusionRules) -> Bool[Tensor, "h w"]:
    """Mark the pixels whose depths, however unsure, may confirm those of other views."""
    return judge_alone(view, rules) >= Outcome.UNSURE


def filter_view(maps: Sequence[PosedDepthMap], index: int, rules: FusionRules) -> Survivors:
    """The pixels of view `index` that pass the photometric and the geometric filter, in the order of rows.

    Maps are taken from the sequence one at a time: it may read them from files on access.

    Raises:
        Vo3dError: a source of the view is no other view of the sequence.
    """
    view = maps[index]
    check_sources(view, index, len(maps))
    outcomes = judge_alone(view, rules)
    pixels = (outcomes == Outcome.KEPT).nonzero().flip(-1)  # n 2: column, row
    column, row = pixels.unbind(-1)
    depth = view.depth[row, column]
    total, colour = depth.clone(), view.image[:, row, column].T.clone()
    views, violations = torch.ones_like(row), torch.zeros_like(row)
    agreeing: list[Tensor] = []
    for source in (maps[place] for place in view.sources):
        seen, agrees = confirm(view, pixels, depth, source, rules)
        agreeing.append(agrees)
        total += torch.where(agrees, seen.depth, 0.0)
        colours = sample_image(source.image, seen.pixels[:, None].to(source.image.dtype))[0][..., 0].T  # n 3
        colour += torch.where(agrees[:, None], colours, 0.0)
        views += agrees
        if rules.max_violations is not None:
            surface = _nearest_around(source).to(depth.dtype)
            found = sample_image(surface[None], seen.pixels[:, None], mode="nearest")[0][0, :, 0]
            violations += found > (1 + FREE_SPACE * rules.max_relative) * seen.expected
    passed = Survivors(
        pixels=pixels,
        depth=total / views,
        colour=colour / views[:, None],
        confidence=view.confidence[row, column],
        views=views,
        agrees=torch.stack(agreeing, dim=-1) if agreeing else pixels.new_zeros(len(pixels), 0, dtype=torch.bool),
        outcomes=outcomes,
    )
    enough = views > rules.views_needed(len(view.sources))
    passed = passed.take(enough, Outcome.UNCONFIRMED)
    if rules.max_violations is None:
        return passed
    return passed.take(violations[enough] <= rules.max_violations * views[enough], Outcome.SEEN_THROUGH)


def confirm(
    view: PosedDepthMap,
    pixels: Int[Tensor, "n 2"],
    depth: Float[Tensor, " n"],
    source: PosedDepthMap,
    rules: FusionRules,
) -> tuple[Reprojection, Bool[Tensor, " n"]]:
    """Take pixels of a view to a source and back; also say where the source, with depths that count, agrees."""
    seen = reproject(view, pixels.to(depth.dtype), depth, source, max_depth_step=rules.max_depth_step)
    counts = can_confirm(source, rules).to(seen.pixels)
    there = sample_image(counts[None], seen.pixels[:, None], mode="nearest")[0][0, :, 0] > 0
    return seen, seen.agrees(rules) & there


def _nearest_around(view: PosedDepthMap) -> Float[Tensor, "h w"]:
    """Find the least depth of each pixel and its neighbours, 0 where none is known: edges must not be looked past."""
    depth = torch.where(view.known, view.depth, torch.inf)
    least = -torch.nn.functional.max_pool2d(-depth[None], 3, stride=1, padding=1)[0]
    return torch.where(least.isinf(), 0.0, least)


def filter_map(maps: Sequence[PosedDepthMap], index: int, rules: FusionRules) -> PosedDepthMap:
    """View `index` with depth only where it passes the filters: the mean over the views that agree, 0 elsewhere.

    Raises:
        Vo3dError: as `filter_view`.
    """
    view = maps[index]
    return view.with_depth(filter_view(maps, index, rules).depth_map())


def reproject(
    view: PosedDepthMap,
    pixels: Float[Tensor, "n 2"],
    depth: Float[Tensor, " n"],
    source: PosedDepthMap,
    *,
    max_depth_step: float | None = None,
) -> Reprojection:
    """Take pixels of a view with their depths to a source, and the source's surface there back into the view.

    The depth of the source is interpolated as `sample_depth` does with `max_depth_step`; without it, the nearest pixel
    of the source is taken back with its own depth, so that its distance counts as well.
    """
    # Poses far from the origin are subtracted in double precision; what is left is small.
    source_T_view = se3.relative(source.world_T_cam, view.world_T_cam).to(depth.dtype)
    K, source_K = view.K.to(depth.dtype), source.K.to(depth.dtype)
    points = se3.transform(source_T_view, rays(K, pixels) * depth[:, None])  # n 3
    seen, expected = project(source_K, points)
    surface = torch.where(source.known, source.depth, 0.0).to(depth.dtype)
    if max_depth_step is None:
        seen = seen.round()
        found = sample_image(surface[None], seen[:, None], mode="nearest")[0][0, :, 0]
    else:
        found = sample_depth(surface, seen, max_depth_step)
    back = se3.transform(se3.inverse(source_T_view), rays(source_K, seen) * found[:, None])
    back_pixels, back_depth = project(K, back)
    known = (found > 0) & ~back_pixels[:, 0].isnan()
    last = seen.new_tensor((surface.shape[1] - 1.0, surface.shape[0] - 1.0))
    return Reprojection(
        pixels=seen,
        inside=((seen >= 0) & (seen <= last)).all(-1),
        expected=expected,
        found=found,
        depth=torch.where(known, back_depth, 0.0),
        distance=torch.where(known, (back_pixels - pixels).norm(dim=-1), torch.inf),
        difference=torch.where(known, (back_depth - depth).abs() / depth, torch.inf),
    )


def sample_depth(depth: Float[Tensor, "h w"], pixels: Float[Tensor, "n 2"], max_step: float) -> Float[Tensor, " n"]:
    """Depths between the pixels of a map: 0 outside of it, where the pixel is NaN, and where there is no depth.

    Bilinear where all four neighbours have a depth and the greatest exceeds the least by at most the share `max_step`;
    elsewhere the depth of the nearest pixel, 0 if it has none: between two surfaces, or beside a hole, bilinear
    interpolation would invent a depth where nothing is.
    """
    padded = torch.nn.functional.pad(depth[None], (0, 1, 0, 1), mode="replicate")
    high = torch.nn.functional.max_pool2d(padded, 2, stride=1)  # of the pixel and its right and lower neighbours
    low = -torch.nn.functional.max_pool2d(-padded, 2, stride=1)
    corners, _ = sample_image(torch.cat((low, high)), pixels.clamp(min=0).floor()[:, None], mode="nearest")
    low, high = corners[..., 0]
    smooth = (low > 0) & (high - low <= max_step * low)
    bilinear = sample_image(depth[None], pixels[:, None])[0][0, :, 0]
    nearest = sample_image(depth[None], pixels[:, None], mode="nearest")[0][0, :, 0]
    return torch.where(smooth, bilinear, nearest)


def check_sources(view: PosedDepthMap, index: int, num_maps: int) -> None:
    """Raise Vo3dError unless the sources of a view are other views of a sequence of `num_maps`."""
    for source in view.sources:
        if not 0 <= source < num_maps or source == index:
            raise Vo3dError(
                f"{view.name}: source {source} of view {index}: expected positions of other views, 0 to "
                f"{num_maps - 1}: leave out sources without a depth map"
            )
