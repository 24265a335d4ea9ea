"""`vo3d reconstruct`: from posed photographs to a point cloud, by a model of multi-view stereo."""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console

from vo3d.errors import Vo3dError
from vo3d.evaluation.cost import Cost, forecast, free_memory, memory_in_use, peak_memory
from vo3d.evaluation.depth_folder import DepthFolder, fingerprint
from vo3d.evaluation.depth_maps import (
    Estimate,
    check_estimates_depth,
    depth_errors,
    depth_map,
    estimate_depth,
    refined,
    stride_of,
)
from vo3d.evaluation.devices import choose_device
from vo3d.evaluation.pretrained import Pretrained, load_pretrained
from vo3d.evaluation.progress import progress_bar
from vo3d.formats.files import atomic_path
from vo3d.formats.ply import write_cloud, write_mesh
from vo3d.layouts import find_references, open_scene
from vo3d.model import check_needs
from vo3d.provenance import provenance
from vo3d.reconstruction.depth_map import DepthMap
from vo3d.reconstruction.filtering import FusionRules, filter_map
from vo3d.reconstruction.fusion import Fused, fuse
from vo3d.reconstruction.tsdf import tsdf_mesh
from vo3d.report.words import duration_in_words, size_in_words, span_in_words
from vo3d.sample import MultiViewScene, Sample

