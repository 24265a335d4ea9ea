"""Figures of whole recordings: paths from above, drift along them, motion from frame to frame, sample frames.

Each function takes the recordings by their names, or one of them, draws panels under one legend, and returns the
figure.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from vo3d.geometry.trajectory import path_lengths, start_at_identity, steps
from vo3d.report.canvas import (
    INK,
    REFERENCE,
    SOFT,
    WIDTH,
    Style,
    Styles,
    add_legend,
    dress,
    fit_scale,
    grid_shape,
    line_styles,
    new_figure,
    panel_columns,
    plain,
    spelled,
)

MOST_PICTURE = 3.0  # inches of height of a sample frame


@dataclass(frozen=True)
class Paths:
    """One recording: the true path and what each model made of it.

    Convention: `world_T_cam`, metres, truth and estimates in one world.
    """

    reference: Float64[Tensor, "n 4 4"]
    estimates: Mapping[str, Float64[Tensor, "_ 4 4"]]  # by the name of the model; n poses, or on a map alone any number
    ground: tuple[int, int] | None = (
        None  # the axes of a map, for worlds that do not begin as a camera, x right z ahead
    )

    @property
    def metres(self) -> float:
        """Compute the length of the true path."""
        return path_lengths(self.reference)[-1].item()

    def position_errors(self) -> dict[str, Float64[Tensor, " n"]]:
        """Compute the metres between estimated and true position of each frame, for each model."""
        true = self.reference[:, :3, 3]
        return {name: (poses[:, :3, 3] - true).norm(dim=-1) for name, poses in self.estimates.items()}

    def lines(self, styles: Styles, **changes: object) -> list[tuple[str, Float64[Tensor, "_ 4 4"], Style]]:
        """List what is drawn, the truth first: name, poses, and the style, with `changes` to those of the models."""
        models = [(name, poses, plain(styles[name], **changes)) for name, poses in self.estimates.items()]
        return [("ground truth", self.reference, REFERENCE), *models]


def plot_trajectories(recordings: Mapping[str, Paths], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Draw the paths seen from above: x to the right, z up the page (or what is `ground`), metres, the start marked.

    An estimate that strays from the reference by more than the reference's own extent leaves the picture instead of
    shrinking the rest; a line above the panel says so.
    """
    styles = styles or _styles(recordings)
    windows = [_window(paths) for paths in recordings.values()]
    width = WIDTH / grid_shape(len(recordings))[1] - 0.75  # inches of a map, without its labels
    tallest = max(float((high - low)[1] / (high - low)[0]) for low, high in windows)
    height = min(width * min(max(tallest, 0.5), 1.5), 5.0)
    ground = next(iter(recordings.values())).ground
    labels = ("x, to the right (m)", "z, forward (m)") if ground is None else (f"{'xyz'[axis]} (m)" for axis in ground)
    figure, panels = panel_columns(_titles(recordings), height + 0.5, *labels, same_y=False)
    for (axes,), paths, (low, high) in zip(panels, recordings.values(), windows, strict=True):
        for name, poses, style in paths.lines(styles):
            axes.plot(*seen_from_above(poses, ground).T, label=spelled(name), **style)
        start = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "color": INK, "linestyle": "none"}
        axes.plot(*seen_from_above(paths.reference[:1], ground).T, label="start", zorder=5, **start)
        found = {name: seen_from_above(poses, ground) for name, poses in paths.estimates.items()}
        if strayed := [name for name, path in found.items() if ((path < low) | (path > high)).any()]:
            note = textwrap.fill(f"leaves the picture: {', '.join(map(spelled, strayed))}", int(13 * width))
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
            axes.plot(along, error.numpy(), label=spelled(model), **plain(styles[model]))
        axes.set_xlim(0, max(float(along[-1]), 1e-3))
    largest = max(float(error.max()) for error in everything)
    for (axes,) in panels:  # when all is drawn: the panels of a row share their limits
        fit_scale(axes, middles, most=10.0)
        if axes.get_yscale() == "log":  # every error starts from 0: show the upper four decades
            axes.set_ylim(bottom=1e-4 * largest)
        elif largest > 0:
            axes.set_ylim(top=1.06 * largest)
    return add_legend(figure)


def plot_motion_over_time(recordings: Mapping[str, Paths], styles: Styles | None = None) -> "matplotlib.figure.Figure":
    """Draw speed (metres a frame) and yaw rate (degrees a frame, positive to the right) from frame to frame."""
    styles = styles or _styles(recordings)
    figure, panels = panel_columns(_titles(recordings), 1.9, "frame", "speed (m/frame)", "yaw rate (deg/frame)")
    for (upper, lower), paths in zip(panels, recordings.values(), strict=True):
        for name, poses, style in paths.lines(styles, linewidth=1.1):
            speed, yaw = frame_motion(poses)
            frames = np.arange(1, len(speed) + 1)
            upper.plot(frames, speed, label=spelled(name), **style)
            lower.plot(frames, yaw, **style)
        upper.set_xlim(1, max(len(paths.reference) - 1, 2))
    for upper, _ in panels:  # when all is drawn: the panels of a row share their limits
        upper.set_ylim(bottom=0)
    return add_legend(figure)


