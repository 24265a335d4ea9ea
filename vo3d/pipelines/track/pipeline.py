"""`vo3d track`: from the words of the command line to the files, the page and the lines that are printed."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from vo3d.errors import Vo3dError, visible
from vo3d.inference.devices import choose_device
from vo3d.pipelines.track import files
from vo3d.pipelines.track.job import Job, Moment, open_job
from vo3d.pipelines.track.method import open_method
from vo3d.pipelines.track.page import write_pictures, write_report
from vo3d.pipelines.track.run import Found, Run, run
from vo3d.pipelines.track.truth import Truth, against_truth
from vo3d.pipelines.track.words import (
    camera_in_words,
    frames_in_words,
    gaps_in_words,
    method_in_words,
    notes_of,
    scale_in_words,
    speed_in_words,
    why_nothing,
)

# By docs/benchmarks.md, "Odometry that only saw the rendered world".
PREFERRED = "classic"
BEST = "the best that is here: on videos that none has seen, weights that have a name do worse (docs/track.md)"


def track(
    source: Path,
    *,
    method: str | None = None,
    scale: Mapping[str, Any] | None = None,
    camera: Mapping[str, Any] | None = None,
    between: tuple[Moment | None, Moment | None] = (None, None),
    every: int = 1,
    size: tuple[int, int] | None = None,
    out: Path | None = None,
    follow: float | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Find the path of the camera, write it, draw it, and say where its scale comes from.

    Options are those of `vo3d.verbs.tracking.track`.

    Args:
        method: See `vo3d.pipelines.track.method.open_method`; None: the best that is here, which a line names.
        scale: Arguments of the method that were given: scale, camera_height, step.
        camera: See `vo3d.pipelines.track.job.open_job`.
        between: See there.
        console: Where to print.

    Returns:
        The folder of the results.

    Raises:
        Vo3dError: the source, the method or the options are none that can be used; not one step could be told.
        Exception: what broke on the way, once the path up to there was written; KeyboardInterrupt likewise.
    """
    console = console or Console()
    chosen = choose_device(device)
    net = open_method(PREFERRED if method is None else method, scale or {})
    job = open_job(
        source,
        net,
        camera=camera or {},
        between=between,
        every=every,
        size=size,
        follow=follow,
        out=out,
        device=chosen,
    )
    _say(console, "source", f"{job.name}: {job.words}" + _length(job))
    best = f"; {BEST}" if method is None else ""
    _say(console, "method", method_in_words(job) + best)
    made = run(job, lambda found: files.write_poses(job.out, found))
    found = made.found
    if found is None or (files.empty(found) and made.broken is None):
        with suppress(OSError):
            job.out.rmdir()  # where nothing was in it
        raise made.broken or Vo3dError(f"{job.name}: {why_nothing(made, job)}")
    try:
        _tell(job, made, found, console)
    finally:
        if made.broken is not None:
            raise made.broken
    return job.out


def _tell(job: Job, made: Run, found: Found, console: Console) -> None:
    """Say what was found, write it, and name the files."""
    files.write_poses(job.out, found)
    notes = [
        visible(note) for note in (*job.notes, *(job.frames.notes if job.recording is None else ()), *notes_of(found))
    ]
    if made.broken is not None:
        what = visible(str(made.broken)) or "interrupted"
        notes.append(f"it ended early, after {len(found)} frames: {what}")
    truth = _truth(job, found, notes)
    _say(console, "frames", frames_in_words(found))
    _say(console, "camera", camera_in_words(job, made))
    _say(console, "scale", scale_in_words(job))
    for note in notes:
        _say(console, "note", note)
    _say(console, "gaps", gaps_in_words(found))
    _say(console, "path", f"{found.length:.3g} {files.unit_of(job)} long, in the axes of the first camera")
    if truth is not None:
        drift = "" if truth.drift_percent is None else f", final drift {truth.drift_percent:.2f} %"
        _say(console, "truth", f"APE {truth.ape:.3f} m after {truth.alignment}{drift} of {truth.length:.3g} m")
    _say(console, "speed", speed_in_words(made, found))
    errors = {} if truth is None else {key: value for key, value in asdict(truth).items() if key != "position"}
    files.write_facts(job.out, job, made, found, camera_in_words(job, made), notes, errors)
    write_pictures(job.out, job, made, found, truth)
    write_report(job.out, job, made, found, notes, truth)
    for what, names in (
        ("poses", (files.TUM, files.KITTI, files.FACTS)),
        ("pictures", (files.PATH, files.FRAMES)),
        ("page", (files.PAGE,)),
    ):
        _say(console, what, ", ".join(str(job.out / name) for name in names))
    _say(console, "next", f"open {job.out / files.PAGE}, or turn it: vo3d view {job.out}")


def _truth(job: Job, found: Found, notes: list[str]) -> Truth | None:
    """Compare with true poses where there are some; a note where that is not possible."""
    poses = None if job.recording is None else job.recording.poses()
    if poses is None:
        return None
    try:
        return against_truth(found, poses, metric=files.unit_of(job) == "m")
    except Vo3dError as error:
        notes.append(f"not compared with the true poses: {error}")
        return None


def _length(job: Job) -> str:
    return "" if job.recording is None else f"; {len(job.recording)} frames"


def _say(console: Console, what: str, text: str) -> None:
    console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)
