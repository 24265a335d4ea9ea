"""Run the method along the frames, and keep what is found when something breaks on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vo3d.inference.loop import answers_to, evaluating, windows_of
from vo3d.inference.progress import progress_bar
from vo3d.inference.trajectory import GrowingTrack, Track, track, trajectory_key
from vo3d.mapper import Mapper
from vo3d.pipelines.track.job import Job
from vo3d.recording import Recording
from vo3d.report.film import Film

PAUSE = 1.0  # seconds between two writings of the path on the way, at least
SHARE = 0.05  # of the time that these may take


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The path so far.

    Convention: `world_T_cam` is in the axes of the first camera.
    """

    world_T_cam: Float64[Tensor, "n 4 4"]
    known: Bool[Tensor, " n"]  # frames whose pose the images told; that of others is a guess
    numbers: Int64[Tensor, " n"]  # of the frames in their source
    time: Float64[Tensor, " n"] | None  # seconds; None where the source has no times
    says: bool  # whether the method says which frames it could not tell
    size: tuple[int, int]  # rows and columns of the frames as the method saw them

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.known)

    @property
    def stamps(self) -> Float64[Tensor, " n"]:
        """Return the time of each frame, or its number where that is not known."""
        return self.numbers.double() if self.time is None else self.time

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """List the stretches without poses: the places of the first and the last frame of each."""
        change = torch.cat([self.known.new_ones(1), self.known, self.known.new_ones(1)]).int().diff()
        starts, ends = (change == -1).nonzero()[:, 0], (change == 1).nonzero()[:, 0] - 1
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    @property
    def length(self) -> float:
        """Compute the length of the steps that the images told."""
        steps = self.world_T_cam[:, :3, 3].diff(dim=0).norm(dim=-1)
        return float(steps[self.known[1:] & self.known[:-1]].sum())


@dataclass
class Run:
    """The outcome of a run: the path, a few frames, the time that it took, and an error that ended it early."""

    film: Film = field(default_factory=Film)
    found: Found | None = None
    K: Float[Tensor, "3 3"] | None = None  # of the first frame
    seconds: float = 0.0  # of the model's work
    total: float = 0.0  # with reading, or waiting for frames
    broken: BaseException | None = None


def run(job: Job, keep: Callable[[Found], object]) -> Run:
    """Track all frames, with a line of progress; `keep` gets the path so far, about once a second.

    An error, or an interrupt from the keyboard, ends it early and is `broken`: the path up to it is there.
    """
    made, began = Run(), perf_counter()
    with evaluating(job.model, job.device), progress_bar() as bar:
        line = bar.add_task(job.name, total=None if job.recording is None else len(job.recording))

        def advance(count: int, state: str = "") -> None:
            made.total = perf_counter() - began
            done = bar.tasks[line].completed + count
            bar.update(line, advance=count, description=f"{job.name}: {done / made.total:.1f} frames/s{state}")

        try:
            if isinstance(job.model, Mapper) and job.recording is not None:
                _map(job, job.model, job.recording, made, advance)
            else:
                _follow(job, made, keep, advance)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (told when what there is has been written)
            made.broken = error
    made.total = perf_counter() - began
    return made


def _follow(job: Job, made: Run, keep: Callable[[Found], object], advance: Callable[[int, str], object]) -> None:
    """Go from window to window."""
    windows = [] if job.recording is None else windows_of(job.model, job.recording)
    growing = GrowingTrack(job.model, trajectory_key(job.model, windows), job.name)
    kept, pause = perf_counter(), PAUSE
    try:
        for answer in answers_to(job.model, job.windows(), job.name, device=job.device):
            count = growing.add(answer)
            for place in answer.frames.counted:
                made.film.add(answer.sample.image[place])
            made.seconds = growing.seconds
            if made.K is None and answer.sample.K is not None:
                made.K = answer.sample.K[0]
            lost = growing.tracked and len(growing.tracked[-1]) and not bool(growing.tracked[-1][-1])
            advance(count, ", lost" if lost else ", tracked" if growing.tracked else "")
            if (now := perf_counter()) - kept > pause:
                keep(_found(job, growing.track()))
                kept = perf_counter()
                pause = max(PAUSE, (kept - now) / SHARE)
    finally:
        if len(growing):
            made.found = _found(job, growing.track())


def _map(job: Job, model: Mapper, recording: Recording, made: Run, advance: Callable[[int], object]) -> None:
    """Take the poses of a map, which is there at the end alone."""
    told = track(model, recording, (), device=job.device, advance=advance)
    made.found, made.seconds = _found(job, told), told.seconds
    for index in range(0, len(recording), max(1, len(recording) // made.film.most)):
        made.film.put(index, recording.clip([index]).image[0])


def _found(job: Job, told: Track) -> Found:
    """Mark the frames whose pose the images told, and number them as in their source."""
    count = len(told.world_T_cam)
    known = torch.ones(count, dtype=torch.bool) if told.known is None else told.known
    if told.tracked is not None:
        known = torch.cat([known[:1], known[1:] & told.tracked[: count - 1]])
    numbers = range(count) if job.recording is None else job.recording.frames[:count]
    return Found(
        world_T_cam=told.world_T_cam,
        known=known,
        numbers=torch.tensor([*numbers]),
        time=told.time,
        says=told.tracked is not None or told.known is not None,
        size=told.sizes[0],
    )