def telling_frames(world_T_cam: Float64[Tensor, "n 4 4"], ahead: int) -> dict[int, str]:
    """Choose frames with much in the next `ahead`: the sharpest turn, the fastest and the slowest stretch.

    Keys are the frames in their order, values say what is to be seen. The frames are at least `ahead` apart; a path
    that is too short for three such frames has fewer, and every path has one.
    """
    ahead = min(ahead, len(world_T_cam) - 1)
    speed, yaw = frame_motion(world_T_cam)
    turn, way = (np.convolve(value, np.ones(ahead), "valid") for value in (yaw, speed))  # over the frames ahead
    found: dict[int, str] = {}
    for what, value in (("sharpest turn", np.abs(turn)), ("fastest", way), ("slowest", -way)):
        free = [frame for frame in range(len(value)) if all(abs(frame - taken) >= ahead for taken in found)]
        if not free:
            break
        frame = free[int(np.argmax(value[free]))]
        side = "right" if turn[frame] > 0 else "left"
        size = f"{abs(turn[frame]):.0f}\N{DEGREE SIGN} to the {side}" if "turn" in what else f"{way[frame]:.1f} m"
        found[frame] = f"{what}, {size}"
    return dict(sorted(found.items()))


def plot_frames_with_motion(
    images: Float[Tensor, "k 3 h w"],
    frames: Sequence[int],
    titles: Sequence[str],
    paths: Paths,
    styles: Styles | None = None,
    ahead: int = 20,
) -> "matplotlib.figure.Figure":
    """Draw frames (`images`, RGB in [0, 1]) side by side, each over the path of the next `ahead` frames from above.

    True and estimated paths start at the camera of the frame, which looks to the right of the page; all panels have
    one scale.
    """
    styles = styles or line_styles(list(paths.estimates))
    routes = [
        [
            (name, seen_from_above(start_at_identity(poses[frame : frame + ahead + 1])), style)
            for name, poses, style in paths.lines(styles)
        ]
        for frame in frames
    ]
    points = np.concatenate([path for route in routes for _, path, _ in route])
    width = WIDTH / len(frames) - 0.5  # inches of a panel, without its labels
    aside = max(1.2 * float(np.abs(points[:, 0]).max()), 1e-3)
    near, far = points[:, 1].min(), max(points[:, 1].max(), points[:, 1].min() + 1e-3)
    near, far = near - 0.05 * (far - near), far + 0.05 * (far - near)
    strip = float(np.clip(width * 2 * aside / (far - near), 0.9, 2.2))  # inches of height
    picture = min(width * images.shape[-2] / images.shape[-1], MOST_PICTURE)

    figure = new_figure(picture + strip + 0.9)
    grid = figure.subplots(2, len(frames), squeeze=False, height_ratios=[picture, strip])
    for (above, below), image, frame, title, route in zip(grid.T, images, frames, titles, routes, strict=True):
        above.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="bicubic")
        above.set_axis_off()
        above.set_title(f"frame {frame}: {title}", fontsize=9.5, color=INK, loc="left")
        dress(below, "forward (m)", "to the left (m)" if below is grid[1, 0] else "")
        for name, path, style in route:
            below.plot(path[:, 1], -path[:, 0], label=spelled(name), **style)
        below.plot([0], [0], marker=(3, 0, -90), markersize=8, color=SOFT, linestyle="none", label="camera", zorder=5)
    add_legend(figure)
    window = (np.array([near, -aside]), np.array([far, aside]))
    return fill_with_equal_scale(figure, dict.fromkeys(grid[1], window))


def frame_motion(world_T_cam: Float64[Tensor, "n 4 4"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute speed (metres a frame) and yaw (degrees a frame) of each step; n poses give n - 1 of each.

    Convention: yaw turns about the camera's y axis, which points down: positive is a turn to the right.
    """
    prev_T_cam = steps(world_T_cam)
    yaw = torch.atan2(prev_T_cam[:, 0, 2], prev_T_cam[:, 2, 2]).rad2deg()
    return prev_T_cam[:, :3, 3].norm(dim=-1).numpy(), yaw.numpy()


def seen_from_above(world_T_cam: Tensor, ground: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Take x and z of each camera centre, or the two coordinates that are `ground`: n 2."""
    return world_T_cam[:, list(ground or (0, 2)), 3].double().numpy()


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
    truth = seen_from_above(paths.reference, paths.ground)
    low, high = truth.min(0), truth.max(0)
    reach = max(float((high - low).max()), 1e-3)
    everything = np.concatenate([truth, *(seen_from_above(poses, paths.ground) for poses in paths.estimates.values())])
    low, high = np.maximum(everything.min(0), low - reach), np.minimum(everything.max(0), high + reach)
    margin = 0.05 * max(float((high - low).max()), reach)
    return low - margin, high + margin
