"""Relocalisation: where in its own world each image was taken, by position and angle, with nothing aligned."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, first_few
from vo3d.evaluation.task import Metric, Part, Seen, Task, frames_sha256
from vo3d.formats.relocalisation import Relocalised, read_all_relocalised, write_relocalised
from vo3d.formats.results import Metrics
from vo3d.formats.trajectories import check_poses
from vo3d.inference.loop import windows_of
from vo3d.inference.trajectory import track
from vo3d.mapper import Mapper
from vo3d.metrics.relocalisation import nearest_views, pose_errors, relocalisation_metrics, total_deviations
from vo3d.model import Model
from vo3d.recording import Recording, RecordingDataset
from vo3d.report.html import Section
from vo3d.report.relocalisation import relocalisation_sections
from vo3d.report.scored import Scored
from vo3d.report.sections import count, scored_names

KEY = "world_T_cam"
FLOOR = "MeanPose"  # the class of the model that looks at no image: what others are measured against
FOLDER = "relocalisation"  # of a result: the tables of all frames, a file for each recording
FACTOR = 100.0  # between the extents of two sets of views of one scene in one unit

_OF_FRAMES = (
    Metric(
        "median_position_m",
        "median",
        "m",
        3,
        "low",
        "Medians of the distance from the true position, and of the angle of the turn from the true orientation.",
    ),
    Metric("median_rotation_deg", "median", "deg", 2, "low"),
    Metric(
        "within_5cm_5deg_percent",
        "5 cm",
        "5 deg, %",
        1,
        "high",
        "This and the next three: frames whose position and angle are both within the bounds.",
    ),
    Metric("within_25cm_2deg_percent", "25 cm", "2 deg, %", 1, "high"),
    Metric("within_50cm_5deg_percent", "50 cm", "5 deg, %", 1, "high"),
    Metric("within_5m_10deg_percent", "5 m", "10 deg, %", 1, "high"),
    Metric("mean_position_m", "mean", "m", 3, "low"),
    Metric("mean_rotation_deg", "mean", "deg", 2, "low"),
    Metric(
        "position_rank_correlation",
        "rank",
        "m",
        2,
        "high",
        "Rank correlation (Spearman) of the deviation that the model predicts and the error: 1 is best, 0 is chance.",
    ),
    Metric("rotation_rank_correlation", "rank", "deg", 2, "high"),
    Metric(
        "position_ause",
        "AUSE",
        "m",
        2,
        "low",
        "Mean error as frames of large predicted deviations are left out, against leaving out those of large errors: "
        "0 is the order of the errors, 1 is chance (Ilg et al., 2018).",
    ),
    Metric("rotation_ause", "AUSE", "deg", 2, "low"),
    Metric(
        "position_within_1sigma_percent",
        "1 sigma",
        "m, %",
        1,
        meaning="Errors of at most the predicted deviation: 60.8 % where it is right and the errors are normal and "
        "alike along three axes; calibrated ones are made to hold 68 % of the errors of the validation set. Less: too "
        "sure; more: too timid.",
    ),
    Metric("rotation_within_1sigma_percent", "1 sigma", "deg, %", 1),
    Metric("position_within_2sigma_percent", "2 sigma", "m, %", 1, shown=False),
    Metric("rotation_within_2sigma_percent", "2 sigma", "deg, %", 1, shown=False),
    Metric(
        "nearest_position_m",
        "known",
        "m",
        3,
        meaning="Medians of the distance and the angle from the truth to the nearest training view (least metres + "
        "radians): a median above that is no better than finding the right one of the images that were known.",
    ),
    Metric("nearest_rotation_deg", "known", "deg", 2),
)


class Relocalisation(Task):
    """Poses of single frames in the scene's own world, against the truth as it is: no alignment, no scale.

    Frames may be in time order or views in no order; each is scored once. The metrics are those of
    `vo3d.metrics.relocalisation.relocalisation_metrics`: of each recording, and as `..._pooled` of all frames of all
    recordings together, which published tables have. To them come `num_frames`, `fps`, and where training views are
    known `nearest_position_m` and `nearest_rotation_deg`, the medians of the distance to the nearest of them.
    `relocalisation/<recording>.csv` holds every frame, see `vo3d.formats.relocalisation`.

    The deviation of a position is the square root of the trace of its covariance, metres, out of `log_variance`, and so
    is that of a rotation, in degrees.

    Args:
        clip_length: Frames that go through the model at once, where it takes any number; None: its usual one.
    """

    name = "relocalisation"
    keys = (KEY,)
    reads = ("log_variance",)
    must_agree = ("task", "dataset", "split", "frames_sha256", "errors")
    agree_where_known = ("training_frames_sha256",)
    method_terms: ClassVar[Mapping[str, str]] = {"resolution": "input"}
    wants_training = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        *(replace(metric, key=f"{metric.key}_pooled") for metric in _OF_FRAMES),
        *_OF_FRAMES,
        Metric("fps", "speed", "frames/s", 0),
    )

    def __init__(self, clip_length: int | None = None) -> None:
        if clip_length is not None and clip_length < 1:
            raise Vo3dError(f"clip_length {clip_length}: expected at least 1 frame")
        self.clip_length = clip_length

    def suits(self, model: Model) -> bool:
        """Tell if the model gives poses in a world that it knew before; a mapper makes its own."""
        return super().suits(model) and not isinstance(model, Mapper)

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model that suits, on data with true poses that it can look at."""
        name, gives = type(model).__name__, ", ".join(model.gives)
        if KEY not in model.gives:
            return f"{name} gives {gives}: the task {self.name} needs a model of {KEY}"
        if not self.suits(model):
            return f"{name} maps each recording in a world of its own: the task odometry scores it"
        if dataset.recordings and all(recording.poses() is None for recording in dataset.recordings):
            return f"{type(dataset).__name__} has no true poses to compare with: choose recordings that have some"
        try:
            self.parts(model, dataset)
        except Vo3dError as error:
            return str(error)
        return None

    def note(self, dataset: RecordingDataset) -> str | None:
        """Give a line on lengths of no known unit, and on training views that seem to be of another world."""
        lines = []
        if blind := [one.name for one in dataset.recordings if not one.metric]:
            lines.append(f"lengths of {first_few(blind)} are in a unit that nobody told: metres below are that unit")
        views = _views(self.training)
        if self.training and not views:
            lines.append("the training recordings have no poses: distances to the nearest training view are left out")
        truth = [poses for one in dataset.recordings if (poses := one.poses()) is not None]
        if views and truth and (strange := another_world(torch.cat(truth), torch.cat([of for _, of in views]))):
            lines.append(strange)
        return "; ".join(lines) or None

    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """Take every recording, in the windows that the model wants; Vo3dError for one that it cannot look at."""
        return [
            Part(recording=one, windows=windows_of(model, one, clip_length=self.clip_length))
            for one in dataset.recordings
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
        """Score every frame of a recording, and write its table."""
        recording = part.recording
        truth = recording.poses()
        if truth is None:
            raise Vo3dError(f"{recording.name} has no true poses: choose recordings that have some")
        check_poses(truth, Path(f"true poses of {recording.name}"))
        told = track(model, recording, part.windows, device=device, advance=advance)
        for size in told.sizes:
            seen.note_size(size)
        found = Relocalised(
            frames=torch.tensor([*recording.frames]),
            names=recording.names,
            truth=truth,
            estimate=told.world_T_cam,
            deviation=None if told.deviations is None else total_deviations(told.deviations),
        )
        if known := _views(self.training):
            index, distance = nearest_views(found.truth, torch.cat([of for _, of in known]))
            places = [(name, place) for name, of in known for place in range(len(of))]
            found = replace(found, nearest=[places[at] for at in index.tolist()], nearest_distance=distance)
        write_relocalised(out / FOLDER / f"{recording.name}.csv", found)
        kept = {"errors": pose_errors(found.truth, found.estimate)}
        kept |= {} if found.deviation is None else {"deviation": found.deviation}
        kept |= {} if found.nearest_distance is None else {"nearest": found.nearest_distance}
        seen.kept.append(kept)
        seen.frames.append((recording.name, found.frames.tolist()))
        speed = len(recording) / told.seconds if told.seconds else None
        return {"num_frames": len(recording), **_metrics(kept), "fps": speed}

    def pooled(self, seen: Seen) -> dict[str, float | None]:
        """Measure all frames of all recordings together."""
        if not seen.kept:
            return {}
        together = {key: torch.cat([kept[key] for kept in seen.kept]) for key in seen.kept[0]}
        found = {f"{key}_pooled": value for key, value in _metrics(together).items()}
        return {"num_frames": float(len(together["errors"]))} | found

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Tell what an error is, of which frames, at which size, and by which training views."""
        training = [(recording.name, recording.frames) for recording in self.training]
        return {
            "task": self.name,
            "errors": "position, and the angle of the relative rotation, in the scene's world; nothing is aligned",
            "clip_length": model.window.length(self.clip_length),
            "resolution": ", ".join(map(str, seen.values.get("resolution", {}))),
            "frames_sha256": frames_sha256(seen.frames),
            **({"training_frames_sha256": frames_sha256(training)} if training else {}),
        }

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Tell the median errors of the first model beside those of the best rival and of the mean pose."""
        known = {
            name: (metres, f"{metres:.2f} m and {degrees:.1f} deg")
            for name, model in models.items()
            if (metres := model.mean.get("median_position_m_pooled")) is not None
            and (degrees := model.mean.get("median_rotation_deg_pooled")) is not None
        }
        first, recordings = next(iter(models)), count(scored_names(models), "recording")
        if first not in known:
            return f"{', '.join(models)} on {recordings}."
        frames = models[first].mean.get("num_frames") or 0.0
        lead = f"{first} is off by {known[first][1]} in the median of {frames:,.0f} frames of {recordings}"
        if comparable:
            floor = next((name for name in known if name.startswith(FLOOR) and name != first), None)
            if rivals := [name for name in known if name not in {first, floor}]:
                best = min(rivals, key=lambda name: known[name][0])
                lead += f"; the best rival, {best}, by {known[best][1]}"
            if floor:
                lead += f"; the mean pose of the training, which looks at no image, by {known[floor][1]}"
        return f"{lead}."

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show positions, errors over time and thresholds, the best and worst frames, calibration."""
        found = {
            name: read_all_relocalised(model.folder / FOLDER, [*model.sequences]) for name, model in models.items()
        }
        yield from relocalisation_sections(found, recordings, self.training, figures)


def another_world(truth: Float64[Tensor, "n 4 4"], training: Float64[Tensor, "m 4 4"]) -> str | None:
    """Give a line where the positions of test and training views seem to be of two worlds or units, metres.

    That is where the diagonals of the boxes around them differ by a factor of `FACTOR` and more, or where half of the
    test views lie outside of the training views' box by more than its diagonal.
    """
    test, known = truth[:, :3, 3], training[:, :3, 3]
    low, high = known.amin(0), known.amax(0)
    across, span = (high - low).norm().item(), (test.amax(0) - test.amin(0)).norm().item()
    if min(across, span) > 0 and max(across / span, span / across) >= FACTOR:
        return (
            f"the test positions span {span:.4g} m and those of the training views {across:.4g} m: expected one scene "
            "in metres: are one of the two in millimetres? check data.train and the data that are evaluated"
        )
    outside = ((low - test).clamp(min=0) + (test - high).clamp(min=0)).norm(dim=-1).quantile(0.5).item()
    if 0 < across < outside:
        return (
            f"half of the test positions lie {outside:.4g} m and more outside of the box of the training views, which "
            f"is {across:.4g} m across: expected one scene in one world: check data.train and the data that are "
            "evaluated"
        )
    return None


def _views(training: Sequence[Recording]) -> list[tuple[str, Float64[Tensor, "_ 4 4"]]]:
    """Give the names and poses of the training recordings that have some."""
    return [(one.name, poses) for one in training if (poses := one.poses()) is not None and len(poses)]


def _metrics(kept: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Summarise frames by their errors, with deviations and distances to the nearest training view where known."""
    found = relocalisation_metrics(kept["errors"], kept.get("deviation"))
    if "nearest" in kept:
        found["nearest_position_m"], found["nearest_rotation_deg"] = kept["nearest"].quantile(0.5, dim=0).tolist()
    return found
