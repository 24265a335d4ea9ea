"""`vo3d reconstruct`: from posed photographs to a point cloud, by a model of multi-view stereo."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console

from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.ply import write_cloud
from vo3d.fusion.diagnosis import empty_maps, map_shares
from vo3d.fusion.filtering import FusionRules
from vo3d.fusion.fuse import Fused, NoPoints, fuse
from vo3d.geometry.camera import subsample
from vo3d.inference.cards import best_present
from vo3d.inference.cost import peak_memory
from vo3d.inference.depth import depth_errors, depth_maps, of_view, posed, refined
from vo3d.inference.depth_folder import DepthFolder, fingerprint
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import evaluating
from vo3d.inference.pretrained import Pretrained, load_pretrained
from vo3d.inference.progress import progress_bar
from vo3d.metrics.depth import without_lengths
from vo3d.model import Frames, check_needs, depth_model
from vo3d.pipelines.reconstruct.job import (
    Job,
    Reconstruction,
    beside,
    check_space,
    check_writable,
    find_references,
    window_of,
)
from vo3d.pipelines.reconstruct.messages import planes_in_words, say, say_plan, say_result
from vo3d.pipelines.reconstruct.outputs import Outputs
from vo3d.pipelines.reconstruct.plan import Choice, parallax_words, plan_sweeps, tellable
from vo3d.provenance import provenance
from vo3d.report.clouds import up_comment
from vo3d.report.reconstruction import write_reconstruction_report
from vo3d.sample import Sample
from vo3d.settings.layouts import open_scene

# By the mean share of depths within 5 % over the scenes of docs/benchmarks.md ("Photographs into points").
PREFERRED = ("itermvs_blendedmvs", "plane_sweep")
RESULT = "reconstruction.json"  # in the folder of the depth maps


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
    num_depths: int | None = None,
    inverse: bool | None = None,
    rules: Mapping[str, Any] | None = None,
    refine: bool = False,
    mesh: bool = False,
    colmap: bool = False,
    depth_png: bool = False,
    report: bool = True,
    device: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Make a point cloud of a scene; say before what is planned and what it will cost, and afterwards what came out.

    Depth and confidence of each view go to `<out's stem>_depth/` as they are made; a later call with equal settings
    takes them from there. `reconstruction.json` in that folder holds the figures and where they came from. For the
    options see `vo3d.verbs.scenes.reconstruct`.

    Args:
        reading: Options of how the scene is read, such as `size` or `depth_range`: those that its layout takes.
        arguments: Of the model's class, such as precision, that are other than at its training.
        num_depths, inverse: Planes of each sweep, and whether they are even in 1 / depth; None: as `plan_sweeps` does.
        rules: Options of `FusionRules`; the least confidence is the model's own by default.
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
    if taken := sorted({"num_depths", "inverse"} & {*(arguments or {})}):
        raise Vo3dError(f"arguments of the model: {', '.join(taken)}: give reconstruct itself, which plans the depths")
    chosen = choose_device(device)
    layout, opened = open_scene(scene, reading or {})
    counted = {} if num_depths is None else {"num_depths": num_depths}  # for the class to refuse too few
    net = _method(weights, model, {**(arguments or {}), **counted}, console)
    depth = depth_model(net.model)
    if not depth.window.reference and depth.window.views not in {None, 1}:
        raise Vo3dError(
            f"{type(depth).__name__} looks at {depth.window.views} frames in time order: a reconstruction needs a "
            "model of single views, or of a reference and its sources"
        )
    fusion = FusionRules(**{"min_confidence": depth.min_confidence or 0.0, **(rules or {})})
    references, choice = find_references(opened, views), Choice(num=num_depths, inverse=inverse)
    windows = {index: window_of(opened, depth, index, num_views) for index in references}
    sweeps = plan_sweeps(opened, windows, depth, choice, fusion.drop_ends)
    if depth.window.reference:
        references = tellable(opened, sweeps)
    job = Job(
        scene=opened,
        layout=layout,
        references=references,
        num_views=num_views,
        choice=choice,
        sweeps=sweeps,
        net=net,
        model=depth,
        device=chosen,
        rules=fusion,
        refine=refine,
        cloud=check_writable(out),
    )
    outputs = Outputs(mesh=mesh, colmap=colmap, depth_png=depth_png)
    outputs.check(job.cloud)
    net.model.to(chosen).eval()
    folder = DepthFolder(job.folder, job.settings)
    first = job.read(job.references[0])
    check_needs(net.model, first, str(scene))
    check_space(job, first)
    say_plan(job, first, folder, console)
    made = _made(job, folder)
    if empty := empty_maps(made.empty):
        say(console, "look", empty)
    began = perf_counter()
    fused = _fused(job, made)
    up = up_comment(torch.stack([view.world_T_cam for view in made.maps]))
    write_cloud(job.cloud, fused.cloud, comments=[up])
    files = {"cloud": str(job.cloud)}
    made.stages["fusion"] = perf_counter() - began
    files |= outputs.write(job, made, fused)
    result = _result(job, made, fused, perf_counter() - started, first)
    files |= {"depth": str(job.folder), "figures": str(job.folder / RESULT)}
    write_whole(job.folder / RESULT, json.dumps(result, indent=2) + "\n")
    if report:
        files["report"] = str(_report(job, made, fused, result))
    say_result(result, files, console)
    return result


def _method(weights: str | None, model: str | None, arguments: Mapping[str, Any], console: Console) -> Pretrained:
    """Make the method that is asked for, else the best that is here, and say so."""
    if weights is not None or model is not None:
        return load_pretrained(weights, model=model, arguments=arguments)
    best, why = best_present(PREFERRED)
    say(console, "method", why)
    try:
        return load_pretrained(best, arguments=arguments)
    except Vo3dError as error:
        told = str(error).replace(f"--weights {best}", f"{best}, taken by default")  # nobody typed the option
        raise Vo3dError(f"{told}: leave it out, or name another method by --weights") from error


def _made(job: Job, folder: DepthFolder) -> Reconstruction:
    """Make the depth maps; where that ends early, say how many are there."""
    try:
        return _depth_maps(job, folder)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\n{len(folder)} of {len(job.references)} depth maps are in {job.folder}: "
            "the same command goes on from there"
        )
        raise
    except Vo3dError as error:
        kept = f"{len(folder)} of {len(job.references)} depth maps are in {job.folder}, the same command goes on there"
        raise Vo3dError(f"{error} ({kept})" if len(folder) else str(error)) from error


def _depth_maps(job: Job, folder: DepthFolder) -> Reconstruction:
    """Collect every depth map, from its file or from the model."""
    made = Reconstruction()
    place = {index: position for position, index in enumerate(job.references)}
    with evaluating(job.model, job.device), progress_bar() as bar:
        task = bar.add_task("depth maps", total=len(job.references))
        for index in job.references:
            sample = job.read(index)
            name, made_from = job.scene.names[index], fingerprint(sample, job.planes(index))
            if (found := folder.load(name, made_from)) is not None:
                view = DepthMap(**of_view(job.model, sample, 0, name=name), **found)
            else:
                view = _estimated(job, job.window(index), sample)
                folder.save(view, made_from)
            errors = depth_errors(view, job.rules.min_confidence)
            made.errors.append(errors if job.scene.metric else without_lengths(errors))
            sources = tuple(place[source] for source in job.scene.sources(index) if source in place)
            wanted = job.scene.foreground(index)
            foreground = None if wanted is None else subsample(wanted, job.model.stride)
            made.maps.append(posed(view, sample, job.model.stride, sources=sources, foreground=foreground))
            ends, empty = map_shares(made.maps[-1], job.rules)
            made.empty.append((name, empty))
            shares = f"{ends:.0%} at the ends of the range, {empty:.0%} without depth"
            bar.update(task, advance=1, description=f"depth map {name}: {shares}")
    made.stages["depth maps"] = sum(view.seconds for view in made.maps)
    return made


def _estimated(job: Job, window: Frames, sample: Sample) -> DepthMap:
    """Estimate the map of the window's reference, refined if that is wanted."""
    ((view, _, _),) = depth_maps(job.model, job.scene, [window], device=job.device, read=lambda _: sample)
    if not job.refine:
        return view
    started = perf_counter()
    view = refined(job.model, view, sample, job.device)
    return replace(view, seconds=view.seconds + perf_counter() - started)


