"""Plane sweeping without learning: at each pixel the depth at which the views agree best; the networks' baseline."""

from collections.abc import Iterator
from math import ceil
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import conv2d, pad

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import subsample_intrinsics
from vo3d.geometry.plane_sweep import BestPlanes, at_planes, depth_hypotheses, sweep_pixels, warp_to_planes
from vo3d.geometry.precision import full_precision
from vo3d.model import DepthModel, Prediction, Window, posed_views
from vo3d.sample import Sample

NOISE = 1 / 255  # of a colour: windows with less contrast than this have no correlation to speak of
EDGE = 0.03  # of grey: contrast from which on the guided filter keeps an edge
INSIDE = 0.999  # share of a source pixel's neighbours that are in the image


class PlaneSweep(DepthModel):
    """Winner takes all over a plane sweep: colours are compared plane by plane, and the best plane of a pixel is kept.

    It has no parameters. Its memory does not depend on `num_depths`: of each pixel only the best plane so far is kept,
    with its neighbours for the parabola.

    Args:
        num_depths: planes, evenly spaced from near to far; may be set afterwards.
        stride: the map's pixel (x, y) is the image's (stride x, stride y).
        match_stride: the images are compared at every so-maniest pixel, blurred before; divides `stride`.
        cost: "zncc": 1 - the normalised cross-correlation of reference and source in a window, over the three channels
            together; "variance": of each pixel's colours in all views that see it, mean over the window.
        window: side of that window in compared pixels, odd.
        views: "best_half" takes the mean of the better half of the sources at each pixel and plane, but of two at
            least, which forgives that a source sees something else in front; "all" takes that of all. The variance has
            all views in any case.
        smoothing: "guided" smooths the costs of each plane along the edges of the reference image (He et al.), "box"
            by a mean, over `smoothing_window` compared pixels; "none" leaves them.
        smoothing_window: side of the window in compared pixels, odd.
        inverse: planes are evenly spaced in 1 / depth.
        subpixel: fit a parabola to the costs around the best plane.
        slab: planes that are looked at together; more take more memory and change nothing else.

    A window counts only pixels that the source sees, a source only where it sees the pixel itself. The depth is 0 where
    no source sees a pixel on any plane. The confidence is 1 - the best cost / the mean of the costs of all planes: 0
    where all planes are alike, 1 for a perfect match that no other plane comes near.

    Raises:
        Vo3dError: an argument is out of its range.

    Source: Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; smoothing plane by plane as in
    Rhemann et al., "Fast cost-volume filtering for visual correspondence and beyond", CVPR 2011, there with the filter
    of He et al., "Guided image filtering", ECCV 2010, equations 5 and 6, here with a grey guide.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K", "world_T_cam", "depth_range")
    gives: ClassVar[tuple[str, ...]] = ("depth", "confidence")
    baseline = "plane_sweep"
    window = Window(reference=True)
    min_confidence = 0.4
    free_num_depths = True
    num_depths: int

    def __init__(
        self,
        num_depths: int = 192,
        stride: int = 4,
        match_stride: int = 1,
        cost: Literal["zncc", "variance"] = "zncc",
        window: int = 3,
        views: Literal["best_half", "all"] = "best_half",
        smoothing: Literal["guided", "box", "none"] = "guided",
        smoothing_window: int = 7,
        inverse: bool = False,
        subpixel: bool = True,
        slab: int = 4,
    ) -> None:
        super().__init__()
        if num_depths < 2 or slab < 1:
            raise Vo3dError(f"num_depths {num_depths}, slab {slab}: expected at least 2 planes, and 1 in a slab")
        if match_stride < 1 or stride < 1 or stride % match_stride:
            raise Vo3dError(f"stride {stride}, match_stride {match_stride}: expected a positive divisor of the stride")
        for name, side in (("window", window), ("smoothing_window", smoothing_window)):
            if side < 1 or side % 2 == 0:
                raise Vo3dError(f"{name} {side}: expected an odd number of pixels")
        self.num_depths, self.stride, self.match_stride, self.slab = num_depths, stride, match_stride, slab
        self.cost, self.side, self.views = cost, window, views
        self.smoothing, self.smoothing_window = smoothing, smoothing_window
        self.inverse, self.subpixel = inverse, subpixel

    @torch.no_grad()
    def forward(self, sample: Sample) -> Prediction:
        """Depth and confidence (`b 1 h' w'`, h' = ceil(h / stride)) of the first view."""
        return self._sweep(sample.image, *posed_views(self, sample))

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("PlaneSweep has no parameters to train: evaluate it instead")

    @full_precision
    def _sweep(
        self,
        image: Float[Tensor, "b s 3 h w"],
        K: Float[Tensor, "b s 3 3"],
        world_T_cam: Float64[Tensor, "b s 4 4"],
        depth_range: Float[Tensor, "b 2"],
    ) -> Prediction:
        """Predict for the reference, by numbers of full precision."""
        depths = depth_hypotheses(depth_range, self.num_depths, inverse=self.inverse)  # b d
        best = _Best()
        for cost in self._costs(image, K, world_T_cam, depths):
            best.add(cost)
        depth, confidence = best.result(depths, self.subpixel)
        return {"depth": depth[:, None], "confidence": confidence[:, None]}

    def _costs(
        self,
        image: Float[Tensor, "b s 3 h w"],
        K: Float[Tensor, "b s 3 3"],
        world_T_cam: Float64[Tensor, "b s 4 4"],
        depths: Float[Tensor, "b d"],
    ) -> Iterator[Float[Tensor, "b h2 w2"]]:
        """The cost of each plane in turn, at every `stride`-th pixel; infinity where no source sees it."""
        image, K = _subsample(image, self.match_stride), subsample_intrinsics(K, self.match_stride)
        h, w = image.shape[-2:]
        reference = image[:, :1]  # b 1 c h w
        guide = reference.mean(2)  # b 1 h w
        # what a view that has nothing to do with the reference costs: a plane's value where it is not seen
        unrelated = reference.var((-2, -1)).mean((1, 2))[:, None, None, None] / 2  # b 1 1 1
        if self.cost == "zncc":
            unrelated = torch.ones_like(unrelated)
        step = self.stride // self.match_stride
        for planes in torch.split(depths, self.slab, dim=1):
            warped, seen = [], []
            for source in range(1, image.shape[1]):
                source_T_reference = se3.relative(world_T_cam[:, source], world_T_cam[:, 0]).to(K)
                pixels = sweep_pixels(K[:, 0], K[:, source], source_T_reference, planes, (h, w))  # b d h w 2
                colours = torch.cat((image[:, source], torch.ones_like(image[:, source, :1])), dim=1)
                colours = warp_to_planes(colours, pixels).transpose(1, 2)  # b d 4 h w
                warped.append(colours[:, :, :3])
                seen.append(colours[:, :, 3:] > INSIDE)
            if self.cost == "zncc":
                costs = [self._decorrelation(reference, w, m) for w, m in zip(warped, seen, strict=True)]
                cost = _mean_of_best(torch.stack(costs), self.views == "best_half")  # b d h w
            else:
                cost = self._variance(reference, warped, seen)
            known = cost.isfinite()
            cost = self._smooth(torch.where(known, cost, unrelated), guide)
            cost = torch.where(known, cost, torch.inf)[..., ::step, ::step]
            yield from cost.unbind(1)

    def _decorrelation(
        self, reference: Float[Tensor, "b 1 c h w"], warped: Float[Tensor, "b d c h w"], seen: Tensor
    ) -> Float[Tensor, "b d h w"]:
        """1 - the correlation in the windows, from 0 to 2; infinity where the source does not see the pixel."""
        weight = seen.to(warped)  # b d 1 h w
        masked = weight * warped
        parts = (
            weight,
            masked,
            weight * reference,
            (masked * warped).sum(2, keepdim=True),
            (weight * reference * reference).sum(2, keepdim=True),
            (masked * reference).sum(2, keepdim=True),
        )
        sums = _box(torch.cat(parts, dim=2), self.side)  # b d 2c+4 h w, for c = 3 colours
        c = warped.shape[2]
        means = sums[:, :, 1:] / sums[:, :, :1].clamp(min=1e-6)
        mean_w, mean_r, ww, rr, wr = torch.split(means, [c, c, 1, 1, 1], dim=2)
        noise = c * NOISE**2
        variance_w = (ww - mean_w.square().sum(2, keepdim=True)).clamp(min=0) + noise
        variance_r = (rr - mean_r.square().sum(2, keepdim=True)).clamp(min=0) + noise
        covariance = wr - (mean_w * mean_r).sum(2, keepdim=True)
        cost = 1 - covariance / (variance_w * variance_r).sqrt()
        return torch.where(seen, cost, torch.inf)[:, :, 0]

    def _variance(
        self, reference: Float[Tensor, "b 1 c h w"], warped: list[Tensor], seen: list[Tensor]
    ) -> Float[Tensor, "b d h w"]:
        """Variance over the views that see the pixel, mean over channels and the window; infinity where none does."""
        num = torch.ones_like(warped[0][:, :, :1])  # b d 1 h w
        total, squares = reference.expand_as(warped[0]), reference.square().expand_as(warped[0])
        for colours, mask in zip(warped, seen, strict=True):
            num, total, squares = num + mask, total + mask * colours, squares + mask * colours.square()
        variance = (squares / num - (total / num).square()).clamp(min=0).mean(2, keepdim=True)
        known = (num > 1).to(variance)
        mean = _box(known * variance, self.side) / _box(known, self.side).clamp(min=1e-6)
        return torch.where(num > 1, mean, torch.inf)[:, :, 0]

    def _smooth(self, cost: Float[Tensor, "b d h w"], guide: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b d h w"]:
        """The costs, each plane smoothed by itself."""
        if self.smoothing == "none":
            return cost
        side = self.smoothing_window
        inside = _box(torch.ones_like(guide), side)  # less than 1 at the borders of the image

        def mean(values: Tensor) -> Tensor:
            return _box(values, side) / inside

        if self.smoothing == "box":
            return mean(cost)
        centre = mean(guide)
        slope = (mean(guide * cost) - centre * mean(cost)) / (mean(guide * guide) - centre.square() + EDGE**2)
        return mean(slope) * guide + mean(mean(cost) - slope * centre)


class _Best(BestPlanes):
    """The best plane of each pixel so far; and the sum and the number of the costs of planes that were seen."""

    def add(self, cost: Float[Tensor, "b h w"]) -> None:
        """Look at one more plane."""
        if not self.num:
            self.total, self.known = torch.zeros_like(cost), torch.zeros_like(cost)
        super().add(cost)
        finite = cost.isfinite()
        self.total, self.known = self.total + torch.where(finite, cost, 0), self.known + finite

    def result(self, depths: Float[Tensor, "b d"], subpixel: bool) -> tuple[Tensor, Tensor]:
        """Depth and confidence, b h w each; 0 where no plane was seen."""
        found = self.best < torch.inf
        depth = at_planes(depths, self.index)
        if subpixel:
            curve = self.below - 2 * self.best + self.above
            fits = curve.isfinite() & (curve > 0)
            shift = torch.where(fits, (self.below - self.above) / (2 * curve), 0.0)  # -0.5 .. 0.5 planes
            other = at_planes(depths, (self.index + shift.sign().long()).clamp(0, depths.shape[1] - 1))
            depth = depth + shift.abs() * (other - depth)
        contrast = 1 - self.best / (self.total / self.known.clamp(min=1)).clamp(min=1e-12)
        return torch.where(found, depth, 0.0), torch.where(found, contrast.clamp(0, 1), 0.0)


def _mean_of_best(costs: Float[Tensor, "v b d h w"], half: bool) -> Float[Tensor, "b d h w"]:
    """Mean over the sources that see a pixel, or over the better half, but two at least; infinity where none does."""
    if len(costs) == 1:
        return costs[0]
    num = costs.isfinite().sum(0)  # b d h w
    if half:
        costs, num = costs.sort(dim=0).values, num.clamp(max=2).maximum((num + 1) // 2)
        place = torch.arange(len(costs), device=costs.device).reshape(-1, 1, 1, 1, 1)
        costs = torch.where(place < num, costs, torch.inf)
    total = torch.where(costs.isfinite(), costs, 0).sum(0)
    return torch.where(num > 0, total / num.clamp(min=1), torch.inf)


def _box(values: Float[Tensor, "... h w"], side: int) -> Float[Tensor, "... h w"]:
    """Sum over a square window divided by its area, with zeros around the image.

    By shifted sums, one axis after the other, which a CPU does faster than pooling.
    """
    total = values / side**2
    for axis, border in ((-2, (0, 0, side // 2, side // 2)), (-1, (side // 2, side // 2))):
        padded = pad(total, border)
        total = padded.narrow(axis, 0, values.shape[axis]).clone()
        for shift in range(1, side):
            total += padded.narrow(axis, shift, values.shape[axis])
    return total


def _subsample(image: Float[Tensor, "b s c h w"], stride: int) -> Float[Tensor, "b s c h2 w2"]:
    """Every `stride`-th pixel from the first on, after a Gaussian blur of a deviation of half the stride."""
    if stride == 1:
        return image
    radius = ceil(1.5 * stride)
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-2 * (x / stride).square())
    kernel = kernel / kernel.sum()
    flat = pad(image.flatten(0, 2)[:, None], (radius,) * 4, mode="replicate")
    flat = conv2d(
        conv2d(flat, kernel[None, None, :, None], stride=(stride, 1)), kernel[None, None, None, :], stride=(1, stride)
    )
    return flat.reshape(*image.shape[:3], *flat.shape[-2:])
