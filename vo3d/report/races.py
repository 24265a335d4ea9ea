"""Pictures of races: the paths over the landscape's contours beside the values over the steps, still and moving.

A racer that leaves the picture for good is drawn up to its edge, and the legend says at which step that was, so that
what diverges leaves the scales alone. Colours are told apart by colour-blind readers; each method keeps its own, with
its dash and marker, in all pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vo3d.formats.files import atomic_path
from vo3d.optim.landscapes import Interval, Landscape, Point
from vo3d.optim.races import Trace, step_of_leaving, steps_to_reach
from vo3d.report.canvas import INK, SOFT, Style, Styles, add_legend, dress, line_styles, new_figure

METHODS = ("SGD", "Momentum", "NAG", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdaMax", "Nadam")
MORE: Mapping[str, Style] = {  # beyond the six of the canvas: Tol's wine and olive, and black
    "Adam": {"color": "#000000", "linestyle": "-", "marker": "X"},
    "AdaMax": {"color": "#882255", "linestyle": (0, (4, 1)), "marker": "<"},
    "Nadam": {"color": "#8A8A1F", "linestyle": (0, (7, 1.2, 1.2, 1.2)), "marker": ">"},
}
NOISE = ", noise"
GRID = 241  # points a side at which a landscape is evaluated for its contours
LEVELS = 22
FLOOR = 1e-9  # the least value on a log scale
MARKS_ALONG = 0.14  # distance of a path's markers as a part of the panel's diagonal
SCREEN_DPI = 80  # of moving pictures, 784 pixels wide
FRAME_MS, LAST_MS = 80, 2500
GROUND = ("#cfdbe6", "#f7f9fa")  # of low and of high values
STAR = "#F0E442"


def method_styles(names: Sequence[str]) -> dict[str, Style]:
    """A line style for each name: the survey's methods, with noise or not, have fixed ones, others one by their place.

    Names that are not the survey's must not stand beside those that are.
    """
    fixed = line_styles(METHODS) | {name: {**style, "linewidth": 1.8} for name, style in MORE.items()}
    by_place = line_styles(names) | dict(zip(names, fixed.values(), strict=False))
    return {name: fixed.get(name.removesuffix(NOISE), by_place[name]) for name in names}


def plot_race(
    landscape: Landscape, traces: Mapping[str, Trace], styles: Styles | None = None, *, within: float | None = None
) -> "matplotlib.figure.Figure":
    """The paths over the contours, and the values over the steps; start, minima and the saddle are marked.

    With `within` the legend says when each racer was less than that from a minimum.
    """
    figure, _ = _draw_race(landscape, traces, styles or method_styles(list(traces)), within, None)
    return figure


def plot_race_on_surface(
    landscape: Landscape, traces: Mapping[str, Trace], styles: Styles | None = None, *, within: float | None = None
) -> "matplotlib.figure.Figure":
    """The paths on the landscape as a surface in space; suits landscapes of one curvature, such as the saddle."""
    figure, _ = _draw_surface(landscape, traces, styles or method_styles(list(traces)), within, None)
    return figure


def write_race_gif(
    path: Path,
    landscape: Landscape,
    traces: Mapping[str, Trace],
    *,
    styles: Styles | None = None,
    within: float | None = None,
    surface: bool = False,
    frames: int = 60,
) -> Path:
    """Write the race as a GIF that loops, in at most `frames` pictures from the start to the last step, to `path`.

    Every racer is a dot with its path behind it; all are shown at the same step, and the step is told. With `surface`
    they run on the landscape in space, else over its contours beside the curves of their values.
    """
    from PIL import Image  # noqa: PLC0415  comes with matplotlib, and is imported as late

    draw = _draw_surface if surface else _draw_race
    figure, lines = draw(landscape, traces, styles or method_styles(list(traces)), within, SCREEN_DPI)
    last = max(trace.steps for trace in traces.values())
    moving = sorted((one for line in lines for one in (line.path, line.dot)), key=lambda one: one.get_zorder())
    note = figure.text(0.995, 0.008, "", ha="right", va="bottom", fontsize=10, color=INK, animated=True)
    for artist in moving:
        artist.set_animated(True)
    figure.canvas.draw()
    figure.set_layout_engine("none")
    canvas = figure.canvas
    ground = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for step in steps_shown(last, frames):
        canvas.restore_region(ground)
        for line in lines:
            line.show(step)
        note.set_text(f"step {step}")
        for artist in (*moving, note):
            artist.axes.draw_artist(artist) if artist.axes else figure.draw_artist(artist)
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette([str(line.path.get_color()) for line in lines]))
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    times = [FRAME_MS] * len(rest) + [LAST_MS]
    with atomic_path(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=rest, duration=times, loop=0)
    return path


def steps_shown(last: int, frames: int) -> list[int]:
    """The steps of a moving picture's frames: the first ones singly, then ever faster, for much happens early."""
    return sorted({round(last * (place / (frames - 1)) ** 2) for place in range(frames)})


