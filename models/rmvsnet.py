"""R-MVSNet: the depth of a view from posed views, its plane sweep regularised plane after plane by a recurrent network.

Yao, Luo, Li, Shen, Fang, Quan, "Recurrent MVSNet for High-resolution Multi-view Stereo Depth Inference", CVPR 2019.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint

from vo3d.errors import Vo3dError
from vo3d.geometry import depth_hypotheses, subsample, subsample_intrinsics, variance_cost, variance_slabs
from vo3d.geometry.plane_sweep import BestPlanes, at_planes
from vo3d.layers.conv_block import ConvBlock
from vo3d.layers.convgru import ConvGRUCell
from vo3d.layers.downsampling import Pool
from vo3d.layers.unet2d import UNet2d
from vo3d.layers.uninet import CHANNELS, STRIDE, UniNet
from vo3d.model import DepthModel, Prediction, Window, posed_views
from vo3d.sample import Sample

Sweep = Literal["near_to_far", "far_to_near", "random"]
Variant = Literal["code", "paper"]
States = list[Tensor | None]  # of each cell, b f h w; None before the first depth


class RMVSNet(DepthModel):
    """The depth of the first view at every fourth pixel, as one of `num_depths` hypotheses between near and far.

    Features of all views are warped onto planes of the reference; their variance at each depth goes through recurrent
    cells, which remember the depths before; the classes are the depths, the loss is the cross entropy, and the winner
    takes all. `forward` keeps what learning needs for every depth; `predict` keeps the best depth so far, and its
    memory does not depend on `num_depths`.

    Args:
        num_depths: hypotheses, near and far included; may be set afterwards, to another number than was learnt with.
        inverse: whether `forward` spaces the hypotheses evenly in 1 / depth instead of depth.
        inverse_stream: the same for `predict`; None: as in `forward`. The authors learn with evenly spaced depths and
            predict with evenly spaced inverse depths.
        features: "unet", as in the authors' program, or "uninet", the network of MVSNet.
        variant: "code" has cells of 16, 4 and 2 channels and a convolution behind them, as the authors' program;
            "paper" follows the paper, but was not checked against it: a convolution of 32 channels, then cells of 16, 4
            and 1. Its logits are between -1 and 1, so no confidence exceeds e^2 / (e^2 + num_depths - 1), which is
            below `min_confidence` for 192 depths: give a smaller one.
        pool: what halves the maps of the feature network, see `vo3d.layers.downsampling`.
        sweep: the order of the depths while learning; "random" draws one for every batch, so that over the epochs each
            sample is seen in both (the authors give each twice, once in each order). Evaluation goes from near to far
            unless this is "far_to_near".
        sub_interval: the depth is the mean over the winner and its two neighbours, by their probabilities.
        slab: depths that are warped at once; more take more memory and less time, and change nothing else.
        label_smoothing: share of a label that is spread evenly over all depths, 0 (none) to 1, as torch's cross entropy
            has it (Szegedy et al., CVPR 2016, section 7). It counts while learning only: losses of validation compare.
        checkpoint_slabs: keep of each slab only the states at its beginning, and compute it again on the way back.

    Every image is normalised by its own mean and deviation over all pixels and channels. The confidence is the
    probability of the winning depth alone, not of four neighbours as MVSNet's, hence the lower `min_confidence`.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K", "world_T_cam", "depth_range")
    loss_needs: ClassVar[tuple[str, ...]] = ("depth",)
    gives: ClassVar[tuple[str, ...]] = ("depth", "confidence")
    fixed = ("pool",)
    window = Window(reference=True)
    stride = STRIDE
    min_confidence = 0.3
    free_num_depths = True
    num_depths: int

    def __init__(
        self,
        num_depths: int = 192,
        inverse: bool = False,
        inverse_stream: bool | None = None,
        features: Literal["unet", "uninet"] = "unet",
        variant: Variant = "code",
        pool: Pool = "stride",
        sweep: Sweep = "random",
        sub_interval: bool = False,
        slab: int = 8,
        checkpoint_slabs: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise Vo3dError(f"label_smoothing is {label_smoothing:g}: expected a share, 0 to 1")
        self.label_smoothing = label_smoothing
        if num_depths < 4 or slab < 1:
            raise Vo3dError(f"num_depths {num_depths}, slab {slab}: expected at least 4 depths, and 1 in a slab")
        self.num_depths, self.slab, self.checkpoint_slabs = num_depths, slab, checkpoint_slabs
        self.inverse_training = inverse
        self.inverse = inverse if inverse_stream is None else inverse_stream
        self.sweep, self.sub_interval, self.pool = sweep, sub_interval, pool
        self.features: nn.Module = (
            UNet2d(pool=pool) if features == "unet" else UniNet(out_bias=False, norm="group", pool=pool)
        )
        self.regulariser = RecurrentRegulariser(CHANNELS, variant)

    def forward(self, sample: Sample) -> Prediction:
        """Depth and confidence (b 1 h' w', h' = ceil(h / 4)) of the first view; in `aux` `log_probability` (b d h' w').

        The depth axis is from near to far in either order of the sweep.
        """
        features, K, world_T_cam, depths = self._views(sample, inverse=self.inverse_training)
        drawn = self.sweep == "random" and self.training
        backward = bool(torch.rand(()) < 0.5) if drawn else self.sweep == "far_to_near"
        swept = depths.flip(1) if backward else depths
        logits = torch.cat(list(self._sweep(features, K, world_T_cam, swept)), dim=1)  # b d h' w'
        if backward:
            logits = logits.flip(1)
        prediction = self._winner([logits.detach()], depths, inverse=self.inverse_training)
        prediction["aux"] = {"log_probability": log_softmax(logits, 1)}
        return prediction

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Depth and confidence (b 1 h' w') of the first view, in memory that `num_depths` does not change."""
        features, K, world_T_cam, depths = self._views(sample, inverse=self.inverse)
        if self.sweep == "far_to_near":
            depths = depths.flip(1)
        return self._winner(self._sweep(features, K, world_T_cam, depths), depths, inverse=self.inverse)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Cross entropy over the depths, mean over the pixels of a sample that have a class, then over the samples.

        A pixel has a class where the truth lies between the second depth and the last but one; a sample without such a
        pixel counts as zero. While learning, labels are smoothed by `label_smoothing`.

        Raises:
            Vo3dError: the sample has no depth to compare with.
        """
        if sample.depth is None or sample.depth_range is None:
            raise Vo3dError(
                "R-MVSNet learns from depth and depth_range, which the dataset does not give: choose another"
            )
        log_probability = prediction["aux"]["log_probability"].float()  # b d h' w'
        truth = subsample(sample.depth[:, 0], self.stride)  # b h' w'
        ends = sample.depth_range[:, 0]
        place = hypothesis_index(truth, ends, log_probability.shape[1], inverse=self.inverse_training)  # b h' w'
        counted = (truth > 0) & (place >= 1) & (place <= log_probability.shape[1] - 2)
        index = torch.where(counted, place, 0).round().long()
        error = -log_probability.gather(1, index[:, None])[:, 0]
        if self.training and self.label_smoothing:
            error = torch.lerp(error, -log_probability.mean(1), self.label_smoothing)
        total = torch.where(counted, error, 0).sum((1, 2))
        return {"cross_entropy": (total / counted.sum((1, 2)).clamp(min=1)).mean()}

    def _winner(
        self, slabs: Iterable[Float[Tensor, "b k h w"]], depths: Float[Tensor, "b d"], *, inverse: bool
    ) -> Prediction:
        """Choose the depths with the greatest logits, which come a slab of depths after the other."""
        winner = Winner()
        for logits in slabs:
            for logit in logits.unbind(1):
                winner.add(logit)
        depth, confidence = winner.result(depths, inverse=inverse, sub_interval=self.sub_interval)
        return {"depth": depth[:, None], "confidence": confidence[:, None]}

    def _views(self, sample: Sample, *, inverse: bool) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """The features of each view (b 32 h' w'), K for their size (b s 3 3), poses, and the hypotheses (b d)."""
        K, world_T_cam, depth_range = posed_views(self, sample)
        # a view at a time: at full size the feature network takes more memory than all that follows
        features = [self.features(_standardised(view)) for view in sample.image.unbind(1)]
        depths = depth_hypotheses(depth_range, self.num_depths, inverse=inverse)
        return features, subsample_intrinsics(K, self.stride), world_T_cam, depths

    def _sweep(
        self, features: list[Tensor], K: Tensor, world_T_cam: Tensor, depths: Float[Tensor, "b d"]
    ) -> Iterator[Float[Tensor, "b k h w"]]:
        """The logits of a slab of depths after the other, in the order of `depths`."""
        states: States = [None] * len(self.regulariser.cells)
        recompute = self.checkpoint_slabs and torch.is_grad_enabled()

        def slab(part: Tensor, *states: Tensor | None) -> tuple[Tensor, States]:
            if recompute or not torch.is_grad_enabled():
                (cost,) = variance_slabs(features, K, world_T_cam, part, slab=self.slab)  # b c k h w
            else:
                cost = variance_cost(features, K, world_T_cam, part, slab=self.slab)
            return self.regulariser(-cost, list(states))  # type: ignore[no-any-return]

        for part in torch.split(depths, self.slab, dim=1):
            if recompute:
                logits, states = checkpoint(slab, part, *states, use_reentrant=False, preserve_rng_state=False)
            else:
                logits, states = slab(part, *states)
            yield logits


class RecurrentRegulariser(nn.Module):
    """Cost maps in, depth after depth, one logit for each depth out; what was seen is carried in the cells' states.

    23,437 parameters in the variant "code", see `RMVSNet`.
    """

    def __init__(self, in_channels: int = CHANNELS, variant: Variant = "code") -> None:
        super().__init__()
        widths = (in_channels, 16, 4, 2) if variant == "code" else (in_channels, 16, 4, 1)
        self.before = nn.Identity() if variant == "code" else ConvBlock(in_channels, in_channels, norm="group")
        self.cells = nn.ModuleList(ConvGRUCell(x, h) for x, h in pairwise(widths))
        self.after = nn.Conv2d(widths[-1], 1, 3, padding=1) if variant == "code" else nn.Identity()

    def forward(self, cost: Float[Tensor, "b c k h w"], states: States) -> tuple[Float[Tensor, "b k h w"], States]:
        """The logits of k depths, and the states to go on with."""
        b, _, k, *_ = cost.shape
        x = self.before(cost.permute(2, 0, 1, 3, 4).flatten(0, 1)).unflatten(0, (k, b))  # k b c h w
        after: States = []
        for cell, state in zip(self.cells, states, strict=True):
            x, state = cell(x, state)  # noqa: PLW2901
            after.append(state)
        logits = self.after(x.flatten(0, 1)).unflatten(0, (k, b))  # k b 1 h w
        return logits[:, :, 0].transpose(0, 1).float(), after


class Winner(BestPlanes):
    """The best depth of each pixel so far, whose cost is minus its logit, and its probability among all so far."""

    total: Tensor  # sum of exp(logit - best logit), b h w

    def add(self, logit: Float[Tensor, "b h w"]) -> None:
        """Look at one more depth; logits may be as large as floats are."""
        before = self.best if self.num else torch.full_like(logit, torch.inf)
        total = self.total if self.num else torch.zeros_like(logit)
        super().add(-logit)
        self.total = total * (self.best - before).exp() + (self.best + logit).exp()

    def result(
        self, depths: Float[Tensor, "b d"], *, inverse: bool, sub_interval: bool
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """Depth and probability of the winner; with `sub_interval`, depth as the mean over it and its neighbours.

        The probability is that of the winner alone in either case.
        """
        depth, confidence = at_planes(depths, self.index), 1 / self.total
        if sub_interval:
            weights = torch.stack((-self.below, -self.best, -self.above)).softmax(dim=0)
            places = torch.stack((self.index - 1, self.index, self.index + 1)).clamp(0, depths.shape[1] - 1)
            values = torch.stack([at_planes(1 / depths if inverse else depths, place) for place in places])
            mean = (weights * values).sum(0)
            depth = 1 / mean if inverse else mean
        return depth, confidence


def hypothesis_index(
    depth: Float[Tensor, "b h w"], ends: Float[Tensor, "b 2"], num_depths: int, *, inverse: bool = False
) -> Float[Tensor, "b h w"]:
    """Find depths among the hypotheses of a sweep from end to end: 0 at the first, `num_depths` - 1 at the last.

    The ends may be far and near: the index is then counted from far. Depths of 0 give no meaningful number.
    """
    start, stop = ends[:, 0, None, None], ends[:, 1, None, None]
    if inverse:
        depth, start, stop = 1 / torch.where(depth > 0, depth, 1.0), 1 / start, 1 / stop
    return (depth - start) / (stop - start) * (num_depths - 1)


def _standardised(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each image minus its mean, over its deviation."""
    deviation, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True, correction=0)
    return (image - mean) / (deviation + 1e-3)
