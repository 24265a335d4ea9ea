"""The trajectory that a model gives of a recording: out of steps, of poses, or of a map."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import check_poses
from vo3d.geometry import rotations
from vo3d.geometry.trajectory import chain
from vo3d.inference.loop import Answer, answers
from vo3d.mapper import Mapper
from vo3d.model import Frames, Model, check_needs
from vo3d.recording import Recording
from vo3d.sample import Sample

KEYS = ("world_T_cam", "prev_T_cam")  # of a prediction that a trajectory is made of; the first that is given


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """The poses that a model gives of a recording, and how it came to them."""

    world_T_cam: Float64[Tensor, "n 4 4"]
    known: Bool[Tensor, " n"] | None  # frames whose pose is known; None: all
    time: Float64[Tensor, " n"] | None  # seconds
    sizes: Sequence[tuple[int, int]]  # rows and columns of the images, each once
    seconds: float  # of the model's work
    deviations: Float64[Tensor, "n 6"] | None = None  # of poses in a known world, see `deviations_of`
    tracked: Bool[Tensor, " m"] | None = None  # steps that the images told; None where the model does not say


def track(
    model: Model,
    recording: Recording,
    windows: Sequence[Frames],
    *,
    device: torch.device | str,
    advance: Callable[[int], object] = lambda frames: None,
) -> Track:
    """Run `model` along a recording; `advance` is told of the frames that are done. Call it inside `evaluating`.

    `windows` are those of `vo3d.inference.loop.windows_of`; a mapper sees frame after frame, whatever they say.
    Steps are chained from the identity on, with rotations made orthonormal in float64 first: the rounding of float32
    steps would add up along the chain.

    Raises:
        Vo3dError: as `vo3d.inference.loop.answers`; a pose is none; or steps between windows are missing.
        TypeError: there is not one step a frame but the first, or one pose a frame: a defect of the model.
    """
    if isinstance(model, Mapper):
        return _mapped(model, recording, device, advance)
    growing = GrowingTrack(model, trajectory_key(model, windows), recording.name)
    for answer in answers(model, recording, windows, device=device):
        advance(growing.add(answer))
    return growing.track()


class GrowingTrack:
    """A track out of steps or poses that grows window after window, and can be asked for at any time.

    Args:
        model: What answers; it gives steps or poses.
        key: That of `KEYS` which is read, see `trajectory_key`.
        name: Of the recording, for messages.
    """

    def __init__(self, model: Model, key: str, name: str) -> None:
        self.model, self.key, self.name = model, key, name
        self.seconds = 0.0  # of the model's work so far
        self.tracked: list[Bool[Tensor, " k"]] = []  # of each window
        self._poses: list[Tensor] = []
        self._times: list[Tensor] = []
        self._deviations: list[Tensor] = []
        self._sizes: dict[tuple[int, int], None] = {}
        self._count = 0

    def __len__(self) -> int:
        """Count the frames so far."""
        return self._count

    def add(self, answer: Answer) -> int:
        """Take the frames of a window that count, and return their number.

        Raises as `poses_of` and `deviations_of`.
        """
        counted = list(answer.frames.counted)
        self._poses.append(poses_of(self.model, self.key, answer))
        if answer.sample.time is not None:
            self._times.append(answer.sample.time[counted])
        if self.key == "world_T_cam" and "log_variance" in self.model.gives:
            self._deviations.append(deviations_of(self.model, answer))
        if self.key == "prev_T_cam" and "tracked" in self.model.gives:
            self.tracked.append(answer.prediction["tracked"][0][steps_of(answer)])
        self.seconds += answer.seconds
        self._sizes[answer.sample.image.shape[-2], answer.sample.image.shape[-1]] = None
        self._count += len(counted)
        return len(counted)

    def track(self) -> Track:
        """Join all that came so far; there is at least one window. Raises Vo3dError for a pose that is none."""
        return Track(
            world_T_cam=join_poses(self.model, self.key, self._poses, self.name),
            known=None,
            time=torch.cat(self._times) if self._times else None,
            sizes=[*self._sizes],
            seconds=self.seconds,
            deviations=torch.cat(self._deviations) if self._deviations else None,
            tracked=torch.cat(self.tracked) if self.tracked else None,
        )


def trajectory_key(model: Model, windows: Sequence[Frames]) -> str:
    """Choose the key of `KEYS` that a trajectory is made of; raises Vo3dError where steps between windows are missing.

    The model gives one of them.
    """
    key = next(key for key in KEYS if key in model.gives)
    if key == "prev_T_cam" and any(frames.views[0] > 0 and 0 in frames.counted for frames in windows):
        raise Vo3dError(
            f"{type(model).__name__} gives steps in windows that share no frame, so that the step between two windows "
            "is missing: its window must overlap by 1 at least"
        )
    return key


def poses_of(model: Model, key: str, answer: Answer) -> Float64[Tensor, "n 4 4"]:
    """Take out of an answer the poses, or the steps, of the views that count; the first frame has no step.

    Raises TypeError where there is not one step a frame but the first, or one pose a frame: a defect of the model.
    """
    rows = list(answer.frames.counted) if key == "world_T_cam" else steps_of(answer)
    given: Tensor = answer.prediction[key][0].double()  # type: ignore[literal-required]
    expected = len(answer.frames.views) - (key == "prev_T_cam")
    if len(given) != expected:
        raise TypeError(
            f"{type(model).__name__} gave {len(given)} of {key} for {len(answer.frames.views)} frames of "
            f"{answer.sample.scene}: expected {expected}"
        )
    return given[rows]


def steps_of(answer: Answer) -> list[int]:
    """List the rows of a window's steps that lead to the views that count; none leads to the first of a recording."""
    return [view - 1 for view in answer.frames.counted if answer.frames.views[view] > 0]


