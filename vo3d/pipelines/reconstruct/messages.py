"""What `vo3d reconstruct` says: what it found, what it will cost, what came out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from vo3d.errors import Vo3dError, visible
from vo3d.inference.cost import MEMORY_ERROR, Forecast, forecast, free_memory, memory_in_use
from vo3d.inference.depth_folder import DepthFolder
from vo3d.pipelines.reconstruct.job import Job, map_size
from vo3d.report.words import duration_in_words, size_in_words, span_in_words
from vo3d.sample import Sample

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
    near, far = sample.depth_range[0].tolist() if sample.depth_range is not None else (0.0, 0.0)

    _say(
        console,
        "found",
        f"{scene.name}: {job.layout.words}; {len(scene)} views of {width}x{height}, "
        f"{span_in_words(num_sources)} sources each, depths from {near:.4g} to {far:.4g}",
    )
    for note in scene.notes:
        _say(console, "note", visible(note))
    if alone := [scene.names[index] for index in range(len(scene)) if not scene.sources(index)]:
        names = ", ".join(alone[:SHOWN_NAMES]) + (" and so on" if len(alone) > SHOWN_NAMES else "")
        _say(console, "", f"without sources, and so without a depth map: {names}")
    depths = f", {job.model.num_depths} depths" if job.model.num_depths is not None else ""
    num_views = f"{job.num_views} views" if job.model.window.reference else "one view"
    suits = getattr(scene, "num_depths", None)  # of scenes of photographs
    if depths and suits:
        depths += f" ({span_in_words([suits[index] for index in job.references])} would suit the scene)"
    _say(
        console,
        "plan",
        f"{len(job.references)} depth maps of {w}x{h} from {num_views} each by {type(net.model).__name__} "
        f"({net.name}){depths}, on {job.device}",
    )
    if net.report is not None and net.report.published:
        for what, line in zip(("weights", ""), net.report.lines, strict=False):
            _say(console, what, line)
    if "confidence" not in net.model.gives:
        _say(console, "", f"{type(net.model).__name__} gives no confidence: every depth counts as sure")
    if few and job.model.window.reference:
        _say(
            console,
            "",
            f"{few} views have fewer than {job.num_views - 1} sources: they are matched with those that they have",
        )
    if folder.differences:
        _say(
            console,
            "",
            f"{job.folder} holds maps of other settings ({'; '.join(folder.differences)}): all are made anew",
        )
    elif len(folder):
        _say(console, "", f"{job.folder} holds maps of these settings ({len(folder)}): they are used where they fit")
    if left := sum(scene.names[index] not in folder for index in job.references):
        _say(
            console,
            "estimate",
            _estimate(
                forecast(job.model, scene, job.window(job.references[0]), job.device),
                [job.model.num_depths or 0] * left,
                job.device,
            ),
        )


def _estimate(cost: Forecast | None, depths: Sequence[int], device: torch.device) -> str:
    """Put time and memory of references with so many depths each in words."""
    if cost is None:
        return "after the first view"
    seconds = sum(cost.seconds(num) for num in depths)
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


def say_result(result: Mapping[str, Any], files: Mapping[str, Path], console: Console) -> None:
    """Say what came out, what it took, how near the truth it is where that is known, and where the files are."""
    peak = result["peak_memory_bytes"]
    memory = f", at most {size_in_words(peak)} of memory" if peak else ""
    _say(console, "done", f"{result['points']:,} points in {duration_in_words(result['seconds']['all'])}{memory}")
    for words, prefix in (("all depths", ""), ("sure depths", "confident_")):
        errors = {form: result["depth_errors"].get(prefix + key) for key, form in SHOWN_ERRORS.items()}
        if parts := [form.format(value) for form, value in errors.items() if value is not None]:
            _say(console, "errors", f"{words}: {', '.join(parts)} of the truth")
    for what, path in files.items():
        _say(console, what, str(path))


def _say(console: Console, what: str, text: str) -> None:
    console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)
