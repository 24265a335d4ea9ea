"""What `vo3d reconstruct` says: what it found, what it will cost, what came out."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console

from vo3d.errors import Vo3dError, visible
from vo3d.inference.cost import MEMORY_ERROR, forecast, free_memory, memory_in_use
from vo3d.inference.depth_folder import DepthFolder
from vo3d.pipelines.reconstruct.job import Job, map_size
from vo3d.pipelines.reconstruct.plan import GOOD_PARALLAX, LEAST_PARALLAX, parallax_words
from vo3d.report.words import duration_in_words, size_in_words, span_in_words
from vo3d.sample import Sample

WIDE_ANGLE = 45.0  # degrees: beyond it few surfaces look alike to both views
SHOWN_NAMES = 5  # of views, in one line
SHOWN_ERRORS = {  # the first where the unit is known
    "depth_median_error_mm": "median {:.1f} mm",
    "depth_within_1pc_percent": "{:.1f} % within 1 %",
    "depth_within_5pc_percent": "{:.1f} % within 5 %",
}


def say_plan(job: Job, sample: Sample, folder: DepthFolder, console: Console) -> None:
    """Say what was found, what will be done, and what it will cost."""
    scene, net = job.scene, job.net
    height, width = sample.image.shape[-2:]
    h, w = map_size(job, sample)
    num_sources = [len(scene.sources(index)) for index in job.references]
    few = sum(count < job.num_views - 1 for count in num_sources)
    ranges = scene.cameras().depth_range[list(job.references)]
    near, far = float(ranges[:, 0].min()), float(ranges[:, 1].max())

    say(
        console,
        "found",
        f"{scene.name}: {job.layout.words}; {len(scene)} views of {width}x{height}, "
        f"{span_in_words(num_sources)} sources each, depths from {near:.4g} to {far:.4g}",
    )
    for note in scene.notes:
        say(console, "note", visible(note))
    if alone := [scene.names[index] for index in range(len(scene)) if not scene.sources(index)]:
        names = ", ".join(alone[:SHOWN_NAMES]) + (" and so on" if len(alone) > SHOWN_NAMES else "")
        say(console, "", f"without sources, and so without a depth map: {names}")
    num_views = f"{job.num_views} views" if job.model.window.reference else "one view"
    say(
        console,
        "plan",
        f"{len(job.references)} depth maps of {w}x{h} from {num_views} each by {type(net.model).__name__} "
        f"({net.name}), {planes_in_words(job)}, on {job.device}",
    )
    if job.model.window.reference:
        _say_parallax(job, console)
    if net.report is not None and net.report.published:
        for what, line in zip(("weights", ""), net.report.lines, strict=False):
            say(console, what, line)
    if "confidence" not in net.model.gives:
        say(console, "", f"{type(net.model).__name__} gives no confidence: every depth counts as sure")
    if few and job.model.window.reference:
        say(
            console,
            "",
            f"{few} views have fewer than {job.num_views - 1} sources: they are matched with those that they have",
        )
    if folder.differences:
        say(
            console,
            "",
            f"{job.folder} holds maps of other settings ({'; '.join(folder.differences)}): all are made anew",
        )
    elif len(folder):
        say(console, "", f"{job.folder} holds maps of these settings ({len(folder)}): they are used where they fit")
    if left := [index for index in job.references if scene.names[index] not in folder]:
        say(console, "estimate", _estimate(job, left))


def planes_in_words(job: Job) -> str:
    """Put number and spacing of the planes of the references in words."""
    planes = [found for index in job.references if (found := job.planes(index)) is not None]
    if not planes:
        return "no depths to choose from"
    spacing = {plane.inverse: " even in 1 / depth" if plane.inverse else " even in depth" for plane in planes}
    return f"{span_in_words([plane.num for plane in planes])} depths{' or'.join(spacing.values())}"


def _say_parallax(job: Job, console: Console) -> None:
    """Say what the sources can tell of depths, and for which references they cannot."""
    chosen = [job.sweeps[index] for index in job.references]
    words = parallax_words(chosen)
    moved, angle = (median(values) for values in zip(*((one.parallax, one.angle) for one in chosen), strict=True))
    if moved < GOOD_PARALLAX:
        words += f"; below {GOOD_PARALLAX:g} pixels depths are coarse: take views from places farther apart"
    elif angle > WIDE_ANGLE:
        words += f"; above {WIDE_ANGLE:g} degrees views look too different to be matched well: add some in between"
    say(console, "", words)
    if left := [job.scene.names[index] for index in job.sweeps if index not in job.references]:
        say(
            console,
            "",
            f"{len(left)} views get no depth map, because all their sources stand too near to them (a parallax below "
            f"{LEAST_PARALLAX:g} pixel), such as {left[0]}",
        )


def _estimate(job: Job, left: Sequence[int]) -> str:
    """Put time and memory of the references that are left in words.

    Raises Vo3dError where the memory is not there, even if the forecast is too high by its error.
    """
    device = job.device
    cost = forecast(job.model, job.scene, job.window(left[0]), device)
    if cost is None:
        return "after the first view"
    depths = [planes.num for index in left if (planes := job.planes(index)) is not None]
    seconds = sum(map(cost.seconds, depths))
    text = f"about {duration_in_words(seconds)} ({duration_in_words(seconds / len(depths))} a view)"
    needed = cost.memory(max(depths))
    if needed is None:
        return text
    in_use, free = memory_in_use(device) or 0, free_memory(device)
    text += f", {size_in_words(in_use + needed)} of memory"
    if free is not None and needed > free:
        there = f"{size_in_words(in_use + free)} are there: take a smaller --max-side or fewer --num-depths"
        if needed > MEMORY_ERROR * free:
            raise Vo3dError(f"{text}; only {there}")
        text += f"; {there} if it does not suffice"
    return text


def say_result(result: Mapping[str, Any], files: Mapping[str, str], console: Console) -> None:
    """Say what came out, what it took, how near the truth it is where that is known, and where the files are."""
    peak = result["peak_memory_bytes"]
    memory = f", at most {size_in_words(peak)} of memory" if peak else ""
    say(console, "done", f"{result['points']:,} points in {duration_in_words(result['seconds']['all'])}{memory}")
    if result["warning"]:
        say(console, "warning", result["warning"])
    for words, prefix in (("all depths", ""), ("sure depths", "confident_")):
        errors = {form: result["depth_errors"].get(prefix + key) for key, form in SHOWN_ERRORS.items()}
        if parts := [form.format(value) for form, value in errors.items() if value is not None]:
            say(console, "errors", f"{words}: {', '.join(parts)} of the truth")
    for what, path in files.items():
        say(console, what, path)


def say(console: Console, what: str, text: str) -> None:
    """Print a line that begins with what it is about."""
    console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)
