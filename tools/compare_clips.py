"""Draw the error of clip models over the length of their clips, forwards and backwards, with a band over seeds.

    python tools/compare_clips.py --runs '{"VidLoc": ["runs/vidloc_0", "runs/vidloc_1"], "PoseNet": ["runs/posenet"]}' \
        --picture clips.png

A model that takes clips of any length is run along the test recordings of its run in clips of each length by the task
relocalisation, the other way round through `vo3d.datasets.backwards`. Medians are over all frames of all recordings.
A model of single images is run once: it is a horizontal line. Beside it stands what its answers are worth once those of
a clip's frames are averaged, each brought to the middle frame by the true motion between them: the most that a clip
could gain if errors of neighbouring frames were noise, and no error of the motion. Nothing is trained. The fewest
frames that a recording may have are those of the longest clip.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from jsonargparse import auto_cli
from torch import Tensor
from torch.utils.data import Dataset

from vo3d.datasets.backwards import Backwards
from vo3d.errors import Vo3dError
from vo3d.evaluation.tasks.relocalisation import FOLDER, KEY, Relocalisation
from vo3d.formats.relocalisation import Relocalised, read_all_relocalised
from vo3d.geometry import rotations, se3
from vo3d.inference.devices import choose_device
from vo3d.inference.pretrained import load_into
from vo3d.metrics.relocalisation import pose_errors
from vo3d.model import Model
from vo3d.recording import RecordingDataset
from vo3d.report.canvas import (
    Style,
    add_legend,
    dress,
    fit_scale,
    line_styles,
    new_figure,
    plain,
    save_figure,
    spelled,
)
from vo3d.sample import Sample
from vo3d.settings.build import build
from vo3d.settings.run_folder import find_checkpoint, read_run
from vo3d.settings.trust import allowing

LENGTHS = [1, 2, 5, 10, 20, 40]
FORWARDS, BACKWARDS, AVERAGED = "forwards", "backwards", "averaged along the true motion"
LINES = {FORWARDS: "-", BACKWARDS: "--", AVERAGED: ":"}
MEDIANS = ("median_position_m_pooled", "median_rotation_deg_pooled")
UNITS = ("median position error (m)", "median rotation error (deg)")


@dataclass(frozen=True)
class Row:
    """The median errors of the runs of one label, in clips of one length, one way."""

    label: str
    way: str  # of `LINES`
    length: int | None  # frames of a clip; None: the model looks at single images
    medians: list[tuple[float, float]]  # of each run: metres, degrees

    def column(self, place: int) -> list[float]:
        """Give the medians of all runs: metres (0) or degrees (1)."""
        return [pair[place] for pair in self.medians]


def compare(
    runs: dict[str, list[str]],
    lengths: list[int] = LENGTHS,
    weights: str = "best",
    split: str = "test",
    backwards: bool = True,
    picture: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    allow: list[str] = [],  # noqa: B006 (read only)
) -> None:
    """Print a table of median errors over the length of clips, and draw it.

    Args:
        runs: folders of `vo3d fit` by a label; those of one label differ in their seed.
        lengths: frames of a clip.
        weights: best or last.
        split: which of the runs' datasets.
        backwards: walk the recordings backwards, too.
        picture: a file for the figure, PNG.
        out: a file for the numbers, JSON.
        device: where models run, as torch names it; auto takes the accelerator where there is one.
        allow: modules of your own that the runs may name.
    """
    if not any(runs.values()) or not lengths or min(lengths) < 1:
        raise Vo3dError(f"runs {runs}, lengths {lengths}: expected at least one run, and lengths of at least 1 frame")
    rows: list[Row] = []
    opened: dict[str, RecordingDataset] = {}
    with allowing(allow):
        for label, folders in runs.items():
            ways = (FORWARDS, BACKWARDS) if backwards else (FORWARDS,)
            found = [measure(Path(folder), lengths, ways, weights, split, device, opened) for folder in folders]
            if len({tuple(one) for one in found}) != 1:
                raise Vo3dError(f"{label}: runs of clips and runs of single images: expected either: give two labels")
            for way, length in found[0]:
                rows.append(Row(label, way, length, [one[way, length] for one in found]))
    sys.stdout.write("\n".join(table(rows)) + "\n")
    if out is not None:
        out.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    if picture is not None:
        save_figure(plot_lengths(rows), picture)


def measure(
    run: Path,
    lengths: Sequence[int],
    ways: Sequence[str],
    weights: str,
    split: str,
    device: str,
    opened: dict[str, RecordingDataset],
) -> dict[tuple[str, int | None], tuple[float, float]]:
    """Compute the median errors (metres, degrees) of a run, by the way and the length; one of each of single images.

    `opened` keeps the datasets, which runs of several seeds share, and with them what they cache.

    Raises Vo3dError where the model gives no poses, takes clips of one length alone, or a recording is too short.
    """
    config = read_run(run)
    model: Model = build(Model, config["model"]["net"], str(run))
    if KEY not in model.gives or model.window.views not in {None, 1}:
        raise Vo3dError(
            f"{run}: {type(model).__name__} gives {', '.join(model.gives)} of {model.window.views or 'any'} frames: "
            f"expected {KEY} of clips of any length, or of single images"
        )
    load_into(model, find_checkpoint(weights, run))
    dataset = _dataset(config["data"].get(split), f"{run}, data.{split}", opened)
    single = model.window.views == 1
    asked = [None] if single else list(lengths)
    shortest = min(dataset.recordings, key=len)
    if (longest := max(length or 1 for length in asked)) > len(shortest):
        raise Vo3dError(f"{shortest.name} has {len(shortest)} frames: clips of {longest} do not fit: give --lengths")
    found = {}
    for way in ways[:1] if single else ways:
        walked = Backwards(dataset) if way == BACKWARDS else dataset
        for length in asked:
            sys.stderr.write(f"{run}: {way}, clips of {length or 1}\n")
            with tempfile.TemporaryDirectory() as folder:
                task = Relocalisation(length or 1)
                result = task.run(model, walked, Path(folder), device=choose_device(device), progress=False)
                metres, degrees = (float(result.mean[key] or 0.0) for key in MEDIANS)
                found[way, length] = (metres, degrees)
                if single:
                    tables = [*read_all_relocalised(Path(folder) / FOLDER, [*result.sequences]).values()]
                    found |= {(AVERAGED, frames): averaged_median(tables, frames) for frames in lengths}
    return found


def averaged_median(tables: Sequence[Relocalised], length: int) -> tuple[float, float]:
    """Compute the median errors (metres, degrees) of poses averaged over `length` frames along the true motion."""
    errors = torch.cat([pose_errors(one.truth, averaged(one.truth, one.estimate, length)) for one in tables])
    metres, degrees = errors.quantile(0.5, dim=0).tolist()
    return metres, degrees


def averaged(
    truth: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "n 4 4"], length: int
) -> Float64[Tensor, "n 4 4"]:
    """Average the poses of `length` frames around each, fewer at the ends, moved to it by the true motion."""
    found = []
    for at, pose in enumerate(truth):
        near = slice(max(0, at - (length - 1) // 2), at + length // 2 + 1)
        moved = estimate[near] @ se3.inverse(truth[near]) @ pose
        turn = rotations.mean_rotation(moved[:, :3, :3])
        found.append(se3.from_rotation_translation(turn, moved[:, :3, 3].mean(0)))
    return torch.stack(found)


def _dataset(spec: dict[str, Any] | None, where: str, opened: dict[str, RecordingDataset]) -> RecordingDataset:
    """Open a dataset of recordings, or take the one that was opened by the same words."""
    if spec is None:
        raise Vo3dError(f"{where}: there is none: choose another split")
    words = json.dumps(spec, sort_keys=True, default=str)
    if words not in opened:
        dataset: Dataset[Sample] = build(Dataset, spec, where)
        if not isinstance(dataset, RecordingDataset):
            raise Vo3dError(f"{where}: {spec['class_path']} has no recordings: expected a RecordingDataset")
        opened[words] = dataset
    return opened[words]


def table(rows: Sequence[Row]) -> list[str]:
    """Write the rows as a table: mean over runs, and where there are several the least and the highest."""
    lines = ["| model | way | frames in a clip | runs | median (m) | median (deg) |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [_with_spread(row.column(0), 3), _with_spread(row.column(1), 2)]
        length = "1 (single images)" if row.length is None else str(row.length)
        lines.append(f"| {' | '.join([row.label, row.way, length, str(len(row.medians)), *cells])} |")
    return lines


def _with_spread(values: Sequence[float], digits: int) -> str:
    """Write the mean of values, with their range where there are several."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def plot_lengths(rows: Sequence[Row]) -> "matplotlib.figure.Figure":
    """Draw the errors over the length of clips, dashed backwards: lines are means over runs.

    A band reaches from the least to the highest median of the runs of one label, forwards.
    """
    from matplotlib.ticker import NullLocator  # noqa: PLC0415  matplotlib is imported late

    figure = new_figure(3.4)
    panels = figure.subplots(1, len(UNITS))
    styles = line_styles(list(dict.fromkeys(row.label for row in rows)))
    lengths = sorted({row.length for row in rows if row.length is not None}) or [1]
    ends = (lengths[0] / 1.12, lengths[-1] * 1.12)
    for place, (axes, unit) in enumerate(zip(panels, UNITS, strict=True)):
        dress(axes, "frames in a clip (log scale)", unit)
        for label, way in dict.fromkeys((row.label, row.way) for row in rows):
            curve = [row for row in rows if (row.label, row.way) == (label, way)]
            style: Style = {**styles[label], "markersize": 4.5, "linestyle": LINES[way]}
            if curve[0].length is None:
                curve, at, style = curve * 2, list(ends), plain(style)
            else:
                at = [float(row.length or 1) for row in curve]
            values = [row.column(place) for row in curve]
            name = spelled(f"{label}, {way if curve[0].length else 'single images'}")
            axes.plot(at, [statistics.mean(each) for each in values], label=name, **style)
            low, high = ([pick(each) for each in values] for pick in (min, max))
            if way == FORWARDS and low != high:
                axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(*ends)
        fit_scale(axes, [value for row in rows for value in row.column(place)], most=10.0)
    return add_legend(figure)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        auto_cli(compare, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"compare_clips: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
