"""Figures of odometry: each function takes poses, numbers or a file and returns a matplotlib Figure, ready to save."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.trajectory import path_lengths, steps
from vo3d.report.canvas import (
    INK,
    REFERENCE,
    SOFT,
    WIDTH,
    Style,
    add_legend,
    dress,
    line_styles,
    new_figure,
    plain,
    save_figure,
)

__all__ = [
    "ErrorCurve",
    "frame_motion",
    "line_styles",
    "plot_drift",
    "plot_error_over_distance",
    "plot_error_over_speed",
    "plot_frames_with_motion",
    "plot_motion_over_time",
    "plot_training_curves",
    "plot_trajectories",
    "save_figure",
]

Styles = Mapping[str, Style]
LOSSES = {"train/loss": "training", "val/loss": "validation"}  # the name in a history: its label


@dataclass(frozen=True)
class ErrorCurve:
    """Mean segment errors of one model over a quantity `at`: a segment's length in metres, or its speed."""

    at: Sequence[float]
    t_rel_percent: Sequence[float]
    r_rel_deg_per_100m: Sequence[float]


def plot_trajectories(
    reference: Float64[Tensor, "n 4 4"],
    estimates: Mapping[str, Float64[Tensor, "_ 4 4"]],
    styles: Styles | None = None,
) -> "matplotlib.figure.Figure":
    """The paths seen from above: x to the right, z up the page, metres, equal axes, the start marked.

    An estimate that strays from the reference by more than the reference's own extent leaves the picture instead of
    shrinking the rest; a line above the axes says so.
    """
    styles = styles or line_styles(list(estimates))
    truth = _seen_from_above(reference)
    paths = {name: _seen_from_above(estimate) for name, estimate in estimates.items()}
    low, high = truth.min(0), truth.max(0)
    reach = max(float((high - low).max()), 1e-3)
    strayed = [name for name, path in paths.items() if ((path < low - reach) | (path > high + reach)).any()]
    everything = np.concatenate([truth, *paths.values()])
    low, high = np.maximum(everything.min(0), low - reach), np.minimum(everything.max(0), high + reach)
    extent = 1.1 * np.maximum(high - low, 0.35 * (high - low).max())  # metres; no strip thinner than a third
    scale = min((WIDTH - 1.0) / extent[0], 4.4 / extent[1])  # inches a metre
    beside = bool(extent[0] * scale < WIDTH - 3.2)  # room for the legend to the right of a narrow map

    figure = new_figure(extent[0] * scale + (2.7 if beside else 1.0), extent[1] * scale + (0.7 if beside else 1.1))
    axes = dress(figure.add_subplot(), "x, to the right (m)", "z, forward (m)")
    axes.plot(truth[:, 0], truth[:, 1], label="ground truth", **REFERENCE)
    for name, path in paths.items():
        axes.plot(path[:, 0], path[:, 1], label=name, **plain(styles[name]))
    start = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "color": INK, "linestyle": "none"}
    axes.plot(truth[:1, 0], truth[:1, 1], label="start", zorder=5, **start)
    centre = (low + high) / 2
    axes.set_xlim(centre[0] - extent[0] / 2, centre[0] + extent[0] / 2)
    axes.set_ylim(centre[1] - extent[1] / 2, centre[1] + extent[1] / 2)
    axes.set_aspect("equal")
    if strayed:
        axes.set_title(f"leaves the picture: {', '.join(strayed)}", fontsize=9, color=SOFT, loc="left")
    add_legend(figure, axes, beside=beside)
    return figure


def plot_error_over_distance(
    curves: Mapping[str, ErrorCurve], styles: Styles | None = None
) -> "matplotlib.figure.Figure":
    """Mean translation and rotation error of the segments of each length (metres), one line a model."""
    return _plot_errors(curves, "length of the segment (m)", styles)


