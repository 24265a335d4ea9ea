"""Plane sweeping without learning: at each pixel the depth at which the views agree best; the networks' baseline."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import subsample, subsample_intrinsics
from vo3d.geometry.plane_sweep import BestPlanes, at_planes, depth_hypotheses, sweep_pixels, warp_to_planes
from vo3d.geometry.precision import full_precision
from vo3d.model import DepthModel, Prediction, Window, posed_views
from vo3d.sample import Sample

NOISE = 1 / 255  # of a colour: windows with less contrast than this have no correlation to speak of
EDGE = 0.03  # of grey: contrast from which on the guided filter keeps an edge
BORDER = 1e-3  # pixels by which rounding may move a point out of the image


class PlaneSweep(DepthModel):
    """Winner takes all over a plane sweep: colours are compared plane by plane, and the best plane of a pixel is kept.

    It has no parameters. Its memory does not depend on `num_depths`: of each pixel only the best plane so far is kept,
    with its neighbours for the parabola.

    Args:
        num_depths: planes, evenly spaced from near to far; may be set afterwards.
        stride: the map's pixel (x, y) is the image's (stride x, stride y).
        match_stride: every so-maniest pixel of the reference is compared, with sources of full size; divides `stride`.
            Above 1 all images are smoothed by as much first, so that the pixels between count too.
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

    A source counts only where it sees the pixel itself; beyond its border its last pixels go on, for windows that reach
    there. The depth is 0 where no source sees a pixel on any plane, and nowhere else. The confidence is 1 - the best
    cost / the mean of the costs of all planes: 0 where all planes are alike, 1 for a perfect match that no other plane
    comes near.

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
        image = _smoothed(image, self.match_stride)
        reference = subsample(image[:, :1], self.match_stride)  # b 1 c h w
        grid, size = subsample_intrinsics(K[:, 0], self.match_stride), reference.shape[-2:]
        guide = reference.mean(2)  # b 1 h w
        # what a view that has nothing to do with the reference costs: a plane's value where it is not seen
        unrelated = reference.var((-2, -1)).mean((1, 2))[:, None, None, None] / 2  # b 1 1 1
        if self.cost == "zncc":
            correlation, unrelated = _Correlation(reference, self.side), torch.ones_like(unrelated)
        step = self.stride // self.match_stride
        for planes in torch.split(depths, self.slab, dim=1):
            views = []
            for source in range(1, image.shape[1]):
                source_T_reference = se3.relative(world_T_cam[:, source], world_T_cam[:, 0]).to(K)
                pixels = sweep_pixels(grid, K[:, source], source_T_reference, planes, (size[0], size[1]))  # b d h w 2
                warped = warp_to_planes(image[:, source], pixels, beyond="border").transpose(1, 2)  # b d c h w
                views.append((warped, _inside(pixels, (image.shape[-2], image.shape[-1]))))
            if self.cost == "zncc":
                costs = [torch.where(seen, correlation.cost(warped), torch.inf) for warped, seen in views]
                cost = _mean_of_best(costs, self.views == "best_half")  # b d h w
            else:
                cost = self._variance(reference, views)
            known = cost < torch.inf
            cost = self._smooth(torch.where(known, cost, unrelated), guide)
            cost = torch.where(known[..., ::step, ::step], cost[..., ::step, ::step], torch.inf)
            yield from cost.unbind(1)

    def _variance(
        self, reference: Float[Tensor, "b 1 c h w"], views: list[tuple[Tensor, Tensor]]
    ) -> Float[Tensor, "b d h w"]:
        """Variance over the views that see the pixel, mean over channels and the window; infinity where none does."""
        num = torch.ones_like(views[0][0][:, :, :1])  # b d 1 h w
        total, squares = reference, reference.square()
        for warped, seen in views:
            masked = seen[:, :, None] * warped
            num, total, squares = num + seen[:, :, None], total + masked, squares + masked * warped
        variance = (squares / num - (total / num).square()).clamp(min=0).mean(2)  # b d h w
        known = (num > 1)[:, :, 0]
        mean = _box(known * variance, self.side) / _box(known.to(variance), self.side).clamp(min=1)
        return torch.where(known, mean, torch.inf)

    def _smooth(self, cost: Float[Tensor, "b d h w"], guide: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b d h w"]:
        """The costs, each plane smoothed by itself."""
        if self.smoothing == "none":
            return cost
        side = self.smoothing_window
        share = 1 / _box(torch.ones_like(guide), side)  # more at the borders of the image

        def mean(values: Tensor) -> Tensor:
            return _box(values, side).mul_(share)

        if self.smoothing == "box":
            return mean(cost)
        centre, average = mean(guide), mean(cost)
        spread = mean(guide * guide) - centre.square() + EDGE**2
        slope = mean(guide * cost).addcmul_(centre, average, value=-1).div_(spread)
        offset = average.addcmul_(slope, centre, value=-1)
        return mean(offset).addcmul_(mean(slope), guide)


class _Correlation:
    """Compute the normalised cross-correlation of a reference with its sources in windows of `side` pixels.

    Beyond its border a source is continued by its last pixels, so that what is known of the reference's windows is the
    same for all sources and planes.
    """

    def __init__(self, reference: Float[Tensor, "b 1 c h w"], side: int) -> None:
        self.reference, self.side = reference, side
        self.share = 1 / _box(torch.ones_like(reference[:, :, 0]), side)  # b 1 h w
        self.noise = reference.shape[2] * NOISE**2
        self.mean = self._mean(reference)  # b 1 c h w
        self.variance = self._variance(self._mean(_dot(reference, reference)), self.mean)  # b 1 h w

    def cost(self, warped: Float[Tensor, "b d c h w"]) -> Float[Tensor, "b d h w"]:
        """Compute 1 - the correlation, from 0 to 2."""
        mean = self._mean(warped)
        variance = self._variance(self._mean(_dot(warped, warped)), mean)
        covariance = self._mean(_dot(warped, self.reference)).sub_(_dot(mean, self.mean))
        return 1 - covariance.mul_(variance.mul_(self.variance).rsqrt_())

    def _mean(self, values: Tensor) -> Tensor:
        share = self.share if values.ndim == self.share.ndim else self.share[:, :, None]
        return _box(values, self.side).mul_(share)

    def _variance(self, squares: Tensor, mean: Tensor) -> Tensor:
        return squares.sub_(_dot(mean, mean)).clamp_(min=0).add_(self.noise)


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


def _smoothed(image: Float[Tensor, "b s c h w"], stride: int) -> Float[Tensor, "b s c h w"]:
    """Smooth images before every `stride`-th pixel is taken, by a tent that falls to 0 at the next one taken.

    A stride of 1 changes nothing. Beyond their border images are continued by their last pixels.
    """
    if stride == 1:
        return image
    rim = stride - 1
    smooth = functional.pad(image.flatten(0, 2)[:, None], (rim, rim, rim, rim), mode="replicate")  # b*s*c 1 ..
    for _ in range(2):  # a tent is a box smoothed by a box
        smooth = functional.avg_pool2d(smooth, stride, stride=1)
    return smooth.reshape(image.shape)


def _inside(pixels: Float[Tensor, "b d h w 2"], size: tuple[int, int]) -> Bool[Tensor, "b d h w"]:
    """Mark the pixels that lie in an image of `size` (h, w), up to a rounding error; NaN does not."""
    half = pixels.new_tensor([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return ((pixels - half).abs_() <= half + BORDER).all(-1)


def _dot(a: Float[Tensor, "b _ c h w"], b: Float[Tensor, "b _ c h w"]) -> Float[Tensor, "b _ h w"]:
    """Sum the products over the channels, without a copy of them all."""
    total = a[:, :, 0] * b[:, :, 0]
    for channel in range(1, a.shape[2]):
        total.addcmul_(a[:, :, channel], b[:, :, channel])
    return total


def _mean_of_best(costs: Sequence[Float[Tensor, "b d h w"]], half: bool) -> Float[Tensor, "b d h w"]:
    """Mean over the sources that see a pixel, or over the better half, but two at least; infinity where none does.

    The best are found by exchanges of whole maps, which a CPU does several times as fast as sorting few numbers.
    """
    ordered, most = list(costs), len(costs)
    num = torch.stack([cost < torch.inf for cost in costs]).sum(0)  # b d h w
    if half:
        most = min(max(2, (most + 1) // 2), most)
        num = num.minimum(((num + 1) // 2).clamp(min=2))
        for place, other in combinations(range(len(costs)), 2):
            if place < most:
                low, high = ordered[place], ordered[other]
                ordered[place], ordered[other] = low.minimum(high), low.maximum(high)
    total = torch.zeros_like(costs[0])
    for place, cost in enumerate(ordered[:most]):
        total += torch.where((cost < torch.inf) & (place < num) if half else cost < torch.inf, cost, 0)
    return torch.where(num > 0, total / num, torch.inf)


def _box(values: Float[Tensor, "... h w"], side: int) -> Float[Tensor, "... h w"]:
    """Sum over a square window, with zeros around the image.

    By shifted sums, one axis after the other, which a CPU does faster than pooling.
    """
    for axis in (-2, -1):
        total, length = values.clone(), values.shape[axis]
        for shift in range(1, min(side // 2 + 1, length)):
            total.narrow(axis, shift, length - shift).add_(values.narrow(axis, 0, length - shift))
            total.narrow(axis, 0, length - shift).add_(values.narrow(axis, shift, length - shift))
        values = total
    return values
