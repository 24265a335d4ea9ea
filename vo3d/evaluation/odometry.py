"""Run a model over whole recordings and score the trajectories."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.progress import progress_bar
from vo3d.evaluation.results import Metrics, Result, frames_sha256, mean_over_recordings, raise_failed
from vo3d.evaluation.scoring import metric_protocol, score
from vo3d.formats.trajectories import Trajectory, check_poses, write_trajectory
from vo3d.geometry import rotations
from vo3d.geometry.trajectory import AlignMode, chain, start_at_identity
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, DEVKIT_LENGTHS, check_lengths
from vo3d.model import Model, check_gives, check_needs
from vo3d.provenance import provenance as current_provenance
from vo3d.sample import Recording, Sample


def evaluate_odometry(
    model: Model,
    recordings: Sequence[Recording],
    out: Path,
    *,
    clip_length: int = 16,
    alignment: AlignMode = "none",
    device: torch.device | str = "cpu",
    lengths: Sequence[float] = DEVKIT_LENGTHS,
    name: str | None = None,
    protocol: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
    progress: bool = True,
) -> Result:
    """Stream every recording through `model`, chain its steps, score them, and write everything under `out`.

    Clips hold `clip_length` frames, the last of one being the first of the next, and go through `model.stream` in
    order: every frame is seen, and a recurrent state is carried from start to end of a recording.
    Written: `metrics.json`, and per recording `trajectories/<name>.txt` (the estimate before alignment) and
    `reference/<name>.txt` (KITTI rows, both from the identity on). All of it is brought up to date after each
    recording, so that nothing is lost when a later one fails; with a Vo3dError in one recording the others go on.

    Args:
        model: Must give `prev_T_cam`; put in evaluation mode and on `device`.
        recordings: With different names; one without ground truth gets its trajectory, and None for metrics.
        out: The result folder.
        clip_length: Frames per clip, at least 2.
        alignment: Stated in the protocol; see `vo3d.geometry.trajectory.align`.
        device: Where the model runs.
        lengths: Metres of the segments; KITTI's 100 to 800 leave recordings of less than 100 m without segments.
        name: Of the model in tables; its class if None.
        protocol: What only the caller knows: at least `dataset` and `split`; `scale_source` to overrule the model's.
        provenance: Such as the hash of the weights and the seed; versions, command and date are added.
        progress: Show a bar on stderr, where that is a terminal.

    Returns:
        The result as written. Its `fps` counts frames per second of wall time without the reading of the frames;
        `frame_seconds` is the median time between frames, None where the recording has no times; a model with an
        attribute `failures` has the steps that it counted as failed under `failed_steps`.

    Raises:
        Vo3dError: Nothing to evaluate, or after the others were written, a recording that failed.

    Example:
        `evaluate_odometry(DeepVO(), dataset.recordings, Path("results/deepvo"), protocol={"dataset": "KITTI", ...})`
    """
    _check_arguments(model, recordings, clip_length, lengths)
    fixed = {"scale_source": getattr(model, "scale_source", "network (learned)")} | dict(protocol or {})
    fixed |= metric_protocol(alignment, lengths) | {"clip_length": clip_length}
    origin = current_provenance() | {"device": str(device)} | dict(provenance or {})
    result = Result(name or type(model).__name__, fixed, {}, {}, origin)
    failed: dict[str, str] = {}
    done: list[_Run] = []
    with evaluating(model, device), progress_bar(progress) as bar:
        task = bar.add_task(result.model, total=sum(map(len, recordings)))
        for recording in recordings:
            bar.update(task, description=f"{result.model} on {recording.name}")
            run = _Run(model, recording, clip_length, device)
            try:
                run.go(lambda frames: bar.advance(task, frames))
                result.sequences[recording.name] = _score_and_write(run, out, alignment, lengths)
                done.append(run)
            except Vo3dError as error:
                failed[recording.name] = str(error)
            result = replace(
                result,
                protocol=fixed | _what_was_seen(done),
                mean=mean_over_recordings(result.sequences),
                provenance=origin | ({"failed": failed} if failed else {}),
            )
            result.save(out)
    raise_failed(failed, len(recordings), "recordings", out)
    return result


@contextmanager
def evaluating(model: Model, device: torch.device | str) -> Iterator[None]:
    """The model on `device` in evaluation mode, without gradients; its mode comes back at the end."""
    was_training = model.training
    try:
        model.to(device).eval()
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


class _Run:
    """One recording on its way through the model."""

    def __init__(self, model: Model, recording: Recording, clip_length: int, device: torch.device | str) -> None:
        self.model, self.recording, self.clip_length, self.device = model, recording, clip_length, device
        self.resolution = ""
        self.steps: list[Tensor] = []  # prev_T_cam, m 4 4 each
        self.time: list[Tensor] = []  # seconds
        self.seconds = 0.0  # of the model, without the reading of frames
        self.failed_steps: int | None = None  # where the model counts them

    def go(self, advance: Callable[[int], None]) -> None:
        """Predict all steps; `advance` is told of the frames that are done."""
        failures: int | None = getattr(self.model, "failures", None)
        started = perf_counter()
        for prediction in self.model.stream(self._samples()):
            check_gives(self.model, prediction)
            self.steps.append(prediction["prev_T_cam"][0].cpu().double())
            advance(len(self.steps[-1]) + (len(self.steps) == 1))
        self.seconds += perf_counter() - started
        if failures is not None:
            self.failed_steps = getattr(self.model, "failures", failures) - failures

    def _samples(self) -> Iterator[Sample]:
        """Clips that overlap by one frame, each as a batch of one."""
        for first in range(0, len(self.recording) - 1, self.clip_length - 1):
            started = perf_counter()
            clip = self.recording.clip(range(first, min(first + self.clip_length, len(self.recording))))
            self.seconds -= perf_counter() - started
            if not first:
                check_needs(self.model, clip, f"recording {self.recording.name}")
                self.resolution = f"{clip.image.shape[-1]}x{clip.image.shape[-2]}"
            if clip.time is not None:
                self.time.append(clip.time[1:] if first else clip.time)
            yield Sample.collate([clip]).to(self.device)

    def trajectory(self) -> Float64[Tensor, "n 4 4"]:
        """The chained estimate, from the identity on.

        Rotations are made orthonormal in float64 first: the rounding of float32 steps would add up along the chain.
        """
        steps = torch.cat(self.steps)
        if len(steps) != len(self.recording) - 1:
            raise TypeError(
                f"{type(self.model).__name__} gave {len(steps)} steps for the {len(self.recording)} frames of "
                f"{self.recording.name}: its stream must give one prediction a clip, and one step a frame but the first"
            )
        check_poses(steps, Path(f"steps of {type(self.model).__name__} on {self.recording.name}"))
        steps = steps.clone()
        steps[:, :3, :3] = rotations.matrix_from_quaternion(rotations.quaternion_from_matrix(steps[:, :3, :3]))
        return chain(steps)

    def frame_seconds(self) -> float | None:
        """The median time between frames; None where the recording has no times."""
        return torch.cat(self.time).diff().median().item() if self.time else None


def _score_and_write(run: _Run, out: Path, alignment: AlignMode, lengths: Sequence[float]) -> Metrics:
    """Write both trajectories of a recording, then its metrics; the files are there even when scoring fails."""
    file = f"{run.recording.name}.txt"
    estimate = run.trajectory()
    write_trajectory(out / "trajectories" / file, Trajectory(world_T_cam=estimate), "kitti")
    seconds = run.frame_seconds()
    course: Metrics = {"fps": len(run.recording) / run.seconds, "frame_seconds": seconds}
    if run.failed_steps is not None:
        course["failed_steps"] = run.failed_steps
    truth = run.recording.poses()
    if truth is None:
        return course
    reference = start_at_identity(truth)
    write_trajectory(out / "reference" / file, Trajectory(world_T_cam=reference), "kitti")
    scores = score(
        reference, estimate, alignment=alignment, lengths=lengths, frame_seconds=seconds or DEVKIT_FRAME_SECONDS
    )
    return scores.metrics | course


def _what_was_seen(runs: Sequence[_Run]) -> dict[str, object]:
    """Size of the images and fingerprint of the frames of the recordings that were scored."""
    return {
        "resolution": ", ".join(dict.fromkeys(run.resolution for run in runs)),
        "frames_sha256": frames_sha256((run.recording.name, run.recording.frames) for run in runs),
    }


def _check_arguments(model: Model, recordings: Sequence[Recording], clip_length: int, lengths: Sequence[float]) -> None:
    if "prev_T_cam" not in model.gives:
        raise Vo3dError(f"{type(model).__name__} gives {', '.join(model.gives)}: odometry needs a model of prev_T_cam")
    check_lengths(lengths)
    if clip_length < 2:
        raise Vo3dError(f"clip_length {clip_length}: expected at least 2 frames, for one step")
    if not recordings:
        raise Vo3dError("no recordings to evaluate: expected at least one; check the split of the dataset")
    names = [recording.name for recording in recordings]
    for recording in recordings:
        if len(recording) < 2:
            raise Vo3dError(
                f"recording {recording.name} has {len(recording)} frames: expected at least 2, for one step"
            )
        if names.count(recording.name) > 1:
            raise Vo3dError(f"two recordings are called {recording.name}: their results would overwrite each other")
