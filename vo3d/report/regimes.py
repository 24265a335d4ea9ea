"""The figure of the data regimes: loss on all data over the samples that were seen, and over the updates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vo3d.errors import Vo3dError
from vo3d.report.canvas import add_legend, dress, line_styles, new_figure, plain


@dataclass(frozen=True)
class RegimeCurve:
    """The loss on all data, once an update."""

    samples: Sequence[int]  # seen so far
    loss: Sequence[float]


def plot_regimes(curves: Mapping[str, RegimeCurve], ylabel: str = "loss on all data") -> "matplotlib.figure.Figure":
    """Draw the curves over (a) samples seen and (b) updates, one line a regime, all axes logarithmic.

    Raises Vo3dError when there is none.
    """
    if not curves:
        raise Vo3dError("curves of no data regime were asked for: expected those of at least one")
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    dress(left, "samples seen (log scale)", f"{ylabel} (log scale)").set_title(
        "(a) by samples", fontsize=9.5, loc="left"
    )
    dress(right, "updates (log scale)").set_title("(b) by updates", fontsize=9.5, loc="left")
    for name, style in line_styles(list(curves)).items():
        curve = curves[name]
        size = math.log10(curve.samples[0])  # of one update: the fewer samples, the noisier, the thinner and further up
        look = plain(style, linewidth=0.8 + 0.75 * size, zorder=4 - 0.5 * size)
        if size == 0:
            look["linestyle"] = "-"  # a dashed zigzag is a cloud
        left.plot(curve.samples, curve.loss, label=name, **look)
        right.plot(range(1, len(curve.loss) + 1), curve.loss, **look)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        axes.minorticks_off()
    low, high = left.get_ylim()
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0) if low <= tick <= high]
    left.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    return add_legend(figure)
