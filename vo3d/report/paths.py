"""Figures of whole recordings side by side: paths from above, drift along them, motion from frame to frame.

Each function takes the recordings by their names, draws one panel for each under one legend, and returns the figure.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from vo3d.geometry.trajectory import path_lengths, steps
from vo3d.report.canvas import (
    INK,
    REFERENCE,
    WIDTH,
    Style,
    Styles,
    add_legend,
    fit_scale,
    grid_shape,
    line_styles,
    panel_columns,
    plain,
)


@dataclass(frozen=True)
class Paths:
    """One recording: the true path and what each model made of it.

    Convention: `world_T_cam`, metres, truth and estimates in one world.
    """

    reference: Float64[Tensor, "n 4 4"]
    estimates: Mapping[str, Float64[Tensor, "n 4 4"]]  # by the name of the model

    @property
    def metres(self) -> float:
        """Compute the length of the true path."""
        return path_lengths(self.reference)[-1].item()

    def position_errors(self) -> dict[str, Float64[Tensor, " n"]]:
        """Compute the metres between estimated and true position of each frame, for each model."""
        true = self.reference[:, :3, 3]
        return {name: (poses[:, :3, 3] - true).norm(dim=-1) for name, poses in self.estimates.items()}

    def lines(self, styles: Styles, **changes: object) -> list[tuple[str, Float64[Tensor, "n 4 4"], Style]]:
        """List what is drawn, the truth first: name, poses, and the style, with `changes` to those of the models."""
        models = [(name, poses, plain(styles[name], **changes)) for name, poses in self.estimates.items()]
        return [("ground truth", self.reference, REFERENCE), *models]


def plot_trajectories(recordings: Mapping[str, Paths], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Draw the paths seen from above: x to the right, z up the page, metres, equal axes, the start marked.

    An estimate that strays from the reference by more than the reference's own extent leaves the picture instead of
    shrinking the rest; a line above the panel says so.
    """
    styles = styles or _styles(recordings)
    windows = [_window(paths) for paths in recordings.values()]
    width = WIDTH / grid_shape(len(recordings))[1] - 0.75  # inches of a map, without its labels
    tallest = max(float((high - low)[1] / (high - low)[0]) for low, high in windows)
    height = min(width * min(max(tallest, 0.5), 1.5), 5.0)
    figure, panels = panel_columns(
        _titles(recordings), height + 0.5, "x, to the right (m)", "z, forward (m)", same_y=False
    )
    for (axes,), paths, (low, high) in zip(panels, recordings.values(), windows, strict=True):
        for name, poses, style in paths.lines(styles):
            axes.plot(*seen_from_above(poses).T, label=name, **style)
        start = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "color": INK, "linestyle": "none"}
        axes.plot(*seen_from_above(paths.reference[:1]).T, label="start", zorder=5, **start)
        found = {name: seen_from_above(poses) for name, poses in paths.estimates.items()}
        if strayed := [name for name, path in found.items() if ((path < low) | (path > high)).any()]:
            note = textwrap.fill(f"leaves the picture: {', '.join(strayed)}", int(13 * width))
            axes.set_title(f"{axes.get_title(loc='left')}\n{note}", fontsize=9.5, color=INK, loc="left")
    add_legend(figure)
    return fill_with_equal_scale(figure, {axes: window for (axes,), window in zip(panels, windows, strict=True)})


