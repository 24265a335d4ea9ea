"""The figure of a robustness study: errors over the size of each fault, a line for each model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vo3d.report.canvas import INK, Styles, add_legend, fit_scale, panel_columns, plain, spelled

Line = Sequence[float | None]  # None: not defined, or it failed


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One fault: its sizes, and the errors of each model by their axis.

    `flat` are the models that do not see the fault: their lines have no markers, because nothing was measured there.
    """

    title: str
    xlabel: str
    sizes: Sequence[float]
    lines: Mapping[str, Sequence[Line]]  # by the model, one for each of the labels
    flat: Collection[str] = ()


def plot_robustness(panels: Sequence[Panel], ylabels: Sequence[str], styles: Styles) -> "matplotlib.figure.Figure":
    """Return small multiples: a panel for each fault, one pair of axes in it for each of `ylabels`.

    All panels have one scale; it is logarithmic where the largest error is more than ten times the smallest.
    """
    figure, columns = panel_columns([panel.title for panel in panels], 1.9, "", *ylabels)
    for row in range(len(ylabels)):
        every = [
            value for panel in panels for lines in panel.lines.values() for value in lines[row] if value is not None
        ]
        for panel, column in zip(panels, columns, strict=True):
            axes = column[row]
            for name, lines in panel.lines.items():
                style = plain(styles[name], linewidth=1.2) if name in panel.flat else styles[name]
                values = [float("nan") if value is None else value for value in lines[row]]
                axes.plot(panel.sizes, values, label=spelled(name), markersize=4.5, **style)
            fit_scale(axes, every, most=10.0)
    for panel, column in zip(panels, columns, strict=True):
        column[-1].set_xlabel(panel.xlabel, fontsize=9.5, color=INK)
    return add_legend(figure)
