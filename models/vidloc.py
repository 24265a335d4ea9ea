"""VidLoc (Clark et al., CVPR 2017): the camera's poses in a known scene, from a short clip of video.

Source: R. Clark, S. Wang, A. Markham, N. Trigoni, H. Wen, "VidLoc: a deep spatio-temporal model for 6-DoF video-clip
relocalization", CVPR 2017. There is no release of the authors. What the paper leaves open is an argument: the width
of the LSTM, the weights of the loss, the number of Gaussians.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from scipy.cluster.vq import kmeans
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry import se3
from vo3d.geometry.precision import full_precision
from vo3d.known_truth import known_poses
from vo3d.layers.downsampling import Pool
from vo3d.layers.feature_memory import FeatureMemory
from vo3d.layers.googlenet import GoogLeNet
from vo3d.layers.initialisation import initialise
from vo3d.layers.mixture_density import GaussianMixture, MixtureHead
from vo3d.layers.pose_code import PoseCode, Rotation
from vo3d.layers.trunk import TrunkName, check_pretrained, make_trunk
from vo3d.layers.uncertainty import calibrated
from vo3d.losses.regression import Norm, vector_error, weighted_by_uncertainty
from vo3d.model import Model, Prediction, Window
from vo3d.models import vidloc_port as port
from vo3d.recording import Recording
from vo3d.sample import Sample

Direction = Literal["both", "forward"]
Head = Literal["linear", "mixture"]
Weighting = Literal["fixed", "learned"]
Estimate = Literal["likeliest", "average"]
State = tuple[Tensor, Tensor]  # of an LSTM

SHARE = 0.25  # of a clip at either end, whose frames have little context, and do not count where clips overlap
AT_ONCE = 32  # images that go through the trunk together in `predict`
LEAST_VARIANCE = 1e-12


class VidLoc(Model):
    """Regresses position and rotation of every frame of a clip; one network knows one scene.

    A trunk makes a vector of each image; an LSTM that reads the clip in both directions joins them; a head gives the
    numbers of each pose (`vo3d.layers.pose_code`), or a mixture of Gaussians over them. States begin at zero in each
    clip. In inference clips have any length, and overlap: frames in their middle count. Images larger than `size` are
    cropped around the middle.

    The covariance of a mixture about the pose that is told is `log_variance`: metres along the world's axes, and
    radians about the camera's, to first order. `memory` holds features in place of images where a callback of the
    training keeps them (`vo3d.training.feature_cache`).

    Args:
        size: rows and columns of a crop.
        clip_length: frames of a clip in inference, unless the caller names a number.
        trunk: what makes the vectors; "googlenet" is the paper's.
        pretrained: have `fit` give the trunk ImageNet weights, where a pip package has some (extra `imagenet`).
        pool: what halves the maps of the trunk; None: as published.
        grid: rows and columns of averages of the last maps that make the vector; the paper's is one average.
        hidden: of the LSTM, in each direction.
        direction: "both" as the paper's; "forward" sees no future, and carries its state along a recording.
        head: "linear", the paper's first; "mixture", its second.
        components: Gaussians of a mixture; 1 is the plain heteroscedastic one.
        floor: their least standard deviation, in the scaled numbers of a pose.
        estimate: the pose that a mixture tells: its "likeliest" Gaussian, or its "average".
        rotation: see `PoseCode`.
        dropout: between LSTM and head.
        feature_dropout: of the vectors.
        cut: share of the training batches whose clips are cut in two at a random frame, so that the network learns
            clips of all lengths.
        norm, beta, weighting: of the loss of the linear head, see `PoseNet`.

    Raises:
        Vo3dError: an argument is out of its range, or a trunk has no weights to begin with.
    """

    needs = ("image",)
    loss_needs = ("world_T_cam",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)  # an instance with a mixture adds log_variance
    refuses = ("mirror",)
    fixed = ("rotation", "grid", "direction")
    published: ClassVar[Mapping[str, KeyMap]] = port.PUBLISHED

    memory: FeatureMemory | None = None
    variance_scale: Tensor  # 2, of an instance with a mixture, see `vo3d.layers.uncertainty`

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        clip_length: int = 20,
        trunk: TrunkName = "googlenet",
        pretrained: bool = False,
        pool: Pool | None = None,
        grid: tuple[int, int] = (1, 1),
        hidden: int = 256,
        direction: Direction = "both",
        head: Head = "linear",
        components: int = 5,
        floor: float = 1e-3,
        estimate: Estimate = "likeliest",
        rotation: Rotation = "quaternion",
        dropout: float = 0.5,
        feature_dropout: float = 0.0,
        cut: float = 0.0,
        norm: Norm = "l2",
        beta: float = 1.0,
        weighting: Weighting = "fixed",
    ) -> None:
        super().__init__()
        if min(*size, *grid, clip_length, hidden, components) < 1:
            raise Vo3dError(
                f"size {size}, grid {grid}, clip_length {clip_length}, hidden {hidden}, components {components}: "
                "expected at least 1"
            )
        if not (beta > 0 and floor > 0 and 0 <= cut <= 1):
            raise Vo3dError(f"beta {beta}, floor {floor}, cut {cut}: expected more than 0, and a share from 0 to 1")
        self.size: tuple[int, int] = (size[0], size[1])
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self.direction, self.rotation, self.estimate = direction, rotation, estimate
        self.cut, self.norm, self.beta = cut, norm, beta
        self.window = (
            Window(share=SHARE, usual=clip_length) if direction == "both" else Window(overlap=0, usual=clip_length)
        )
        if pretrained:
            check_pretrained(trunk)
        self.trunk = make_trunk(trunk, pool=pool)
        self.trunk_name, self.pool, self.pretrained = trunk, pool, pretrained
        self.feature_dropout = nn.Dropout(feature_dropout)
        width = self.trunk.out_channels * grid[0] * grid[1]
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=direction == "both")
        initialise(self.lstm, "orthogonal")
        self.dropout = nn.Dropout(dropout)
        self.code = PoseCode(rotation)
        out = hidden * (2 if direction == "both" else 1)
        self.mixture: MixtureHead | None = None
        self.log_variances: nn.Parameter | None = None
        if head == "mixture":
            self.mixture = MixtureHead(out, 3 + self.code.count, components, floor=floor)
            self.register_buffer("variance_scale", torch.ones(2))
            self.__dict__["gives"] = (*type(self).gives, "log_variance")
        else:
            self.xyz, self.turn = nn.Linear(out, 3), nn.Linear(out, self.code.count)
            if weighting == "learned":
                self.log_variances = nn.Parameter(torch.tensor([0.0, -3.0]))

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Base the numbers of poses on the training views; let Gaussians begin among them; give a trunk its weights.

        Raises Vo3dError where no recording has poses, all have one position, or the package with weights is missing.
        """
        if self.pretrained:
            self.trunk.load_state_dict(make_trunk(self.trunk_name, pool=self.pool, pretrained=True).state_dict())
        world_T_cam = known_poses(recordings)
        self.code.fit(world_T_cam)
        if self.mixture is not None:
            numbers = self._numbers(world_T_cam)
            centres = torch.from_numpy(kmeans(numbers.double().numpy(), self.mixture.components, rng=0)[0]).float()
            self.mixture.begin_at(centres[torch.arange(self.mixture.components) % len(centres)])

    def forward(self, sample: Sample) -> Prediction:
        """Predict `world_T_cam` (b s 4 4) of all views of clips, and what the head says of them (`aux`)."""
        features = self.feature_dropout(self._features(sample))
        return self._poses(torch.cat([self._read(part)[0] for part in self._cut(features)], 1))

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Predict `world_T_cam`, with a mixture `log_variance` (b s 6) as well, of clips of any length."""
        return self._poses(self._read(self._features(sample))[0])

    @torch.no_grad()
    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Predict clip after clip of a recording; a frame of several clips goes through the trunk once.

        Forward alone, the state of the LSTM goes on from clip to clip.
        """
        known: dict[int, Tensor] = {}
        state: State | None = None
        for sample in samples:
            assert sample.index is not None  # noqa: S101  of recordings
            places = sample.index[0].tolist()
            new = [view for view, place in enumerate(places) if place not in known]
            if new:
                known |= dict(zip([places[view] for view in new], self.describe(sample.image[0, new]), strict=True))
            known = {place: known[place] for place in places}
            context, after = self._read(torch.stack(list(known.values()))[None], state)
            state = after if self.direction == "forward" else None
            yield self._poses(context)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the errors of position and rotation, weighted; of a mixture -log p of the scaled numbers."""
        assert sample.world_T_cam is not None  # noqa: S101  by loss_needs
        aux, target = prediction["aux"], self._numbers(sample.world_T_cam)
        if self.mixture is not None:
            mixture = GaussianMixture(aux["logits"], aux["mean"], aux["deviation"])
            return {"likelihood": -mixture.log_density(target).mean()}
        apart = self.code.position_extent * (aux["numbers"].float() - target)[..., :3]  # metres
        position = vector_error(apart, torch.zeros_like(apart), self.norm).mean()
        rotation = vector_error(aux["numbers"][..., 3:].float(), target[..., 3:], self.norm).mean()
        if self.log_variances is None:
            return {"position": position, "rotation": self.beta * rotation}
        return {
            "position": weighted_by_uncertainty(position, self.log_variances[0]),
            "rotation": weighted_by_uncertainty(rotation, self.log_variances[1]),
        }

    def describe(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n f"]:
        """Make a vector of each image by the trunk.

        Raises Vo3dError where images are smaller than a crop.
        """
        (height, width), (rows, columns) = self.size, image.shape[-2:]
        if rows < height or columns < width:
            raise Vo3dError(
                f"VidLoc sees {height} rows and {width} columns of an image, but got images of {rows} and {columns}: "
                f"give the dataset a size of at least {height} rows and {width} columns"
            )
        y, x = (rows - height) // 2, (columns - width) // 2
        seen = image[..., y : y + height, x : x + width]
        maps = [self.trunk(part) for part in (torch.split(seen, AT_ONCE) if not self.training else (seen,))]
        return torch.cat([adaptive_avg_pool2d(one, self.grid).flatten(1) for one in maps])

    @property
    def pool_padding(self) -> int | None:
        """Tell how GoogLeNet pads what it pools, on which published weights depend; None of other trunks."""
        return self.trunk.pool_padding if isinstance(self.trunk, GoogLeNet) else None

    def _features(self, sample: Sample) -> Float[Tensor, "b s f"]:
        """Make the vectors of all views, or recall them."""
        if self.memory is not None:
            return self.memory.of(sample)
        return self.describe(sample.image.flatten(0, 1)).reshape(*sample.image.shape[:2], -1)

    def _cut(self, features: Float[Tensor, "b s f"]) -> Sequence[Float[Tensor, "b _ f"]]:
        """Cut clips in two at a random frame, now and then in training; states begin anew in each part."""
        length = features.shape[1]
        if not self.training or length < 2 or torch.rand(()) >= self.cut:
            return (features,)
        first = int(torch.randint(1, length, ()))
        return torch.split(features, [first, length - first], dim=1)

    @full_precision
    def _read(
        self, features: Float[Tensor, "b s f"], state: State | None = None
    ) -> tuple[Float[Tensor, "b s c"], State]:
        """Read clips, from zero or a state on."""
        return self.lstm(features, state)  # type: ignore[no-any-return]

    def _numbers(self, world_T_cam: Float64[Tensor, "*b 4 4"]) -> Float[Tensor, "*b c"]:
        """Encode poses: position and rotation one after the other."""
        position = self.code.position_numbers(world_T_cam[..., :3, 3])
        return torch.cat((position, self.code.rotation_numbers(world_T_cam[..., :3, :3])), -1)

    @full_precision
    def _poses(self, context: Float[Tensor, "b s c"]) -> Prediction:
        """Read the poses of frames off what the LSTM says of them."""
        context = self.dropout(context)
        if self.mixture is None:
            numbers = torch.cat((self.xyz(context), self.turn(context)), -1)
            return {"world_T_cam": self._decoded(numbers), "aux": {"numbers": numbers}}
        mixture = self.mixture(context)
        aux = {"logits": mixture.logits, "mean": mixture.mean, "deviation": mixture.deviation}
        with torch.no_grad():
            aligned = self._one_sided(mixture)
            told = aligned.likeliest() if self.estimate == "likeliest" else aligned.average()
            log_variance = calibrated(self._log_variance(aligned, told), self.variance_scale)
        return {"world_T_cam": self._decoded(told), "log_variance": log_variance, "aux": aux}

    def _decoded(self, numbers: Float[Tensor, "*b c"]) -> Float64[Tensor, "*b 4 4"]:
        """Decode poses."""
        return se3.from_rotation_translation(self.code.matrix(numbers[..., 3:]), self.code.position(numbers[..., :3]))

    def _one_sided(self, mixture: GaussianMixture) -> GaussianMixture:
        """Turn the quaternions of all Gaussians to the side of the likeliest: opposite ones are one rotation."""
        if self.rotation != "quaternion":
            return mixture
        side = (mixture.mean[..., 3:] * mixture.likeliest()[..., None, 3:]).sum(-1, keepdim=True)
        turned = torch.where(side < 0, -mixture.mean[..., 3:], mixture.mean[..., 3:])
        return replace(mixture, mean=torch.cat((mixture.mean[..., :3], turned), -1))

    def _log_variance(self, mixture: GaussianMixture, told: Float[Tensor, "*b c"]) -> Float[Tensor, "*b 6"]:
        """Compute log variances of metres and radians about the pose that is told, in float64 on the way."""
        wide = GaussianMixture(mixture.logits.double(), mixture.mean.double(), mixture.deviation.double())
        moment = wide.second_moment(told.double())
        metres = moment.diagonal(dim1=-2, dim2=-1)[..., :3] * self.code.position_extent.double().square()
        turn = self.code.turn_per_number(told[..., 3:])
        radians = (turn @ moment[..., 3:, 3:] @ turn.mT).diagonal(dim1=-2, dim2=-1)
        return torch.cat((metres, radians), -1).clamp(min=LEAST_VARIANCE).log().float()
