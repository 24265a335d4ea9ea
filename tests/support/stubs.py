"""Methods as somebody outside of the package writes them, each of another kind: what they give decides what happens."""

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.task import Part
from vo3d.evaluation.tasks.single_view_depth import SingleViewDepth
from vo3d.formats.results import Metrics
from vo3d.geometry import se3, so3_exp
from vo3d.layers.uncertainty import calibrated
from vo3d.mapper import Map, Mapper, State
from vo3d.model import DepthModel, Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class StepsAndDepth(DepthModel):
    """Steps between frames, and the depth of each frame, which is one number."""

    needs = ("image",)
    loss_needs = ("world_T_cam", "depth")
    gives = ("prev_T_cam", "depth", "flow")

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(0.01 * torch.ones(6))
        self.log_depth = nn.Parameter(torch.tensor(2.0))

    def forward(self, sample: Sample) -> Prediction:
        """The same for all."""
        b, s, _, h, w = sample.image.shape
        steps = se3.exp(self.step).expand(b, s - 1, 4, 4)
        depth = self.log_depth.exp().expand(b, s, h, w)
        return {"prev_T_cam": steps, "depth": depth, "flow": sample.image.new_zeros(b, s - 1, 2, h, w)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Squared errors."""
        assert sample.world_T_cam is not None
        assert sample.depth is not None
        truth = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:]).float()
        far = (sample.depth - prediction["depth"])[sample.depth > 0]
        return {"pose": (prediction["prev_T_cam"] - truth).square().mean(), "depth": 1e-3 * far.square().mean()}


class Restless(StepsAndDepth):
    """The same by chance: it draws random numbers wherever it can, and its mode is told apart by what it gives."""

    drawn: ClassVar[list[bool]] = []  # of each answer, whether it was one of inference

    def forward(self, sample: Sample) -> Prediction:
        """Somewhat wrong, whether it is trained or not."""
        self.drawn.append(not self.training)
        found = super().forward(sample)
        return {**found, "depth": found["depth"] * (1 + 0.1 * torch.rand_like(found["depth"]))}


class Gyro(Model):
    """The gyroscope's rotation from frame to frame, in the camera's axes, and a step of one length straight ahead."""

    needs = ("image", "imu", "imu_time", "time")
    gives = ("prev_T_cam",)
    scale_source = "a constant"

    def __init__(self, length: float = 1.0) -> None:
        super().__init__()
        self.length = length

    def forward(self, sample: Sample) -> Prediction:
        """The readings since the view before stand for equal parts of the time since then."""
        assert sample.imu is not None
        assert sample.time is not None
        rates = sample.imu[:, 1:, :, :3].double()  # b s-1 n 3
        duration = sample.time.diff() / rates.shape[2]  # b s-1
        steps = torch.eye(4, dtype=torch.float64).repeat(*rates.shape[:2], 1, 1)
        for turn in so3_exp(rates * duration[..., None, None]).unbind(2):
            steps[..., :3, :3] = steps[..., :3, :3] @ turn
        steps[..., 2, 3] = self.length
        return {"prev_T_cam": steps}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}


class FlowAndMasks(Model):
    """Flow of 3 and 4 pixels everywhere, and two masks: the left half, and what a weight says of all pixels."""

    needs = ("image",)
    gives = ("flow", "mask")

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.0))

    def forward(self, sample: Sample) -> Prediction:
        """The same for all."""
        b, s, _, h, w = sample.image.shape
        left = torch.arange(w, device=sample.image.device) < w // 2
        mask = torch.stack((left.float().expand(h, w), self.share.sigmoid().expand(h, w)))
        flow = sample.image.new_tensor([3.0, 4.0])[:, None, None].expand(b, s - 1, 2, h, w)
        return {"flow": flow, "mask": mask.expand(b, s - 1, 2, h, w)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Less of the second mask."""
        return {"mask": self.share.sigmoid()}


class Unable(StepsAndDepth):
    """It can be trained, and predicts nothing."""

    def predict(self, sample: Sample) -> Prediction:
        """Fail."""
        raise Vo3dError("no prediction today")


class Places(Model):
    """Poses in the world, each of one image alone: the mean of the training poses, moved a little by the colours."""

    needs = ("image",)
    loss_needs = ("world_T_cam",)
    gives = ("world_T_cam",)
    window = Window(views=1, overlap=0)
    refuses = ("mirror",)
    world_T_mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("world_T_mean", torch.eye(4, dtype=torch.float64))
        self.register_buffer("finished", torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(6, 3))
        self.fitted = 0

    def fit(self, recordings: Sequence[Recording]) -> None:
        """The mean position."""
        positions = [found for recording in recordings if (found := recording.positions()) is not None]
        self.world_T_mean[:3, 3] = torch.cat(positions).mean(0)
        self.fitted += 1

    def finish(self, recordings: Sequence[Recording]) -> None:
        """A mark that nothing but inference would read."""
        self.finished.fill_(float(len(recordings)))

    def forward(self, sample: Sample) -> Prediction:
        """The mean pose, then a small motion."""
        move = se3.exp(sample.image.mean((-2, -1)) @ self.weight.T)
        return {"world_T_cam": self.world_T_mean @ move.double(), "aux": {"move": move}}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Squared distances from the mean, in float32 once they are small."""
        assert sample.world_T_cam is not None
        apart = se3.relative(self.world_T_mean, sample.world_T_cam).float()
        return {"place": (prediction["aux"]["move"] - apart).square().mean()}


class Doubtful(Places):
    """Places with a deviation of each, told by its colours, that a training calibrates."""

    gives = ("world_T_cam", "log_variance")
    variance_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance_scale", torch.ones(2))

    def forward(self, sample: Sample) -> Prediction:
        """The deviations are of a size that has nothing to do with the errors."""
        colour = sample.image.mean((-2, -1))  # b s 3
        told = calibrated(10 * colour.repeat(1, 1, 2) - 12, self.variance_scale)
        return {**super().forward(sample), "log_variance": told}


class Told(Model):
    """Poses in the world that the data tell; nothing to learn."""

    needs = ("image", "world_T_cam")
    gives = ("world_T_cam",)
    window = Window(views=1, overlap=0)

    def forward(self, sample: Sample) -> Prediction:
        """The truth."""
        assert sample.world_T_cam is not None
        return {"world_T_cam": sample.world_T_cam}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing."""
        return {}


class Fixed(DepthModel):
    """Depth of a reference by a number of hypotheses that cannot be changed, without a confidence."""

    needs = ("image", "depth_range")
    loss_needs = ("depth",)
    gives = ("depth",)
    window = Window(reference=True)
    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    @property
    def num_depths(self) -> int:  # type: ignore[override]
        """Always so many."""
        return 16

    def forward(self, sample: Sample) -> Prediction:
        """The same share of the range for all pixels."""
        assert sample.depth_range is not None
        near, far = sample.depth_range[:, :1, :, None, None].unbind(2)  # b 1 1 1
        h, w = sample.image[0, 0, 0, ::4, ::4].shape
        return {"depth": (near + self.share * (far - near)).expand(-1, 1, h, w)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Squared error."""
        assert sample.depth is not None
        truth = sample.depth[:, :1, ::4, ::4]
        return {"depth": (prediction["depth"] - truth)[truth > 0].square().mean()}


class Patient(Model):
    """One that changes with the share of its training that is done; it notes what it was told."""

    needs = ("image",)
    loss_needs = ()
    gives = ("descriptor",)
    window = Window(views=1, overlap=0)
    needs_progress = True
    told: ClassVar[list[float]] = []

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, sample: Sample) -> Prediction:
        """Mean colours."""
        found = sample.image.mean((-2, -1)) * self.weight
        return {"descriptor": nn.functional.normalize(found, dim=-1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Something to go down."""
        self.told.append(self.progress)
        return {"term": prediction["descriptor"].square().sum(-1).mean() * self.weight.square().sum()}


class TrivialMapper(Mapper):
    """The truth with a drift, which the map takes back at the end; it loses the frames that are black."""

    needs = ("image", "world_T_cam")
    gives = ("world_T_cam",)

    def __init__(self, every: int = 5, drift: float = 0.1) -> None:
        super().__init__()
        self.every, self.drift = every, drift
        self.reset()

    def reset(self) -> None:
        """No frames."""
        self.poses: list[Tensor] = []
        self.seen: list[bool] = []

    def forward(self, sample: Sample) -> Prediction:
        """The truth."""
        assert sample.world_T_cam is not None
        return {"world_T_cam": sample.world_T_cam}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

    def track(self, samples: Iterable[Sample]) -> Iterator[State]:
        """One frame behind, so that the last one is known to be it."""
        waiting: State | None = None
        for sample in samples:
            if waiting is not None:
                yield waiting
            assert sample.world_T_cam is not None
            self.poses.append(sample.world_T_cam[0, 0])
            self.seen.append(bool(sample.image.any()))
            drifted = self.poses[-1].clone()
            drifted[0, 3] += self.drift * len(self.poses)
            waiting = State(
                index=len(self.poses) - 1,
                world_T_cam=drifted if self.seen[-1] else None,
                num_key_frames=len(self._keys()),
            )
        if waiting is not None:
            yield State(**{**vars(waiting), "map": self._map()})

    def state(self) -> dict[str, Any]:
        """What it has seen."""
        return {"poses": torch.stack(self.poses), "seen": list(self.seen)}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take up what it had seen."""
        self.poses, self.seen = list(state["poses"]), list(state["seen"])

    def _keys(self) -> list[int]:
        return [index for index in range(0, len(self.poses), self.every) if self.seen[index]]

    def _map(self) -> Map:
        keys = self._keys()
        blank = torch.ones(2, 2)
        frames = [
            PosedDepthMap(
                name=str(index),
                depth=blank,
                image=blank.expand(3, 2, 2),
                confidence=blank,
                variance=0.01 * blank,
                K=torch.eye(3),
                world_T_cam=self.poses[index],
                sources=(place - 1,) if place else (),
                depth_range=(0.5, 2.0),
            )
            for place, index in enumerate(keys)
        ]
        tracked = torch.tensor(self.seen)
        return Map(world_T_cam=torch.stack(self.poses), tracked=tracked, key_frames=frames, key_indices=keys)


class Failing(SingleViewDepth):
    """A task that understands no recording."""

    name = "failing"

    def score(self, model: Model, part: Part, *rest: Any, **more: Any) -> Metrics:
        """Never."""
        raise Vo3dError(f"{part.recording.name}: nothing of it was understood")


class Faulty(Model):
    """Motion of nothing, which fails at a moment of its own: "build", "fit", or at frames of a scene.

    Args:
        when: "build", "fit", the name of a scene, "" for all scenes, or "never".
        how: A class of errors by its name.
    """

    needs = ("image",)
    gives = ("prev_T_cam",)

    def __init__(self, when: str = "", how: str = "Vo3dError") -> None:
        super().__init__()
        self.when, self.how = when, how
        self._fail("build")

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Nothing is learnt."""
        self._fail("fit")

    def forward(self, sample: Sample) -> Prediction:
        """No motion."""
        assert not isinstance(sample.scene, str)
        self._fail(self.when if self.when in {"", *sample.scene} else "never")
        b, s = sample.image.shape[:2]
        return {"prev_T_cam": torch.eye(4).expand(b, s - 1, 4, 4)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}

    def _fail(self, moment: str) -> None:
        if moment == self.when != "never":
            kinds = {"Vo3dError": Vo3dError, "OutOfMemoryError": torch.OutOfMemoryError}
            raise {**kinds, **vars(builtins)}[self.how](f"it broke at {moment or 'all'}")
