"""Parts that the reports of evaluations share: their pictures, protocol, training and origin.

Pictures are drawn from results, saved beside the page, and captioned with what is seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vo3d.errors import Vo3dError
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, Bin
from vo3d.recording import Recording
from vo3d.report.canvas import Styles, save_figure
from vo3d.report.figures import LOSSES, plot_segment_errors, plot_training_curves, read_history
from vo3d.report.html import Code, Definitions, Picture, Text
from vo3d.report.paths import (
    Paths,
    frame_motion,
    plot_drift,
    plot_frames_with_motion,
    plot_motion_over_time,
    plot_trajectories,
    telling_frames,
)
from vo3d.report.scored import Scored, Track

AHEAD = 20  # frames whose path is drawn under a sample frame
MOST = 3  # recordings that give sample frames: photographs make a page heavy


def scored_names(models: Mapping[str, Scored]) -> list[str]:
    """List every recording that any model saw."""
    return list(dict.fromkeys(name for model in models.values() for name in model.sequences))


def training_parts(folder: Path, history: Path, config: Path) -> Iterator[Picture | Text | Code]:
    """Show the curves of a fit, out of its CSV file (the figure is saved in `folder`), and its configuration."""
    curves = read_history(history) if history.is_file() else {}
    if set(LOSSES) & set(curves):
        caption = "Loss in training and validation, and the learning rate, over the optimiser steps."
        steps, values = curves.get("val/loss", ([], []))
        if values and min(values) < float("inf"):
            best = int(np.nanargmin(values))
            caption += f" The validation loss was lowest at step {steps[best]}: {values[best]:.4g}."
        yield Picture(save_figure(plot_training_curves(history), folder / "training.png"), caption, caption)
    else:
        yield Text(f"The run folder holds no {history.name} with losses: the fit was too short to log any.", "note")
    if config.is_file():
        yield Code(config.read_text(encoding="utf-8"), f"The resolved configuration ({config.name})")
    else:
        yield Text(f"The run folder holds no {config.name}.", "note")


def protocol_parts(protocols: Mapping[str, Mapping[str, object]]) -> Iterator[Text | Definitions]:
    """Show the protocols of models by their names: one line a term; where models differ, one for each of them."""
    entries: dict[str, str | dict[str, str]] = {}
    for term in dict.fromkeys(key for protocol in protocols.values() for key in protocol):
        values = {name: words(protocol.get(term)) for name, protocol in protocols.items()}
        entries[term.replace("_", " ")] = values if len(set(values.values())) > 1 else next(iter(values.values()))
    if any(isinstance(meaning, dict) for meaning in entries.values()):
        yield Text(
            "A term with one line for each model is one in which the models differ: mind it when comparing.", "note"
        )
    yield Definitions(entries)


def origin_parts(commands: Sequence[str], origins: Mapping[str, Mapping[str, str]]) -> Iterator[Text | Code]:
    """Show the commands that repeat a report, and under each title the facts of where its numbers came from."""
    yield Code("\n".join(commands)) if commands else Text("No commands were given to this report.", "note")
    for title, facts in origins.items():
        if facts:
            yield Code("\n".join(f"{key}: {value}" for key, value in facts.items()), title)


def words(value: object) -> str:
    """Write a value of JSON as a reader expects it: lists and tables without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(words(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "not stated" if value is None else str(value)


def count(things: Mapping[str, object] | Sequence[object], name: str) -> str:
    """Write the number of things with their name."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


@dataclass(frozen=True)
class Pictures:
    """Draws, saves and captions; every model keeps its line style on the whole page."""

    folder: Path
    models: Mapping[str, Scored]
    styles: Styles

    def trajectories(self, names: Sequence[str]) -> Picture:
        """Show the paths of the recordings."""
        figure = plot_trajectories(self._paths(names, lambda track: track.aligned), self.styles)
        caption = (
            "True and estimated paths from above, in metres, after the protocol's alignment; one scale within a panel."
        )
        return self._save(figure, "trajectories", caption)

    def drift(self, names: Sequence[str]) -> Picture:
        """Show the position error along the recordings."""
        recordings = self._paths(names, lambda track: track.aligned)
        means = _told_means(recordings, _errors_at_end, "{:.1f} m, {:.1f} % of the path")
        caption = (
            "Distance between estimated and true position over the distance travelled, after the protocol's alignment. "
            f"At the end of the path{means}."
        )
        return self._save(plot_drift(recordings, self.styles), "drift", caption)

    def motion(self, names: Sequence[str]) -> Picture:
        """Show speed and yaw rate along the recordings."""
        recordings = self._paths(names, lambda track: track.scaled)
        means = _told_means(recordings, _motion_errors, "{:.3f} m and {:.3f} deg")
        caption = (
            "Speed and yaw rate (positive: to the right) from frame to frame: a model that tracks the motion lies on "
            f"the broad grey line. Mean absolute error{means} a frame."
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
        stated = all(model.frame_seconds(name) for model in self.models.values() for name in model.tracks)
        note = f" Where a result does not state the time between frames, it counts as {DEVKIT_FRAME_SECONDS} s."
        yield self._errors_over(
            "speed",
            {name: bins for name, found in pooled.items() if (bins := found.by_speed())},
            "mean speed along the segment (m/s)",
            "The same errors by the true mean speed along the segment, each point from the segments less than 2 "
            f"m/s away. {{counts}}{'' if stated else note}",
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
            known = [seconds for model in self.models.values() if (seconds := model.frame_seconds(recording.name))]
            duration = f" ({ahead * known[0]:.1f} s)" if known else ""
            caption = (
                f"{recording.name}: frames of {images.shape[-1]}x{images.shape[-2]} pixels, over the path of the "
                f"next {ahead} frames{duration} from above: where the recording turns "
                "most, goes fastest and goes slowest. The camera looks to the right; all panels have one scale."
            )
            yield self._save(figure, f"frames_{recording.name}", caption)

    def _errors_over(self, what: str, bins: Mapping[str, Sequence[Bin]], xlabel: str, caption: str) -> Picture | Text:
        if not bins:
            return Text(
                f"No error over {what}: the recordings hold fewer than three segments of any one {what}.", "note"
            )
        figure = plot_segment_errors(bins, xlabel, self.styles)
        counts = _counts(bins, "m" if what == "distance" else "m/s")
        return self._save(figure, f"error_over_{what}", caption.format(counts=counts))

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


def _told_means(
    recordings: Mapping[str, Paths], errors: Callable[[Paths], Mapping[str, NDArray[np.float64]]], template: str
) -> str:
    """Tell by the template the mean errors of each model over the recordings that it was scored on."""
    rows = [errors(paths) for paths in recordings.values()]
    told = [
        f"{model} {template.format(*np.mean([row[model] for row in rows if model in row], axis=0))}"
        for model in dict.fromkeys(name for row in rows for name in row)
    ]
    return f"{f', mean over {len(rows)} recordings' if len(rows) > 1 else ''}: {'; '.join(told)}"


def _counts(bins: Mapping[str, Sequence[Bin]], unit: str) -> str:
    """Tell the number of segments behind each point, if that is the same for all models."""
    counts = {tuple((one.centre, one.num_segments) for one in some) for some in bins.values()}
    if len(counts) > 1:
        return "Models have different numbers of segments."
    return f"Segments: {', '.join(f'{count} at {centre:g} {unit}' for centre, count in counts.pop())}."
