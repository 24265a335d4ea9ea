"""Run a model of multi-view stereo over the reference views of a dataset and score its depth maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from vo3d.errors import Vo3dError
from vo3d.evaluation.depth_maps import Estimate, estimate_depth, stride_of
from vo3d.evaluation.odometry import evaluating
from vo3d.evaluation.progress import progress_bar
from vo3d.evaluation.results import Metrics, Result, frames_sha256, mean_over_recordings, raise_failed
from vo3d.formats.pfm import write_pfm
from vo3d.metrics.depth import depth_metrics, without_lengths
from vo3d.model import Model
from vo3d.provenance import provenance as current_provenance
from vo3d.sample import MultiViewScene, Sample

MAPS = "maps"  # in a result folder: the depth and confidence maps that reports show
MOST_MAPS = 6  # one a scene


@runtime_checkable
class ViewSamples(Protocol):
    """A dataset of reference views with their sources, such as those of `vo3d.datasets.multiview`."""

    def __len__(self) -> int:
        """Number of references."""

    def __getitem__(self, index: int) -> Sample:
        """The views of a reference, itself first."""

    def place(self, index: int) -> tuple[MultiViewScene, list[int]]:
        """The scene of a reference and the indices of its views, without reading them."""


@dataclass
class _Seen:
    """What the protocol says of the samples that were scored."""

    resolution: dict[str, None] = field(default_factory=dict)  # an ordered set
    depth_range: dict[str, None] = field(default_factory=dict)
    num_views: dict[int, None] = field(default_factory=dict)
    frames: list[tuple[str, list[int]]] = field(default_factory=list)

    def add(self, sample: Sample, num_views: int) -> None:
        """Note one sample."""
        self.resolution[f"{sample.image.shape[-1]}x{sample.image.shape[-2]}"] = None
        self.num_views[num_views] = None
        if sample.depth_range is not None:
            near, far = sample.depth_range[0].tolist()
            self.depth_range[f"{near:.4g} to {far:.4g}"] = None

    def protocol(self) -> dict[str, object]:
        """Terms of the protocol."""
        ranges = list(self.depth_range)
        return {
            "resolution": ", ".join(self.resolution),
            "num_views": ", ".join(map(str, sorted(self.num_views))),
            "depth_range": ranges[0] if len(ranges) == 1 else f"{len(ranges)} different, the dataset's",
            "frames_sha256": frames_sha256(self.frames),
        }


def evaluate_depth(
    model: Model,
    samples: ViewSamples,
    out: Path,
    *,
    references: int | None = None,
    min_confidence: float | None = None,
    device: torch.device | str = "cpu",
    name: str | None = None,
    protocol: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
    each: Callable[[int, Estimate], None] | None = None,
    progress: bool = True,
) -> Result:
    """Score the depth maps that `model.stream` makes of the references of `samples`, and write everything under `out`.

    The truth is that of every `stride`-th pixel, where the model's maps have theirs. Written: `metrics.json`, brought
    up to date after each scene, and the maps of one reference of each of the first scenes. A scene in which something
    is wrong (a Vo3dError) is left out, and the others go on.

    Args:
        model: Must give `depth` and `confidence`; put in evaluation mode and on `device`.
        samples: Their first view has a true depth, 0 where there is none.
        out: The result folder.
        references: Of each scene, evenly spaced; None for all.
        min_confidence: For the metrics that begin with `confident_`, which leave out depths below it; the model's own
            if None, and none of them where it has none.
        device: Where the model runs.
        name: Of the model in tables; its class if None.
        protocol: What only the caller knows: at least `dataset` and `split`.
        provenance: Such as the hash of the weights and the seed; versions, command and date are added.
        each: Told of the index of each sample and of the maps, as soon as they are there.
        progress: Show a bar on stderr, where that is a terminal.

    Returns:
        The result as written; lengths only of scenes that are `metric`. The metrics of a scene are means over its
        references, those of the dataset means over its scenes, each of what is defined. To the keys of
        `vo3d.metrics.depth.depth_metrics` (counts are sums) come `depth_recall_1pc_percent`, the share within 1 percent
        of all pixels with a truth, whether or not they got a depth; the same with `confident_` before them;
        `num_references`, and `fps`, references per second of the model.

    Raises:
        Vo3dError: Nothing to evaluate, no truth, or after the others were written, a scene that failed.
    """
    missing = {"depth", "confidence"} - set(model.gives)
    if missing:
        raise Vo3dError(
            f"{type(model).__name__} gives no {' and no '.join(sorted(missing))}: expected both to be scored"
        )
    threshold = getattr(model, "min_confidence", None) if min_confidence is None else min_confidence
    scenes = _by_scene(samples, references)
    fixed = dict(protocol or {}) | _protocol(model, threshold)
    origin = current_provenance() | {"device": str(device)} | dict(provenance or {})
    result = Result(name or type(model).__name__, fixed, {}, {}, origin)
    failed: dict[str, str] = {}
    seen = _Seen()
    with evaluating(model, device), progress_bar(progress) as bar:
        task = bar.add_task(result.model, total=sum(map(len, scenes.values())))
        for scene, indices in scenes.items():
            bar.update(task, description=f"{result.model} on {scene}")
            rows: list[Metrics] = []
            try:
                for index in indices:
                    sample = samples[index]
                    estimate = estimate_depth(model, sample, device)
                    row = _score(model, sample, estimate, threshold, scene)
                    rows.append(row if samples.place(index)[0].metric else without_lengths(row))
                    seen.add(sample, len(sample.image))
                    if index == indices[0] and len(result.sequences) < MOST_MAPS:
                        _write_maps(out / MAPS / scene, samples, index, estimate)
                    if each is not None:
                        each(index, estimate)
                    bar.advance(task)
                result.sequences[scene] = _mean_of_views(rows)
                seen.frames.append((scene, [samples.place(index)[1][0] for index in indices]))
            except Vo3dError as error:
                failed[scene] = str(error)
            result = replace(
                result,
                protocol=fixed | seen.protocol(),
                mean=mean_over_recordings(result.sequences),
                provenance=origin | ({"failed": failed} if failed else {}),
            )
            result.save(out)
    raise_failed(failed, len(scenes), "scenes", out)
    return result


def evenly_spaced(indices: Sequence[int], count: int | None) -> list[int]:
    """`count` of the indices, from the middles of equal parts of the sequence; all where there are no more."""
    if count is None or count >= len(indices):
        return list(indices)
    return [indices[(2 * part + 1) * len(indices) // (2 * count)] for part in range(count)]


def _by_scene(samples: ViewSamples, references: int | None) -> dict[str, list[int]]:
    """The indices of the references of each scene that are scored, by the name of the scene."""
    if references is not None and references < 1:
        raise Vo3dError(f"references {references}: expected at least 1 of each scene")
    scenes: dict[str, list[int]] = {}
    owners: dict[str, MultiViewScene] = {}
    for index in range(len(samples)):
        scene, _ = samples.place(index)
        if owners.setdefault(scene.name, scene) is not scene:
            raise Vo3dError(f"two scenes are called {scene.name}: their results would overwrite each other")
        scenes.setdefault(scene.name, []).append(index)
    if not scenes:
        raise Vo3dError("no reference views to evaluate: expected at least one; check the split of the dataset")
    return {name: evenly_spaced(indices, references) for name, indices in scenes.items()}


def _protocol(model: Model, threshold: float | None) -> dict[str, object]:
    """How depth was asked for and measured."""
    return {
        "task": "depth",
        "stride": stride_of(model),
        "num_depths": getattr(model, "num_depths", None),
        "min_confidence": threshold,
        "truth": "z of the reference at every stride-th pixel, where it has one",
        "mean": "over pixels of a view, then views of a scene, then scenes",
    }


def _score(model: Model, sample: Sample, estimate: Estimate, threshold: float | None, scene: str) -> Metrics:
    """The metrics of one view."""
    stride = stride_of(model)
    truth = None if sample.depth is None else sample.depth[0, ::stride, ::stride]
    if truth is None or not bool((truth > 0).any()):
        raise Vo3dError(f"{scene} has a view without a true depth: depth is scored where there is a truth")
    if truth.shape != estimate.depth.shape:
        shape = f"{estimate.depth.shape[0]}x{estimate.depth.shape[1]}"
        raise TypeError(
            f"{type(model).__name__} gave a map of {shape}: expected {truth.shape[0]}x{truth.shape[1]}, every "
            f"{stride}th pixel"
        )
    interval = _interval(model, sample)
    found = _metrics(estimate.depth, truth, interval)
    if threshold is not None:
        kept = torch.where(estimate.confidence >= threshold, estimate.depth, 0.0)
        found |= {f"confident_{key}": value for key, value in _metrics(kept, truth, interval).items()}
    found["seconds"] = estimate.seconds
    return found


def _metrics(depth: torch.Tensor, truth: torch.Tensor, interval: torch.Tensor | None) -> Metrics:
    """Numbers by key; None where they are not defined, such as errors without a pixel."""
    found = {key: float(value) for key, value in depth_metrics(depth, truth, interval=interval).items()}
    within = found["depth_within_1pc_percent"] if found["depth_num_pixels"] else 0.0
    found["depth_recall_1pc_percent"] = within * found["depth_coverage_percent"] / 100
    return {key: value if isfinite(value) else None for key, value in found.items()}


def _interval(model: Model, sample: Sample) -> torch.Tensor | None:
    """The mean distance of the hypotheses; None for a model without any."""
    num_depths = getattr(model, "num_depths", None)
    if num_depths is None or num_depths < 2 or sample.depth_range is None:
        return None
    near, far = sample.depth_range[0]
    interval: torch.Tensor = (far - near) / (num_depths - 1)
    return interval


def _mean_of_views(rows: Sequence[Metrics]) -> Metrics:
    """The plain mean of each number over the views that define it; counts are added up."""
    scene: Metrics = {"num_references": len(rows)}
    for key in rows[0]:
        values = [value for row in rows if (value := row[key]) is not None]
        total = sum(values) if values else None
        if key == "seconds":
            scene["fps"] = None if not total else len(values) / total
        elif key.endswith("num_pixels"):
            scene[key] = None if total is None else int(total)
        else:
            scene[key] = None if total is None else total / len(values)
    return scene


def _write_maps(folder: Path, samples: ViewSamples, index: int, estimate: Estimate) -> None:
    """The maps of one view, named after its image."""
    scene, views = samples.place(index)
    stem = Path(scene.names[views[0]]).name
    write_pfm(folder / f"{stem}_depth.pfm", estimate.depth)
    write_pfm(folder / f"{stem}_confidence.pfm", estimate.confidence)