def plot_drift(recordings: Mapping[str, Paths], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Draw the distance between estimated and true position (metres) along the true path (metres)."""
    styles = styles or _styles(recordings)
    height = 2.7 if len(recordings) > 1 else 3.2
    figure, panels = panel_columns(_titles(recordings), height, "distance travelled (m)", "position error (m)")
    errors = {name: paths.position_errors() for name, paths in recordings.items()}
    everything = [error for one in errors.values() for error in one.values()]
    middles = [float(error.median()) for error in everything]
    for (axes,), name in zip(panels, recordings, strict=True):
        along = path_lengths(recordings[name].reference).numpy()
        for model, error in errors[name].items():
            axes.plot(along, error.numpy(), label=model, **plain(styles[model]))
        axes.set_xlim(0, max(float(along[-1]), 1e-3))
    for (axes,) in panels:  # when all is drawn: the panels of a row share their limits
        fit_scale(axes, middles, most=10.0)
        if axes.get_yscale() == "log":  # every error starts from 0: show the upper four decades
            axes.set_ylim(bottom=1e-4 * max(float(error.max()) for error in everything))
    return add_legend(figure)


def plot_motion_over_time(recordings: Mapping[str, Paths], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Draw speed (metres a frame) and yaw rate (degrees a frame, positive to the right) from frame to frame."""
    styles = styles or _styles(recordings)
    figure, panels = panel_columns(_titles(recordings), 1.9, "frame", "speed (m/frame)", "yaw rate (deg/frame)")
    for (upper, lower), paths in zip(panels, recordings.values(), strict=True):
        for name, poses, style in paths.lines(styles, linewidth=1.1):
            speed, yaw = frame_motion(poses)
            frames = np.arange(1, len(speed) + 1)
            upper.plot(frames, speed, label=name, **style)
            lower.plot(frames, yaw, **style)
        upper.set_xlim(1, max(len(paths.reference) - 1, 2))
    for upper, _ in panels:  # when all is drawn: the panels of a row share their limits
        upper.set_ylim(bottom=0)
    return add_legend(figure)


def frame_motion(world_T_cam: Float64[Tensor, "n 4 4"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute speed (metres a frame) and yaw (degrees a frame) of each step; n poses give n - 1 of each.

    Convention: yaw turns about the camera's y axis, which points down: positive is a turn to the right.
    """
    prev_T_cam = steps(world_T_cam)
    yaw = torch.atan2(prev_T_cam[:, 0, 2], prev_T_cam[:, 2, 2]).rad2deg()
    return prev_T_cam[:, :3, 3].norm(dim=-1).numpy(), yaw.numpy()


def seen_from_above(world_T_cam: Tensor) -> NDArray[np.float64]:
    """Take the x and z of each camera centre: n 2."""
    return world_T_cam[:, [0, 2], 3].double().numpy()


def fill_with_equal_scale(
    figure: "matplotlib.figure.Figure",
    windows: "Mapping[matplotlib.axes.Axes, tuple[NDArray[np.float64], NDArray[np.float64]]]",
) -> "matplotlib.figure.Figure":
    """Widen the window (lower left and upper right corner) of each map until it fills its panel; return the figure."""
    for axes, (low, high) in windows.items():
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for _ in range(2):  # new limits change the tick labels, and these the room for the panels
        figure.draw_without_rendering()
        for axes, (low, high) in windows.items():
            box = axes.get_window_extent()
            scale = (box.size / (high - low)).min()  # pixels a metre
            (left, bottom), (right, top) = ((low + high) / 2 + side * box.size / scale / 2 for side in (-1, 1))
            axes.set(xlim=(left, right), ylim=(bottom, top))
    for axes in windows:
        axes.set_aspect("equal")
    return figure


def _styles(recordings: Mapping[str, Paths]) -> Styles:
    return line_styles(list(dict.fromkeys(name for paths in recordings.values() for name in paths.estimates)))


def _titles(recordings: Mapping[str, Paths]) -> list[str]:
    return [f"{name}, {paths.metres:.0f} m" for name, paths in recordings.items()]


def _window(paths: Paths) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the lower left and the upper right corner (x, z) of what a map must show, with a margin."""
    truth = seen_from_above(paths.reference)
    low, high = truth.min(0), truth.max(0)
    reach = max(float((high - low).max()), 1e-3)
    everything = np.concatenate([truth, *map(seen_from_above, paths.estimates.values())])
    low, high = np.maximum(everything.min(0), low - reach), np.minimum(everything.max(0), high + reach)
    margin = 0.05 * max(float((high - low).max()), reach)
    return low - margin, high + margin
