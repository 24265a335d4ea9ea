"""How every figure looks: an empty figure, its axes, a line style for each model, the legend, and saving.

No window is opened and no global state of matplotlib is touched. Colours are Okabe and Ito's, which colour-blind
readers tell apart, and every model also has its own dash and marker; legends stand outside the axes and cover nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.formats.files import atomic_path

Style = dict[str, Any]  # keyword arguments of matplotlib's plot

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, 2008
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)), (0, (3, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, LINE = "#1c2126", "#59636e", "#e6e9ec"
REFERENCE: Style = {"color": "#b4bbc2", "linewidth": 4.0, "solid_capstyle": "round"}  # broad, pale, under the estimates
WIDTH = 8.6  # inches; a page shows 100 CSS pixels to the inch
DPI = 200


def line_styles(names: Sequence[str]) -> dict[str, Style]:
    """A colour, a dash and a marker for each name, by its place; give all figures the same, so a model keeps its own.

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
    """The style without its markers, for lines of many points."""
    return {key: value for key, value in style.items() if key != "marker"} | changes


def new_figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """An empty white figure, `width` by `height` inches, whose axes make room for their labels and the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08, wspace=0.03, hspace=0.03)
    FigureCanvasAgg(figure)  # draws to memory; no window system is asked
    return figure


def dress(axes: "matplotlib.axes.Axes", xlabel: str = "", ylabel: str = "") -> "matplotlib.axes.Axes":
    """Label the axes (with units) and quieten everything that is not the lines."""
    axes.set_xlabel(xlabel, fontsize=9.5, color=INK)
    axes.set_ylabel(ylabel, fontsize=9.5, color=INK)
    axes.tick_params(which="both", labelsize=8.5, colors=SOFT, length=0)
    axes.grid(visible=True, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color("#aab2ba")
    return axes


def add_legend(
    figure: "matplotlib.figure.Figure", axes: "matplotlib.axes.Axes", *, beside: bool = False
) -> "matplotlib.legend.Legend":
    """One legend for the whole figure from the labelled lines of `axes`: above the axes, or to their right."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if beside else max(1, min(len(labels), int(figure.get_figwidth() / 1.7)))
    where = "outside right upper" if beside else "outside upper left"
    look = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 2.8, "columnspacing": 1.6}
    return figure.legend(handles, labels, loc=where, ncols=columns, **look)


def save_figure(figure: "matplotlib.figure.Figure", path: Path) -> Path:
    """Write `figure` as a PNG to `path`, whole or not at all, and return `path`."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white")
    return path
