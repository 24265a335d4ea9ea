"""VINet: odometry of a camera and an inertial sensor, fused by recurrent networks on SE(3).

Clark, Wang, Wen, Markham, Trigoni, "VINet: Visual-Inertial Odometry as a Sequence-to-Sequence Learning Problem",
AAAI 2017.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.layers.downsampling import Pool
from vo3d.layers.flownet import FlowNet, flownet_encoder
from vo3d.layers.inertial_lstm import InertialLSTM, LSTMState
from vo3d.layers.initialisation import initialise
from vo3d.layers.se3_composition import compose_twists, seven_from_pose
from vo3d.losses import vector_error
from vo3d.model import Model, Prediction, check_continues, check_size
from vo3d.models.vinet_port import PUBLISHED
from vo3d.sample import Sample

Senses = Literal["both", "images", "imu"]
NEEDS: dict[Senses, tuple[str, ...]] = {"both": ("image", "imu"), "images": ("image",), "imu": ("imu",)}
POSE = 7  # numbers of a pose that is fed back


@dataclass(frozen=True)
class State:
    """The memory of a stream between two clips."""

    core: LSTMState
    inertial: LSTMState | None  # None without an IMU
    pose: Float[Tensor, "b 4 4"]  # since the last return to the identity
    steps: int  # since then

    def detached(self) -> "State":
        """Cut the memory from the graph."""
        core, inertial = (state and (state[0].detach(), state[1].detach()) for state in (self.core, self.inertial))
        assert core is not None  # noqa: S101  by its type
        return State(core, inertial, self.pose.detach(), self.steps)


class VINet(Model):
    """Metric motion of a camera from its frames and the readings of an IMU: no calibration between the two is needed.

    A convolutional network sees pairs of frames, an LSTM reads the IMU at its own rate, a second LSTM at the rate of
    the frames joins both and the pose so far, and its output is a twist, which the SE(3) composition layer multiplies
    into poses. That structure is the paper's; sizes, weights and schedule are ours (223 million parameters).

    Convention: the outputs are tangent vectors of `prev_T_cam`, metres before radians (`vo3d.geometry.se3`); the
    composed pose of each clip, relative to its first frame, is `start_T_cam` in `aux`.

    Args:
        size: rows and columns of the frames; fixed, because the first recurrent matrix depends on it.
        senses: "both"; or one alone, to measure what the other is worth: "images" has no inertial LSTM, "imu" no
            convolutions, and looks at no image.
        trunk: "flownets" sees two frames laid on each other; "flownetc" correlates features of either.
        width: multiplier of the convolutions' channels.
        batch_norm: batch normalisation after each convolution.
        leaky_slope: slope of the rectifiers below zero.
        max_displacement: of the correlation, in pixels of maps of an eighth of the size (flownetc).
        grid: average the last features over this many rows and columns before the recurrent part; None keeps all.
        imu_hidden, imu_layers: size of the inertial LSTM.
        hidden, num_layers: size of the core LSTM.
        head: widths of linear layers between the core LSTM and the twist, without rectifiers.
        horizon: steps after which the pose that is fed back begins at the identity again; no less than the steps of a
            training clip, so that a network never meets poses that lie beyond what it learnt from.
        conv_dropout, conv6_dropout, rnn_dropout: probability of dropping a value after the convolutions up to conv5_1,
            after the last ones, and after the core LSTM.
        alpha: weight of rotation beside translation, in both losses.
        schedule: weight of the loss of single steps over that of composed poses, at the beginning and at the end of the
            training; even in its logarithm in between. The two weights sum to 1. Evaluation has those of the end.
        norm: of the losses' differences.
        image_mean, image_std: RGB of the training frames, in [0, 1], subtracted and divided by.
        imu_mean, imu_std: of readings (rad/s x 3, m/s^2 x 3), the same; the defaults leave them as they are.
        step_mean: mean twist of a step, metres and radians, that the output is added to, and
        step_std: deviation that it is multiplied by, so that training starts with plausible motions.
        carry_state: whether `stream` keeps its memory from clip to clip.
        pool: what halves the maps of the encoder, see `vo3d.layers.flownet`.

    Raises:
        Vo3dError: an argument is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = NEEDS["both"]  # an instance of one sense has less
    loss_needs = ("world_T_cam",)
    gives = ("prev_T_cam",)
    fixed = ("leaky_slope", "grid", "pool", "horizon")
    published = PUBLISHED
    needs_progress = True

    image_mean: Tensor  # 3 1 1
    image_std: Tensor  # 3 1 1
    imu_mean: Tensor  # 6
    imu_std: Tensor  # 6
    step_mean: Tensor  # 6
    step_std: Tensor  # 6

    def __init__(
        self,
        size: tuple[int, int] = (384, 512),
        senses: Senses = "both",
        trunk: FlowNet = "flownets",
        width: float = 1.0,
        batch_norm: bool = False,
        leaky_slope: float = 0.1,
        max_displacement: int = 20,
        grid: tuple[int, int] | None = None,
        imu_hidden: int = 15,
        imu_layers: int = 2,
        hidden: int = 1000,
        num_layers: int = 2,
        head: Sequence[int] = (),
        horizon: int = 10,
        conv_dropout: float = 0.0,
        conv6_dropout: float = 0.0,
        rnn_dropout: float = 0.0,
        alpha: float = 10.0,
        schedule: tuple[float, float] = (100.0, 0.1),
        norm: Literal["l1", "l2"] = "l2",
        image_mean: tuple[float, float, float] = (0.45, 0.432, 0.411),
        image_std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        imu_mean: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        imu_std: tuple[float, float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        step_mean: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        step_std: tuple[float, float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        carry_state: bool = True,
        pool: Pool = "stride",
    ) -> None:
        super().__init__()
        counts = {"imu_hidden": imu_hidden, "imu_layers": imu_layers, "hidden": hidden, "num_layers": num_layers}
        for name, value in (counts | {"size": min(size), "horizon": horizon, "head": min(head, default=1)}).items():
            if value < 1:
                raise Vo3dError(f"{name} is or has {value}: expected at least 1")
        if min(*image_std, *imu_std, *step_std, *schedule) <= 0 or alpha < 0:
            raise Vo3dError("expected positive image_std, imu_std, step_std and schedule, and alpha of at least 0")
        self.size, self.senses, self.horizon = (size[0], size[1]), senses, horizon
        self.leaky_slope, self.pool, self.grid = leaky_slope, pool, None if grid is None else tuple(grid)
        self.alpha, self.schedule, self.norm = alpha, (schedule[0], schedule[1]), norm
        self.carry_state = carry_state
        self.__dict__["needs"] = NEEDS[senses]
        buffers = {"imu_mean": imu_mean, "imu_std": imu_std, "step_mean": step_mean, "step_std": step_std}
        for name, numbers in (buffers | {"image_mean": image_mean, "image_std": image_std}).items():
            self.register_buffer(name, torch.tensor(numbers))
        parts = []  # of the core's input: features of images, of readings, and the pose
        if senses != "imu":
            self.encoder = flownet_encoder(
                trunk, width, batch_norm, leaky_slope, conv_dropout, conv6_dropout, pool, max_displacement
            )
            self.to_grid = nn.Identity() if grid is None else nn.AdaptiveAvgPool2d(tuple(grid))
            rows, columns = self.encoder.out_size(*size) if grid is None else grid
            parts.append(self.encoder.out_channels * rows * columns)
        if senses != "images":
            self.rnn_imu = InertialLSTM(imu_hidden, imu_layers)
            parts.append(imu_hidden)
        self.parts = (*parts, POSE)
        self.rnn = nn.LSTM(sum(self.parts), hidden, num_layers, batch_first=True)
        self.rnn_dropout = nn.Dropout(rnn_dropout)
        widths = (hidden, *head, 6)
        self.head = nn.Sequential(*(nn.Linear(*pair) for pair in itertools.pairwise(widths)))
        self.reset_parameters()

    def forward(self, sample: Sample) -> Prediction:
        """Compute `prev_T_cam` (b s-1 4 4) of each clip, and in `aux` the `twist`s (b s-1 6) and `start_T_cam`.

        Raises:
            Vo3dError: the frames are not of the model's size, a clip has fewer than two, or readings are missing.
        """
        return self.advance(sample, None)[0]

    def advance(self, sample: Sample, state: State | None) -> tuple[Prediction, State]:
        """Predict on from `state` (None: an empty memory); also gives the state after the last frame."""
        parts, inertial = self.see(sample, state)
        b, steps = parts.shape[:2]
        pose = torch.eye(4, device=parts.device).repeat(b, 1, 1) if state is None else state.pose
        core, count = (None, 0) if state is None else (state.core, state.steps)
        twists = []
        for step in range(steps):
            if count % self.horizon == 0:
                pose = torch.eye(4, device=parts.device).repeat(b, 1, 1)
            joined = torch.cat((parts[:, step], seven_from_pose(pose).to(parts)), dim=-1)
            memory, core = self.rnn(joined[:, None], core)
            twist = self.step_mean + self.step_std * self.head(self.rnn_dropout(memory[:, 0]))  # b 6
            pose = se3.compose(pose, se3.exp(twist.float()))
            twists.append(twist.float())
            count += 1
        assert core is not None  # noqa: S101  there is at least one step
        xi = torch.stack(twists, 1)
        prediction: Prediction = {
            "prev_T_cam": se3.exp(xi),
            "aux": {"twist": xi, "start_T_cam": compose_twists(xi)},
        }
        return prediction, State(core, inertial, pose, count)

    def see(self, sample: Sample, state: State | None) -> tuple[Float[Tensor, "b steps c"], LSTMState | None]:
        """Compute the features of every step, visual before inertial, and the state of the inertial LSTM."""
        if sample.image.shape[1] < 2:
            raise Vo3dError("a motion lies between two frames but the clip has one: set clip_length to 2 or more")
        parts: list[Tensor] = []
        inertial: LSTMState | None = None
        if self.senses != "imu":
            parts.append(self.encode(sample.image))
        if self.senses != "images":
            if sample.imu is None:
                raise Vo3dError("VINet reads imu, which the dataset does not give: turn imu on in its arguments")
            readings = (sample.imu[:, 1:] - self.imu_mean) / self.imu_std  # NaN where there is none
            read, inertial = self.rnn_imu(readings, None if state is None else state.inertial)
            parts.append(read)
        return torch.cat([part.to(parts[0].dtype) for part in parts], dim=-1), inertial

    def encode(self, image: Float[Tensor, "b s 3 h w"]) -> Float[Tensor, "b pairs features"]:
        """Compute the flattened features of each pair of successive frames."""
        b, s = image.shape[:2]
        check_size(self, image, self.size)
        image = (image - self.image_mean[:, None, None]) / self.image_std[:, None, None]
        pairs = torch.cat((image[:, :-1], image[:, 1:]), dim=2).flatten(0, 1)  # b*(s-1) 6 h w
        features: Tensor = self.to_grid(self.encoder(pairs))  # b*(s-1) channels rows columns
        return features.reshape(b, s - 1, -1)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the losses of steps and of composed poses, summed over the steps and averaged over the clips.

        Steps: |v' - v| + alpha |w' - w| of twists (v, w); poses relative to the first frame: |t' - t| + alpha |q' - q|,
        with the quaternion of q that is nearer. Their weights are those of `schedule` at `progress`.

        Raises:
            Vo3dError: the sample has no poses to compare with.
        """
        if sample.world_T_cam is None:
            raise Vo3dError(
                "VINet learns from world_T_cam, which the dataset does not give: choose one with true poses, or only "
                "predict"
            )
        world_T_cam = sample.world_T_cam
        twist, start_T_cam = prediction["aux"]["twist"], prediction["aux"]["start_T_cam"]
        true_twist = se3.log(se3.relative(world_T_cam[:, :-1], world_T_cam[:, 1:])).to(twist)
        true_pose = seven_from_pose(se3.relative(world_T_cam[:, :1], world_T_cam[:, 1:])).to(twist)
        pose = seven_from_pose(start_T_cam)
        sides = (pose[..., 3:] * true_pose[..., 3:]).sum(-1, keepdim=True)
        true_q = torch.where(sides < 0, -true_pose[..., 3:], true_pose[..., 3:])
        first, last = self.schedule
        ratio = first * (last / first) ** self.progress if self.training else last
        of_steps = ratio / (1 + ratio)

        def error(found: Tensor, target: Tensor, weight: float) -> Tensor:
            return weight * vector_error(found, target, self.norm).sum(dim=-1).mean()

        return {
            "step_translation": error(twist[..., :3], true_twist[..., :3], of_steps),
            "step_rotation": error(twist[..., 3:], true_twist[..., 3:], self.alpha * of_steps),
            "pose_translation": error(pose[..., :3], true_pose[..., :3], 1 - of_steps),
            "pose_rotation": error(pose[..., 3:], true_q, self.alpha * (1 - of_steps)),
        }

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """Predict along one recording in clips of any length, each beginning with the last frame of the one before.

        In evaluation mode this equals one forward pass over the whole recording (unless `carry_state` is off). The
        state that is carried is cut from the graph: gradients end at the border of a clip.

        Raises:
            Vo3dError: a clip does not begin where the one before it ended.
        """
        state: State | None = None
        last: Tensor | None = None  # frame of the clip before, where its index tells
        for sample in samples:
            last = check_continues(sample, last)
            prediction, state = self.advance(sample, state)
            state = state.detached() if self.carry_state else None
            yield prediction

    def reset_parameters(self) -> None:
        """Draw new weights: He et al. (2015) in the convolutions, deviation 1 / sqrt(inputs) elsewhere.

        The forget gates begin open (bias 1), so that the memory lasts from the first step on. Images, readings and the
        pose begin with an equal say in the core LSTM, however many numbers each of them has.
        """
        if self.senses != "imu":
            self.encoder.reset_parameters()
        if self.senses != "images":
            self.rnn_imu.reset_parameters()
        initialise(self.rnn, "kaiming")  # which opens the forget gates
        weights, first = self.rnn.get_parameter("weight_ih_l0"), 0
        for count in self.parts:  # features, many or few
            nn.init.normal_(weights[:, first : first + count], std=(len(self.parts) * count) ** -0.5)
            first += count
        for layer in self.head:
            assert isinstance(layer, nn.Linear)  # noqa: S101  by the constructor
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
