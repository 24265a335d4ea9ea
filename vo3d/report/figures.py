"""Figures of numbers: the errors of segments over their length and speed, and the curves of a fit.

Each function takes numbers or a file and returns a matplotlib Figure, ready to save.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from vo3d.errors import Vo3dError
from vo3d.metrics.kitti_odometry import Bin
from vo3d.report.canvas import INK, SOFT, Styles, add_legend, dress, fit_scale, line_styles, new_figure, spelled

LOSSES = {"train/loss": "training", "val/loss": "validation"}  # the name in a history: its label
MOST_TICKS = 12  # as many lengths or speeds have a tick each
Curve = tuple[list[int], list[float]]  # steps, values


def plot_segment_errors(
    curves: Mapping[str, Sequence[Bin]], over: str, styles: Styles | None = None
) -> "matplotlib.figure.Figure":
    """Draw mean translation and rotation error of the segments `over` their length or their speed, one line a model.

    Raises Vo3dError when there is none.
    """
    if not curves:
        raise Vo3dError("an error figure without curves was asked for: expected the errors of at least one model")
    styles = styles or line_styles(list(curves))
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2)
    dress(left, over, "translation error (%)")
    dress(right, over, "rotation error (deg/100 m)")
    for name, curve in curves.items():
        at, style = [one.centre for one in curve], styles[name] | {"markersize": 4.5}
        left.plot(at, [one.t_rel_percent for one in curve], label=spelled(name), **style)
        right.plot(at, [one.r_rel_deg_per_100m for one in curve], **style)
    ticks = sorted({one.centre for curve in curves.values() for one in curve})
    for axes in (left, right):
        if len(ticks) <= MOST_TICKS:
            axes.set_xticks(ticks)
        fit_scale(axes, [value for line in axes.lines for value in line.get_ydata()], most=10.0)
    return add_legend(figure)


def plot_training_curves(history: Path) -> "matplotlib.figure.Figure":
    """Draw training and validation loss (on a log scale where all are positive) and the learning rate over the steps.

    `history` is a CSV file with the columns step, name and value, one number a row, as a fit writes it; shown are the
    names train/loss, val/loss, lr and lr-*.
    Raises Vo3dError when the file is missing, a cell is no number, or no loss is in it.
    """
    curves = read_history(history)
    losses = {label: curves[name] for name, label in LOSSES.items() if name in curves}
    rates = [curve for name, curve in curves.items() if name not in LOSSES]
    if not losses:
        raise Vo3dError(f"{history}: found neither train/loss nor val/loss: expected the history of a fit")
    figure = new_figure(2.9)
    panels = figure.subplots(1, 2 if rates else 1, squeeze=False)[0]
    left = dress(panels[0], "optimiser step", "loss")
    styles = line_styles(list(LOSSES.values()))
    for label, (at, value) in losses.items():
        left.plot(at, value, label=label, **(styles[label] | {"markersize": 3.5 if len(at) <= 60 else 0}))
    fit_scale(left, [value for _, values in losses.values() for value in values], most=1.0)
    for at, value in rates:
        dress(panels[1], "optimiser step", "learning rate").plot(at, value, color=INK, linewidth=1.8)
        panels[1].set_ylim(bottom=0)
        panels[1].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
        panels[1].yaxis.get_offset_text().set(fontsize=8.5, color=SOFT)
    return add_legend(figure)


def read_history(path: Path) -> dict[str, Curve]:
    """Read the steps and values of each curve that is shown."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected the history.csv that a fit writes into its run folder")
    curves: dict[str, Curve] = {}
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        if not {"step", "name", "value"} <= set(rows.fieldnames or ()):
            raise Vo3dError(f"{path}:1: found the columns {rows.fieldnames}, expected step, name and value among them")
        for row in rows:
            name = row["name"]
            if name not in LOSSES and name != "lr" and not str(name).startswith("lr-"):
                continue
            try:
                step, value = int(row["step"]), float(row["value"])
            except (TypeError, ValueError):
                raise Vo3dError(
                    f"{path}:{rows.line_num}: found step {row['step']!r}, value {row['value']!r}, expected two numbers"
                ) from None
            at, values = curves.setdefault(name, ([], []))
            at.append(step)
            values.append(value)
    return curves