class _Line:
    """A racer's line in one panel and the dot at its head, by the step up to which they are shown."""

    def __init__(self, axes: Any, racer: "_Racer", columns: Sequence[int], label: str = "") -> None:
        self.points, self.gone = racer.points[:, columns], racer.gone  # n (2 or 3)
        if racer.gone and 0 in columns:
            self.points = self.points[:-1]  # where the edge is crossed belongs to no step
        style, order = racer.style, 5 - racer.rank
        look = style | {"linewidth": 1.5, "markersize": 5, "markevery": racer.marks, "zorder": order}
        (self.path,) = axes.plot(*self.points.T, label=label, **look)
        dot = {"linestyle": "", "marker": style["marker"], "markersize": 8, "zorder": order + 1}
        end = self.points[:0] if self.gone else self.points[-1:]
        (self.dot,) = axes.plot(*end.T, color=style["color"], markeredgecolor="white", markeredgewidth=0.6, **dot)

    def show(self, step: int) -> None:
        """Show what happened up to `step`; the dot goes with a racer that left."""
        seen = self.points[: step + 1]
        self._set(self.path, seen)
        self._set(self.dot, seen[:0] if self.gone and step >= len(self.points) - 1 else seen[-1:])

    @staticmethod
    def _set(line: Any, points: NDArray[np.float64]) -> None:
        (line.set_data_3d if points.shape[1] == 3 else line.set_data)(*points.T)


@dataclass(frozen=True)
class _Racer:
    """What is drawn of a trace: step, x, y and f (n 4) up to the edge, and how."""

    points: NDArray[np.float64]
    gone: bool
    label: str
    style: Style
    marks: tuple[float, float]  # the first marker and the distance to the next, as parts of the diagonal
    rank: float  # in [0, 1): longer paths lie under shorter ones


def _racers(landscape: Landscape, traces: Mapping[str, Trace], styles: Styles, within: float | None) -> list[_Racer]:
    kept = {name: up_to_the_edge(trace, landscape) for name, trace in traces.items()}
    lengths = {name: np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1).sum() for name, (points, _) in kept.items()}
    ranks = {name: place / len(kept) for place, name in enumerate(sorted(kept, key=lambda name: lengths[name]))}
    return [
        _Racer(
            np.concatenate([np.arange(len(points))[:, None], points], axis=1),
            gone,
            _label(name, traces[name], landscape, within),
            styles[name],
            (MARKS_ALONG * place / len(kept), MARKS_ALONG),
            ranks[name],
        )
        for place, (name, (points, gone)) in enumerate(kept.items())
    ]


