"""Score depth maps: the choice of views, the run over a recording and the sheets of maps that all such tasks share."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.depth_map import DepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.synthesis import synthesis_sections, write_motion
from vo3d.evaluation.task import Part, Seen, Task, defined, frames_sha256
from vo3d.formats.candidates import visible_paths
from vo3d.formats.pfm import read_pfm
from vo3d.formats.results import Metrics
from vo3d.geometry.camera import subsample
from vo3d.inference.depth import depth_maps
from vo3d.inference.depth_folder import write_maps
from vo3d.inference.loop import windows_of
from vo3d.metrics.depth import without_lengths
from vo3d.model import DepthModel, Frames, Model, depth_model, has_own
from vo3d.recording import MultiViewScene, Recording, RecordingDataset, evenly_spaced
from vo3d.report.canvas import save_figure
from vo3d.report.depth import STEPS, WITHIN, plot_contact_sheet
from vo3d.report.html import Picture, Section, Text
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names
from vo3d.sample import Sample

MAPS = "maps"  # in a result folder: the depth and confidence maps that reports show
MOST_MAPS = 6  # one a recording


class DepthTask(Task):
    """A task that scores depth maps, view by view.

    Maps of one view of each of the first recordings lie in `maps/`.

    Args:
        references: Views of each recording that are scored, evenly spaced; None for all.
        min_confidence: For the metrics that begin with `confident_`, which leave out depths below it; the model's own
            if None, and none of them where it has none.
        clip_length: Frames in time order that go through the model at once, where it takes any; None: as usual.
    """

    keys = ("depth",)
    reads = ("confidence",)
    views: ClassVar[str] = "references"  # what it calls the views that it counts
    steps: ClassVar[Sequence[float]] = STEPS  # of errors in pictures, see `plot_contact_sheet`
    within: ClassVar[float] = WITHIN

    def __init__(
        self, references: int | None = None, min_confidence: float | None = None, clip_length: int | None = None
    ) -> None:
        if references is not None and references < 1:
            raise Vo3dError(f"references {references}: expected at least 1 of each {self.things}")
        if clip_length is not None and clip_length < 1:
            raise Vo3dError(f"clip_length {clip_length}: expected at least 1 frame")
        self.references, self.min_confidence, self.clip_length = references, min_confidence, clip_length

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model of depth that suits the task, on data with true depth that it can look at."""
        name = type(model).__name__
        try:
            depth_model(model)
            if not self.suits(model):
                if model.window.reference:
                    return f"{name} matches a view with its sources: the task depth scores it"
                return f"{name} sees a view without the poses of others: the task single_view_depth scores it"
            parts = self.parts(model, dataset)
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
        recording = part.recording
        rows: list[Metrics] = []
        scored: list[int] = []
        left_out = 0
        for view, answer, row in depth_maps(depth, recording, part.windows, device=device, read=part.read):
            sample, index = answer.sample, answer.frames.views[row]
            advance(1)
            if part.scored is not None and index not in part.scored:
                continue
            metrics = self._row(view, depth)
            if metrics is None:
                left_out += 1
                continue
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
        found = self.of_recording(recording, rows, left_out)
        seen.frames.append((recording.name, scored))
        return found

    def _row(self, view: DepthMap, model: DepthModel) -> Metrics | None:
        """Compute the metrics of a view, and those of its sure depths; None where it has no truth that counts."""
        found = None if view.truth is None else self.measure(view, model.stride)
        if found is None:
            return None
        threshold = self._threshold(model)
        if threshold is not None and view.confidence is not None:
            kept = replace(view, depth=torch.where(view.confidence >= threshold, view.depth, 0.0))
            sure = self.measure(kept, model.stride) or {}
            found |= {f"confident_{key}": value for key, value in sure.items()}
        return found | {"seconds": view.seconds}

    def _threshold(self, model: DepthModel) -> float | None:
        return model.min_confidence if self.min_confidence is None else self.min_confidence

    @abstractmethod
    def measure(self, view: DepthMap, stride: int) -> Metrics | None:
        """Hold the depths of a view against its truth, which there is; None where none of that counts.

        The map holds every `stride`-th pixel of the image.
        """

    def of_recording(self, recording: Recording, rows: Sequence[Metrics], left_out: int) -> Metrics:
        """Join the metrics of the scored views of a recording, of which `left_out` others had no truth that counts.

        Plain means of what is defined; counts are added up. Raises Vo3dError where nothing was scored.
        """
        if not rows:
            raise Vo3dError(f"{recording.name} has no view with a true depth: depth is scored where there is a truth")
        found: Metrics = {f"num_{self.views}": len(rows)}
        for key, values in defined(rows).items():
            total = sum(values)
            if key == "seconds":
                found["fps"] = len(values) / total if total else None
            elif key.endswith("num_pixels"):
                found[key] = int(total) if values else None
            else:
                found[key] = total / len(values) if values else None
        return found

    def watch(self, view: DepthMap, sample: Sample) -> None:
        """Do nothing; told of each map that was scored, for whoever overrides it."""

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe which pixels of which views were measured."""
        depth = depth_model(model)
        return {
            "task": self.name,
            "stride": depth.stride,
            "min_confidence": self._threshold(depth),
            "resolution": ", ".join(map(str, seen.values.get("resolution", {}))),
            "frames_sha256": frames_sha256(seen.frames),
        }

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show one sheet of maps for each model, and views that are made again by depth and motion."""
        yield Section("Depth maps", [*self._sheets(models, recordings, figures)])
        yield from synthesis_sections(models, recordings, MAPS, figures)

    def as_scored(self, view: DepthMap, protocol: Mapping[str, object]) -> DepthMap:
        """Make of a map and its truth what was compared under a protocol: both as they are."""
        return view

    def said(self, protocol: Mapping[str, object]) -> str:
        """Tell how `as_scored` changes maps, in a sentence for their caption; nothing where it does not."""
        return ""

    def _sheets(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], folder: Path
    ) -> Iterator[Picture | Text]:
        """Show the maps of each model, one of each recording."""
        for number, (name, model) in enumerate(models.items(), start=1):
            views = [
                self.as_scored(view, model.protocol)
                for view in _views(model, {recording.name: recording for recording in recordings.get(name, ())})
            ]
            if not views:
                yield Text(f"No maps of {name} are shown: no scene of its maps was given to this report.", "note")
                continue
            sure = model.protocol.get("min_confidence")
            sheet = plot_contact_sheet(views, min_confidence=sure, steps=self.steps, within=self.within)
            more = "confidence, " if views[0].confidence is not None else ""
            caption = (
                f"{name}: one view of each of {count(views, self.things)}, with its depth, {more}true depth and error "
                "in percent of the true depth. Maps have the model's resolution; grey has no value."
                f"{self.said(model.protocol)}"
            )
            yield Picture(save_figure(sheet, folder / f"maps_{number}.png"), caption, caption)


def share_in_words(models: Mapping[str, Scored], comparable: bool, key: str, what: str, plainly: str) -> str:
    """Tell the mean percentage `key` of each model, which is `what`; only `plainly` where they must not be ranked."""
    scenes = count(scored_names(models), "scene")
    shares = {name: model.mean.get(key) for name, model in models.items()}
    if not comparable or any(share is None for share in shares.values()):
        return f"{plainly} on {scenes}."
    told = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    return f"{what}, mean over {scenes}: {told}."


def numbers(metrics: Mapping[str, Tensor]) -> Metrics:
    """Turn the metrics of one view into numbers by key; None where they are not defined, as errors without a pixel."""
    return {key: value if isfinite(value := float(found)) else None for key, found in metrics.items()}


def _gives_depth(recording: Recording) -> bool:
    """Tell if the first view has a true depth; also if it cannot be read, of which the evaluation will tell."""
    try:
        return recording.clip((0,)).depth is not None
    except Vo3dError:
        return True


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
