"""Depth: maps of references with their sources, and of frames in time order, pixel by pixel against the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import ClassVar, TypeVar

import torch

from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.synthesis import synthesis_sections, write_motion
from vo3d.evaluation.task import Metric, Part, Seen, Task, defined, frames_sha256
from vo3d.formats.candidates import visible_paths
from vo3d.formats.pfm import read_pfm
from vo3d.formats.results import Metrics
from vo3d.geometry.camera import subsample
from vo3d.inference.depth import depth_maps
from vo3d.inference.depth_folder import write_maps
from vo3d.inference.loop import windows_of
from vo3d.metrics.depth import depth_metrics, without_lengths
from vo3d.model import Frames, Model, depth_model, has_own
from vo3d.recording import MultiViewScene, Recording, RecordingDataset
from vo3d.report.canvas import save_figure
from vo3d.report.depth import plot_contact_sheet
from vo3d.report.html import Picture, Section, Text
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names
from vo3d.sample import Sample

MAPS = "maps"  # in a result folder: the depth and confidence maps that reports show
MOST_MAPS = 6  # one a recording
HEADLINE = "depth_within_1pc_percent"
Item = TypeVar("Item")


class Depth(Task):
    """Depth maps of all views that have a truth: each reference of a dataset of views, each frame of a recording.

    The metrics of a recording are means over its views, those of the dataset means over its recordings, each of what
    is defined. To the keys of `vo3d.metrics.depth.depth_metrics` (counts are sums) come `depth_recall_1pc_percent`, the
    share within 1 percent of all pixels with a truth, whether or not they got a depth; the same with `confident_`
    before them, of models that give a confidence; `num_references`, and `fps`, views per second of the model. Lengths
    are there only where a recording is `metric`. Maps of one view of each of the first recordings lie in `maps/`.

    Args:
        references: Views of each recording that are scored, evenly spaced; None for all.
        min_confidence: For the metrics that begin with `confident_`, which leave out depths below it; the model's own
            if None, and none of them where it has none.
        clip_length: Frames in time order that go through the model at once, where it takes any number.
    """

    name = "depth"
    keys = ("depth",)
    reads = ("confidence",)
    # Depth is measured pixel by pixel: the size of the images and the stride say which pixels these are.
    must_agree: ClassVar[tuple[str, ...]] = (
        "task",
        "dataset",
        "split",
        "frames_sha256",
        "resolution",
        "stride",
        "depth_range",
        "truth",
        "mean",
    )
    method_terms = {"num_views": "views", "num_depths": "depths"}  # noqa: RUF012 (read only)
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            HEADLINE,
            "within 1 %",
            "% of depths",
            1,
            "high",
            meaning="Depths that differ from the truth by at most 1 percent of it: of all depths that a model gave, "
            "and of all pixels that have a truth.",
        ),
        Metric(
            "depth_within_5pc_percent",
            "within 5 %",
            "% of depths",
            1,
            "high",
            meaning="Depths that differ from the truth by at most 5 percent of it.",
        ),
        Metric(
            "depth_median_error_mm",
            "median error",
            "mm",
            best="low",
            meaning="Median over the pixels of a view of the difference to the truth.",
        ),
        Metric("depth_mae_mm", "mean error", "mm", best="low", meaning="Mean of the same; a few gross errors move it."),
        Metric("depth_abs_rel", "abs rel", digits=4, best="low", meaning="Mean of the difference over the truth."),
        Metric(
            "depth_coverage_percent",
            "coverage",
            "% of truth",
            1,
            "high",
            meaning="Pixels with a truth for which the model gave a depth.",
            plain=100.0,
        ),
        Metric("depth_recall_1pc_percent", "within 1 %", "% of truth", 1, "high", plain_with="depth_coverage_percent"),
        Metric(
            "confident_depth_coverage_percent",
            "confident",
            "% of truth",
            1,
            meaning="Pixels whose confidence reaches the threshold of the protocol: each model has its own measure.",
        ),
        Metric("confident_depth_within_1pc_percent", "of these within 1 %", "%", 1, "high"),
        Metric("fps", "speed", "views/s"),
    )
    things = "scene"

    def __init__(
        self, references: int | None = None, min_confidence: float | None = None, clip_length: int = 16
    ) -> None:
        if references is not None and references < 1:
            raise Vo3dError(f"references {references}: expected at least 1 of each scene")
        if clip_length < 1:
            raise Vo3dError(f"clip_length {clip_length}: expected at least 1 frame")
        self.references, self.min_confidence, self.clip_length = references, min_confidence, clip_length

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model of depth on data with true depth that it can look at."""
        try:
            parts = self.parts(depth_model(model), dataset)
        except Vo3dError as error:
            return str(error)
        if parts and not any(_gives_depth(part.recording) for part in parts):
            return f"{type(dataset).__name__} gives no depth to compare with: turn it on in the dataset's arguments"
        return None

    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """Take the recordings; of a dataset of references with their sources, the samples as that makes them."""
        if model.window.reference and all(isinstance(one, MultiViewScene) for one in dataset.recordings):
            return self._references(dataset)
        parts = []
        for recording in dataset.recordings:
            windows = windows_of(model, recording, clip_length=self.clip_length)
            counted = [one.views[view] for one in windows for view in one.counted]
            scored = frozenset(evenly_spaced(counted, self.references))
            if not has_own(model, "stream"):  # a memory must have seen all, else what nobody scores is left out
                windows = [one for one in windows if scored & {one.views[view] for view in one.counted}]
            parts.append(Part(recording=recording, windows=windows, scored=scored))
        return parts

    def _references(self, dataset: RecordingDataset) -> Sequence[Part]:
        """Take the scenes, with those references that are scored."""
        scenes: dict[str, tuple[Recording, dict[Frames, int]]] = {}
        for index in range(len(dataset)):
            scene, views = dataset.place(index)
            owner, windows = scenes.setdefault(scene.name, (scene, {}))
            if owner is not scene:
                raise Vo3dError(f"two scenes are called {scene.name}: their results would overwrite each other")
            windows[Frames(views=tuple(views), counted=(0,))] = index
        return [
            Part(
                recording=scene,
                windows=evenly_spaced(list(windows), self.references),
                read=lambda frames, windows=windows: dataset[windows[frames]],  # type: ignore[misc]
            )
            for scene, windows in scenes.values()
        ]

    def score(
        self,
        model: Model,
        part: Part,
        out: Path,
        *,
        device: torch.device | str,
        seen: Seen,
        advance: Callable[[int], object],
    ) -> Metrics:
        """Take the means over the views of one recording that have a truth."""
        depth = depth_model(model)
        threshold = depth.min_confidence if self.min_confidence is None else self.min_confidence
        recording = part.recording
        rows: list[Metrics] = []
        scored: list[int] = []
        for view, answer, row in depth_maps(depth, recording, part.windows, device=device, read=part.read):
            sample, index = answer.sample, answer.frames.views[row]
            advance(1)
            wanted = part.scored is None or index in part.scored
            if not wanted or view.truth is None or not bool((view.truth > 0).any()):
                continue
            metrics = score_map(view, threshold)
            rows.append(metrics if recording.metric else without_lengths(metrics))
            if not scored and len(seen.frames) < MOST_MAPS:
                write_maps(out / MAPS / recording.name, Path(view.name).name, view)
                write_motion(out / MAPS / recording.name, Path(view.name).name, answer, row)
            scored.append(recording.frames[index])
            seen.note_size(sample.image.shape[-2:])
            seen.note("num_views", len(sample.image))
            if sample.depth_range is not None:
                near, far = sample.depth_range[row].tolist()
                seen.note("depth_range", f"{near:.4g} to {far:.4g}")
            self.watch(view, sample)
        if not rows:
            raise Vo3dError(f"{recording.name} has no view with a true depth: depth is scored where there is a truth")
        seen.frames.append((recording.name, scored))
        return _mean_of_views(rows)

    def watch(self, view: DepthMap, sample: Sample) -> None:
        """Do nothing; told of each map that was scored, for whoever overrides it."""

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe how depth was asked for and measured, on which pixels of which views."""
        depth = depth_model(model)
        ranges = list(seen.values.get("depth_range", {}))
        views = sorted(seen.values.get("num_views", {}), key=lambda num: int(str(num)))
        return {
            "task": self.name,
            "stride": depth.stride,
            "num_depths": depth.num_depths,
            "min_confidence": depth.min_confidence if self.min_confidence is None else self.min_confidence,
            "truth": "z of the reference at every stride-th pixel, where it has one",
            "mean": "over pixels of a view, then views of a scene, then scenes",
            "resolution": ", ".join(map(str, seen.values.get("resolution", {}))),
            "num_views": ", ".join(map(str, views)),
            "depth_range": _one_or_several(ranges),
            "frames_sha256": frames_sha256(seen.frames),
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the share of right depths of each model, where they may be compared."""
        return share_in_words(models, comparable, HEADLINE, "Depths within 1 % of the truth", ", ".join(models))

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show one sheet of maps for each model."""
        yield Section("Depth maps", [*_sheets(models, recordings, figures)])
        yield from synthesis_sections(models, recordings, MAPS, figures)


def share_in_words(models: Mapping[str, Scored], comparable: bool, key: str, what: str, plainly: str) -> str:
    """Tell the mean percentage `key` of each model, which is `what`; only `plainly` where they must not be ranked."""
    scenes = count(scored_names(models), "scene")
    shares = {name: model.mean.get(key) for name, model in models.items()}
    if not comparable or any(share is None for share in shares.values()):
        return f"{plainly} on {scenes}."
    told = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    return f"{what}, mean over {scenes}: {told}."


def evenly_spaced(items: Sequence[Item], num: int | None) -> list[Item]:
    """Choose `num` of the items, from the middles of equal parts of the sequence; all where there are no more."""
    if num is None or num >= len(items):
        return list(items)
    return [items[(2 * part + 1) * len(items) // (2 * num)] for part in range(num)]


def _gives_depth(recording: Recording) -> bool:
    """Tell if the first view has a true depth; also if it cannot be read, of which the evaluation will tell."""
    try:
        return recording.clip((0,)).depth is not None
    except Vo3dError:
        return True


def _one_or_several(ranges: Sequence[object]) -> object:
    """Give the range of all views; their number where they differ; None without any."""
    return ranges[0] if len(ranges) == 1 else f"{len(ranges)} different, the dataset's" if ranges else None


def score_map(view: DepthMap, threshold: float | None) -> Metrics:
    """Compute the metrics of one view against its truth."""
    assert view.truth is not None  # noqa: S101  as the caller made sure
    interval = None if view.interval is None else torch.tensor(view.interval)
    found = _metrics(view.depth, view.truth, interval)
    if threshold is not None and view.confidence is not None:
        kept = torch.where(view.confidence >= threshold, view.depth, 0.0)
        found |= {f"confident_{key}": value for key, value in _metrics(kept, view.truth, interval).items()}
    found["seconds"] = view.seconds
    return found


def _metrics(depth: torch.Tensor, truth: torch.Tensor, interval: torch.Tensor | None) -> Metrics:
    """Compute numbers by key; None where they are not defined, such as errors without a pixel."""
    found = {key: float(value) for key, value in depth_metrics(depth, truth, interval=interval).items()}
    within = found[HEADLINE] if found["depth_num_pixels"] else 0.0
    found["depth_recall_1pc_percent"] = within * found["depth_coverage_percent"] / 100
    return {key: value if isfinite(value) else None for key, value in found.items()}


def _mean_of_views(rows: Sequence[Metrics]) -> Metrics:
    """Take the plain mean of each number over the views that define it; counts are added up."""
    scene: Metrics = {"num_references": len(rows)}
    for key, values in defined(rows).items():
        total = sum(values)
        if key == "seconds":
            scene["fps"] = len(values) / total if total else None
        elif key.endswith("num_pixels"):
            scene[key] = int(total) if values else None
        else:
            scene[key] = total / len(values) if values else None
    return scene


def _sheets(
    models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], folder: Path
) -> Iterator[Picture | Text]:
    """Show the maps of each model, one of each recording."""
    for number, (name, model) in enumerate(models.items(), start=1):
        views = [*_views(model, {recording.name: recording for recording in recordings.get(name, ())})]
        if not views:
            yield Text(f"No maps of {name} are shown: no scene of its maps was given to this report.", "note")
            continue
        sheet = plot_contact_sheet(views, min_confidence=model.protocol.get("min_confidence"))
        shown = "depth, confidence, true depth" if views[0].confidence is not None else "depth, true depth"
        caption = (
            f"{name}: one view of each of {count(views, 'scene')}, with its {shown} and error in percent of the true "
            "depth. Maps have the model's resolution; grey has no value."
        )
        yield Picture(save_figure(sheet, folder / f"maps_{number}.png"), caption, caption)


def _views(model: Scored, recordings: Mapping[str, Recording]) -> Iterator[DepthMap]:
    """Read the maps in a result folder, each with the image and the truth of its recording."""
    stride = int(model.protocol.get("stride") or 1)
    for name in [name for name in model.sequences if name in recordings]:
        recording = recordings[name]
        for path in visible_paths(model.folder / MAPS / name, "*_depth.pfm"):
            stem = path.name.removesuffix("_depth.pfm")
            places = [index for index, view in enumerate(recording.names) if Path(view).name == stem]
            if not places:
                continue
            sample, depth = recording.clip(places[:1]), read_pfm(path)
            truth = None if sample.depth is None else subsample(sample.depth[0], stride)
            if truth is not None and truth.shape != depth.shape:
                raise Vo3dError(
                    f"{path}: a map of {depth.shape[-2]}x{depth.shape[-1]}: expected {truth.shape[0]}x"
                    f"{truth.shape[1]}, as {name} has now: evaluate the model again"
                )
            sure = path.with_name(f"{stem}_confidence.pfm")
            yield DepthMap(
                name=f"{name}, {stem}",
                image=sample.image[0],
                depth=depth,
                confidence=read_pfm(sure) if sure.is_file() else None,
                truth=truth,
            )