RESULT = "reconstruction.json"  # in the folder of the depth maps
BYTES_A_PIXEL = 8  # of the depth maps on disk: depth and confidence
SHOWN_ERRORS = ("depth_median_error_mm", "depth_within_1pc_percent", "depth_within_5pc_percent")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done, with what, and where it goes."""

    scene: MultiViewScene
    layout: str
    references: Sequence[int]  # places of the views that get a depth map
    num_views: int
    net: Pretrained
    device: torch.device
    rules: FusionRules
    refine: bool
    cloud: Path

    @property
    def folder(self) -> Path:
        """The folder of the depth maps."""
        return self.cloud.with_name(f"{self.cloud.stem}_depth")

    def views(self, reference: int) -> list[int]:
        """Places of a reference and its sources."""
        return [reference, *list(self.scene.sources(reference))[: self.num_views - 1]]

    @property
    def settings(self) -> dict[str, object]:
        """All that depth maps depend on beside their images and cameras."""
        unimportant = {"slab"}  # it changes memory and time alone
        arguments = {key: value for key, value in self.net.init_args.items() if key not in unimportant}
        return {
            "model": self.net.class_path,
            "arguments": {"num_depths": getattr(self.net.model, "num_depths", None)} | arguments,
            "weights_sha256": self.net.sha256,
            "num_views": self.num_views,
            "refine": self.refine,
        }


@dataclass(kw_only=True)
class Course:
    """What has been made so far."""

    maps: list[DepthMap] = field(default_factory=list)
    errors: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of views that were not taken from files


def reconstruct(
    scene: Path,
    *,
    out: Path,
    weights: str | None = None,
    model: str | None = None,
    reading: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    views: Sequence[str] = (),
    num_views: int = 5,
    rules: Mapping[str, Any] | None = None,
    refine: bool = False,
    mesh: bool = False,
    report: bool = True,
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Make a point cloud of a scene; says before what is planned and what it will cost, and afterwards what came out.

    Depth and confidence of each view go to `<out's stem>_depth/` as they are made; a later call with equal settings
    takes them from there. `reconstruction.json` in that folder holds the figures and where they came from.

    Args:
        scene: A folder in a layout of `LAYOUTS`.
        out: The cloud, a PLY file.
        weights: A name or a file, see `load_pretrained`.
        model: The class that the weights are for, or one without parameters, see there.
        arguments: Of the class, see there.
        reading: How the scene is read: `size` or `max_side`, `depth_range`, and what its layout takes besides.
        views: Names of the views to make depth maps of; numbers will do where the names are numbers. All, if empty.
        num_views: Views that a depth map is made from; a view with fewer sources makes do with those.
        rules: Of the fusion, see `FusionRules`; the least confidence is the model's own by default.
        refine: Refine each depth between the hypotheses, see `vo3d.reconstruction.variational`.
        mesh: Also write a mesh, `<out's stem>_mesh.ply`.
        report: Also write a page with pictures.
        device: As torch names it; "auto" takes the accelerator where there is one.
        console: Where to print.

    Returns:
        What reconstruction.json holds.

    Raises:
        Vo3dError: the scene, the weights or the options are none that can be used; nothing survives the fusion.
    """
    console = console or Console()
    started = perf_counter()
    if num_views < 2:
        raise Vo3dError(f"num_views {num_views}: expected at least 2, a reference and a source")
    chosen = choose_device(device)
    layout, opened = open_scene(scene, reading or {})
    net = load_pretrained(weights, model=model, arguments=arguments)
    check_estimates_depth(net.model)
    job = Job(
        scene=opened,
        layout=layout,
        references=find_references(opened, views),
        num_views=num_views,
        net=net,
        device=chosen,
        rules=FusionRules(**{"min_confidence": getattr(net.model, "min_confidence", 0.0), **(rules or {})}),
        refine=refine,
        cloud=_checked_out(out),
    )
    net.model.to(chosen)
    folder = DepthFolder(job.folder, job.settings)
    first = opened.clip(job.views(job.references[0]))
    check_needs(net.model, first, str(scene))
    _check_space(job, first)
    _say_plan(job, first, folder, console)
    with _resumable(job, folder):
        course = _depth_maps(job, folder)
    fused = _fused(job, course)
    write_cloud(job.cloud, fused.cloud)
    files = {"cloud": job.cloud, "depth": job.folder}
    if mesh:
        files["mesh"] = job.cloud.with_name(f"{job.cloud.stem}_mesh.ply")
        filtered = [filter_map(course.maps, index, job.rules) for index in range(len(course.maps))]
        write_mesh(files["mesh"], tsdf_mesh(filtered))
    result = _result(job, course, fused, perf_counter() - started, first)
    with atomic_path(job.folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    files["figures"] = job.folder / RESULT
    _say_result(result, files, console)
    return result


def _checked_out(out: Path) -> Path:
    """`out`, which can be written."""
    if out.suffix.lower() != ".ply":
        raise Vo3dError(f"--out {out}: expected a name that ends in .ply")
    if out.is_dir():
        raise Vo3dError(f"--out {out}: is a folder: expected the name of a file, such as {out / 'cloud.ply'}")
    probe = out.with_name(f".{out.name}.probe")
    with atomic_path(probe) as temporary:
        temporary.touch()
    probe.unlink()
    return out


def _check_space(job: Job, sample: Sample) -> None:
    """Raise Vo3dError unless the depth maps and as much again for the cloud have room."""
    h, w = _map_size(job, sample)
    needed = 2 * BYTES_A_PIXEL * h * w * len(job.references)
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise Vo3dError(
            f"{job.folder}: {size_in_words(free)} are free, about {size_in_words(needed)} are needed: make room"
        )


def _map_size(job: Job, sample: Sample) -> tuple[int, int]:
    stride = stride_of(job.net.model)
    h, w = sample.image.shape[-2:]
    return -(-h // stride), -(-w // stride)


def _say_plan(job: Job, sample: Sample, folder: DepthFolder, console: Console) -> None:
    """What was found, what will be done, and what it will cost."""
    scene, net = job.scene, job.net
    height, width = sample.image.shape[-2:]
    h, w = _map_size(job, sample)
    num_sources = [len(scene.sources(index)) for index in job.references]
    few = sum(count < job.num_views - 1 for count in num_sources)
    near, far = sample.depth_range[0].tolist() if sample.depth_range is not None else (0.0, 0.0)

    def say(what: str, text: str) -> None:
        console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)

    say(
        "found",
        f"{scene.name}: {job.layout}; {len(scene)} views of {width}x{height}, {span_in_words(num_sources)} sources "
        f"each, depths from {near:.4g} to {far:.4g}",
    )
    depths = f", {net.model.num_depths} depths" if hasattr(net.model, "num_depths") else ""
    say(
        "plan",
        f"{len(job.references)} depth maps of {w}x{h} from {job.num_views} views each by {type(net.model).__name__} "
        f"({net.name}){depths}, on {job.device}",
    )
    if few:
        say("", f"{few} views have fewer than {job.num_views - 1} sources: they are matched with those that they have")
    if folder.differences:
        say("", f"{job.folder} holds maps of other settings ({'; '.join(folder.differences)}): all are made anew")
    elif len(folder):
        say("", f"{job.folder} holds {len(folder)} maps of these settings: they are taken from there where they fit")
    left = max(0, len(job.references) - len(folder))
    if left:
        say("estimate", _estimate(forecast(net.model, sample, job.device), left, job.device))


def _estimate(cost: Cost | None, left: int, device: torch.device) -> str:
    """Time and memory in words."""
    if cost is None:
        return "after the first view"
    text = f"about {duration_in_words(cost.seconds * left)} ({duration_in_words(cost.seconds)} a view)"
    if cost.memory is None:
        return text
    in_use, free = memory_in_use(device) or 0, free_memory(device)
    text += f", {size_in_words(in_use + cost.memory)} of memory"
    if free is not None and cost.memory > free:
        text += f"; only {size_in_words(in_use + free)} are there: take a smaller --max-side or fewer --num-depths"
    return text


def _depth_maps(job: Job, folder: DepthFolder) -> Course:
    """Every depth map, from its file or from the model."""
    course = Course()
    place = {index: position for position, index in enumerate(job.references)}
    stride = stride_of(job.net.model)
    with progress_bar() as bar:
        task = bar.add_task("depth maps", total=len(job.references))
        for index in job.references:
            sample = job.scene.clip(job.views(index))
            name, made_from = job.scene.names[index], fingerprint(sample)
            estimate = folder.load(name, made_from)
            if estimate is None:
                estimate = _estimated(job, sample)
                folder.save(name, made_from, estimate)
            if estimate.seconds is not None:
                course.seconds.append(estimate.seconds)
            course.errors.append(depth_errors(estimate, sample, stride, job.rules.min_confidence))
            sources = tuple(place[source] for source in job.scene.sources(index) if source in place)
            course.maps.append(depth_map(estimate, sample, stride, name=name, sources=sources))
            bar.update(task, advance=1, description=f"depth map {name}")
    return course


def _estimated(job: Job, sample: Sample) -> Estimate:
    """What the model says of the sample's reference, refined if that is wanted."""
    estimate = estimate_depth(job.net.model, sample, job.device)
    if not job.refine:
        return estimate
    started = perf_counter()
    estimate = refined(job.net.model, estimate, sample, job.device)
    return replace(estimate, seconds=(estimate.seconds or 0) + perf_counter() - started)


def _fused(job: Job, course: Course) -> Fused:
    with progress_bar() as bar:
        task = bar.add_task("fusion", total=len(course.maps))
        return fuse(course.maps, job.rules, progress=lambda view: bar.update(task, advance=1))


def _result(job: Job, course: Course, fused: Fused, seconds: float, sample: Sample) -> dict[str, Any]:
    """The figures, and where they came from."""
    height, width = sample.image.shape[-2:]
    errors = [view for view in course.errors if view]
    mean = {key: _mean([view[key] for view in errors]) for key in (errors[0] if errors else {})}
    return {
        "scene": {"name": job.scene.name, "layout": job.layout, "views": len(job.scene), "size": f"{width}x{height}"},
        "settings": job.settings,
        "rules": asdict(job.rules),
        "points": len(fused.cloud),
        "seconds": {"all": seconds, "a_view": _mean(course.seconds)},
        "peak_memory_bytes": peak_memory(job.device),
        "depth_errors": mean,
        "views": [asdict(counts) | {"errors": view} for counts, view in zip(fused.views, course.errors, strict=True)],
        "provenance": provenance() | {"device": str(job.device)} | job.net.origin,
    }


def _say_result(result: Mapping[str, Any], files: Mapping[str, Path], console: Console) -> None:
    def say(what: str, text: str) -> None:
        console.print(f"{what:<9} {text}", markup=False, highlight=False, soft_wrap=True)

    peak = result["peak_memory_bytes"]
    memory = f", at most {size_in_words(peak)} of memory" if peak else ""
    say("done", f"{result['points']:,} points in {duration_in_words(result['seconds']['all'])}{memory}")
    errors = result["depth_errors"]
    if errors:
        for words, prefix in (("all depths", ""), ("sure depths", "confident_")):
            median, one, five = (errors[prefix + key] for key in SHOWN_ERRORS)
            say(
                "errors",
                f"{words}: median {median:.1f} mm, {one:.1f} % within 1 %, {five:.1f} % within 5 % of the truth",
            )
    for what, path in files.items():
        say(what, str(path))


@contextmanager
def _resumable(job: Job, folder: DepthFolder) -> Iterator[None]:
    """Tell whoever interrupts how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        done = len(folder)
        sys.stderr.write(
            f"\n{done} of {len(job.references)} depth maps are in {job.folder}: the same command goes on from there"
        )
        raise


def _mean(values: Sequence[float]) -> float | None:
    """The mean of the numbers that are not NaN; None where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
