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

from vo3d.optim.landscapes import Interval, Landscape, Point
from vo3d.optim.races import Trace, step_of_leaving, steps_to_reach
from vo3d.report.canvas import INK, SOFT, Style, add_legend, dress, line_styles, new_figure, write_gif

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
    """Give each name a line style: the survey's methods, with noise or not, have fixed ones, others one by their place.

    Names that are not the survey's must not stand beside those that are.
    """
    fixed = line_styles(METHODS) | {name: {**style, "linewidth": 1.8} for name, style in MORE.items()}
    by_place = line_styles(names) | dict(zip(names, fixed.values(), strict=False))
    return {name: fixed.get(name.removesuffix(NOISE), by_place[name]) for name in names}


def plot_race(
    landscape: Landscape, traces: Mapping[str, Trace], *, within: float | None = None
) -> "matplotlib.figure.Figure":
    """Draw the paths over the contours, and the values over the steps; start, minima and the saddle are marked.

    With `within` the legend says when each racer was less than that from a minimum.
    """
    return _draw_race(landscape, traces, within)[0]


def plot_race_on_surface(
    landscape: Landscape, traces: Mapping[str, Trace], *, within: float | None = None
) -> "matplotlib.figure.Figure":
    """Draw the paths on the landscape as a surface in space; suits landscapes of one curvature, such as the saddle."""
    return _draw_surface(landscape, traces, within)[0]


def write_race_gif(
    path: Path,
    landscape: Landscape,
    traces: Mapping[str, Trace],
    *,
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
    figure, lines = draw(landscape, traces, within, SCREEN_DPI)
    moving = sorted((one for line in lines for one in (line.path, line.dot)), key=lambda one: one.get_zorder())
    note = figure.text(0.995, 0.008, "", ha="right", va="bottom", fontsize=10, color=INK, animated=True)
    for artist in moving:
        artist.set_animated(True)
    canvas = figure.canvas
    canvas.draw()
    figure.set_layout_engine("none")
    ground = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for step in steps_shown(max(trace.steps for trace in traces.values()), frames):
        canvas.restore_region(ground)
        for line in lines:
            line.show(step)
        note.set_text(f"step {step}")
        for artist in (*moving, note):
            artist.axes.draw_artist(artist) if artist.axes else figure.draw_artist(artist)
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette([str(line.path.get_color()) for line in lines]))
    frugal = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    return write_gif(path, frugal, [FRAME_MS] * (len(frugal) - 1) + [LAST_MS])


def steps_shown(last: int, frames: int) -> list[int]:
    """Choose the steps of a moving picture: the first ones singly, then ever faster, for much happens early."""
    return sorted({round(last * (place / (frames - 1)) ** 2) for place in range(frames)})


class _Line:
    """A racer's line in one panel and the dot at its head, by the step up to which they are shown."""

    def __init__(self, axes: Any, racer: "_Racer", columns: Sequence[int], label: str = "") -> None:
        count = len(racer.points) - (racer.gone and 0 in columns)  # where the edge is crossed belongs to no step
        self.points, self.gone = racer.points[:count, columns], racer.gone  # n (2 or 3)
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


def _racers(landscape: Landscape, traces: Mapping[str, Trace], within: float | None) -> list[_Racer]:
    styles = method_styles(list(traces))
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
    landscape: Landscape, traces: Mapping[str, Trace], within: float | None, dpi: int | None = None
) -> "tuple[matplotlib.figure.Figure, list[_Line]]":
    """Draw contours with the paths beside the values over the steps, and give the lines of both."""
    figure = new_figure(4.1, dpi)
    left, right = figure.subplots(1, 2, width_ratios=(1.12, 1))
    dress(left, "x", "y").set_title(landscape.title, fontsize=9.5, color=INK, loc="left")
    dress(right, "step", "f").set_title("Value at each step", fontsize=9.5, color=INK, loc="left")
    racers = _racers(landscape, traces, within)
    lines = [_Line(left, racer, (1, 2), racer.label) for racer in racers]
    lines += [_Line(right, racer, (0, 3)) for racer in racers]
    points = np.concatenate([racer.points for racer in racers])
    _draw_contours(left, landscape, _window(points[:, 1:3], landscape))
    if landscape.minima:
        right.set_yscale("log", nonpositive="clip")
        right.set(ylabel="f (log scale)", ylim=(max(FLOOR, points[:, 3].min() / 2), 2 * points[:, 3].max()))
    right.set_xlim(0, 1.02 * points[:, 0].max())
    return add_legend(figure), lines


