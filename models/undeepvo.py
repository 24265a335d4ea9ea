"""UnDeepVO: metric depth and motion of one camera, learnt from stereo video without labels.

Li, Wang, Long, Gu, "UnDeepVO: Monocular Visual Odometry through Unsupervised Deep Learning", ICRA 2018.
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
from vo3d.geometry.camera import flip_intrinsics, scale_intrinsics
from vo3d.geometry.stereo import check_pair
from vo3d.geometry.warp import reproject, warp_by_depth
from vo3d.layers.depth import spread_depth
from vo3d.layers.downsampling import Pool
from vo3d.model import DepthModel, Prediction, check_size
from vo3d.models import undeepvo_mistermap as port
from vo3d.models.undeepvo_networks import DepthNet, MotionNet
from vo3d.recording import Recording
from vo3d.sample import Sample

Network = Literal["paper", "mistermap"]
Output = Literal["depth", "inverse_depth"]


def _blended(depth: Float[Tensor, "*b h w"], mirrored: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Blend the depth of an image with that of its mirror image, turned back: the mean of their inverses.

    Near the left border the mirror's counts alone, and near the right one the other, with ramps from 5 to 10 % of the
    width.

    Source: the post-processing of Godard, Mac Aodha, Brostow, "Unsupervised monocular depth estimation with left-right
    consistency", CVPR 2017, there of disparities.
    """
    place = torch.linspace(0, 1, depth.shape[-1], device=depth.device)
    ramp = (20 * (place - 0.05)).clamp(0, 1)
    left, right = 1 - ramp, 1 - ramp.flip(0)
    own = right + (1 - left - right) / 2
    return 1 / (own / depth + (1 - own) / mirrored)