def _fused(job: Job, made: Reconstruction) -> Fused:
    """Fuse the depth maps; where nothing is left, say that they are kept."""
    try:
        with progress_bar() as bar:
            task = bar.add_task("fusion", total=len(made.maps))
            return fuse(made.maps, job.rules, progress=lambda view: bar.update(task, advance=1))
    except NoPoints as error:
        raise Vo3dError(f"{error} (the maps are kept in {job.folder})") from error


def _result(job: Job, made: Reconstruction, fused: Fused, seconds: float, sample: Sample) -> dict[str, Any]:
    """Collect the figures, and where they came from."""
    height, width = sample.image.shape[-2:]
    errors = [view for view in made.errors if view]
    return {
        "scene": {
            "name": job.scene.name,
            "layout": job.layout.name,
            "views": len(job.scene),
            "size": f"{width}x{height}",
            "notes": list(job.scene.notes),
        },
        "settings": job.settings,
        "rules": asdict(job.rules),
        "points": len(fused.cloud),
        "warning": fused.warning,
        "seconds": {"all": seconds, "a_view": _mean([view.seconds for view in made.maps])} | made.stages,
        "peak_memory_bytes": peak_memory(job.device),
        "depth_errors": {key: _mean([view[key] for view in errors]) for key in (errors[0] if errors else {})},
        "views": [
            asdict(counts) | {"sweep": asdict(job.sweeps[index]), "errors": view}
            for index, counts, view in zip(job.references, fused.views, made.errors, strict=True)
        ],
        "provenance": provenance() | {"device": str(job.device)} | job.net.origin,
    }


def _report(job: Job, made: Reconstruction, fused: Fused, result: Mapping[str, Any]) -> Path:
    """Write a page with pictures; figures are those of `result`."""
    origin = result["provenance"]
    return write_reconstruction_report(
        beside(job.cloud, "report"),
        fused,
        made.maps,
        job.rules,
        title=f"{job.scene.name} by {type(job.net.model).__name__}",
        settings={
            "scene": f"{job.scene.name}, {job.layout.words}",
            "images": f"{result['scene']['size']}, {job.num_views} views for each depth map",
            "model": f"{job.net.class_path}, {job.net.name}",
            "arguments": ", ".join(f"{key} {value}" for key, value in job.net.init_args.items()) or "none",
            "depths": f"{planes_in_words(job)}; {parallax_words(job.sweeps[index] for index in job.references)}",
            "device": str(job.device),
        },
        seconds=made.stages,
        peak_bytes=result["peak_memory_bytes"],
        unit="m" if job.scene.metric else "",
        commands=[str(origin["command"])],
        provenance={
            key: str(value) for key, value in origin.items() if key not in {"command", "versions", "accelerator"}
        }
        | {str(key): str(value) for key, value in (*origin["accelerator"].items(), *origin["versions"].items())},
    )


def _mean(values: Sequence[float]) -> float | None:
    """Average the numbers that are not NaN; None where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
