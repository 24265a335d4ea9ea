"""Clouds: depth maps fused into a point cloud, against the points of the true depth of the same views."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.evaluation.depth_task import share_in_words
from vo3d.evaluation.task import Metric, Part, Seen
from vo3d.evaluation.tasks.depth import Depth
from vo3d.formats.files import make_folder
from vo3d.formats.images import write_image
from vo3d.formats.ply import read_cloud, write_cloud
from vo3d.formats.results import Metrics
from vo3d.fusion.filtering import FusionRules
from vo3d.fusion.fuse import NoPoints, fuse
from vo3d.geometry import rays, se3
from vo3d.inference.depth import depth_maps, posed
from vo3d.metrics.clouds import check_distances, cloud_distances, distance_metrics
from vo3d.metrics.thinning import thin_points
from vo3d.model import Model, depth_model
from vo3d.recording import MultiViewScene, Recording, RecordingDataset
from vo3d.report.clouds import turntable, up_comment
from vo3d.report.html import Picture, Section, Text
from vo3d.report.scored import Scored

MOST_PICTURES = 3  # scenes of each model
SHARES = ("precision", "recall", "f_score")
SIZES = ("small", "middle", "large")  # of the three distances


class Clouds(Depth):
    """Point clouds of whole scenes: all references are estimated, filtered and fused, as `vo3d reconstruct` does.

    The reference cloud holds the points of the true depth of the same views on the grid of the maps, thinned. Nothing
    is aligned; a scene of which no point is left has recall and F-scores of 0. Lengths are in metres; of scenes whose
    unit is not known, in that unit. Beside metrics.json lies `clouds/<scene>.ply`. For the keys see
    `vo3d.metrics.clouds.cloud_metrics`.

    Args:
        distances: Of precision, recall and F-score: three of them, ascending.
        thin: Of both clouds, until no two points are within this distance; 0 leaves them.
        min_confidence: The least confidence of a depth that becomes a point; the model's own if None.
        min_consistent: Sources that must confirm a depth, see `vo3d.fusion.filtering.FusionRules`.
    """

    name = "clouds"
    unasked = False
    must_agree = (
        "task",
        "dataset",
        "split",
        "frames_sha256",
        "resolution",
        "stride",
        "depth_range",
        "distances",
        "thin",
        "truth",
        "mean",
    )
    method_terms = {"num_views": "views", "num_depths": "depths"}  # noqa: RUF012 (read only)
    metrics = (
        Metric(
            "cloud_accuracy",
            "accuracy",
            "",
            4,
            "low",
            meaning="Mean distance from the points of the cloud to those of the true depths: metres, or the unit of "
            "the scene where it is not known.",
        ),
        Metric("cloud_completeness", "completeness", "", 4, "low", meaning="The same from the true depths back."),
        *(
            Metric(
                f"cloud_{share}_{size}_percent",
                f"{share.replace('_', '-')}, {size}",
                "%",
                1,
                "high",
                meaning=meaning if size == "middle" else "",
                shown=size == "middle" or share == "f_score",
            )
            for size in SIZES
            for share, meaning in zip(
                SHARES,
                (
                    "Points of the cloud within the middle one of the protocol's three distances of a true point.",
                    "True points that have a point of the cloud within that distance.",
                    "Harmonic mean of precision and recall, for each of the three distances.",
                ),
                strict=True,
            )
        ),
        Metric("cloud_num_predicted", "points", digits=0),
        Metric("fps", "speed", "views/s"),
    )

    def __init__(
        self,
        distances: Sequence[float] = (0.005, 0.01, 0.02),
        thin: float = 0.002,
        min_confidence: float | None = None,
        min_consistent: int = 3,
    ) -> None:
        super().__init__(min_confidence=min_confidence)
        check_distances(distances, float("inf"))
        if len(distances) != 3 or list(distances) != sorted(distances) or not 0 <= thin < float("inf"):
            raise Vo3dError(f"distances {list(distances)}, thin {thin}: expected three that ascend, and 0 or more")
        self.distances, self.thin, self.min_consistent = tuple(distances), thin, min_consistent

    def suits(self, model: Model) -> bool:
        """Take any model of depth, also one that sees each view alone."""
        return "depth" in model.gives

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model of depth on scenes of views with true depth."""
        if not all(isinstance(recording, MultiViewScene) for recording in dataset.recordings):
            return f"{type(dataset).__name__} holds frames in time order: clouds are made of scenes of views"
        return super().obstacle(model, dataset)

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
        """Fuse the maps of a scene and hold the cloud against that of its truth."""
        depth, scene = depth_model(model), part.recording
        if not isinstance(scene, MultiViewScene):
            raise TypeError(f"{scene.name} is no scene of views, which `obstacle` refuses")
        place = {frames.views[frames.counted[0]]: position for position, frames in enumerate(part.windows)}
        maps: list[PosedDepthMap] = []
        for view, answer, row in depth_maps(depth, scene, part.windows, device=device, read=part.read):
            advance(1)
            sample, index = answer.sample, answer.frames.views[row]
            sources = tuple(place[source] for source in scene.sources(index) if source in place)
            maps.append(posed(view, sample, depth.stride, sources=sources))
            seen.note_size(sample.image.shape[-2:])
            seen.note("num_views", len(sample.image))
            seen.note("depth_range", "{:.4g} to {:.4g}".format(*maps[-1].depth_range))
        truth = true_points(maps)
        seen.frames.append((scene.name, [scene.frames[index] for index in place]))
        seconds = sum(view.seconds for view in maps)
        cost: Metrics = {"num_references": len(maps), "fps": len(maps) / seconds if seconds else None}
        file = out / "clouds" / f"{scene.name}.ply"
        try:
            cloud = fuse(maps, self._rules(model)).cloud
        except NoPoints:  # a result, too: the model found nothing of the scene
            file.unlink(missing_ok=True)
            nothing = {f"cloud_{share}_{size}_percent": 0.0 for share in ("recall", "f_score") for size in SIZES}
            return {**nothing, "cloud_num_predicted": 0, **cost}
        comments = [up_comment(torch.stack([view.world_T_cam for view in maps]))]
        write_cloud(file, cloud, comments=comments)
        clouds = [np.asarray(cloud.points, dtype=np.float64), truth]
        if self.thin:
            clouds = [points[thin_points(points, self.thin, 0)] for points in clouds]
        found = distance_metrics(*cloud_distances(*clouds), self.distances)
        for size, distance in zip(SIZES, self.distances, strict=True):
            for share in SHARES:
                found[f"cloud_{share}_{size}_percent"] = found.pop(f"cloud_{share}_{distance:g}_percent")
        metrics: Metrics = {key: value if isfinite(value) else None for key, value in found.items()}
        return metrics | cost

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Describe what depth does, with the rules of the fusion and of the comparison."""
        terms = super().protocol(model, seen)
        rules = asdict(self._rules(model))
        return terms | {
            "truth": "points of the true depth of the same views at every stride-th pixel",
            "mean": "over points of a scene, then scenes",
            "distances": list(self.distances),
            "thin": self.thin,
            "fusion": ", ".join(f"{key} {value}" for key, value in rules.items()),
        }

    def _rules(self, model: Model) -> FusionRules:
        own = depth_model(model).min_confidence if self.min_confidence is None else self.min_confidence
        return FusionRules(min_confidence=own or 0.0, min_consistent=self.min_consistent)

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the F-score of each model at the middle distance, where they may be compared."""
        what = f"F-score of the clouds at the distance {self.distances[1]:g}"
        plainly = f"Clouds of {', '.join(models)}"
        return share_in_words(models, comparable, "cloud_f_score_middle_percent", what, plainly)

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show the first clouds of each model."""
        make_folder(figures)
        parts: list[Picture | Text] = []
        for number, (name, model) in enumerate(models.items(), start=1):
            files = {scene: model.folder / "clouds" / f"{scene}.ply" for scene in model.sequences}
            if absent := [scene for scene, file in files.items() if not file.is_file()]:
                parts.append(Text(f"{name} left no point of {', '.join(absent)}.", "note"))
            for scene in [scene for scene in files if scene not in absent][:MOST_PICTURES]:
                (image,) = turntable(read_cloud(files[scene]), frames=1)
                path = figures / f"cloud_{number}_{scene.replace('/', '_')}.png"
                write_image(path, image)
                caption = f"{name}: the cloud of {scene}."
                parts.append(Picture(path, caption, caption))
        yield Section("Seen from the side", parts)


def true_points(maps: Sequence[PosedDepthMap]) -> np.ndarray:
    """Collect the points of the true depths of all views, n 3; Vo3dError where none has any."""
    found = []
    for view in maps:
        if view.truth is None or not bool((view.truth > 0).any()):
            continue
        pixels = (view.truth > 0).nonzero().flip(-1)  # n 2, (x, y)
        seen = rays(view.K, pixels.to(view.K.dtype)) * view.truth[view.truth > 0][:, None]
        found.append(se3.transform(view.world_T_cam, seen.double()))
    if not found:
        raise Vo3dError("no view has a true depth: clouds are scored where there is a truth")
    return torch.cat(found).numpy()