def plot_error_over_speed(curves: Mapping[str, ErrorCurve], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Mean translation and rotation error of the segments travelled at each speed (m/s), one line a model."""
    return _plot_errors(curves, "mean speed along the segment (m/s)", styles)


def plot_drift(
    reference: Float64[Tensor, "n 4 4"],
    estimates: Mapping[str, Float64[Tensor, "n 4 4"]],
    styles: Styles | None = None,
) -> "matplotlib.figure.Figure":
    """Distance between the estimated and the true position (metres) along the true path (metres)."""
    styles = styles or line_styles(list(estimates))
    along = path_lengths(reference).numpy()
    figure = new_figure(WIDTH, 3.0)
    axes = dress(figure.add_subplot(), "distance travelled (m)", "position error (m)")
    errors = {
        name: (estimate[:, :3, 3] - reference[:, :3, 3]).norm(dim=-1).numpy() for name, estimate in estimates.items()
    }
    for name, error in errors.items():
        axes.plot(along, error, label=name, **plain(styles[name]))
    axes.set_xlim(0, max(float(along[-1]), 1e-3))
    _scale(axes, [float(np.median(error)) for error in errors.values()], most=10.0)
    if axes.get_yscale() == "log":  # every error starts from 0: show the upper four decades
        axes.set_ylim(bottom=1e-4 * max(float(error.max()) for error in errors.values()))
    add_legend(figure, axes)
    return figure


def plot_motion_over_time(
    reference: Float64[Tensor, "n 4 4"],
    estimates: Mapping[str, Float64[Tensor, "n 4 4"]],
    styles: Styles | None = None,
) -> "matplotlib.figure.Figure":
    """Speed (metres a frame) and yaw rate (degrees a frame, positive to the right) from frame to frame."""
    styles = styles or line_styles(list(estimates))
    figure = new_figure(WIDTH, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    dress(upper, "", "speed (m/frame)")
    dress(lower, "frame", "yaw rate (deg/frame)")
    lines: list[tuple[str, Tensor, Style]] = [("ground truth", reference, REFERENCE)]
    lines += [(name, estimate, plain(styles[name], linewidth=1.2)) for name, estimate in estimates.items()]
    for name, poses, style in lines:
        speed, yaw = frame_motion(poses)
        frames = np.arange(1, len(speed) + 1)
        upper.plot(frames, speed, label=name, **style)
        lower.plot(frames, yaw, **style)
    upper.set_xlim(1, max(len(reference) - 1, 2))
    upper.set_ylim(bottom=0)
    add_legend(figure, upper)
    return figure


def frame_motion(world_T_cam: Float64[Tensor, "n 4 4"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Speed (metres a frame) and yaw (degrees a frame) of each step; n poses give n - 1 of each.

    Convention: yaw turns about the camera's y axis, which points down: positive is a turn to the right.
    """
    prev_T_cam = steps(world_T_cam)
    yaw = torch.atan2(prev_T_cam[:, 0, 2], prev_T_cam[:, 2, 2]).rad2deg()
    return prev_T_cam[:, :3, 3].norm(dim=-1).numpy(), yaw.numpy()


def plot_frames_with_motion(
    images: Float[Tensor, "k 3 h w"],
    indices: Sequence[int],
    reference: Float64[Tensor, "n 4 4"],
    estimates: Mapping[str, Float64[Tensor, "n 4 4"]],
    styles: Styles | None = None,
    ahead: int = 20,
) -> "matplotlib.figure.Figure":
    """Frames (`images`, RGB in [0, 1], at `indices`), each beside the path of the next `ahead` frames from above.

    True and estimated paths start at the camera of the frame, which looks up the page; all panels have one scale.
    """
    styles = styles or line_styles(list(estimates))
    height, width = images.shape[-2:]
    picture = min(6.2, 2.3 * width / height)  # inches
    row = max(picture * height / width + 0.45, 1.9)  # the picture with room for its title
    figure = new_figure(picture + 2.6, row * len(indices) + 0.8)
    grid = figure.subplots(len(indices), 2, squeeze=False, width_ratios=[picture, 2.1])
    lines: list[tuple[str, Tensor, Style]] = [("ground truth", reference, REFERENCE)]
    lines += [(name, estimate, plain(styles[name])) for name, estimate in estimates.items()]
    for (left, right), image, index in zip(grid, images, indices, strict=True):
        left.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="antialiased")
        left.set_axis_off()
        left.set_title(f"frame {index}", fontsize=9, color=SOFT, loc="left")
        dress(right, "", "forward (m)")
        for name, poses, style in lines:
            part = poses[index : index + ahead + 1]
            path = _seen_from_above(torch.linalg.solve(part[:1], part))
            right.plot(path[:, 0], path[:, 1], label=name, **style)
        left.set_anchor("W")
        right.set_anchor("W")
    panels = list(grid[:, 1])
    near, far = min(panel.dataLim.y0 for panel in panels), max(panel.dataLim.y1 for panel in panels)
    aside = max(abs(x) for panel in panels for x in panel.dataLim.intervalx)
    near, far = near - 0.05 * (far - near), far + 0.05 * (far - near)
    aside = max(1.05 * aside, 0.5 * (far - near), 1e-3)
    for panel in panels:
        panel.set(xlim=(-aside, aside), ylim=(near, max(far, near + 1e-3)), aspect="equal")
    panels[-1].set_xlabel("to the right (m)", fontsize=9.5, color=INK)
    add_legend(figure, panels[0])
    return figure


