"""MVSNet: the depth of a view from several posed views, by a cost volume and a 3-D network.

Yao, Luo, Li, Fang, Quan, "MVSNet: Depth Inference for Unstructured Multi-view Stereo", ECCV 2018.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import depth_hypotheses, subsample, subsample_intrinsics, variance_cost, variance_slabs
from vo3d.layers.conv_block import ConvBlock, folded
from vo3d.layers.downsampling import Pool
from vo3d.layers.uninet import CHANNELS, STRIDE, UniNet
from vo3d.layers.volume_unet import Topology, VolumeUNet
from vo3d.losses import absolute, huber
from vo3d.model import DepthModel, Prediction, Window, posed_views
from vo3d.sample import Sample

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PORT_BETA = 1e-3  # metres: where the port's smooth L1 turns from square to straight

# Trained on DTU, RGB / 255, eval-mode normalisation, corner-aligned sampling. The file has no refinement.
XY_GUO = KeyMap(
    source="MVSNet (xy-guo/MVSNet_pytorch)",
    signature=("feature.conv0.conv.weight", "cost_regularization.conv7.0.weight"),
    rename={
        r"feature\.(conv\d)\.conv\.weight": r"features.\1.conv.weight",
        r"feature\.(conv\d)\.bn\.(.*)": r"features.\1.norm.\2",
        r"feature\.feature\.(.*)": r"features.feature.\1",
        r"cost_regularization\.(conv[0-6])\.conv\.weight": r"regulariser.\1.conv.weight",
        r"cost_regularization\.(conv[0-6])\.bn\.(.*)": r"regulariser.\1.norm.\2",
        r"cost_regularization\.(conv7|conv9|conv11)\.0\.weight": r"regulariser.\1.conv.weight",
        r"cost_regularization\.(conv7|conv9|conv11)\.1\.(.*)": r"regulariser.\1.norm.\2",
        r"cost_regularization\.prob\.(.*)": r"regulariser.prob.\1",
    },
    keep=(r"features\.conv\d_pool\.beta",),
    settings=lambda _: {"pool": "stride"},
    needs='topology "port", refine false, pool "stride"',
)


class MVSNet(DepthModel):
    """Depth of the reference view, the first of each sample, from its features in all views.

    Features of every view at a quarter of its size; their variance over the views at each of `num_depths` depths; a 3-D
    network that turns it into a probability of each depth; the expected depth; and, if asked for, a network that
    refines it by the reference image. Any number of views from two on, any size of image; nothing depends on the unit
    of length but the port's loss.

    `forward` keeps the cost volume, for training. `predict` gives the depths of evaluation mode without it: the
    32-channel volume is made and consumed `slab` depths at a time, normalisation is folded into the convolutions, and
    samples go through one by one.

    Args:
        num_depths: hypotheses from the near to the far end of the reference's `depth_range`; may be set later.
        inverse: whether they are even in 1 / depth instead of in depth.
        topology: the 3-D network of the widely used "port" or of the "authors", see `vo3d.layers.volume_unet`.
        refine: whether the depth is refined; the published weights know no refinement.
        refine_weight: of the refined depth's loss beside that of the initial one.
        loss: "authors": mean over the pixels of abs(d - t) in depth intervals, where the truth lies inside the range by
            at least one interval; "port": smooth L1 in millimetres that turns at 1 mm, wherever there is truth.
        pool: what halves the maps of the feature network: the stride of its convolutions, as published, or a way of
            pooling, such as "ada".
        slab: depths of the cost volume that `predict` holds at once; even.
        precision: of the 3-D network in `predict`; features, warps and variances stay float32.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs = ("image", "K", "world_T_cam", "depth_range")
    loss_needs = ("depth",)
    gives = ("depth", "confidence")
    window = Window(reference=True)
    fixed = ("pool",)
    published: ClassVar[Mapping[str, KeyMap]] = {"xy-guo": XY_GUO}
    stride = STRIDE
    min_confidence = 0.8
    free_num_depths = True
    num_depths: int

    def __init__(
        self,
        num_depths: int = 192,
        inverse: bool = False,
        topology: Topology = "port",
        refine: bool = False,
        refine_weight: float = 1.0,
        loss: Literal["authors", "port"] = "authors",
        pool: Pool = "stride",
        slab: int = 8,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if num_depths < 2 or slab < 2 or slab % 2 or refine_weight < 0:
            raise Vo3dError(
                f"num_depths {num_depths}, slab {slab}, refine_weight {refine_weight}: expected at least 2 depths, an "
                "even slab of at least 2, a weight that is not negative"
            )
        self.num_depths, self.inverse = num_depths, inverse
        self.refine_weight, self.loss_name = refine_weight, loss
        self.slab, self.precision, self.pool = slab, precision, pool
        self.features = UniNet(pool=pool)
        self.regulariser = VolumeUNet(CHANNELS, topology)
        self.refinement = DepthRefinement() if refine else None

    def forward(self, sample: Sample) -> Prediction:
        """`depth` and `confidence` (b 1 ceil(h/4) ceil(w/4)), and in `aux` `initial_depth`, that before a refinement.

        Depths are in the unit of the poses.

        Raises:
            Vo3dError: the sample has fewer than two views.
        """
        maps, K, world_T_cam, depths = self._views(sample, self.features)
        cost = variance_cost(maps, K, world_T_cam, depths, slab=self.slab)  # b 32 d h/4 w/4
        logits = self.regulariser(cost)  # b d h/4 w/4
        return self._predict(logits, depths, sample.image[:, 0], self.refinement)

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """`forward` without gradients and without the cost volume, as in evaluation mode."""
        refinement = None if self.refinement is None else folded(self.refinement)
        networks = folded(self.features), folded(self.regulariser), refinement
        samples = (sample.map(itemgetter(slice(row, row + 1))) for row in range(len(sample.image)))
        rows = [self._infer(one, *networks) for one in samples]
        return {name: torch.cat([row[name] for row in rows]) for name in ("depth", "confidence")}  # type: ignore[return-value]

    def _infer(
        self, sample: Sample, features: nn.Module, regulariser: VolumeUNet, refinement: nn.Module | None
    ) -> Prediction:
        """The prediction for one sample (b = 1) by networks that are ready for inference."""
        maps, K, world_T_cam, depths = self._views(sample, features)
        logits = torch.empty(1, self.num_depths, *maps[0].shape[2:], device=maps[0].device)
        slabs = variance_slabs(maps, K, world_T_cam, depths, slab=self.slab)
        begin = 0
        with torch.autocast(logits.device.type, DTYPES[self.precision], enabled=self.precision != "float32"):
            for part in regulariser.from_slabs(slabs, self.num_depths):
                logits[:, begin : begin + part.shape[1]] = part
                begin += part.shape[1]
        return self._predict(logits, depths, sample.image[:, 0], refinement)

    def _views(self, sample: Sample, features: nn.Module) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """The features of each view (b 32 h/4 w/4), K for their size (b s 3 3), poses, and the hypotheses (b d)."""
        K, world_T_cam, depth_range = posed_views(self, sample)
        maps = [features(view) for view in sample.image.unbind(1)]
        depths = depth_hypotheses(depth_range, self.num_depths, inverse=self.inverse)
        return maps, subsample_intrinsics(K, STRIDE), world_T_cam, depths

    def _predict(self, logits: Tensor, depths: Tensor, image: Tensor, refinement: nn.Module | None) -> Prediction:
        """From logits (b d h w) to depths."""
        probability = functional.softmax(logits.float(), dim=1)  # b d h w
        initial = expected_depth(probability, depths)[:, None]  # b 1 h w
        confidence = mass_around(probability.detach())[:, None]
        refined = initial if refinement is None else refinement(image, initial, depths[:, [0, -1]])
        return {"depth": refined, "confidence": confidence, "aux": {"initial_depth": initial}}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """`depth`, and `refined_depth` if there is a refinement: errors over the pixels with truth, see `loss` above.

        The mean over the counted pixels of each sample, then over the samples; a sample without such a pixel adds 0.
        The authors' program takes the mean of the two terms; the paper their weighted sum, which is what this gives.

        Raises:
            Vo3dError: the sample has no true depth.
        """
        if sample.depth is None or sample.depth_range is None:
            raise Vo3dError("MVSNet learns from depth, which the dataset does not give: choose one with true depth")
        truth = subsample(sample.depth[:, :1], STRIDE)  # b 1 h/4 w/4
        near, far = sample.depth_range[:, 0, :, None, None, None].unbind(1)  # b 1 1 1
        interval = (far - near) / (self.num_depths - 1)
        if self.loss_name == "authors":
            counted = (truth >= near + interval) & (truth <= far - interval)
        else:
            counted = truth > 0

        def term(depth: Tensor) -> Tensor:
            if self.loss_name == "authors":
                error = absolute(depth - truth) / interval
            else:
                error = huber(depth - truth, PORT_BETA) / PORT_BETA**2
            total = torch.where(counted, error, 0).sum(dim=(1, 2, 3))
            return (total / counted.sum(dim=(1, 2, 3)).clamp(min=1)).mean()

        terms = {"depth": term(prediction["aux"]["initial_depth"])}
        if self.refinement is not None:
            terms["refined_depth"] = self.refine_weight * term(prediction["depth"])
        return terms


class DepthRefinement(nn.Module):
    """Adds what it sees in the reference image to a depth map that is normalised to [0, 1].

    Source: Yao et al., "MVSNet", ECCV 2018, and the authors' program: three blocks of 32 channels and one plain
    convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(ConvBlock(4, 32), ConvBlock(32, 32), ConvBlock(32, 32))
        self.residual = nn.Conv2d(32, 1, 3, padding=1, bias=False)

    def forward(
        self, image: Float[Tensor, "b 3 h w"], depth: Float[Tensor, "b 1 i j"], depth_range: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b 1 i j"]:
        """The refined depth; the image is resized to the depth map."""
        near, far = depth_range[:, :, None, None, None].unbind(1)
        normalised = (depth - near) / (far - near)
        small = functional.interpolate(image, depth.shape[2:], mode="bilinear", align_corners=False)
        residual: Tensor = self.residual(self.blocks(torch.cat((small, normalised), dim=1)))
        return (normalised + residual) * (far - near) + near


def expected_depth(probability: Float[Tensor, "b d h w"], depths: Float[Tensor, "b d"]) -> Float[Tensor, "b h w"]:
    """The mean of the hypotheses under their probabilities (soft argmin): equation 3 of the paper."""
    return torch.einsum("bdhw,bd->bhw", probability, depths)


def mass_around(probability: Float[Tensor, "b d h w"]) -> Float[Tensor, "b h w"]:
    """The probability of the four hypotheses around the expected index: two up to it, two above it.

    Those that would lie outside the range count nothing.
    """
    d = probability.shape[1]
    steps = torch.arange(d, dtype=probability.dtype, device=probability.device)
    index = torch.einsum("bdhw,d->bhw", probability, steps).long().clamp(0, d - 1)  # b h w
    around = torch.stack([index + offset for offset in (-1, 0, 1, 2)], dim=1)  # b 4 h w
    inside = (around >= 0) & (around < d)
    mass = probability.gather(1, around.clamp(0, d - 1))
    return torch.where(inside, mass, 0).sum(dim=1).clamp(max=1)
