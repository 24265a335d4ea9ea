"""Pictures of a track: its path from above and from the side, coloured by time, and between frames of the film.

Paths are in the axes of the first camera: from above x to the right and z, where it looked, up the page; from the side
z to the right and up upwards.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vo3d.report.canvas import INK, REFERENCE, SOFT, WIDTH, Style, dress, new_figure
from vo3d.report.film import Film
from vo3d.report.paths import fill_with_equal_scale

COLOURS, BRIGHTEST = "plasma", 0.88  # of time, from dark to bright: the last ones are too pale on white
LINE = 2.6  # points
GUESS: Style = {"color": SOFT, "linewidth": 1.2, "linestyle": (0, (1, 1.6))}
TRUTH: Style = REFERENCE | {"linewidth": 6.0}
PALE = 0.6  # brightness of a colour, from which on words on it are dark
START: Style = {"marker": "o", "markersize": 8, "markerfacecolor": "white", "color": INK, "markeredgewidth": 1.6}
END: Style = {"marker": "s", "markersize": 7.5, "markerfacecolor": INK, "color": "white", "markeredgewidth": 1.0}
LEADER: Style = {"color": SOFT, "linewidth": 0.8, "alpha": 0.7}
ABOVE, SIDE = (0, 2, 1.0), (2, 1, -1.0)  # axis to the right, axis up the page, and the sign of that
SLOTS = 5  # frames in a row, above the path and below it
MAP_HEIGHT = 3.9  # inches, of the path between its frames
LEAST, TALLEST = 0.3, 1.35  # height of a panel in parts of its width
View = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """The path of a camera, as it is drawn.

    Convention: `position` is in the axes of the first camera (x right, y down, z ahead), in `unit`.
    """

    position: Float64[Tensor, "n 3"]
    known: Bool[Tensor, " n"]  # frames whose pose the images told
    stamps: Float64[Tensor, " n"]  # ascending
    clock: str  # what stamps are, such as "time (s)"
    unit: str
    truth: Float64[Tensor, "m 3"] | None = None  # in the same axes and unit

    def shares(self) -> NDArray[np.float64]:
        """Compute how much of the time is over at each frame, 0 to 1."""
        stamps = self.stamps.numpy()
        shares: NDArray[np.float64] = (stamps - stamps[0]) / max(float(stamps[-1] - stamps[0]), 1e-12)
        return shares

    def seen(self, view: View) -> NDArray[np.float64]:
        """Compute where each frame is on the page: n 2."""
        return _seen(self.position, view)


def plot_path(walk: Walk) -> "matplotlib.figure.Figure":
    """Draw the path from above and from the side in one scale, coloured by time; gaps are dotted."""
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import Normalize  # noqa: PLC0415

    windows = [_window(walk, view) for view in (ABOVE, SIDE)]
    span = np.max([high - low for low, high in windows], axis=0)
    span[1] = max(span[1], LEAST * span[0])
    width = (WIDTH - 1.9) / 2  # inches of a panel
    figure = new_figure(width * min(float(span[1] / span[0]), TALLEST) + 1.1)
    panels = figure.subplots(1, 2)
    heads = ("from above", "x, to the right", "z, ahead"), ("from the side", "z, ahead", "y, up")
    for panel, view, (title, right, up) in zip(panels, (ABOVE, SIDE), heads, strict=True):
        dress(panel, f"{right} ({walk.unit})", f"{up} ({walk.unit})")
        panel.set_title(title, fontsize=9.5, color=INK, loc="left")
        _draw(panel, walk, view)
    handles, labels = panels[0].get_legend_handles_labels()
    look: dict[str, Any] = {"ncols": len(labels), "frameon": False, "fontsize": 9, "labelcolor": INK}
    figure.legend(handles, labels, loc="outside upper left", **look)
    first, last = walk.stamps[0].item(), walk.stamps[-1].item()
    bar = figure.colorbar(ScalarMappable(Normalize(first, max(last, first + 1e-9)), _shades()), ax=panels, aspect=30)
    bar.set_label(walk.clock, fontsize=9.5, color=INK)
    bar.ax.tick_params(labelsize=8.5, colors=SOFT, length=0)
    bar.outline.set_visible(False)
    middles = [(low + high) / 2 for low, high in windows]
    around = {panel: (at - span / 2, at + span / 2) for panel, at in zip(panels, middles, strict=True)}
    return fill_with_equal_scale(figure, around)


def plot_frames(walk: Walk, film: Film) -> "matplotlib.figure.Figure":
    """Draw the path from above between frames of the film, each with a line to where it was taken.

    Frames go to the places around the path for which all lines together are shortest: such lines do not cross.
    """
    shown = list(film.chosen(2 * SLOTS).items())
    above = (len(shown) + 1) // 2
    h, w = shown[0][1].shape[-2:]
    gap, left, low = 0.14, 0.75, 0.55  # inches between frames, and for the labels of the map
    wide = (WIDTH - 0.2 - (SLOTS - 1) * gap) / SLOTS
    tall = min(wide * h / w, 1.45)
    wide = tall * w / h
    height = 2 * tall + MAP_HEIGHT + low + 0.75
    figure = new_figure(height)
    figure.set_layout_engine("none")

    def box(x: float, y: float, width: float, depth: float) -> tuple[float, float, float, float]:
        return x / WIDTH, y / height, width / WIDTH, depth / height

    panel = figure.add_axes(box(left, tall + low + 0.35, WIDTH - left - 0.15, MAP_HEIGHT))
    dress(panel, f"x, to the right ({walk.unit})", f"z, ahead ({walk.unit})")
    _draw(panel, walk, ABOVE, legend=False)
    corners = _window(walk, ABOVE)
    fill_with_equal_scale(figure, {panel: corners})
    places = [place for place, _ in shown]
    points = panel.transData.transform(walk.seen(ABOVE)[places]) / figure.dpi  # inches
    slots: list[tuple[float, float, bool]] = []
    for count, up in ((above, True), (len(shown) - above, False)):
        first = (WIDTH - count * wide - (count - 1) * gap) / 2
        slots += [(first + place * (wide + gap), height - tall - 0.1 if up else 0.1, up) for place in range(count)]
    anchors = np.array([(x + wide / 2, y if up else y + tall) for x, y, up in slots])
    chosen = linear_sum_assignment(np.linalg.norm(points[:, None] - anchors, axis=-1))[1]
    shades = _shades()(walk.shares()[places])
    for number, (slot, (_, image), point, shade) in enumerate(zip(chosen, shown, points, shades, strict=True), 1):
        x, y, _ = slots[slot]
        _leader(figure, anchors[slot], point, height)
        stamp = walk.stamps[places[number - 1]].item()
        words = f"{stamp:.1f} s" if walk.clock.endswith("(s)") else f"{stamp:.0f}"
        _frame(figure.add_axes(box(x, y, wide, tall)), image, f"{number}  \N{MIDDLE DOT}  {words}", shade)
        _badge(panel, point * figure.dpi, number, shade)
    return figure


def _shades() -> "matplotlib.colors.Colormap":
    """Return the colours of time."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    return ListedColormap(colormaps[COLOURS](np.linspace(0, BRIGHTEST, 256)))


