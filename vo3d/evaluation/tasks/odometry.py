"""Odometry: whole recordings, their trajectories against the truth, by the KITTI metric and evo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import metric_protocol, score
from vo3d.evaluation.task import Metric, Part, Seen, Task, frames_sha256
from vo3d.formats.results import Metrics
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry.trajectory import AlignMode, start_at_identity
from vo3d.inference.loop import windows_of
from vo3d.inference.trajectory import KEYS, track
from vo3d.mapper import Mapper
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, DEVKIT_LENGTHS, check_lengths
from vo3d.model import Model
from vo3d.recording import MultiViewScene, Recording, RecordingDataset
from vo3d.report.canvas import line_styles
from vo3d.report.html import Section, Text
from vo3d.report.scored import Scored
from vo3d.report.sections import Pictures, count, scored_names

FLOOR = "ConstantMotion"  # the class of the model that looks at no image: what others are measured against
SEGMENT_METRICS = ("t_rel_percent", "r_rel_deg_per_100m")


class Odometry(Task):
    """Trajectories of whole recordings, out of steps (`prev_T_cam`), poses (`world_T_cam`) or maps.

    Unasked it scores models of steps and mappers. Poses of single frames in a world that was known before are scored by
    the task relocalisation, and by this one where it is named.

    Every frame is seen once; a recurrent state is carried from start to end of a recording, and steps are chained.
    Beside metrics.json lie, for each recording, `trajectories/<name>.txt` (the estimate before alignment) and
    `reference/<name>.txt`: KITTI rows from the identity on; with a frame index before them where only a part of the
    frames has an estimate. A recording without ground truth gets its trajectory, and no metrics.

    `fps` counts frames per second of wall time without the reading of the frames; `frame_seconds` is the median time
    between frames, None where the recording has no times; of a model that says which steps it could not tell, their
    number is `failed_steps`.

    Args:
        alignment: What is fitted to the truth before the errors are taken, see `vo3d.geometry.trajectory.align`.
        clip_length: Frames that go through the model at once, where it takes any number; None: its usual one.
        lengths: Metres of the segments; KITTI's 100 to 800 leave recordings of less than 100 m without segments.

    Raises:
        Vo3dError: a length is not positive; the alignment is "yaw".
    """

    name = "odometry"
    keys = KEYS
    reads = ("tracked",)
    must_agree = (
        "task",
        "dataset",
        "split",
        "frames_sha256",
        "alignment",
        "segment_lengths_m",
        "segment_start_every",
        "segment_metric",
        "origin",
        "rpe",
    )
    # Errors are in metres against the same poses whatever size the images were shrunk to, and the size that a method
    # can use is part of the method: resolutions may differ.
    method_terms = {"scale_source": "scale source", "resolution": "input"}  # noqa: RUF012 (read only)
    always_shown = ("scale_source",)
    metrics = (
        Metric(
            "t_rel_percent",
            "t_rel",
            "%",
            best="low",
            meaning="Mean translation error of all segments of fixed lengths, in percent of the length (KITTI).",
        ),
        Metric(
            "r_rel_deg_per_100m",
            "r_rel",
            "deg/100 m",
            best="low",
            meaning="Mean rotation error of the same segments, in degrees per 100 m (KITTI).",
        ),
        Metric("num_segments", "segments", digits=0, shown=False),
        Metric(
            "ape_rmse_m",
            "APE",
            "m",
            best="low",
            meaning="Root mean square of the distance between estimated and true positions after the stated alignment.",
        ),
        Metric(
            "rpe_mean_m",
            "RPE",
            "m",
            4,
            "low",
            meaning="Mean error of the motion between consecutive frames: metres and degrees.",
        ),
        Metric("rpe_mean_deg", "RPE", "deg", 3, "low"),
        Metric(
            "scale",
            "scale",
            digits=3,
            plain=1.0,
            meaning="The factor that the alignment put on the estimate's positions; 1 where it fits none.",
        ),
        Metric("coverage", "coverage", plain=1.0, meaning="Scored poses divided by poses in the ground truth."),
        Metric("coverage_seconds", "coverage in seconds", plain=1.0),
        Metric("coverage_estimate", "coverage of the estimate", shown=False),
        Metric("path_length_m", "path length", "m", shown=False),
        Metric("scored_length_m", "path length, scored part", "m", shown=False),
        Metric("final_drift_percent", "final drift, scored part", "%", shown=False),
        Metric("evo_ape_rmse_m", "APE, evo (as stored)", "m", shown=False),
        Metric("evo_rpe_mean_m", "RPE, evo", "m", shown=False),
        Metric("evo_rpe_mean_deg", "RPE, evo", "deg", shown=False),
        Metric("fps", "speed", "frames/s", 0),  # no better end: a model that computes nothing is the fastest
    )

    def __init__(
        self, alignment: AlignMode = "none", clip_length: int | None = None, lengths: Sequence[float] = DEVKIT_LENGTHS
    ) -> None:
        check_lengths(lengths)
        if alignment == "yaw":
            raise Vo3dError("alignment yaw turns about a vertical z axis, and data sets do not tell theirs: take 6dof")
        self.alignment, self.clip_length, self.lengths = alignment, clip_length, tuple(lengths)

    def suits(self, model: Model) -> bool:
        """Tell if the model gives steps, or a map of each recording; poses in a known world are relocalisation."""
        return "prev_T_cam" in model.gives or (isinstance(model, Mapper) and super().suits(model))

    def obstacle(self, model: Model, dataset: RecordingDataset) -> str | None:
        """Give None for a model of steps or poses on frames in time order."""
        if not set(self.keys) & set(model.gives):
            gives = ", ".join(model.gives)
            return f"{type(model).__name__} gives {gives}: odometry needs a model of prev_T_cam or world_T_cam"
        if any(isinstance(recording, MultiViewScene) for recording in dataset.recordings):
            return f"{type(dataset).__name__} holds views in no order: odometry needs frames in time order"
        return None

    def note(self, dataset: RecordingDataset) -> str | None:
        """Give a line where nothing can be scored."""
        if any(recording.poses() is not None for recording in dataset.recordings):
            return None
        return f"{type(dataset).__name__} has no true poses here: trajectories are written and not scored"

    def parts(self, model: Model, dataset: RecordingDataset) -> Sequence[Part]:
        """Take every recording; Vo3dError for one of fewer than two frames."""
        for recording in dataset.recordings:
            if len(recording) < 2:
                raise Vo3dError(
                    f"recording {recording.name} has {len(recording)} frames: expected at least 2, for one step"
                )
        if isinstance(model, Mapper):
            return [Part(recording=recording, windows=()) for recording in dataset.recordings]
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
        """Write both trajectories of a recording, then its metrics; the files are there even when scoring fails."""
        recording = part.recording
        file = f"{recording.name}.txt"
        found = track(model, recording, part.windows, device=device, advance=advance)
        frames = None if found.known is None else found.known.nonzero()[:, 0]  # that have a pose, where not all do
        poses = found.world_T_cam if frames is None else found.world_T_cam[frames]
        estimate = Trajectory(world_T_cam=start_at_identity(poses), frames=frames)
        write_trajectory(out / "trajectories" / file, estimate, "kitti")
        seconds = None if found.time is None else found.time.diff().median().item()
        metrics: Metrics = {"fps": len(recording) / found.seconds, "frame_seconds": seconds}
        if found.tracked is not None:
            metrics["failed_steps"] = int((~found.tracked).sum())
        truth = recording.poses()
        if truth is not None:
            reference = start_at_identity(truth)
            write_trajectory(out / "reference" / file, Trajectory(world_T_cam=reference), "kitti")
            scores = score(
                reference,
                found.world_T_cam,
                alignment=self.alignment,
                lengths=self.lengths,
                frame_seconds=seconds or DEVKIT_FRAME_SECONDS,
                known=found.known,
            )
            metrics = scores.metrics | metrics
        for size in found.sizes:
            seen.note_size(size)
        seen.frames.append((recording.name, recording.frames))
        return metrics

    def protocol(self, model: Model, seen: Seen) -> dict[str, object]:
        """Tell alignment, segments, the source of the scale, the size of the images, the fingerprint of the frames."""
        terms = {"scale_source": model.scale_source} | metric_protocol(self.alignment, self.lengths)
        return terms | {
            "clip_length": model.window.length(self.clip_length),
            "resolution": ", ".join(map(str, seen.values.get("resolution", {}))),
            "frames_sha256": frames_sha256(seen.frames),
        }

    def mean(self, sequences: Mapping[str, Metrics]) -> dict[str, float | None]:
        """Take plain means; the two segment errors come a second time as `..._pooled`.

        That is the mean over the segments of all recordings together, which the KITTI leaderboard prints.
        """
        mean = super().mean(sequences)
        for key in [key for key in SEGMENT_METRICS if key in mean]:
            weighted = [
                (value, num)
                for metrics in sequences.values()
                if (value := metrics.get(key)) is not None and (num := metrics.get("num_segments"))
            ]
            total = sum(num for _, num in weighted)
            mean[f"{key}_pooled"] = sum(value * num for value, num in weighted) / total if total else None
        return mean

    def lead(self, models: Mapping[str, Scored], comparable: bool) -> str:
        """Name the models and, where protocols agree, compare the first with constant motion and the best."""
        errors = {name: model.mean.get("t_rel_percent") for name, model in models.items()}
        known = {name: error for name, error in errors.items() if error is not None}
        first, recordings = next(iter(models)), count(scored_names(models), "recording")
        if len(known) < 2 or first not in known or not comparable:
            return f"{', '.join(models)} on {recordings}."
        lead = f"{first} is off by {known[first]:.2f} % of the distance travelled on {recordings}"
        floor = next((name for name in known if name.startswith(FLOOR) and name != first), None)
        if floor and min(known[first], known[floor]) > 0:
            ratio = known[floor] / known[first]
            ratio, than = (ratio, "less") if ratio >= 1 else (1 / ratio, "more")
            lead += f", {ratio:.1f} times {than} than {floor} ({known[floor]:.2f} %), which looks at no image"
        best = min(known, key=lambda name: known[name])
        end = f"that is the lowest of {len(known)} models" if best == first else f"lowest: {best}, {known[best]:.2f} %"
        return f"{lead}; {end}."

    def sections(
        self, models: Mapping[str, Scored], recordings: Mapping[str, Sequence[Recording]], figures: Path
    ) -> Iterator[Section]:
        """Show paths, errors over distance and speed, drift, motion, sample frames."""
        blind = [
            Text(f"No ground truth for {', '.join(absent)}: {name} has no errors there.", "note")
            for name, model in models.items()
            if (absent := [one for one in model.sequences if one not in model.tracks])
        ]
        if blind:
            yield Section("Without ground truth", blind)
        names = list(dict.fromkeys(name for model in models.values() for name in model.tracks))
        if not names:
            return
        sharpest = list(recordings.values())[-1] if recordings else ()  # baselines may see larger frames
        pictures = Pictures(figures, models, line_styles(list(models)))
        yield Section("Paths from above", [pictures.trajectories(names)])
        yield Section("Errors over distance and speed", [*pictures.errors()])
        yield Section("Drift along the path", [pictures.drift(names)])
        yield Section("Motion from frame to frame", [pictures.motion(names)])
        yield Section("Frames and the motion ahead", [*pictures.frames(sharpest)])
