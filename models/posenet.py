"""PoseNet (Kendall, Grimes, Cipolla, ICCV 2015): the camera's pose in a known scene, from one image.

Source: A. Kendall, M. Grimes, R. Cipolla, "PoseNet: a convolutional network for real-time 6-DOF camera relocalization",
ICCV 2015; its release alexgkendall/caffe-posenet (heads, norm and weights of the loss); A. Kendall, R. Cipolla,
"Modelling uncertainty in deep learning for camera relocalization", ICRA 2016 (dropout samples) and "Geometric loss
functions for camera pose regression with deep learning", CVPR 2017 (learnt weights); S. Brahmbhatt et al., "MapNet",
CVPR 2018 (logarithms of quaternions).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import rotations, se3
from vo3d.known_truth import known_poses
from vo3d.layers.downsampling import Pool
from vo3d.layers.googlenet import GoogLeNet
from vo3d.layers.pose_code import PoseCode, Rotation
from vo3d.layers.trunk import TrunkName, check_pretrained, make_trunk
from vo3d.layers.uncertainty import calibrated
from vo3d.losses.regression import Norm, vector_error, weighted_by_uncertainty
from vo3d.model import Model, Prediction, Window
from vo3d.models import posenet_port as port
from vo3d.models.posenet_heads import AuxiliaryHead, PoseHead
from vo3d.recording import Recording
from vo3d.sample import Sample

Weighting = Literal["fixed", "learned"]
HEAD_WEIGHTS = (0.3, 0.3, 1.0)  # of the losses of the two auxiliary heads and of the last
AT_ONCE = 32  # crops that go through the trunk together in `predict`
LEAST_VARIANCE = 1e-12


class PoseNet(Model):
    """Regresses position and rotation from one image; one network knows one scene.

    A trunk makes features; a head of two layers gives three numbers of the position and those of the rotation
    (`vo3d.layers.pose_code`), which `fit` bases on the mean and extent of the training positions and on the mean
    rotation.

    Images larger than `size` are cropped: around the middle in training, where a transform draws other crops, and as
    `crops` says in inference. A crop has the pose of its image.

    Args:
        size: rows and columns of a crop.
        trunk: what makes the features; "googlenet" is the paper's, and has the two auxiliary heads in training.
        pretrained: have `fit` give the trunk ImageNet weights, where a pip package has some (extra `imagenet`).
        pool: what halves the maps of the trunk; None: as published.
        hidden: of the last head, 2048 in the paper.
        grid: rows and columns of averages of the last maps that the last head reads; the paper's is one average.
        dropout: of the last head.
        feature_dropout: of what it reads, 0.5 in the Bayesian PoseNet.
        rotation: "quaternion", of unit length in inference alone; "log_quaternion" or "6d".
        norm: of both errors: "l2" as the paper writes; "squared", halved and averaged over the batch as the released
            solver does; "l1".
        beta: weight of the rotation's error, with weighting "fixed"; its size goes with the norm (500 with "squared").
        weighting: "fixed", or "learned": loss exp(-s) + s for either error, from s = 0 and s = -3 on.
        crops: of an image in inference, evenly spaced, whose poses are averaged; 1: the one around the middle; 128 in
            the paper's dense evaluation.
        samples: networks thinned out by dropout in inference, whose poses are averaged and whose spread is the
            `log_variance`, times `variance_scale`; 0: none; the Bayesian PoseNet has 40. Their masks are the same for
            every image.
        position_std: of the first weights of the position; 0.5 in the release, whose outputs are metres.

    Raises:
        Vo3dError: an argument is out of its range, or a trunk has no weights to begin with.
    """

    needs = ("image",)
    loss_needs = ("world_T_cam",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)  # an instance with samples adds log_variance
    window = Window(views=1, overlap=0)
    refuses = ("mirror",)
    fixed = ("rotation", "grid")
    published: ClassVar[Mapping[str, KeyMap]] = port.PUBLISHED

    variance_scale: Tensor  # 2, of an instance with samples, see `vo3d.layers.uncertainty`

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        trunk: TrunkName = "googlenet",
        pretrained: bool = False,
        pool: Pool | None = None,
        hidden: int = 2048,
        grid: tuple[int, int] = (1, 1),
        dropout: float = 0.5,
        feature_dropout: float = 0.0,
        rotation: Rotation = "quaternion",
        norm: Norm = "l2",
        beta: float = 1.0,
        weighting: Weighting = "fixed",
        crops: int = 1,
        samples: int = 0,
        position_std: float = 0.5,
    ) -> None:
        super().__init__()
        if min(*size, *grid, hidden, crops) < 1 or samples < 0 or samples == 1:
            raise Vo3dError(
                f"size {size}, grid {grid}, hidden {hidden}, crops {crops}, samples {samples}: expected at least 1, "
                "and of samples none or at least 2"
            )
        if samples and not dropout + feature_dropout > 0:
            raise Vo3dError(f"{samples} samples without dropout are all alike: give dropout or feature_dropout")
        if not beta > 0 or not position_std > 0:
            raise Vo3dError(f"beta {beta}, position_std {position_std}: expected more than 0")
        self.size: tuple[int, int] = (size[0], size[1])
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self.rotation, self.norm, self.beta = rotation, norm, beta
        self.crops, self.samples = crops, samples
        if pretrained:
            check_pretrained(trunk)
        self.trunk = make_trunk(trunk, pool=pool)
        self.trunk_name, self.pool, self.pretrained = trunk, pool, pretrained
        self.code = PoseCode(rotation)
        numbers = self.code.count
        self.auxiliary = nn.ModuleList()
        if isinstance(self.trunk, GoogLeNet):
            self.auxiliary.extend(AuxiliaryHead(maps, numbers) for maps in self._tap_sizes())
        self.head = PoseHead(self.trunk.out_channels, self.grid, hidden, numbers, feature_dropout, dropout)
        for head in (*self.auxiliary, self.head):
            head.draw(position_std)
        self.log_variances = nn.Parameter(torch.tensor([0.0, -3.0])) if weighting == "learned" else None
        if samples:
            self.__dict__["gives"] = (*type(self).gives, "log_variance")
            self.register_buffer("variance_scale", torch.ones(2))

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Take mean and extent of the positions, and the mean rotation; give a `pretrained` trunk its weights.

        Raises Vo3dError where no recording has poses, all have one position, or the package with weights is missing.
        """
        if self.pretrained:
            self.trunk.load_state_dict(make_trunk(self.trunk_name, pool=self.pool, pretrained=True).state_dict())
        self.code.fit(known_poses(recordings))

    def forward(self, sample: Sample) -> Prediction:
        """Predict `world_T_cam` (b s 4 4) of the middle of each image, and what each head says of it (`aux`)."""
        batch = sample.image.shape[:2]
        image = self._crops(sample.image.flatten(0, 1), 1)[0]
        if isinstance(self.trunk, GoogLeNet) and self.training:
            *taps, maps = self.trunk.taps(image)
        else:
            taps, maps = [], self.trunk(image)
        heads = [head(tap) for head, tap in zip(self.auxiliary, taps, strict=False)]
        features = self.head.features(maps)
        heads.append(self.head(features))
        position = torch.stack([self.code.position(found) for found, _ in heads])  # heads n 3
        rotation = torch.stack([found for _, found in heads])  # heads n 3 | 4 | 6
        last = se3.from_rotation_translation(self.code.matrix(rotation[-1]), position[-1])
        prediction: Prediction = {
            "world_T_cam": last.reshape(*batch, 4, 4),
            "aux": {
                "position": position.reshape(-1, *batch, 3),
                "rotation": rotation.reshape(len(rotation), *batch, -1),
            },
        }
        if self.samples:
            with torch.no_grad():
                prediction["log_variance"] = self._sampled(features, 1)[2].reshape(*batch, 6)
        return prediction

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Predict `world_T_cam` as the mean over crops and samples; with samples `log_variance` (b s 6) as well.

        Raises Vo3dError where images are smaller than a crop, or leave no room for several.
        """
        batch = sample.image.shape[:2]
        crops = self._crops(sample.image.flatten(0, 1), self.crops)
        together = max(1, AT_ONCE // len(crops[0]))
        parts = [torch.cat(crops[start : start + together]) for start in range(0, len(crops), together)]
        features = torch.cat([self.head.features(self.trunk(part)) for part in parts])  # (crops n) features
        position, rotation, log_variance = self._read(features, len(crops))
        world_T_cam = se3.from_rotation_translation(rotation, position)
        prediction: Prediction = {"world_T_cam": world_T_cam.reshape(*batch, 4, 4)}
        if log_variance is not None:
            prediction["log_variance"] = log_variance.reshape(*batch, 6)
        return prediction

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the errors of position (metres) and rotation of all heads, weighted."""
        assert sample.world_T_cam is not None  # noqa: S101  by loss_needs
        aux = prediction["aux"]
        weights = aux["position"].new_tensor(HEAD_WEIGHTS[-len(aux["position"]) :])
        truth = sample.world_T_cam[..., :3, 3] - self.code.position_mean  # before it is rounded
        apart = aux["position"] - self.code.position_mean
        position = vector_error(apart.float(), truth.float(), self.norm).mean((1, 2)) @ weights.float()
        target = self.code.rotation_numbers(sample.world_T_cam[..., :3, :3])
        rotation = vector_error(aux["rotation"].float(), target.float(), self.norm).mean((1, 2)) @ weights.float()
        if self.log_variances is None:
            return {"position": position, "rotation": self.beta * rotation}
        return {
            "position": weighted_by_uncertainty(position, self.log_variances[0]),
            "rotation": weighted_by_uncertainty(rotation, self.log_variances[1]),
        }

    def _crops(self, image: Float[Tensor, "n 3 h w"], count: int) -> list[Float[Tensor, "n 3 height width"]]:
        """Cut `count` windows of the model's size out of images, evenly spaced; a single one around the middle."""
        height, width = self.size
        spare = (image.shape[-2] - height, image.shape[-1] - width)
        if min(spare) < 0 or (count > 1 and max(spare) == 0):
            room = f"more than {height}" if count > 1 else f"at least {height}"
            raise Vo3dError(
                f"PoseNet cuts {count} windows of {height} rows and {width} columns out of an image, but got images of "
                f"{image.shape[-2]} and {image.shape[-1]}: give the dataset a size of {room} rows and {width} columns"
            )
        rows, columns = _spread(count, spare)
        return [image[..., y : y + height, x : x + width] for y in rows for x in columns]

    @property
    def pool_padding(self) -> int | None:
        """Tell how GoogLeNet pads what it pools, on which published weights depend; None of other trunks."""
        return self.trunk.pool_padding if isinstance(self.trunk, GoogLeNet) else None

    def _tap_sizes(self) -> list[tuple[int, int, int]]:
        """Find channels, rows and columns of the maps that auxiliary heads read."""
        assert isinstance(self.trunk, GoogLeNet)  # noqa: S101  by the caller
        with torch.no_grad():
            taps = self.trunk.eval().taps(torch.zeros(1, 3, *self.size))[:-1]
        self.trunk.train()
        return [(tap.shape[1], tap.shape[2], tap.shape[3]) for tap in taps]

    def _read(
        self, features: Float[Tensor, "m f"], crops: int
    ) -> tuple[Float64[Tensor, "n 3"], Float64[Tensor, "n 3 3"], Float[Tensor, "n 6"] | None]:
        """Average what the head says of the crops of n images: position, rotation, with samples the log variance."""
        if self.samples:
            return self._sampled(features, crops)
        position, rotation = self.head(features)
        return (*self._mean_pose(position, rotation, crops), None)

    def _sampled(
        self, features: Float[Tensor, "m f"], crops: int
    ) -> tuple[Float64[Tensor, "n 3"], Float64[Tensor, "n 3 3"], Float[Tensor, "n 6"]]:
        """Average what networks thinned out by dropout say of the crops of n images, with the variance among them.

        The variance is calibrated.
        """
        generator = torch.Generator().manual_seed(0)  # the same masks on any device
        passes = [self.head.thinned(features, generator) for _ in range(self.samples)]
        found = [self._mean_pose(position, rotation, crops) for position, rotation in passes]
        position = torch.stack([one for one, _ in found])  # samples n 3
        matrices = torch.stack([one for _, one in found])  # samples n 3 3
        mean = rotations.mean_rotation(matrices)
        turns = rotations.so3_log(mean.mT @ matrices)  # samples n 3
        variance = torch.cat((position.var(0), turns.square().sum(0) / (self.samples - 1)), dim=-1)
        log_variance = calibrated(variance.clamp(min=LEAST_VARIANCE).log().float(), self.variance_scale)
        return position.mean(0), mean, log_variance

    def _mean_pose(
        self, position: Float[Tensor, "m 3"], rotation: Float[Tensor, "m c"], crops: int
    ) -> tuple[Float64[Tensor, "n 3"], Float64[Tensor, "n 3 3"]]:
        """Average what one head says of the crops of n images."""
        matrices = self.code.matrix(rotation).reshape(crops, -1, 3, 3)
        return self.code.position(position).reshape(crops, -1, 3).mean(0), rotations.mean_rotation(matrices)


def _spread(count: int, spare: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Choose the first rows and columns of `count` windows that `spare` pixels leave room for, evenly spaced.

    Of the ways to write the count as rows times columns it is the one nearest to the shape of the room.
    """
    ways = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    ways = [way for way in ways if all(room or num == 1 for num, room in zip(way, spare, strict=True))]
    rows, columns = min(ways, key=lambda way: abs((way[0] * (spare[1] + 1)) / (way[1] * (spare[0] + 1)) - 1))
    return _steps(rows, spare[0]), _steps(columns, spare[1])


def _steps(num: int, room: int) -> list[int]:
    """Space `num` numbers evenly from 0 to `room`; the middle for one."""
    return [room // 2] if num == 1 else [round(step * room / (num - 1)) for step in range(num)]
