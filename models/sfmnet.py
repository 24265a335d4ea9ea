"""SfM-Net: depth, camera motion, masks of what moves and how it moves, learnt from pairs of frames.

Vijayanarasimhan, Ricco, Schmid, Sukthankar, Fragkiadaki, "SfM-Net: Learning of Structure and Motion from Video", 2017.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d import losses
from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import rotations, se3
from vo3d.geometry.camera import backproject, pixel_grid
from vo3d.geometry.scene_flow import flow_of_points, object_displacement, transform_maps
from vo3d.geometry.warp import warp_by_flow
from vo3d.layers.depth import spread_depth
from vo3d.layers.downsampling import Pool
from vo3d.model import DepthModel, Prediction, check_size
from vo3d.models.sfmnet_networks import PIVOTS, MotionNet, Motions, StructureNet, Up
from vo3d.models.sfmnet_port import TROYZGU
from vo3d.recording import Recording
from vo3d.sample import Sample

Supervision = Literal["none", "motion", "depth"]
Intrinsics = Literal["known", "default"]
Output = Literal["relu", "depth", "inverse_depth"]
Rotation = Literal["sines", "angles"]
MOST_SINE = 1 - 1e-6  # at 1 the arc sine has no gradient


class SfMNet(DepthModel):
    """Takes a pair of frames apart into depth, the motion of the camera, and k masks that move rigidly.

    The structure network gives depth from one frame, the motion network the rest from two. Points of the depth are
    carried on by the masks that they belong to, then by the camera; where they are seen then is optical flow, and the
    next frame, sampled there, must look like this one. Both orders of each pair go through one batch. The defaults are
    the paper's networks at its resolution; configs/sfmnet_rendered.yaml has small ones.

    The paper publishes no weights of its terms. Beyond the paper: `output` "inverse_depth", structural similarity,
    several scales, edges; the second-order smoothness is of maps over their means, so that none is had by shrinking.

    Convention: of a pair (this, other) every motion is R X + (t - R p), with translation t and pivot p, so the identity
    has t = p. `next_T_cam` maps points of this camera into the other one, and `prev_T_cam` is its inverse;
    `object_motion` moves points in the axes of this camera before it moves. R = R_z(a) R_y(b) R_x(c) of the three
    numbers in their order. Without supervision depth and translations share one free scale.

    Args:
        size: rows and columns of the frames.
        num_masks: k.
        channels: of the stages of both networks; each halves the maps of the one before.
        hidden: width of the two linear layers that all motions share.
        camera_hidden: widths of further layers of the camera's rotation and translation; the paper has none.
        up: how maps grow: "depth_to_space" as the paper has it, or "deconv", as its ports do.
        supervision: what is learnt from beside the images: nothing, the true motion of the camera, or true depth.
        intrinsics: "known": K of the samples; "default": the normalised (0.5, 0.5, 1) of the paper, where K is unknown:
            the centre of the image, and focal lengths of w - 1 and h - 1 pixels.
        output: depth as ReLU with a bias of 1, at most `max_depth`, as the paper has it; or a sigmoid that is spread
            over "depth" or "inverse_depth" between `min_depth` and `max_depth`.
        min_depth, max_depth: bounds of depth; metres with supervision.
        rotation: "sines": three sines, limited to [-1, 1], as the paper has it; "angles": pi times a tanh, as its ports
            do for the camera, with angles of objects without the tanh.
        pivot_extent: a pivot is an average of places in the plane z = 1, with x and y up to these ends: half the image
            where the focal length is 1, as the paper's heat map over its locations; its ports have (30, 20).
        sharpness: factor of the masks' logits at the start of the training and at its end; it grows with the square of
            the progress. Kept with the weights, for inference.
        swap_from: share of the training after which pairs are seen in both orders, as the paper has it from the start;
            before, in the order of time alone, of which the last layers' biases learn the mean motion at once.
        masks_from: share of the training after which masks count; before, the world is static, so that the motion of
            the camera is not learnt as one of masks that are everywhere.
        photometric: weight of the difference of a frame and the other one, warped.
        ssim_weight: share of structural similarity in it; 0 as the paper has it: L1.
        scales: sizes at which frames are compared, each half of the one before; 1 as the paper has it.
        consistency: weight of the difference of moved depth and the other frame's depth (forward-backward).
        smoothness: weight of the second derivatives of depth, or of inverse depth where that is the output.
        flow_smoothness: weight of the first derivatives of flow, in shares of the image's width.
        motion_smoothness: weight of the first derivatives of what masks add to points.
        edge_weight: how much an edge of the image lets flow and motion jump; 0 as the paper has it.
        camera: weight of the supervision by motion, metres plus radians.
        depth: weight of the supervision by depth, metres.
        image_mean, image_std: RGB in [0, 1], of the training frames; kept with the weights.
        pool: what halves the maps, see `vo3d.layers.downsampling`; "stride" is the paper's network.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")
    gives = ("depth", "prev_T_cam", "flow", "mask", "object_motion")
    needs_progress = True
    fixed = ("up", "intrinsics", "output", "min_depth", "max_depth", "rotation", "pivot_extent", "pool")
    published: ClassVar[Mapping[str, KeyMap]] = {"troyzgu": TROYZGU}

    image_mean: Tensor  # 3 1 1
    image_std: Tensor  # 3 1 1
    sharpness: Tensor  # a number
    places: Tensor  # p 3

    def __init__(
        self,
        size: tuple[int, int] = (128, 384),
        num_masks: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256, 512, 1024),
        hidden: int = 512,
        camera_hidden: Sequence[int] = (),
        up: Up = "depth_to_space",
        supervision: Supervision = "none",
        intrinsics: Intrinsics = "known",
        output: Output = "relu",
        min_depth: float = 1.0,
        max_depth: float = 100.0,
        rotation: Rotation = "sines",
        pivot_extent: tuple[float, float] = (0.5, 0.5),
        sharpness: tuple[float, float] = (1.0, 10.0),
        swap_from: float = 0.0,
        masks_from: float = 0.0,
        photometric: float = 1.0,
        ssim_weight: float = 0.0,
        scales: int = 1,
        consistency: float = 0.001,
        smoothness: float = 0.01,
        flow_smoothness: float = 0.01,
        motion_smoothness: float = 0.01,
        edge_weight: float = 0.0,
        camera: float = 1.0,
        depth: float = 0.1,
        image_mean: tuple[float, float, float] = (0.45, 0.45, 0.45),
        image_std: tuple[float, float, float] = (0.25, 0.25, 0.25),
        pool: Pool = "stride",
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(*size, num_masks, *channels, hidden, *camera_hidden) < 1:
            raise Vo3dError(
                f"{size=}, {num_masks=}, {channels=}, {hidden=}, {camera_hidden=}: expected at least two channels, "
                "and numbers of at least 1"
            )
        if up == "depth_to_space" and any(number % 4 for number in channels[1:]):
            raise Vo3dError(
                f"{channels=}: expected multiples of 4 after the first, which {up=} spreads over 2x2 pixels"
            )
        if scales < 1 or min(size) >> max(scales - 1, 0) < 2:
            raise Vo3dError(f"{scales=}: expected at least 1, and frames of size {size} at least 2 pixels at the last")
        known = get_args(Supervision), get_args(Intrinsics), get_args(Output), get_args(Rotation), get_args(Up)
        for word, words in zip((supervision, intrinsics, output, rotation, up), known, strict=True):
            if word not in words:
                raise Vo3dError(f"{word!r} is unknown: expected one of {', '.join(words)}")
        if not (0 < min_depth < max_depth and min(*pivot_extent, *sharpness) >= 0 and min(image_std) > 0):
            raise Vo3dError(
                f"{min_depth=}, {max_depth=}, {pivot_extent=}, {sharpness=}, {image_std=}: expected positive depths, "
                "the first below the second, positive deviations, and otherwise numbers of at least 0"
            )
        weights = (photometric, consistency, smoothness, flow_smoothness, motion_smoothness, edge_weight, camera, depth)
        shares = (ssim_weight, swap_from, masks_from)
        if min(weights) < 0 or not all(0 <= share <= 1 for share in shares):
            raise Vo3dError(
                f"weights {weights}, {ssim_weight=}, {swap_from=}, {masks_from=}: expected at least 0, and of the last "
                "three at most 1"
            )
        self.size, self.num_masks, self.up, self.pool = (size[0], size[1]), num_masks, up, pool
        self.supervision, self.intrinsics, self.output, self.rotation = supervision, intrinsics, output, rotation
        self.min_depth, self.max_depth = min_depth, max_depth
        self.pivot_extent, self.ends = (pivot_extent[0], pivot_extent[1]), (sharpness[0], sharpness[1])
        self.swap_from, self.masks_from = swap_from, masks_from
        self.photometric, self.ssim_weight, self.scales = photometric, ssim_weight, scales
        self.consistency, self.smoothness, self.edge_weight = consistency, smoothness, edge_weight
        self.flow_smoothness, self.motion_smoothness = flow_smoothness, motion_smoothness
        self.camera, self.depth = camera, depth
        self.loss_needs = {"none": (), "motion": ("world_T_cam",), "depth": ("depth",)}[supervision]  # type: ignore[misc]
        if intrinsics == "default":
            self.needs = ("image",)  # type: ignore[misc]
        self.register_buffer("image_mean", torch.tensor(image_mean).reshape(3, 1, 1))
        self.register_buffer("image_std", torch.tensor(image_std).reshape(3, 1, 1))
        self.register_buffer("sharpness", torch.tensor(self.ends[0]))
        rows, columns = PIVOTS
        x = torch.linspace(-pivot_extent[0], pivot_extent[0], columns).repeat(rows)
        y = torch.linspace(-pivot_extent[1], pivot_extent[1], rows).repeat_interleave(columns)
        self.register_buffer("places", torch.stack((x, y, torch.ones_like(x)), dim=-1), persistent=False)
        self.structure = StructureNet(channels, up, pool)
        self.motion = MotionNet(self.size, num_masks, channels, up, pool, hidden, camera_hidden)
        self.reset_parameters()

    def forward(self, sample: Sample) -> Prediction:
        """Compute `depth` (b s h w), and of each view and the next one `prev_T_cam`, `flow`, `mask`, `object_motion`.

        `aux` has the same of the pairs in both orders, for the loss: `next_T_cam`, `flow`, `mask`, `moved` (points at
        the other instant, in the other camera), `displacement` (what the masks add) and `visible`.

        Raises:
            Vo3dError: there is one frame alone, the frames are not of the model's size, or have no K.
        """
        if self.training:
            first, last = self.ends
            self.sharpness.fill_(first + (last - first) * self.progress**2)
        return self._answer(sample, both=not self.training or self.progress >= self.swap_from, aux=True)

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Compute the same of each view and the next one alone, without `aux`."""
        return self._answer(sample, both=False, aux=False)

    def _answer(self, sample: Sample, *, both: bool, aux: bool) -> Prediction:
        """Compute everything; of pairs in both orders, and with what the loss reads, if asked to."""
        _, s, _, *size = sample.image.shape
        if s < 2:
            raise Vo3dError("one frame: SfMNet takes a pair apart; give clips of at least 2 frames")
        check_size(self, sample.image, self.size)
        image = (sample.image - self.image_mean) / self.image_std
        depth = self._depth(image)  # b s h w
        this, other = _pairs(s, both=both)
        K = self._K(sample)
        said = self.motion(torch.cat((image[:, this], image[:, other]), dim=2).flatten(0, 1))
        motion = self._motions(said).reshape(-1, len(this), 1 + self.num_masks, 4, 4)
        mask = torch.sigmoid(self.sharpness * said.masks).reshape(-1, len(this), self.num_masks, *size)
        next_T_cam, object_motion = motion[:, :, 0], motion[:, :, 1:]
        points = backproject(K[:, this], depth[:, this]).movedim(-1, -3)  # b n 3 h w
        displacement = object_displacement(points, mask, object_motion)
        if self.training and self.progress < self.masks_from:
            displacement = 0 * displacement  # so that parallel training finds a gradient of every parameter
        moved = transform_maps(next_T_cam, points + displacement)
        flow, visible = flow_of_points(moved, K[:, other])
        prediction: Prediction = {
            "depth": depth,
            "prev_T_cam": se3.inverse(next_T_cam[:, : s - 1]),
            "flow": flow[:, : s - 1],
            "mask": mask[:, : s - 1],
            "object_motion": object_motion[:, : s - 1],
        }
        if aux:
            prediction["aux"] = {
                "next_T_cam": next_T_cam,
                "flow": flow,
                "mask": mask,
                "moved": moved,
                "displacement": displacement,
                "visible": visible,
            }
        return prediction

    def _depth(self, image: Float[Tensor, "b s 3 h w"]) -> Float[Tensor, "b s h w"]:
        """Compute depth of each frame."""
        number: Tensor = self.structure(image.flatten(0, 1)).reshape(*image.shape[:2], *self.size)
        if self.output == "relu":
            return number.relu().clamp(max=self.max_depth)
        share = torch.sigmoid(number)
        return spread_depth(share, self.min_depth, self.max_depth, inverse=self.output == "inverse_depth")

    def _K(self, sample: Sample) -> Float[Tensor, "b s 3 3"]:
        """Return the intrinsics, of the sample or those by which the paper replaces unknown ones."""
        if self.intrinsics == "known":
            if sample.K is None:
                raise Vo3dError("SfMNet needs K: give the dataset intrinsics, or the model intrinsics: default")
            return sample.K
        h, w = self.size
        K = sample.image.new_tensor([[w - 1, 0, (w - 1) / 2], [0, h - 1, (h - 1) / 2], [0, 0, 1]])
        return K.expand(*sample.image.shape[:2], 3, 3)

    def _motions(self, said: Motions) -> Float[Tensor, "n m 4 4"]:
        """Make rigid motions R X + (t - R p) of what the motion network says."""
        if self.rotation == "sines":
            angles = torch.asin(said.rotation.clamp(-MOST_SINE, MOST_SINE))
        else:
            camera, objects = said.rotation[:, :1], said.rotation[:, 1:]
            angles = torch.pi * torch.cat((torch.tanh(camera), objects), dim=1)
        R = rotations.matrix_from_euler(angles, "zyx")
        pivot = (said.pivot[..., None] * self.places).sum(-2)  # n m 3; not a matmul, which may round to TF32
        return se3.from_rotation_translation(R, said.translation - (R * pivot[..., None, :]).sum(-1))

    def check(self, recordings: Sequence[Recording]) -> None:
        """Refuse recordings without the truth that the supervision asks for: Vo3dError names the recording."""
        for recording in {one.name: one for one in (recordings[0], recordings[-1])}.values():
            sample = recording.clip((0,))
            if self.supervision == "depth" and (sample.depth is None or not bool((sample.depth > 0).any())):
                raise Vo3dError(
                    f"{recording.name} gives no depth for supervision: depth: turn it on in the dataset's arguments, "
                    "choose data with a true depth, or supervision: none"
                )
            if self.supervision == "motion" and sample.world_T_cam is None:
                raise Vo3dError(
                    f"{recording.name} gives no poses for supervision: motion: choose data with true poses, or "
                    "supervision: none"
                )

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the terms of section 3.3, means over pairs of both orders and over the pixels that count.

        `photometric`; `consistency` of moved depth and the other frame's; `smoothness`, `flow_smoothness` and
        `motion_smoothness`; with supervision `translation` and `rotation`, or `depth`.

        Raises:
            Vo3dError: the sample lacks the truth of the supervision.
        """
        aux, depth, image = prediction["aux"], prediction["depth"], sample.image
        both = aux["flow"].shape[1] > image.shape[1] - 1
        this, other = _pairs(image.shape[1], both=both)
        flow, visible = aux["flow"], aux["visible"]
        h, w = self.size
        grid = pixel_grid(h, w, device=flow.device)
        pixels = torch.where(visible[..., None], grid + flow.movedim(-3, -1), torch.nan)  # b n h w 2
        terms = {"photometric": self.photometric * self._photometric(image[:, this], image[:, other], flow, visible)}
        if self.consistency > 0:
            apart = losses.moved_depth_error(aux["moved"][..., 2, :, :], depth[:, other], pixels)
            terms["consistency"] = self.consistency * losses.masked_mean(*apart)
        if self.smoothness > 0:
            maps = 1 / depth if self.output == "inverse_depth" else depth
            curved = losses.second_order_smoothness(losses.normalised_by_mean(maps))
            terms["smoothness"] = self.smoothness * torch.stack([part.mean() for part in curved]).sum()
        for name, field in (("flow_smoothness", flow / w), ("motion_smoothness", aux["displacement"])):
            if (weight := getattr(self, name)) > 0:
                rough = [
                    losses.edge_aware_smoothness(one, image[:, this], self.edge_weight) for one in field.unbind(-3)
                ]
                terms[name] = weight * torch.stack([part.mean() for parts in rough for part in parts]).sum()
        return terms | self._supervised(prediction, sample)

    def _photometric(self, image: Tensor, other: Tensor, flow: Tensor, visible: Tensor) -> Float[Tensor, ""]:
        """Compute the mean difference of frames (b n 3 h w) and the others, warped by flow, over pixels and scales.

        Pixels that have left the other image count as if they had not moved: nothing is won by moving out.
        """
        means = []
        for level in range(self.scales):
            if level > 0:
                image, other, flow = (losses.halved(maps) for maps in (image, other, flow))
                flow = flow / 2
                visible = losses.halved(visible.float()) == 1
            made, valid = warp_by_flow(other, torch.where(visible[..., None, :, :], flow, torch.nan))
            error = losses.photometric_error(image, made, valid, self.ssim_weight)
            still = losses.photometric_error(image, other, ssim_weight=self.ssim_weight)
            means.append(torch.where(valid, error, still).mean())
        return torch.stack(means).mean()

    def _supervised(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the terms of the supervision."""
        if self.supervision == "motion":
            if sample.world_T_cam is None:
                raise Vo3dError("supervision: motion needs world_T_cam: choose data with true poses, or none")
            steps = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])  # b s-1 4 4: prev_T_cam
            found = prediction["aux"]["next_T_cam"]
            truth = torch.cat((se3.inverse(steps), steps), dim=1)[:, : found.shape[1]].to(found)
            apart, turn = losses.pose_error(found, truth)
            return {"translation": self.camera * apart.mean(), "rotation": self.camera * turn.mean()}
        if self.supervision == "depth":
            if sample.depth is None:
                raise Vo3dError("supervision: depth needs depth: turn it on in the dataset's arguments, or choose none")
            known = (sample.depth > 0) & (sample.depth < self.max_depth)
            return {"depth": self.depth * losses.masked_mean((prediction["depth"] - sample.depth).abs(), known)}
        return {}

    def reset_parameters(self) -> None:
        """Draw new weights, He et al. (2015): depth near 1 or even, motions near the identity, masks half full."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        even = {"relu": 1.0, "depth": -2.0, "inverse_depth": 2.0}[self.output]
        with torch.no_grad():
            for head, bias in ((self.structure.head, even), (self.motion.mask_head, 0.0)):
                head.weight.mul_(0.1)
                nn.init.constant_(head.bias, bias)  # type: ignore[arg-type]
            for name, last in self.motion.last_layers():
                last.weight.mul_(0.01)
                if name == "translation":  # the pivot, without which nothing stands still
                    last.bias.copy_(torch.tensor([0.0, 0.0, 1.0]).repeat(len(last.bias) // 3))


def _pairs(num_frames: int, *, both: bool) -> tuple[list[int], list[int]]:
    """List this and the other frame of each pair of neighbours, forwards in time, then backwards if asked to."""
    earlier, later = list(range(num_frames - 1)), list(range(1, num_frames))
    return (earlier + later, later + earlier) if both else (earlier, later)
