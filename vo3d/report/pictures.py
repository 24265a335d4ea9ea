"""The pictures of an odometry report: drawn from results, saved beside the page, captioned with what is seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
        """Show the paths of the recordings."""
        caption = (
            "True and estimated paths from above, in metres, after the protocol's alignment; one scale within a panel."
        )
        figure = plot_trajectories(self._paths(names, lambda track: track.aligned), self.styles)
        return self._save(figure, "trajectories", caption)

    def drift(self, names: Sequence[str]) -> Picture:
        """Show the position error along the recordings."""
        recordings = self._paths(names, lambda track: track.aligned)
        ends = [_errors_at_end(paths) for paths in recordings.values()]
        means = (f"{model} {metres:.1f} m, {share:.1f} % of the path" for model, (metres, share) in _means(ends))
        caption = (
            "Distance between estimated and true position over the distance travelled, after the protocol's alignment. "
            f"At the end of the path{_mean_over(names)}: {'; '.join(means)}."
        )
        return self._save(plot_drift(recordings, self.styles), "drift", caption)

    def motion(self, names: Sequence[str]) -> Picture:
        """Show speed and yaw rate along the recordings."""
        recordings = self._paths(names, lambda track: track.scaled)
        errors = [_motion_errors(paths) for paths in recordings.values()]
        means = (f"{model} {metres:.3f} m and {angle:.3f} deg" for model, (metres, angle) in _means(errors))
        caption = (
            "Speed and yaw rate (positive: to the right) from frame to frame: a model that tracks the motion lies on "
            f"the broad grey line. Mean absolute error{_mean_over(names)}: {'; '.join(means)} a frame."
        )
        return self._save(plot_motion_over_time(recordings, self.styles), "motion", caption)

    def errors(self) -> Iterator[Picture | Text]:
        """Show segment errors of all recordings, over distance and speed; a note where segments are too few."""
        pooled = {name: found for name, model in self.models.items() if (found := model.segments())}
        yield self._errors_over(
            "distance",
            {name: bins for name, found in pooled.items() if (bins := found.by_length())},
            "length of the segment (m)",
            "Mean errors of the segments of all recordings by the length of the segment: translation in percent of "
            "the length, rotation in degrees per 100 m. {counts} Lower is better.",
        )
        known = all(model.frame_seconds(name) for model in self.models.values() for name in model.tracks)
        unknown = f" Where a result does not state the time between frames, it counts as {DEVKIT_FRAME_SECONDS} s."
        yield self._errors_over(
            "speed",
            {name: bins for name, found in pooled.items() if (bins := found.by_speed())},
            "mean speed along the segment (m/s)",
            "The same errors by the true mean speed along the segment, each point from the segments less than 2 "
            f"m/s away. {{counts}}{'' if known else unknown}",
        )

    def frames(self, recordings: Sequence[Recording]) -> Iterator[Picture | Text]:
        """Show sample frames of the recordings that were scored; a note where there is none."""
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
        """Show the curves of a fit."""
        caption = "Loss in training and validation, and the learning rate, over the optimiser steps."
        steps, values = figures.read_history(history).get("val/loss", ([], []))
        if values and min(values) < float("inf"):
            best = int(np.nanargmin(values))
            caption += f" The validation loss was lowest at step {steps[best]}: {values[best]:.4g}."
        return self._save(figures.plot_training_curves(history), "training", caption)

    def _errors_over(self, what: str, bins: Mapping[str, Sequence[Bin]], xlabel: str, caption: str) -> Picture | Text:
        if not bins:
            return Text(
                f"No error over {what}: the recordings hold fewer than three segments of any one {what}.", "note"
            )
        figure = figures.plot_segment_errors(bins, xlabel, self.styles)
        counts = _counts(bins, "m" if what == "distance" else "m/s")
        return self._save(figure, f"error_over_{what}", caption.format(counts=counts))

    def _duration(self, name: str, frames: int) -> str:
        """Tell in brackets for how long so many frames last; nothing where no result states it."""
        known = [seconds for model in self.models.values() if (seconds := model.frame_seconds(name))]
        return f" ({frames * known[0]:.1f} s)" if known else ""

    def _paths(self, names: Sequence[str], estimate: Callable[[Track], torch.Tensor]) -> dict[str, Paths]:
        """Collect truth and estimates of each recording; all models scored on it must have had the same truth."""
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


def _errors_at_end(paths: Paths) -> dict[str, NDArray[np.float64]]:
    """Compute the last position error of each model, in metres and in percent of the path."""
    ends = {model: float(error[-1]) for model, error in paths.position_errors().items()}
    return {model: np.array([end, 100 * end / max(paths.metres, 1e-9)]) for model, end in ends.items()}


def _motion_errors(paths: Paths) -> dict[str, NDArray[np.float64]]:
    """Compute the mean absolute errors of speed and yaw of each model."""
    true = np.stack(frame_motion(paths.reference))
    return {model: np.abs(frame_motion(poses) - true).mean(-1) for model, poses in paths.estimates.items()}


def _means(rows: Sequence[Mapping[str, NDArray[np.float64]]]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Give for each model the mean over the recordings that it was scored on."""
    for model in dict.fromkeys(name for row in rows for name in row):
        yield model, np.mean([row[model] for row in rows if model in row], axis=0)


def _counts(bins: Mapping[str, Sequence[Bin]], unit: str) -> str:
    """Tell the number of segments behind each point, if that is the same for all models."""
    counts = {tuple((one.centre, one.num_segments) for one in some) for some in bins.values()}
    if len(counts) > 1:
        return "Models have different numbers of segments."
    return f"Segments: {', '.join(f'{count} at {centre:g} {unit}' for centre, count in counts.pop())}."


def _mean_over(names: Sequence[str]) -> str:
    return f", mean over {len(names)} recordings" if len(names) > 1 else ""