def _draw_surface(
    landscape: Landscape, traces: Mapping[str, Trace], within: float | None, dpi: int | None = None
) -> "tuple[matplotlib.figure.Figure, list[_Line]]":
    """Draw the landscape in space with the paths on it, and give their lines."""
    figure = new_figure(4.6, dpi)
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    x, y, values = _grid(landscape, landscape.domain, 49)
    axes.plot_surface(x, y, values, cmap=_ground_colours(), rstride=1, cstride=1, linewidth=0.2, edgecolor="#aab2ba")
    lines = [_Line(axes, racer, (1, 2, 3), racer.label) for racer in _racers(landscape, traces, within)]
    for label, at, style in _marks(landscape):
        axes.plot(*at, float(landscape.function(torch.tensor(at, dtype=torch.float64))), label=label, **style)
    axes.set(xlim=landscape.domain[0], ylim=landscape.domain[1])
    axes.set_title(landscape.title, fontsize=9.5, color=INK)
    for side, name in zip("xyz", "xyf", strict=True):
        getattr(axes, f"set_{side}label")(name, fontsize=9.5, color=INK)
        getattr(axes, f"{side}axis").set_pane_color("#ffffff")
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.view_init(elev=32, azim=58)
    axes.set_box_aspect((1, 1, 0.72), zoom=1.1)
    return add_legend(figure), lines


def up_to_the_edge(trace: Trace, landscape: Landscape) -> tuple[NDArray[np.float64], bool]:
    """Give positions and values (n 3) of a trace until it leaves the picture for good, and tell whether it does.

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


def _marks(landscape: Landscape) -> list[tuple[str, Point, Style]]:
    """List the points of a landscape that are marked: word, place and style of each."""
    look: Style = {"linestyle": "", "markeredgecolor": INK, "zorder": 7}
    ring = look | {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
    cross = look | {"marker": "x", "markersize": 9, "markeredgewidth": 2}
    yellow_star = look | {"marker": "*", "markersize": 14, "markerfacecolor": STAR}
    saddles = [landscape.saddle] if landscape.saddle else []
    return [
        ("start", landscape.start, ring),
        *(("saddle", at, cross) for at in saddles),
        *(("minimum", at, yellow_star) for at in landscape.minima),
    ]


def _draw_contours(axes: Any, landscape: Landscape, window: tuple[Interval, Interval]) -> None:
    """Draw the contours of a part of the plane under what is drawn there, and the marks over it."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415  matplotlib is imported late

    x, y, values = _grid(landscape, window, GRID)
    if landscape.minima:  # values from 0 on: contours at equal ratios
        levels = np.geomspace(max(float(np.quantile(values, 0.002)), 1e-3), values.max(), LEVELS)
        values, norm = np.maximum(values, levels[0]), LogNorm()
    else:
        levels, norm = np.linspace(values.min(), values.max(), LEVELS), None
    axes.contourf(x, y, values, levels, cmap=_ground_colours(), norm=norm)
    axes.contour(x, y, values, levels, colors="#aab2ba", linewidths=0.5, linestyles="solid")
    for label, at, style in _marks(landscape):
        axes.plot(*at, label=label, **style)
    axes.grid(visible=False)
    axes.set(xlim=window[0], ylim=window[1], aspect="equal")


def _window(points: NDArray[np.float64], landscape: Landscape) -> tuple[Interval, Interval]:
    """Find the part of the domain, as high as wide, that holds the points and the marks with a margin."""
    everything = np.concatenate([points, [at for _, at, _ in _marks(landscape)]])
    low, high = np.array(landscape.domain).T
    least, most = np.maximum(everything.min(0), low), np.minimum(everything.max(0), high)
    side = np.minimum(1.16 * (most - least).max(), high - low)
    corner = np.clip((least + most - side) / 2, low, high - side)
    (x0, y0), (x1, y1) = corner.tolist(), (corner + side).tolist()
    return (x0, x1), (y0, y1)


def _ground_colours() -> Any:
    """Make light shades, so that every path stands out."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    return LinearSegmentedColormap.from_list("ground", GROUND)


def _palette(colours: Sequence[str]) -> list[int]:
    """List red, green and blue of all shades of a moving picture: of lines and of letters on white, and of the ground.

    A palette drawn from the pictures would give its shades to the ground, and alter the colours of lines.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    ramps = [(colour, "#ffffff", 6) for colour in dict.fromkeys([*colours, STAR])]
    ramps += [(INK, "#ffffff", 24), (*GROUND, 16), ("#8f989f", GROUND[0], 8)]
    rows = [np.linspace(to_rgb(start), to_rgb(end), count) for start, end, count in ramps]
    shades = np.unique((255 * np.concatenate(rows)).round().astype(np.uint8), axis=0)
    return shades.ravel().tolist()


def _grid(
    landscape: Landscape, window: tuple[Interval, Interval], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute coordinates x, y and values on a grid over a part of the plane."""
    x, y = np.meshgrid(*(np.linspace(low, high, count) for low, high in window))
    return x, y, landscape.function(torch.from_numpy(np.stack([x, y], axis=-1))).numpy()


def _label(name: str, trace: Trace, landscape: Landscape, within: float | None) -> str:
    """Tell the name, and what became of the racer where that is worth a word."""
    leaving = step_of_leaving(trace, landscape)
    if leaving is not None:
        return f"{name} (left the picture at step {leaving})"
    if within is None:
        return name
    arrival = steps_to_reach(trace, landscape.minima, within)
    return f"{name} (not there)" if arrival is None else f"{name} (there at step {arrival})"