class UnDeepVO(DepthModel):
    """Metric depth of each frame and the motion between frames, from one camera; learnt from a rectified stereo pair.

    One network gives depth from an image alone, another the motion from two frames. Both are trained by what they make
    of the images: the right view from the left one and the reverse, the next frame from the one before and the reverse,
    with the known baseline for the metres. The defaults are the paper's networks (31.6 and 4.8 million parameters) at
    its resolution; configs/undeepvo_rendered.yaml has small ones.

    The paper publishes no weights of its terms. Beyond the paper: smoothness (0 leaves it out), and the canonical
    focal length: an image tells depth only together with the focal length, so the networks answer for a camera of
    `focal` times the image's width, and the answer is scaled to K: z by f / f_c, as are steps along the axis, angles
    across it by f_c / f.

    Convention: the motion network gives `next_T_cam` as (x, y, z) in metres and angles of R = Rx Ry Rz in radians, the
    transformation by which a frame is warped; `prev_T_cam` is its inverse. The network "mistermap" gives `prev_T_cam`.

    Args:
        size: rows and columns of the frames.
        channels: of the stages of the depth network.
        motion_channels: of the convolutions of the motion network.
        kernels: of the first stages of either network, odd; the others have 3.
        hidden: width of the heads of the motion network.
        batch_norm: batch normalisation after each convolution; the paper tells of none. Of the paper's networks; those
            of the port always have some.
        network: the paper's networks, or those of the port MisterMap/undeepvo, with the same channels, kernels and
            hidden; they pool. Its weights also need `pool` "max" and `focal` None.
        output: whether the last number is spread over depth, as the paper has it, or over inverse depth.
        min_depth, max_depth: metres between which it is spread, at the canonical focal length.
        focal: the canonical focal length, as a share of the image's width; KITTI's cameras have 0.58. None: the
            networks answer for whatever camera they see, and predictions need no K.
        motion_scale: factor of the motion network's output, so that a training begins near standing still.
        ssim_weight: share of structural similarity in the photometric errors, the rest is L1.
        ssim_window: pixels of its windows, an odd number.
        scales: sizes at which the photometric errors are taken, each half of the one before; 1 as the paper has it. A
            point that must move far finds its way at the smaller ones.
        temporal: weight of the photometric errors between frames; that between left and right has 1.
        disparity: weight of the disagreement of left and right disparities, as shares of the image's width.
        position, rotation: weights of the disagreement of the two cameras' motions, in metres and radians.
        registration: weight of the distance of the points of two frames, metres; where both are within `max_depth`.
        smoothness: weight of the edge-aware smoothness of inverse depth over its mean.
        edge_weight: how much an edge of the image lets inverse depth jump.
        mirror_right: show the networks the right view in a mirror, and mirror what they say. What only one camera sees
            then lies on the same side of things in all that they see; else no image tells on which.
        flip_blend: in use, look at each frame in a mirror as well and blend both depths, at twice the time: what the
            right camera does not see, at the left of things, is guessed, and in the mirror it lies at their right.
        spatial_share: share of the training in which only the terms between left and right count; motions learnt from
            depths that mean nothing yet are lost work. The motion network rests meanwhile.
        image_mean, image_std: RGB in [0, 1], of the training frames; kept with the weights.
        pool: what halves the maps, see `vo3d.layers.downsampling`; "stride" is the paper's network.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")
    loss_needs: ClassVar[tuple[str, ...]] = ("right", "left_T_right")
    gives = ("prev_T_cam", "depth")
    fixed = ("network", "output", "min_depth", "max_depth", "focal", "motion_scale", "pool")
    published: ClassVar[Mapping[str, KeyMap]] = {"mistermap": port.MISTERMAP, "mistermap-resnet": port.RESNET}

    image_mean: Tensor  # 3 1 1
    image_std: Tensor  # 3 1 1

    def __init__(
        self,
        size: tuple[int, int] = (128, 416),
        channels: Sequence[int] = (32, 64, 128, 256, 512, 512, 512),
        motion_channels: Sequence[int] = (16, 32, 64, 128, 256, 256, 512),
        kernels: Sequence[int] = (7, 5),
        hidden: int = 512,
        batch_norm: bool = False,
        network: Network = "paper",
        output: Output = "depth",
        min_depth: float = 1.0,
        max_depth: float = 100.0,
        focal: float | None = 0.58,
        motion_scale: float = 0.01,
        ssim_weight: float = 0.85,
        ssim_window: int = 3,
        scales: int = 1,
        temporal: float = 1.0,
        disparity: float = 1.0,
        position: float = 0.1,
        rotation: float = 0.1,
        registration: float = 0.001,
        smoothness: float = 0.02,
        edge_weight: float = 10.0,
        mirror_right: bool = False,
        flip_blend: bool = False,
        spatial_share: float = 0.0,
        image_mean: tuple[float, float, float] = (0.45, 0.45, 0.45),
        image_std: tuple[float, float, float] = (0.25, 0.25, 0.25),
        pool: Pool = "stride",
    ) -> None:
        super().__init__()
        odd = all(number > 0 and number % 2 == 1 for number in (*kernels, ssim_window))
        if not channels or not motion_channels or min(*size, *channels, *motion_channels, hidden) < 1 or not odd:
            raise Vo3dError(
                f"{size=}, {channels=}, {motion_channels=}, {hidden=}, {kernels=}, {ssim_window=}: expected numbers of "
                "at least 1, at least one of the channels of either network, and the last two odd"
            )
        least = min(size) >> max(scales - 1, 0)  # pixels of the smallest images that are compared
        if scales < 1 or least <= ssim_window // 2:
            raise Vo3dError(
                f"{scales=}, {ssim_window=}: expected at least one scale, and at the last one, where frames of size "
                f"{size} have {least} pixels, a window of at most {2 * least - 1}"
            )
        if not (0 < min_depth < max_depth and (focal is None or focal > 0) and motion_scale > 0 and min(image_std) > 0):
            raise Vo3dError(
                f"{min_depth=}, {max_depth=}, {focal=}, {motion_scale=}, {image_std=}: expected positive numbers, and "
                "min_depth below max_depth"
            )
        weights = (temporal, disparity, position, rotation, registration, smoothness, edge_weight)
        if not (all(weight >= 0 for weight in weights) and 0 <= ssim_weight <= 1 and 0 <= spatial_share < 1):
            raise Vo3dError(
                f"weights {weights}, {ssim_weight=}, {spatial_share=}: expected at least 0, and of the last two "
                "at most 1 and less than 1"
            )
        if output not in get_args(Output) or network not in get_args(Network):
            raise Vo3dError(f"{output=}, {network=}: expected one of {get_args(Output)}, one of {get_args(Network)}")
        self.size, self.network, self.output, self.pool = (size[0], size[1]), network, output, pool
        self.min_depth, self.max_depth, self.focal, self.motion_scale = min_depth, max_depth, focal, motion_scale
        self.ssim_weight, self.ssim_window, self.edge_weight = ssim_weight, ssim_window, edge_weight
        self.temporal, self.disparity, self.position, self.rotation = temporal, disparity, position, rotation
        self.scales, self.registration, self.smoothness, self.spatial_share = (
            scales,
            registration,
            smoothness,
            spatial_share,
        )
        self.mirror_right, self.flip_blend = mirror_right, flip_blend
        self.needs_progress = spatial_share > 0  # type: ignore[misc]
        self.register_buffer("image_mean", torch.tensor(image_mean).reshape(3, 1, 1))
        self.register_buffer("image_std", torch.tensor(image_std).reshape(3, 1, 1))
        if focal is None:
            self.needs, self.loss_needs = ("image",), ("K", *self.loss_needs)  # type: ignore[misc]
        self.depth_net: DepthNet | port.PortDepthNet
        self.motion_net: MotionNet | port.PortMotionNet
        if network == "mistermap":
            self.depth_net, self.motion_net = port.networks(size, channels, motion_channels, kernels, hidden, pool)
        else:
            self.depth_net = DepthNet(channels, kernels, batch_norm, pool)
            self.motion_net = MotionNet(self.size, motion_channels, kernels, hidden, batch_norm, pool)
        self.reset_parameters()

    def forward(self, sample: Sample) -> Prediction:
        """Compute `depth` (b s h w, metres) of each frame and `prev_T_cam` (b s-1 4 4, metres).

        Where the sample has a right view, `aux` has the same of it: `right_depth` and `right_prev_T_cam`.

        Raises:
            Vo3dError: the frames are not of the model's size, or have no K.
        """
        depth, prev_T_cam = self._answer(sample.image, sample.K)
        if sample.right is None:
            return {"depth": depth, "prev_T_cam": prev_T_cam}
        if self.mirror_right:
            right_depth, right_prev_T_cam = self._answer_in_mirror(sample.right, sample.K)
        else:
            right_depth, right_prev_T_cam = self._answer(sample.right, sample.K)
        aux = {"right_depth": right_depth, "right_prev_T_cam": right_prev_T_cam}
        return {"depth": depth, "prev_T_cam": prev_T_cam, "aux": aux}

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Compute the same of the left view alone; with `flip_blend` its depth also from its mirror image."""
        depth, prev_T_cam = self._answer(sample.image, sample.K)
        if self.flip_blend:
            depth = _blended(depth, self._answer_in_mirror(sample.image, sample.K)[0])
        return {"depth": depth, "prev_T_cam": prev_T_cam}

    def _answer(
        self, image: Float[Tensor, "b s 3 h w"], K: Float[Tensor, "b s 3 3"] | None
    ) -> tuple[Float[Tensor, "b s h w"], Float[Tensor, "b pairs 4 4"]]:
        """Compute depths and motions of one camera."""
        b, s, _, *size = image.shape
        check_size(self, image, self.size)
        if self.focal is None:
            longer = image.new_ones(b, s), image.new_ones(b, s)
        elif K is None:
            raise Vo3dError("UnDeepVO needs K, whose focal length makes its depths metres: give the dataset intrinsics")
        else:
            canonical = self.focal * self.size[1]
            longer = (K[..., 0, 0] / canonical).float(), (K[..., 1, 1] / canonical).float()  # b s
        image = (image - self.image_mean) / self.image_std
        share = self.depth_net(image.flatten(0, 1)).reshape(b, s, *size)  # of the way from near to far
        metres = spread_depth(share, self.min_depth, self.max_depth, inverse=self.output == "inverse_depth")
        depth = metres * longer[0][..., None, None]
        if s < 2:
            return depth, torch.eye(4, device=image.device).expand(b, 0, 4, 4)
        pairs = torch.cat((image[:, :-1], image[:, 1:]), dim=2)  # b s-1 6 h w
        vector = self.motion_scale * self.motion_net(pairs.flatten(0, 1)).reshape(b, s - 1, 6)
        x, y, z, pitch, yaw, roll = vector.unbind(-1)
        wide, tall = longer[0][:, :-1], longer[1][:, :-1]
        angles = torch.stack((pitch / tall, yaw / wide, roll), dim=-1)
        step = torch.stack((x, y * wide / tall, z * wide), dim=-1)
        motion = se3.from_rotation_translation(rotations.matrix_from_euler(angles, "xyz"), step)
        return depth, motion if self.network == "mistermap" else se3.inverse(motion)

    def _answer_in_mirror(
        self, image: Float[Tensor, "b s 3 h w"], K: Float[Tensor, "b s 3 3"] | None
    ) -> tuple[Float[Tensor, "b s h w"], Float[Tensor, "b pairs 4 4"]]:
        """Compute the same of the mirror image, turned back."""
        K = None if K is None else flip_intrinsics(K, self.size[1])
        depth, prev_T_cam = self._answer(image.flip(-1), K)
        return depth.flip(-1), se3.mirror(prev_T_cam)

    def check(self, recordings: Sequence[Recording]) -> None:
        """Refuse pairs that are swapped, not rectified, or without a baseline: Vo3dError names the recording.

        Three frames are looked at, of the first recording and of the last.
        """
        for recording in {one.name: one for one in (recordings[0], recordings[-1])}.values():
            last = len(recording) - 1
            clip = recording.clip(sorted({0, last // 2, last}))
            check_pair(clip.image, clip.right, clip.K, clip.left_T_right, recording.name)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the terms of section III-C, each the sum over its directions of means over the pixels that count.

        `stereo` photometric error of left from right and the reverse; `disparity`; and, once `spatial_share` of the
        training is over: `temporal` photometric error of each frame from its neighbours in either stream; `position`
        and `rotation`, the disagreement of the streams' motions; `registration`. `smoothness` is of all four maps.

        Raises:
            Vo3dError: the sample has no right view.
        """
        if sample.right is None or sample.left_T_right is None or sample.K is None:
            raise Vo3dError(
                "UnDeepVO learns from stereo video, and the dataset gives no right, left_T_right or K: turn stereo on "
                "in its arguments, or only predict"
            )
        aux = prediction["aux"]
        depths = prediction["depth"], aux["right_depth"]
        images = sample.image, sample.right
        terms = self._spatial(images, depths, sample.K, sample.left_T_right)
        if self.smoothness > 0:
            terms["smoothness"] = self.smoothness * sum(map(self._roughness, depths, images), depths[0].new_zeros(()))
        if images[0].shape[1] > 1 and not (self.training and self.progress < self.spatial_share):
            motions = prediction["prev_T_cam"], aux["right_prev_T_cam"]
            terms |= self._temporal(images, depths, motions, sample.K)
            apart, turn = losses.pose_consistency(*motions, sample.left_T_right[:, None])
            terms |= {"position": self.position * apart.mean(), "rotation": self.rotation * turn.mean()}
        return terms

    def _spatial(
        self, images: tuple[Tensor, Tensor], depths: tuple[Tensor, Tensor], K: Tensor, left_T_right: Tensor
    ) -> dict[str, Tensor]:
        """Compute what compares left and right views of one instant (each b s c h w, b s h w)."""
        right_T_left = se3.inverse(left_T_right)[:, None]
        baseline = left_T_right[:, :3, 3].norm(dim=-1)
        unit = (K[..., 0, 0] * baseline[:, None] / self.size[1])[..., None, None]  # disparity is unit / depth
        disparities = unit / depths[0], unit / depths[1]
        photometric = disparity = depths[0].new_zeros(())
        for this, other, other_T_this in ((0, 1, right_T_left), (1, 0, left_T_right[:, None])):
            photometric = photometric + self._photometric(images[this], images[other], depths[this], other_T_this, K, K)
            pixels, _ = reproject(depths[this], K, other_T_this)
            apart = losses.disparity_consistency(disparities[this], disparities[other], pixels)
            disparity = disparity + losses.masked_mean(*apart)
        return {"stereo": photometric, "disparity": self.disparity * disparity}

    def _temporal(
        self, images: tuple[Tensor, Tensor], depths: tuple[Tensor, Tensor], motions: tuple[Tensor, Tensor], K: Tensor
    ) -> dict[str, Tensor]:
        """Compute what compares neighbouring frames of either stream, forwards and backwards in time."""
        photometric = registration = depths[0].new_zeros(())
        for image, depth, prev_T_cam in zip(images, depths, motions, strict=True):
            near = torch.where(depth < self.max_depth, depth, 0.0)  # what is farther would outweigh the rest
            earlier, later = slice(None, -1), slice(1, None)
            for this, other, other_T_this in ((earlier, later, se3.inverse(prev_T_cam)), (later, earlier, prev_T_cam)):
                photometric = photometric + self._photometric(
                    image[:, this], image[:, other], depth[:, this], other_T_this, K[:, this], K[:, other]
                )
                if self.registration > 0:
                    pixels, _ = reproject(near[:, this], K[:, this], other_T_this, K[:, other])
                    apart = losses.registration_error(
                        near[:, this], near[:, other], pixels, K[:, this], other_T_this, K[:, other]
                    )
                    registration = registration + losses.masked_mean(*apart)
        return {"temporal": self.temporal * photometric, "registration": self.registration * registration}

    def _photometric(
        self, image: Tensor, other: Tensor, depth: Tensor, other_T_this: Tensor, K: Tensor, K_other: Tensor
    ) -> Float[Tensor, ""]:
        """Compute the mean photometric error of views (b s 3 h w) made from others, over the pixels and the scales."""
        inverse, means = 1 / depth, []
        for level in range(self.scales):
            if level > 0:
                image, other, inverse = (losses.halved(maps) for maps in (image, other, inverse))
                K, K_other = scale_intrinsics(K, 0.5, 0.5), scale_intrinsics(K_other, 0.5, 0.5)
            made, valid = warp_by_depth(other, 1 / inverse, K, other_T_this, K_other)  # b s 3 h w
            error = losses.photometric_error(image, made, valid, self.ssim_weight, self.ssim_window)
            means.append(losses.masked_mean(error, valid))
        return torch.stack(means).mean()

    def _roughness(self, depth: Float[Tensor, "b s h w"], image: Float[Tensor, "b s 3 h w"]) -> Float[Tensor, ""]:
        """Compute the mean edge-aware smoothness of inverse depth over its mean."""
        across, down = losses.edge_aware_smoothness(losses.normalised_by_mean(1 / depth), image, self.edge_weight)
        return across.mean() + down.mean()

    def reset_parameters(self) -> None:
        """Draw new weights: Glorot and Bengio (2010) for depth, He et al. (2015) for motion, with biases of 0.

        Depths begin nearly even, in the nearer part of their range, where the last function is not saturated.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                if name.startswith("depth_net"):
                    nn.init.xavier_uniform_(module.weight)
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.depth_net.head.weight.mul_(0.1)
            self.depth_net.head.bias.fill_(2.0 if self.output == "inverse_depth" else -2.0)  # type: ignore[union-attr]