def _seen(position: Float64[Tensor, "n 3"], view: View) -> NDArray[np.float64]:
    right, up, sign = view
    values = position.numpy()
    return np.stack((values[:, right], sign * values[:, up]), axis=-1)


def _window(walk: Walk, view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the corners of what a panel must show, with a margin; a truth that runs far away is cut."""
    path = walk.seen(view)[walk.known.numpy()]
    low, high = path.min(0), path.max(0)
    reach = float((high - low).max()) or 1.0  # a camera that stands has space around it
    if walk.truth is not None:
        true = _seen(walk.truth, view)
        low = np.minimum(low, np.maximum(true.min(0), low - reach))
        high = np.maximum(high, np.minimum(true.max(0), high + reach))
    margin = 0.06 * max(float((high - low).max()), reach)
    return low - margin, high + margin


def _draw(panel: "matplotlib.axes.Axes", walk: Walk, view: View, *, legend: bool = True) -> None:
    """Draw truth, path and guesses, and mark both ends."""
    from matplotlib.collections import LineCollection  # noqa: PLC0415  matplotlib is imported late

    if walk.truth is not None:
        panel.plot(*_seen(walk.truth, view).T, label="ground truth", **TRUTH)
    points = walk.seen(view)
    known = walk.known.nonzero()[:, 0].tolist()
    steps = [(a, b) for a, b in pairwise(known) if b == a + 1]
    shades = _shades()(walk.shares()[[b for _, b in steps]]) if steps else []
    lines = LineCollection([points[[a, b]] for a, b in steps], colors=shades, linewidths=LINE, capstyle="round")
    panel.add_collection(lines)
    for number, (a, b) in enumerate((a, b) for a, b in pairwise(known) if b > a + 1):
        panel.plot(*points[[a, b]].T, label="gap, a guess" if number == 0 else None, zorder=2.5, **GUESS)
    panel.plot(*points[known[:1]].T, label="start", linestyle="none", zorder=5, **START)
    panel.plot(*points[known[-1:]].T, label="end", linestyle="none", zorder=5, **END)
    if legend:
        panel.plot([], [], color=_shades()(0.45), linewidth=LINE, label="path, coloured by time")


def _leader(
    figure: "matplotlib.figure.Figure", anchor: NDArray[np.float64], point: NDArray[np.float64], height: float
) -> None:
    """Draw the line from a frame to its place on the path; both are in inches."""
    from matplotlib.lines import Line2D  # noqa: PLC0415  matplotlib is imported late

    ends = np.stack((anchor, point)) / (WIDTH, height)
    figure.add_artist(Line2D(*ends.T, transform=figure.transFigure, **LEADER))


def _frame(panel: "matplotlib.axes.Axes", image: Tensor, words: str, shade: NDArray[np.float64]) -> None:
    """Show a frame in the colour of its time, with words."""
    panel.imshow(image.permute(1, 2, 0).numpy(), interpolation="antialiased", aspect="auto")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set(color=shade, linewidth=2.2)
    box = {"boxstyle": "square,pad=0.2", "facecolor": shade, "edgecolor": "none"}
    ink = INK if 0.3 * shade[0] + 0.59 * shade[1] + 0.11 * shade[2] > PALE else "white"
    style: dict[str, Any] = {"fontsize": 8, "fontweight": "bold", "color": ink, "bbox": box}
    panel.text(0.03, 0.94, words, transform=panel.transAxes, va="top", **style)


def _badge(panel: "matplotlib.axes.Axes", at: NDArray[np.float64], number: int, shade: NDArray[np.float64]) -> None:
    """Number a place on the path, in pixels of the figure."""
    box = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": shade, "linewidth": 1.6}
    style: dict[str, Any] = {"fontsize": 7.5, "fontweight": "bold", "color": INK, "bbox": box, "zorder": 6}
    panel.text(*panel.transData.inverted().transform(at), str(number), ha="center", va="center", **style)