def plot_training_curves(history: Path) -> "matplotlib.figure.Figure":
    """Training and validation loss (on a log scale where all are positive) and the learning rate over the steps.

    `history` is a CSV file with the columns step, name and value, one number a row, as a fit writes it; shown are the
    names train/loss, val/loss, lr and lr-*.
    Raises Vo3dError when the file is missing, a cell is no number, or no loss is in it.
    """
    curves = _read_history(history)
    losses = {label: curves[name] for name, label in LOSSES.items() if name in curves}
    rates = [curve for name, curve in curves.items() if name not in LOSSES]
    if not losses:
        raise Vo3dError(f"{history}: found neither train/loss nor val/loss: expected the history of a fit")
    figure = new_figure(WIDTH, 3.2)
    panels = figure.subplots(1, 2 if rates else 1, squeeze=False)[0]
    left = dress(panels[0], "optimiser step", "loss (no unit)")
    styles = line_styles(list(LOSSES.values()))
    for label, (at, value) in losses.items():
        left.plot(at, value, label=label, **(styles[label] | {"markersize": 3.5 if len(at) <= 60 else 0}))
    _scale(left, [value for _, values in losses.values() for value in values], most=1.0)
    for at, value in rates:
        dress(panels[1], "optimiser step", "learning rate (no unit)").plot(at, value, color=INK, linewidth=1.8)
        panels[1].set_ylim(bottom=0)
        panels[1].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    add_legend(figure, left)
    return figure


def _read_history(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of each curve that is shown."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected the history.csv that a fit writes into its run folder")
    curves: dict[str, tuple[list[int], list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as lines:
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
                found = f"step {row['step']!r}, value {row['value']!r}"
                raise Vo3dError(f"{path}:{rows.line_num}: found {found}, expected two numbers") from None
            at, values = curves.setdefault(name, ([], []))
            at.append(step)
            values.append(value)
    return curves


def _plot_errors(curves: Mapping[str, ErrorCurve], over: str, styles: Styles | None) -> "matplotlib.figure.Figure":
    if not curves:
        raise Vo3dError("an error figure without curves was asked for: expected the errors of at least one model")
    styles = styles or line_styles(list(curves))
    figure = new_figure(WIDTH, 3.2)
    left, right = figure.subplots(1, 2)
    dress(left, over, "translation error (%)")
    dress(right, over, "rotation error (deg/100 m)")
    for name, curve in curves.items():
        style = styles[name] | {"markersize": 4.5}
        left.plot(curve.at, curve.t_rel_percent, label=name, **style)
        right.plot(curve.at, curve.r_rel_deg_per_100m, **style)
    for axes in (left, right):
        _scale(axes, [value for line in axes.lines for value in line.get_ydata()], most=10.0)
    add_legend(figure, left)
    return figure


def _scale(axes: "matplotlib.axes.Axes", values: Sequence[float], most: float) -> None:
    """A log scale, said in the label, where the largest value is more than `most` times the smallest; else from 0."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415  matplotlib is imported late

    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) <= most * min(finite):
        axes.set_ylim(bottom=min(0.0, *finite) if finite else 0.0)
        return
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylabel(axes.get_ylabel().replace(")", ", log scale)"))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def _seen_from_above(world_T_cam: Tensor) -> NDArray[np.float64]:
    """The x and z of each camera centre: n 2."""
    return world_T_cam[:, [0, 2], 3].double().numpy()