def _draw_race(
    landscape: Landscape, traces: Mapping[str, Trace], styles: Styles, within: float | None, dpi: int | None
) -> "tuple[matplotlib.figure.Figure, list[_Line]]":
    """Contours with the paths beside the values over the steps, and the lines of both."""
    figure = new_figure(4.1)
    figure.set_dpi(dpi or figure.dpi)
    left, right = figure.subplots(1, 2, width_ratios=(1.12, 1))
    dress(left, "x", "y").set_title(landscape.title, fontsize=9.5, color=INK, loc="left")
    dress(right, "step", "f").set_title("Value at each step", fontsize=9.5, color=INK, loc="left")
    racers = _racers(landscape, traces, styles, within)
    lines = [_Line(left, racer, (1, 2), racer.label) for racer in racers]
    lines += [_Line(right, racer, (0, 3)) for racer in racers]
    points = np.concatenate([racer.points for racer in racers])
    _draw_contours(left, landscape, _window(points[:, 1:3], landscape))
    if landscape.minima:
        right.set_yscale("log", nonpositive="clip")
        right.set_ylabel("f (log scale)", fontsize=9.5, color=INK)
        right.set_ylim(max(FLOOR, points[:, 3].min() / 2), 2 * points[:, 3].max())
    right.set_xlim(0, 1.02 * points[:, 0].max())
    add_legend(figure)
    return figure, lines


def _draw_surface(
    landscape: Landscape, traces: Mapping[str, Trace], styles: Styles, within: float | None, dpi: int | None
) -> "tuple[matplotlib.figure.Figure, list[_Line]]":
    """The landscape in space with the paths on it, and their lines."""
    figure = new_figure(4.6)
    figure.set_dpi(dpi or figure.dpi)
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    x, y, values = _grid(landscape, landscape.domain, 49)
    axes.plot_surface(x, y, values, cmap=_ground_colours(), rstride=1, cstride=1, linewidth=0.2, edgecolor="#aab2ba")
    lines = [_Line(axes, racer, (1, 2, 3), racer.label) for racer in _racers(landscape, traces, styles, within)]
    for mark in _marks(landscape):
        height = float(landscape.function(torch.tensor(mark.at, dtype=torch.float64)))
        axes.plot(*mark.at, height, label=mark.label, **mark.style)
    axes.set(xlim=landscape.domain[0], ylim=landscape.domain[1])
    axes.set_title(landscape.title, fontsize=9.5, color=INK)
    for side, name in zip("xyz", "xyf", strict=True):
        getattr(axes, f"set_{side}label")(name, fontsize=9.5, color=INK)
        getattr(axes, f"{side}axis").set_pane_color("#ffffff")
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.view_init(elev=32, azim=58)
    axes.set_box_aspect((1, 1, 0.72), zoom=1.1)
    add_legend(figure)
    return figure, lines


def up_to_the_edge(trace: Trace, landscape: Landscape) -> tuple[NDArray[np.float64], bool]:
    """Positions and values (n 3) of a trace until it leaves the picture for good, and whether it does.

    The last point of one that leaves lies on the edge, where its last step crosses it, with the value there.
    """
    points = np.concatenate([trace.positions.numpy(), trace.values.numpy()[:, None]], axis=1)
    leaving = step_of_leaving(trace, landscape)
    if leaving is None:
        return points, False
    inside, outside = points[leaving - 1, :2], points[leaving, :2]
    step = outside - inside
    edge = np.where(step > 0, [high for _, high in landscape.domain], [low for low, _ in landscape.domain])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = float(np.nanmin(np.where(step == 0, np.inf, (edge - inside) / step)))
    crossing = inside + share * step
    value = float(landscape.function(torch.from_numpy(crossing)))
    return np.concatenate([points[:leaving], [[*crossing, value]]]), True


@dataclass(frozen=True)
class _Mark:
    """A point of a landscape that is marked."""

    at: Point
    label: str
    style: Style


