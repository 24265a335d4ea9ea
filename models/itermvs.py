"""IterMVS: the depth of a view from several posed views, by a recurrent network that looks near its own estimate.

Wang, Galliani, Vogel, Pollefeys, "IterMVS: Iterative Probability Estimation for Efficient Multi-View Stereo", CVPR
2022; facts that the paper leaves open are those of the authors' program.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import se3, subsample
from vo3d.geometry.camera import NEAR, pixel_grid
from vo3d.geometry.plane_sweep import depth_hypotheses, sweep_projection, warp_to_planes
from vo3d.layers.conv_block import folded
from vo3d.layers.downsampling import Pool
from vo3d.losses import absolute, masked_mean
from vo3d.model import DepthModel, Prediction, Window, posed_views
from vo3d.models.itermvs_networks import (
    GROUPS,
    NUM_BINS,
    RADIUS,
    ConvexUpsampling,
    FeaturePyramid,
    MatchingNetwork,
    Pyramid,
    RecurrentEstimate,
    ViewWeight,
    enlarged,
    likeliest_place,
)
from vo3d.models.itermvs_port import AUTHORS
from vo3d.sample import Sample

NUM_START = 32  # depths of the first, coarse scan
# where each level looks, in 256ths of the range of inverse depth from the present estimate
OFFSETS = {1: (-2.0, -2 / 3, 2 / 3, 2.0), 2: (-8.0, -8 / 3, 8 / 3, 8.0), 3: (-32.0, 32.0)}
DECAY = 0.8  # of the weight in the loss from each estimate to the one before it
SURE = 0.002  # of the range of inverse depth: an estimate that is nearer to the truth should be called sure


@dataclass(frozen=True)
class Source:
    """A source view: its features, and where it sees the reference's pixels.

    A pixel p of the reference's full-size image at depth d is seen at `turn` p d + `offset`, homogeneous, full size.
    """

    maps: Pyramid
    turn: Float[Tensor, "b 3 3"]
    offset: Float[Tensor, "b 3"]

    def rays(self, size: tuple[int, int], stride: int) -> Float[Tensor, "b 3 h w"]:
        """Compute `turn` p for every `stride`-th pixel."""
        grid = pixel_grid(*size, dtype=self.turn.dtype, device=self.turn.device) * stride
        rays = torch.einsum("bij,hwj->bihw", self.turn, functional.pad(grid, (0, 1), value=1.0))
        return rays.to(self.maps[0].dtype)

    def pixels(
        self, rays: Float[Tensor, "b 3 h w"], depths: Float[Tensor, "b d h w"], level: int
    ) -> Float[Tensor, "b d h w 2"]:
        """Find the pixels of depths in the maps of a level; NaN behind the source."""
        x, y, z = (
            ray[:, None] * depths + shift[:, None, None, None]
            for ray, shift in zip(rays.unbind(1), self.offset.to(depths).unbind(1), strict=True)
        )
        scale = torch.where(z >= NEAR, 2.0**-level / z, torch.nan)
        return torch.stack((x * scale, y * scale), dim=-1)


@dataclass(frozen=True)
class Estimate:
    """Hold the state of the recurrence after a step, and the depth that it stands for, at a quarter of the image."""

    state: Float[Tensor, "b f h w"]
    place: Float[Tensor, "b 1 h w"]  # of the estimate in the range of inverse depth: 0 far, 1 near
    logits: Float[Tensor, "b n h w"] | None = None  # of each bin of inverse depth, from far to near, while learning


class IterMVS(DepthModel):
    """Depth of the reference view, the first of each sample, at its full size; nothing depends on the unit of length.

    A coarse scan of 32 inverse depths at an eighth of the image starts a state at each pixel of a quarter of it. A
    gated recurrent unit then refines `iterations` times a distribution over 256 bins of inverse depth: each step
    matches the features at three levels near the present estimate alone. Sources count by how sharply they match a
    pixel. Any number of views from two on, any size of image (padded to multiples of 8 at the right and the bottom).

    Confidence is the probability that the estimate lies within 0.2 % of the range of inverse depth from the truth.

    Args:
        iterations: steps of the recurrent unit.
        pool: what halves the maps of the feature network: the stride of its convolutions, as published, or a way of
            pooling, such as "ada".

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs = ("image", "K", "world_T_cam", "depth_range")
    loss_needs = ("depth",)
    gives = ("depth", "confidence")
    window = Window(reference=True)
    fixed = ("pool",)
    published: ClassVar[Mapping[str, KeyMap]] = {"authors": AUTHORS}
    stride = 1
    min_confidence = 0.3
    num_depths = NUM_BINS
    inverse = True

    def __init__(self, iterations: int = 4, pool: Pool = "stride") -> None:
        super().__init__()
        if iterations < 1:
            raise Vo3dError(f"iterations is {iterations}: expected at least 1")
        self.iterations, self.pool = iterations, pool
        self.features = FeaturePyramid(pool)
        self.view_weight = ViewWeight()
        self.matching = nn.ModuleList(MatchingNetwork() for _ in OFFSETS)
        self.estimate = RecurrentEstimate(NUM_START, sum(map(len, OFFSETS.values())))
        self.upsampling = ConvexUpsampling()

    def forward(self, sample: Sample) -> Prediction:
        """`depth` and `confidence` (b 1 h w), and in `aux` what the loss compares, at a quarter of the image.

        `start` (b 1 i j) is the place of the coarse scan, `places` (k b 1 i j), `logits` (k b n i j) and `sure`
        (k b 1 i j, logits) are those of the state's beginning and of each step; `place` (b 1 h w) that of `depth`.

        Raises:
            Vo3dError: the sample has fewer than two views.
        """
        reference, sources, depth_range = self._views(sample)
        scores, weights = self._scan(reference, sources, depth_range)
        estimates = list(self._estimates(reference, sources, weights, scores, depth_range, whole=True))
        prediction, place = self._finish(estimates[-1], reference, depth_range, sample)
        prediction["aux"] = {
            "start": self._start(scores, depth_range),
            "places": torch.stack([estimate.place for estimate in estimates]),
            "logits": torch.stack([estimate.logits for estimate in estimates if estimate.logits is not None]),
            "sure": torch.stack([self.estimate.confidence(estimate.state) for estimate in estimates]),
            "place": place,
        }
        return prediction

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """`forward` without gradients and without what only the loss reads, as in evaluation mode."""
        model = folded(self)
        rows = [model._infer(sample.map(itemgetter(slice(row, row + 1)))) for row in range(len(sample.image))]
        return {name: torch.cat([row[name] for row in rows]) for name in ("depth", "confidence")}  # type: ignore[return-value]

    def _infer(self, sample: Sample) -> Prediction:
        """The prediction for one sample (b = 1), one estimate in memory at a time."""
        reference, sources, depth_range = self._views(sample)
        scores, weights = self._scan(reference, sources, depth_range)
        for estimate in self._estimates(reference, sources, weights, scores, depth_range):  # noqa: B007
            pass
        return self._finish(estimate, reference, depth_range, sample)[0]

    def _views(self, sample: Sample) -> tuple[Pyramid, list[Source], Float[Tensor, "b 2"]]:
        """The reference's features, the sources, near and far."""
        K, world_T_cam, depth_range = posed_views(self, sample)
        h, w = sample.image.shape[-2:]
        images = functional.pad(2 * sample.image.flatten(0, 1) - 1, (0, -w % 8, 0, -h % 8), mode="replicate")
        b, s = sample.image.shape[:2]
        if self.training:  # normalised by what all views have in common, as by the authors
            levels = [maps.reshape(b, s, *maps.shape[1:]).unbind(1) for maps in self.features(images)]
            reference, *others = zip(*levels, strict=True)
        else:  # a view at a time: the maps at full size are most of the memory
            reference, *others = (self.features(view) for view in images.reshape(b, s, *images.shape[1:]).unbind(1))
        K, world_T_cam = K.double(), world_T_cam.double()
        sources = [
            Source(
                maps, *sweep_projection(K[:, 0], K[:, index], se3.relative(world_T_cam[:, index], world_T_cam[:, 0]))
            )
            for index, maps in enumerate(others, start=1)
        ]
        return reference, sources, depth_range

    def _scan(
        self, reference: Pyramid, sources: Sequence[Source], depth_range: Float[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b d h3 w3"], list[Float[Tensor, "b 1 h2 w2"]]]:
        """The scores of 32 depths from far to near at an eighth of the image, and each source's weight at a quarter."""
        size = (reference[2].shape[2], reference[2].shape[3])
        depths = depth_hypotheses(depth_range.flip(1), NUM_START, inverse=True)[..., None, None].expand(-1, -1, *size)
        total, weight_sum, weights = reference[2].new_zeros(()), reference[2].new_tensor(1e-5), []
        for source in sources:
            rays = source.rays(size, 8)
            parts = [similarity(reference[2], source, rays, few, 3) for few in torch.split(depths, 4, dim=1)]
            alike = torch.cat(parts, dim=1)  # b d g h w
            weight = self.view_weight(alike)  # b 1 h w
            total, weight_sum = total + alike * weight[:, :, None], weight_sum + weight
            weights.append(enlarged(weight, 2).detach())
        return self.matching[2](total / weight_sum[:, :, None]), weights

    def _start(self, scores: Float[Tensor, "b d h3 w3"], depth_range: Float[Tensor, "b 2"]) -> Float[Tensor, "b 1 h w"]:
        """The place of the coarse scan's expected depth, at a quarter of the image."""
        places = torch.linspace(0, 1, NUM_START, dtype=scores.dtype, device=scores.device)
        mean = torch.einsum("bdhw,d->bhw", scores.softmax(1), places)[:, None]
        depth = enlarged(depth_at(mean, depth_range), 2)
        return place_of(depth, depth_range)

    def _estimates(
        self,
        reference: Pyramid,
        sources: Sequence[Source],
        weights: Sequence[Float[Tensor, "b 1 h w"]],
        scores: Float[Tensor, "b d h3 w3"],
        depth_range: Float[Tensor, "b 2"],
        *,
        whole: bool = False,
    ) -> Iterator[Estimate]:
        """The estimate that the scan begins with, and the one after each step; `whole` with logits."""
        state = self.estimate.begin(scores)
        size = (state.shape[2], state.shape[3])
        rays = [source.rays(size, 4) for source in sources]
        resized = (enlarged(reference[0], 0.5), reference[1], enlarged(reference[2], 2))
        weight_sum = torch.stack(list(weights)).sum(0) + 1e-5
        estimate = self._located(state, whole)
        yield estimate
        for _ in range(self.iterations):
            place = estimate.place.detach()
            matches = [
                self._match(level, place, resized[level - 1], sources, rays, weights, weight_sum, depth_range)
                for level in OFFSETS
            ]
            estimate = self._located(self.estimate.step(estimate.state, place, torch.cat(matches, dim=1)), whole)
            yield estimate

    def _located(self, state: Float[Tensor, "b f h w"], whole: bool) -> Estimate:
        """The estimate that a state stands for; `whole` with logits."""
        if not whole:
            return Estimate(state, self.estimate.place(state))
        logits = self.estimate.depth(state)
        return Estimate(state, likeliest_place(logits), logits)

    def _match(
        self,
        level: int,
        place: Float[Tensor, "b 1 h w"],
        reference: Float[Tensor, "b c h w"],
        sources: Sequence[Source],
        rays: Sequence[Float[Tensor, "b 3 h w"]],
        weights: Sequence[Float[Tensor, "b 1 h w"]],
        weight_sum: Float[Tensor, "b 1 h w"],
        depth_range: Float[Tensor, "b 2"],
    ) -> Float[Tensor, "b m h w"]:
        """The scores of the depths around an estimate in the features of one level."""
        offsets = torch.tensor(OFFSETS[level], dtype=place.dtype, device=place.device)[:, None, None] / NUM_BINS
        depths = depth_at((place + offsets).clamp(0, 1), depth_range)  # b m h w
        total = reference.new_zeros(())
        for source, ray, weight in zip(sources, rays, weights, strict=True):
            total = total + similarity(reference, source, ray, depths, level) * weight[:, :, None]
        scores: Tensor = self.matching[level - 1](total / weight_sum[:, :, None])
        return scores

    def _finish(
        self, estimate: Estimate, reference: Pyramid, depth_range: Float[Tensor, "b 2"], sample: Sample
    ) -> tuple[Prediction, Float[Tensor, "b 1 h w"]]:
        """The prediction at full size, and its place."""
        h, w = sample.image.shape[-2:]
        place = self.upsampling(estimate.place, reference[1])[..., :h, :w]
        sure = enlarged(self.estimate.confidence(estimate.state).sigmoid(), 4)[..., :h, :w]
        return {"depth": depth_at(place, depth_range), "confidence": sure.detach()}, place

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Five terms, means over the pixels of the batch whose truth lies in the range; places count in 256ths.

        `start`: error of the coarse scan. `bins`: cross entropy of each estimate's bins with the bin of the truth.
        `places`: error of each estimate whose likeliest bin is within 4 of that. `confidence`: binary cross entropy of
        the confidence with whether the estimate is within 0.2 % of the range. `depth`: error at full size. Estimates
        count 0.8 times as much as those after them.

        Raises:
            Vo3dError: the sample has no true depth.
        """
        if sample.depth is None or sample.depth_range is None:
            raise Vo3dError("IterMVS learns from depth, which the dataset does not give: choose one with true depth")
        aux, depth_range = prediction["aux"], sample.depth_range[:, 0]
        fine_truth, fine = _truth(sample.depth[:, :1], depth_range)
        truth, counted = _truth(subsample(sample.depth[:, :1], 4), depth_range)
        # of a padded image the estimates beyond its border have no truth
        i, j = truth.shape[2:]
        start, places, logits, sure = (aux[name][..., :i, :j] for name in ("start", "places", "logits", "sure"))
        bins = (truth * (NUM_BINS - 1)).floor().long()
        last = len(places) - 1
        terms = {
            "start": DECAY ** (last + 1) * NUM_BINS * masked_mean(absolute(start - truth), counted),
            "bins": truth.new_zeros(()),
            "places": truth.new_zeros(()),
            "confidence": truth.new_zeros(()),
            "depth": NUM_BINS * masked_mean(absolute(aux["place"] - fine_truth), fine),
        }
        for index, (place, logit, doubt) in enumerate(zip(places, logits, sure, strict=True)):
            weight = DECAY ** (last - index)
            probability = logit.float().softmax(1).gather(1, bins).clamp(min=1e-5)
            error = absolute(place - truth)
            near = counted & ((logit.argmax(1, keepdim=True) - bins).abs() <= RADIUS)
            right = (error.detach() < SURE).to(doubt.dtype)
            judged = functional.binary_cross_entropy_with_logits(doubt, right, reduction="none")
            terms["bins"] = terms["bins"] + weight * masked_mean(-probability.log(), counted)
            terms["places"] = terms["places"] + weight * NUM_BINS * masked_mean(error, near)
            terms["confidence"] = terms["confidence"] + weight * masked_mean(judged, counted)
        return terms


def similarity(
    reference: Float[Tensor, "b c h w"],
    source: Source,
    rays: Float[Tensor, "b 3 h w"],
    depths: Float[Tensor, "b d h w"],
    level: int,
) -> Float[Tensor, "b d g h w"]:
    """Compute how alike a source is at each depth: the mean of products over the channels of each of 8 groups."""
    with torch.no_grad():
        pixels = source.pixels(rays, depths, level)
    products = warp_to_planes(source.maps[level - 1], pixels) * reference[:, :, None]  # b c d h w
    b, _, *rest = products.shape
    return products.reshape(b, GROUPS, -1, *rest).mean(2).transpose(1, 2)


def depth_at(place: Float[Tensor, "b k h w"], depth_range: Float[Tensor, "b 2"]) -> Float[Tensor, "b k h w"]:
    """Compute the depth at a place in the range of inverse depth: far at 0, near at 1."""
    near, far = depth_range[:, :, None, None, None].reciprocal().unbind(1)
    return 1 / (far + place * (near - far))


def place_of(depth: Float[Tensor, "b k h w"], depth_range: Float[Tensor, "b 2"]) -> Float[Tensor, "b k h w"]:
    """Compute the place of a positive depth in the range of inverse depth."""
    near, far = depth_range[:, :, None, None, None].reciprocal().unbind(1)
    return (1 / depth - far) / (near - far)


def _truth(depth: Tensor, depth_range: Tensor) -> tuple[Tensor, Tensor]:
    """The places of true depths (0 where there is none), and where they lie in the range."""
    near, far = depth_range[:, :, None, None, None].unbind(1)
    inside = (depth > 0) & (depth >= near) & (depth <= far)
    return torch.where(inside, place_of(torch.where(inside, depth, near), depth_range), 0.0), inside
