"""The pictures of an odometry report: drawn from results, saved beside the page, captioned with what is seen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vo3d.errors import Vo3dError
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS
from vo3d.report import figures
from vo3d.report.html import Picture, Text
from vo3d.report.scored import Scored, Track
from vo3d.sample import Recording

AHEAD = 20  # frames whose path is drawn beside a sample frame
SAMPLES = 3  # sample frames of one recording
MOST = 3  # recordings that give sample frames: photographs make a page heavy


@dataclass(frozen=True)
class Pictures:
    """Draws, saves and captions; every model keeps its line style on the whole page."""

    folder: Path
    models: Mapping[str, Scored]
    styles: figures.Styles

    def trajectories(self, name: str) -> Picture:
        """The paths of one recording."""
        tracks = self._tracks(name)
        figure = figures.plot_trajectories(_truth(tracks), {key: t.aligned for key, t in tracks.items()}, self.styles)
        caption = f"{name}: true and estimated path from above, in metres, after the protocol's alignment."
        return self._save(figure, f"trajectory_{name}", caption)

    def drift(self, name: str) -> Picture:
        """The position error along one recording."""
        tracks = self._tracks(name)
        figure = figures.plot_drift(_truth(tracks), {key: t.aligned for key, t in tracks.items()}, self.styles)
        caption = (
            f"{name}: distance between estimated and true position, in metres, over the distance travelled, after the "
            "protocol's alignment."
        )
        return self._save(figure, f"drift_{name}", caption)

    def motion(self, name: str) -> Picture:
        """Speed and yaw rate along one recording."""
        tracks = self._tracks(name)
        figure = figures.plot_motion_over_time(
            _truth(tracks), {key: track.scaled for key, track in tracks.items()}, self.styles
        )
        caption = (
            f"{name}: speed in metres a frame and yaw rate in degrees a frame (positive: to the right), estimated over "
            "true. A model that tracks the motion lies on the broad grey line."
        )
        return self._save(figure, f"motion_{name}", caption)

    def errors(self) -> Iterator[Picture | Text]:
        """Segment errors of all recordings, over distance and over speed; a note where segments are too few."""
        pooled = {name: found for name, model in self.models.items() if (found := model.segments())}
        kinds = {
            "distance": (
                "by the length of the segment, in metres",
                {key: one.by_length() for key, one in pooled.items()},
            ),
            "speed": ("by the true mean speed along it, in m/s", {key: one.by_speed() for key, one in pooled.items()}),
        }
        for kind, (over, bins) in kinds.items():
            curves = {
                name: figures.ErrorCurve(
                    [one.centre for one in some],
                    [one.t_rel_percent for one in some],
                    [one.r_rel_deg_per_100m for one in some],
                )
                for name, some in bins.items()
                if some
            }
            if not curves:
                yield Text(
                    f"No error over {kind}: the recordings hold fewer than three segments of any one {kind}.", "note"
                )
                continue
            plot = figures.plot_error_over_distance if kind == "distance" else figures.plot_error_over_speed
            caption = (
                f"Mean errors of the segments of all recordings {over}: translation in percent of the length, "
                "rotation in degrees per 100 m. Lower is better."
            )
            if kind == "speed" and not all(self._times_are_known()):
                caption += (
                    f" Where a result does not state the time between frames, it counts as {DEVKIT_FRAME_SECONDS} s."
                )
            yield self._save(plot(curves, self.styles), f"error_over_{kind}", caption)

    def frames(self, recordings: Sequence[Recording]) -> Iterator[Picture | Text]:
        """Sample frames of the recordings that were scored; a note where there is none."""
        shown = [one for one in recordings if any(one.name in model.tracks for model in self.models.values())]
        if not shown:
            yield Text("No sample frames: no scored recording was given to this report.", "note")
        if len(shown) > MOST:
            yield Text(f"Frames of the first {MOST} of {len(shown)} recordings.")
        for recording in shown[:MOST]:
            tracks = self._tracks(recording.name)
            truth = _truth(tracks)
            ahead = max(1, min(AHEAD, len(truth) // 4))
            last = min(len(truth), len(recording)) - 1 - ahead
            indices = sorted(
                {round(last * (2 * place + 1) / (2 * SAMPLES)) for place in range(SAMPLES)} if last > 0 else {0}
            )
            figure = figures.plot_frames_with_motion(
                torch.cat([recording.clip([index]).image for index in indices]),
                indices,
                truth,
                {key: track.scaled for key, track in tracks.items()},
                self.styles,
                ahead,
            )
            caption = (
                f"{recording.name}: sample frames, evenly spaced, each with the path of the next {ahead} frames seen "
                "from above, in metres. The camera is at the origin and looks up the page; all panels have one scale."
            )
            yield self._save(figure, f"frames_{recording.name}", caption)

    def training(self, history: Path) -> Picture:
        """The curves of a fit."""
        caption = "Loss in training and validation, and the learning rate, over the optimiser steps; none has a unit."
        return self._save(figures.plot_training_curves(history), "training", caption)

    def _times_are_known(self) -> Iterator[bool]:
        return ("frame_seconds" in model.sequences[name] for model in self.models.values() for name in model.tracks)

    def _tracks(self, name: str) -> dict[str, Track]:
        """The tracks of the models that were scored on a recording; all must have had the same truth."""
        tracks = {key: model.tracks[name] for key, model in self.models.items() if name in model.tracks}
        for key, track in tracks.items():
            if track.reference.shape != _truth(tracks).shape or not torch.allclose(track.reference, _truth(tracks)):
                raise Vo3dError(
                    f"{self.models[key].folder}: the ground truth of {name} differs from that of {next(iter(tracks))}: "
                    "evaluate all models on the same frames"
                )
        return tracks

    def _save(self, figure: "matplotlib.figure.Figure", name: str, caption: str) -> Picture:
        file = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
        return Picture(figures.save_figure(figure, self.folder / f"{file}.png"), caption, caption)


def _truth(tracks: Mapping[str, Track]) -> torch.Tensor:
    return next(iter(tracks.values())).reference