def deviations_of(model: Model, answer: Answer) -> Float64[Tensor, "n 6"]:
    """Compute the standard deviations that `log_variance` tells of the views that count: metres x 3, radians x 3.

    Raises:
        Vo3dError: one is NaN or infinite.
        TypeError: there are not six numbers a view: a defect of the model.
    """
    given = answer.prediction["log_variance"][0].double()
    if given.shape != (len(answer.frames.views), 6):
        raise TypeError(
            f"{type(model).__name__} gave log_variance of shape {tuple(given.shape)} for {len(answer.frames.views)} "
            f"frames of {answer.sample.scene}: expected six numbers for each"
        )
    found = (given[list(answer.frames.counted)] / 2).exp()
    if not bool(found.isfinite().all()):
        raise Vo3dError(
            f"{type(model).__name__} predicts a deviation of {answer.sample.scene} that is NaN or infinite: expected "
            "finite log_variance: take precision float32, or other weights"
        )
    return found


def join_poses(
    model: Model, key: str, poses: Sequence[Float64[Tensor, "_ 4 4"]], name: str
) -> Float64[Tensor, "n 4 4"]:
    """Join what `poses_of` took out of all answers to `world_T_cam` of each frame, by chaining where they are steps.

    Raises Vo3dError for a pose that is none; `name` is that of the recording, for messages.
    """
    found = torch.cat(list(poses))
    check_poses(found, Path(f"{key} of {type(model).__name__} on {name}"))
    found = _orthonormal(found)
    return chain(found) if key == "prev_T_cam" else found


def _mapped(model: Mapper, recording: Recording, device: torch.device | str, advance: Callable[[int], object]) -> Track:
    """Make a track out of the map that a mapper has in the end, frame after frame."""
    times: list[Tensor] = []
    size = (0, 0)
    reading = 0.0

    def samples() -> Iterator[Sample]:
        nonlocal size, reading
        for index in range(len(recording)):
            began = perf_counter()
            sample = recording.clip([index])
            reading += perf_counter() - began
            if index == 0:
                check_needs(model, sample, f"recording {recording.name}")
                size = (sample.image.shape[-2], sample.image.shape[-1])
            if sample.time is not None:
                times.append(sample.time)
            yield sample.batched().to(device)

    model.reset()
    began, last = perf_counter(), None
    for state in model.track(samples()):
        last = state
        advance(1)
    if last is None or last.map is None or len(last.map.world_T_cam) != len(recording):
        raise TypeError(
            f"{type(model).__name__} ended without a map of the {len(recording)} frames of {recording.name}"
        )
    if not bool(last.map.tracked.any()):
        raise Vo3dError(f"{recording.name}: {type(model).__name__} tracked no frame of it")
    known = last.map.tracked.cpu()
    poses = torch.eye(4, dtype=torch.float64).repeat(len(recording), 1, 1)
    poses[known] = last.map.world_T_cam.cpu()[known]
    check_poses(poses, Path(f"map of {type(model).__name__} on {recording.name}"))
    return Track(
        world_T_cam=_orthonormal(poses),
        known=None if bool(known.all()) else known,
        time=torch.cat(times) if times else None,
        sizes=[size],
        seconds=perf_counter() - began - reading,
    )


def _orthonormal(poses: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 4 4"]:
    """Give the poses the nearest rotations."""
    poses = poses.clone()
    poses[:, :3, :3] = rotations.matrix_from_quaternion(rotations.quaternion_from_matrix(poses[:, :3, :3]))
    return poses