def _marks(landscape: Landscape) -> list[_Mark]:
    look: Style = {"linestyle": "", "markeredgecolor": INK, "zorder": 7}
    ring = look | {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
    cross = look | {"marker": "x", "markersize": 9, "markeredgewidth": 2}
    yellow_star = look | {"marker": "*", "markersize": 14, "markerfacecolor": STAR}
    marks = [_Mark(landscape.start, "start", ring)]
    marks += [_Mark(landscape.saddle, "saddle", cross)] if landscape.saddle else []
    return marks + [_Mark(minimum, "minimum", yellow_star) for minimum in landscape.minima]


def _draw_contours(axes: Any, landscape: Landscape, window: tuple[Interval, Interval]) -> None:
    """The contours of a part of the plane under what is drawn there, and the marks over it."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415  matplotlib is imported late

    x, y, values = _grid(landscape, window, GRID)
    norm = None
    if landscape.minima:  # values from 0 on: contours at equal ratios
        levels = np.geomspace(max(float(np.quantile(values, 0.002)), 1e-3), values.max(), LEVELS)
        values, norm = np.maximum(values, levels[0]), LogNorm()
    else:
        levels = np.linspace(values.min(), values.max(), LEVELS)
    axes.contourf(x, y, values, levels, cmap=_ground_colours(), norm=norm)
    axes.contour(x, y, values, levels, colors="#aab2ba", linewidths=0.5, linestyles="solid")
    for mark in _marks(landscape):
        axes.plot(*mark.at, label=mark.label, **mark.style)
    axes.grid(visible=False)
    axes.set(xlim=window[0], ylim=window[1], aspect="equal")


def _window(points: NDArray[np.float64], landscape: Landscape) -> tuple[Interval, Interval]:
    """The part of the domain, as high as wide, that holds the points and the marks with a margin."""
    everything = np.concatenate([points, [mark.at for mark in _marks(landscape)]])
    (left, right), (bottom, top) = landscape.domain
    low, high = np.array([left, bottom]), np.array([right, top])
    least, most = np.maximum(everything.min(0), low), np.minimum(everything.max(0), high)
    side = np.minimum(1.16 * (most - least).max(), high - low)
    corner = np.clip((least + most - side) / 2, low, high - side)
    (x0, y0), (x1, y1) = corner.tolist(), (corner + side).tolist()
    return (x0, x1), (y0, y1)


def _ground_colours() -> Any:
    """Light shades, so that every path stands out."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    return LinearSegmentedColormap.from_list("ground", GROUND)


def _palette(colours: Sequence[str]) -> list[int]:
    """Red, green and blue of all shades of a moving picture: of lines and of letters on white, and of the ground.

    A palette drawn from the pictures would give its shades to the ground, and alter the colours of lines.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    def mixed(start: str, end: str, count: int) -> NDArray[np.float64]:
        return np.linspace(to_rgb(start), to_rgb(end), count)

    rows = [mixed(colour, "#ffffff", 6) for colour in dict.fromkeys([*colours, STAR])]
    rows += [mixed(INK, "#ffffff", 24), mixed(*GROUND, 16), mixed("#8f989f", GROUND[0], 8)]
    shades = np.unique((255 * np.concatenate(rows)).round().astype(np.uint8), axis=0)
    return [int(value) for value in shades.ravel()]


def _grid(
    landscape: Landscape, window: tuple[Interval, Interval], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates x, y and values on a grid over a part of the plane."""
    x, y = np.meshgrid(*(np.linspace(low, high, count) for low, high in window))
    return x, y, landscape.function(torch.from_numpy(np.stack([x, y], axis=-1))).numpy()


def _label(name: str, trace: Trace, landscape: Landscape, within: float | None) -> str:
    """The name, and what became of the racer where that is worth a word."""
    leaving = step_of_leaving(trace, landscape)
    if leaving is not None:
        return f"{name} (left the picture at step {leaving})"
    if within is None:
        return name
    arrival = steps_to_reach(trace, landscape.minima, within)
    return f"{name} (not there)" if arrival is None else f"{name} (there at step {arrival})"
