"""How every figure looks: an empty figure, its panels, a line style for each model, the legend, and saving.

No window is opened and no global state of matplotlib is touched. Colours are Okabe and Ito's, which colour-blind
readers tell apart, and every model also has its own dash and marker; legends stand outside the axes and cover nothing.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vo3d.formats.files import atomic_path

Style = dict[str, Any]  # keyword arguments of matplotlib's plot
Styles = Mapping[str, Style]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, 2008
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)), (0, (3, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, LINE = "#1c2126", "#59636e", "#e6e9ec"
REFERENCE: Style = {"color": "#b4bbc2", "linewidth": 4.0, "solid_capstyle": "round"}  # broad, pale, under the estimates
WIDTH = 9.8  # inches, of every figure; a page shows 100 CSS pixels to the inch
DPI = 200
PAD = 0.1  # inches around everything
MOST_COLUMNS = 3  # panels side by side
LONGEST = 90  # letters of a name in a legend before it is broken into lines


def line_styles(names: Sequence[str]) -> dict[str, Style]:
    """Give each name a colour, a dash and a marker by its place; with the same for all figures a model keeps its own.

    The dashes shift by one each time the six colours are used up, so that 36 lines differ.
    """
    return {
        name: {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": DASHES[(place + place // len(COLOURS)) % len(DASHES)],
            "marker": MARKERS[place % len(MARKERS)],
            "linewidth": 1.8,
        }
        for place, name in enumerate(names)
    }


def plain(style: Style, **changes: object) -> Style:
    """Return the style without its markers, for lines of many points."""
    return {key: value for key, value in style.items() if key != "marker"} | changes


def spelled(name: str) -> str:
    """Spell a name for labels and titles: matplotlib takes $ for mathematics, and no label that begins with _."""
    return f"{' ' * name.startswith('_')}{name}".replace("$", r"\$")


def new_figure(height: float, dpi: int | None = None) -> "matplotlib.figure.Figure":
    """Return an empty white figure, `height` inches high before its legend, whose axes make room for their labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH, height), dpi=dpi or DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=PAD, h_pad=0.08, wspace=0.03, hspace=0.03)
    FigureCanvasAgg(figure)  # draws to memory; no window system is asked
    return figure


def grid_shape(count: int) -> tuple[int, int]:
    """Return the rows and columns for `count` panels: at most three side by side, the rows as even as can be."""
    rows = math.ceil(count / MOST_COLUMNS)
    return rows, math.ceil(count / rows)


def panel_columns(
    titles: Sequence[str], height: float, xlabel: str, *ylabels: str, same_y: bool = True
) -> "tuple[matplotlib.figure.Figure, list[list[matplotlib.axes.Axes]]]":
    """Return a figure with axes, one for each of `ylabels`, each `height` inches high, under each title; and these.

    Axes of one column share their x axis, labelled below, and with `same_y`, axes that stand in one row their y axis;
    y axes are labelled at the left border.
    """
    rows, columns = grid_shape(len(titles))
    stacked = len(ylabels)
    figure = new_figure(rows * (stacked * height + 0.25))
    grid = figure.subplots(rows * stacked, columns, squeeze=False, sharey="row" if same_y else "none")
    panels = grid.reshape(rows, stacked, columns).swapaxes(1, 2).reshape(-1, stacked)
    for axes in panels[len(titles) :].flat:
        axes.remove()
    for title, column in zip(titles, panels, strict=False):
        column[0].set_title(spelled(title), fontsize=9.5, color=INK, loc="left")
        for axes, ylabel in zip(column, ylabels, strict=True):
            first, lowest = axes.get_subplotspec().is_first_col(), axes is column[-1]
            dress(axes, xlabel if lowest else "", ylabel if first else "")
        for axes in column[:-1]:
            axes.sharex(column[-1])
            axes.tick_params(labelbottom=False)
    return figure, panels[: len(titles)].tolist()


def dress(axes: "matplotlib.axes.Axes", xlabel: str = "", ylabel: str = "") -> "matplotlib.axes.Axes":
    """Label the axes (with units) and quieten everything that is not the lines."""
    axes.set_xlabel(xlabel, fontsize=9.5, color=INK)
    axes.set_ylabel(ylabel, fontsize=9.5, color=INK)
    axes.tick_params(which="both", labelsize=8.5, colors=SOFT, length=0)
    axes.grid(visible=True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_color("#aab2ba")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def fit_scale(axes: "matplotlib.axes.Axes", values: Sequence[float], most: float) -> None:
    """Set a log scale, said in the label, where the largest value is over `most` times the smallest; else from 0."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415  matplotlib is imported late

    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) <= most * min(finite):
        low, high = min([0.0, *finite]), max(finite, default=0.0)
        axes.set_ylim(low, high + 0.06 * (high - low) if high > low else None)  # room above: values may be far from 0
        return
    axes.set_yscale("log", nonpositive="mask")
    label = axes.get_ylabel()
    if label:
        axes.set_ylabel(label.replace(")", ", log scale)") if ")" in label else f"{label} (log scale)")
    steps = (2.0, 5.0) if math.log10(max(finite) / min(finite)) < 3 else ()
    axes.yaxis.set_minor_locator(LogLocator(subs=steps, numticks=12))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def add_legend(figure: "matplotlib.figure.Figure") -> "matplotlib.figure.Figure":
    """Add one legend for all labelled lines of a figure, above its panels, in as few rows as the names need; return it.

    The figure grows by the height of the legend, so that the panels keep their size.
    """
    lines: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(name, handle)
    handles, labels = list(lines.values()), [textwrap.fill(name, LONGEST) for name in lines]
    look = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 2.8, "columnspacing": 1.6}
    for rows in range(1, len(labels) + 1):
        columns = math.ceil(len(labels) / rows)
        legend = figure.legend(handles, labels, loc="outside upper left", ncols=columns, **look)
        box = legend.get_window_extent(figure.canvas.get_renderer())
        if box.width <= (WIDTH - 2 * PAD) * figure.dpi or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
    return figure


def write_gif(path: Path, pictures: "Sequence[PIL.Image.Image]", milliseconds: int | list[int]) -> Path:
    """Write pictures with palettes as a GIF that loops to `path`, whole or not at all, and return `path`."""
    with atomic_path(path) as temporary:
        pictures[0].save(temporary, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return path


def save_figure(figure: "matplotlib.figure.Figure", path: Path) -> Path:
    """Write `figure` as a PNG to `path`, whole or not at all, and return `path`."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white")
    return path
