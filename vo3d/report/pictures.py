"""The pictures of an odometry report: drawn from results, saved beside the page, captioned with what is seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vo3d.errors import Vo3dError
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, Bin
from vo3d.recording import Recording
from vo3d.report import figures
from vo3d.report.canvas import Styles, save_figure
from vo3d.report.frames import plot_frames_with_motion, telling_frames
from vo3d.report.html import Picture, Text
from vo3d.report.paths import Paths, frame_motion, plot_drift, plot_motion_over_time, plot_trajectories
from vo3d.report.scored import Scored, Track

AHEAD = 20  # frames whose path is drawn under a sample frame
MOST = 3  # recordings that give sample frames: photographs make a page heavy


@dataclass(frozen=True)
class Pictures:
    """Draws, saves and captions; every model keeps its line style on the whole page."""

    folder: Path
    models: Mapping[str, Scored]
    styles: Styles

    def trajectories(self, names: Sequence[str]) -> Picture:
        """The paths of the recordings."""
        caption = (
            "True and estimated paths from above, in metres, after the protocol's alignment; one scale within a panel."
        )
        figure = plot_trajectories(self._paths(names, lambda track: track.aligned), self.styles)
        return self._save(figure, "trajectories", caption)

    def drift(self, names: Sequence[str]) -> Picture:
        """The position error along the recordings."""
        recordings = self._paths(names, lambda track: track.aligned)
        ends: dict[str, list[tuple[float, float]]] = {}
        for paths in recordings.values():
            for model, error in paths.position_errors().items():
                ends.setdefault(model, []).append((float(error[-1]), 100 * float(error[-1]) / max(paths.metres, 1e-9)))
        means = {model: np.mean(values, axis=0) for model, values in ends.items()}
        caption = (
            "Distance between estimated and true position over the distance travelled, after the protocol's alignment. "
            f"At the end of the path{_mean_over(names)}: "
            + "; ".join(
                f"{model} {metres:.1f} m, {share:.1f} % of the path" for model, (metres, share) in means.items()
            )
            + "."
        )
        return self._save(plot_drift(recordings, self.styles), "drift", caption)

    def motion(self, names: Sequence[str]) -> Picture:
        """Speed and yaw rate along the recordings."""
        recordings = self._paths(names, lambda track: track.scaled)
        errors: dict[str, list[tuple[float, float]]] = {}
        for paths in recordings.values():
            speed, yaw = frame_motion(paths.reference)
            for model, estimate in paths.estimates.items():
                found = frame_motion(estimate)
                error = float(np.abs(found[0] - speed).mean()), float(np.abs(found[1] - yaw).mean())
                errors.setdefault(model, []).append(error)
        means = {model: np.mean(values, axis=0) for model, values in errors.items()}
        caption = (
            "Speed and yaw rate (positive: to the right) from frame to frame: a model that tracks the motion lies on "
            f"the broad grey line. Mean absolute error{_mean_over(names)}: "
            + "; ".join(f"{model} {metres:.3f} m and {angle:.3f} deg" for model, (metres, angle) in means.items())
            + " a frame."
        )
        return self._save(plot_motion_over_time(recordings, self.styles), "motion", caption)

    def errors(self) -> Iterator[Picture | Text]:
        """Segment errors of all recordings, over distance and over speed; a note where segments are too few."""
        pooled = {name: found for name, model in self.models.items() if (found := model.segments())}
        distance = {name: bins for name, found in pooled.items() if (bins := found.by_length())}
        speed = {name: bins for name, found in pooled.items() if (bins := found.by_speed())}
        missing = "No error over {0}: the recordings hold fewer than three segments of any one {0}."
        if distance:
            caption = (
                "Mean errors of the segments of all recordings by the length of the segment: translation in percent of "
                f"the length, rotation in degrees per 100 m. {_counts(distance, 'm')} Lower is better."
            )
            figure = figures.plot_error_over_distance(_curves(distance), self.styles)
            yield self._save(figure, "error_over_distance", caption)
        else:
            yield Text(missing.format("distance"), "note")
        if speed:
            caption = (
                "The same errors by the true mean speed along the segment, each point from the segments less than 2 "
                f"m/s away. {_counts(speed, 'm/s')}"
            )
            if not all(self._times_are_known()):
                caption += (
                    f" Where a result does not state the time between frames, it counts as {DEVKIT_FRAME_SECONDS} s."
                )
            figure = figures.plot_error_over_speed(_curves(speed), self.styles)
            yield self._save(figure, "error_over_speed", caption)
        else:
            yield Text(missing.format("speed"), "note")

    def frames(self, recordings: Sequence[Recording]) -> Iterator[Picture | Text]:
        """Sample frames of the recordings that were scored; a note where there is none."""
        shown = [one for one in recordings if any(one.name in model.tracks for model in self.models.values())]
        if not shown:
            yield Text("No sample frames: no scored recording was given to this report.", "note")
        if len(shown) > MOST:
            yield Text(f"Frames of the first {MOST} of {len(shown)} recordings.")
        for recording in shown[:MOST]:
            paths = self._paths([recording.name], lambda track: track.scaled)[recording.name]
            ahead = max(1, min(AHEAD, len(paths.reference) // 4))
            chosen = telling_frames(paths.reference[: len(recording)], ahead)
            images = torch.cat([recording.clip([frame]).image for frame in chosen])
            figure = plot_frames_with_motion(images, list(chosen), list(chosen.values()), paths, self.styles, ahead)
            caption = (
                f"{recording.name}: frames of {images.shape[-1]}x{images.shape[-2]} pixels, over the path of the "
                f"next {ahead} frames{self._duration(recording.name, ahead)} from above: where the recording turns "
                "most, goes fastest and goes slowest. The camera looks to the right; all panels have one scale."
            )
            yield self._save(figure, f"frames_{recording.name}", caption)

    def training(self, history: Path) -> Picture:
        """The curves of a fit."""
        caption = "Loss in training and validation, and the learning rate, over the optimiser steps."
        steps, values = figures.read_history(history).get("val/loss", ([], []))
        if values and min(values) < float("inf"):
            best = int(np.nanargmin(values))
            caption += f" The validation loss was lowest at step {steps[best]}: {values[best]:.4g}."
        return self._save(figures.plot_training_curves(history), "training", caption)

    def _times_are_known(self) -> Iterator[bool]:
        return (bool(model.frame_seconds(name)) for model in self.models.values() for name in model.tracks)

    def _duration(self, name: str, frames: int) -> str:
        """How long so many frames last, in brackets; nothing where no result states it."""
        known = [seconds for model in self.models.values() if (seconds := model.frame_seconds(name))]
        return f" ({frames * known[0]:.1f} s)" if known else ""

    def _paths(self, names: Sequence[str], estimate: Callable[[Track], torch.Tensor]) -> dict[str, Paths]:
        """Truth and estimates of each recording; all models that were scored on it must have had the same truth."""
        found = {}
        for name in names:
            tracks = {key: model.tracks[name] for key, model in self.models.items() if name in model.tracks}
            truth = next(iter(tracks.values())).reference
            for key, track in tracks.items():
                if track.reference.shape != truth.shape or not torch.allclose(track.reference, truth):
                    raise Vo3dError(
                        f"{self.models[key].folder}: the ground truth of {name} differs from that of "
                        f"{next(iter(tracks))}: evaluate all models on the same frames"
                    )
            found[name] = Paths(truth, {key: estimate(track) for key, track in tracks.items()})
        return found

    def _save(self, figure: "matplotlib.figure.Figure", name: str, caption: str) -> Picture:
        file = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
        return Picture(save_figure(figure, self.folder / f"{file}.png"), caption, caption)


def _curves(bins: Mapping[str, Sequence[Bin]]) -> dict[str, figures.ErrorCurve]:
    return {
        name: figures.ErrorCurve(
            [one.centre for one in some], [one.t_rel_percent for one in some], [one.r_rel_deg_per_100m for one in some]
        )
        for name, some in bins.items()
    }


def _counts(bins: Mapping[str, Sequence[Bin]], unit: str) -> str:
    """How many segments are behind each point, if that is the same for all models."""
    counts = {tuple((one.centre, one.num_segments) for one in some) for some in bins.values()}
    if len(counts) > 1:
        return "Models have different numbers of segments."
    return f"Segments: {', '.join(f'{count} at {centre:g} {unit}' for centre, count in counts.pop())}."


def _mean_over(names: Sequence[str]) -> str:
    return f", mean over {len(names)} recordings" if len(names) > 1 else ""
