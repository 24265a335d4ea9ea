"""Figures of one network trained by several optimisers: validation curves, and what each learning rate came to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from vo3d.errors import Vo3dError
from vo3d.report.canvas import (
    COLOURS,
    INK,
    SOFT,
    add_legend,
    dress,
    grid_shape,
    line_styles,
    new_figure,
    panel_columns,
    plain,
)


@dataclass(frozen=True)
class Band:
    """Values at `steps`: their mean over several runs, the least and the largest of them."""

    steps: Sequence[int]
    mean: Sequence[float]
    least: Sequence[float]
    largest: Sequence[float]


def plot_bands(bands: Mapping[str, Band], ylabel: str) -> "matplotlib.figure.Figure":
    """Draw a panel for each optimiser: band and mean over the steps, on a log scale, before the means of all others.

    Raises Vo3dError when there is none.
    """
    if not bands:
        raise Vo3dError("curves of no optimiser were asked for: expected those of at least one")
    figure, columns = panel_columns(list(bands), 1.75, "optimiser step", f"{ylabel}\n(log scale)")
    styles = line_styles(list(bands))
    low = min(min(band.least) for band in bands.values())
    high = max(max(band.largest) for band in bands.values())
    ticks = [tick for tick in _ticks(low, high) if low / 1.1 <= tick <= high * 1.1]
    for (name, band), (axes,) in zip(bands.items(), columns, strict=True):
        for other in (one for key, one in bands.items() if key != name):
            axes.plot(other.steps, other.mean, color="#c9cfd4", linewidth=1.0, label="mean of each other optimiser")
        axes.fill_between(band.steps, band.least, band.largest, color=styles[name]["color"], alpha=0.25, linewidth=0)
        axes.plot(band.steps, band.mean, **plain(styles[name], linestyle="-"))
        axes.set(yscale="log", ylim=(low / 1.15, high * 1.15))
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    for (axes,) in columns[: -grid_shape(len(bands))[1]]:  # another panel stands below
        axes.set_xlabel("")
    key = columns[0][0]  # words for what every panel shows, in no panel's own colour
    key.plot([], [], color=INK, linewidth=1.8, label="mean of the seeds")
    key.fill_between([], [], [], color=SOFT, alpha=0.35, linewidth=0, label="least to largest")
    return add_legend(figure)


def plot_rates(tried: Mapping[str, Mapping[float, Sequence[float]]], ylabel: str) -> "matplotlib.figure.Figure":
    """Draw the final loss over the learning rate, one line an optimiser, both on log scales.

    `tried`: of each optimiser the losses at each rate, one a run, infinite where it diverged. Lines join the means,
    strokes reach from the least to the largest; a cross above stands for a rate at which a run diverged. Raises
    Vo3dError when no run ended.
    """
    finite = [loss for rates in tried.values() for runs in rates.values() for loss in runs if math.isfinite(loss)]
    if not finite:
        raise Vo3dError("rates without a finite loss: expected at least one run that did not diverge")
    figure = new_figure(3.9)
    axes = dress(figure.subplots(), "learning rate (log scale)", f"{ylabel} (log scale)")
    axes.set(xscale="log", yscale="log")
    low, high = min(finite) / 1.15, max(finite) * 1.15
    above = high * (high / low) ** 0.05
    crossed = any(math.isinf(loss) for rates in tried.values() for runs in rates.values() for loss in runs)
    for place, (name, style) in enumerate(line_styles(list(tried)).items()):
        means = {rate: min(mean(runs), above) for rate, runs in sorted(tried[name].items())}
        ended = {rate: loss for rate, loss in means.items() if loss < above}
        failed = [rate for rate, loss in means.items() if loss == above]
        again = {"markerfacecolor": "white"} if place >= len(COLOURS) else {}  # tells a colour's second line apart
        axes.plot([*ended], [*ended.values()], label=name, **style, **again, markersize=5)
        for rate in ended:
            runs = tried[name][rate]
            axes.plot([rate, rate], [min(runs), max(runs)], color=style["color"], linewidth=1.0, zorder=1)
        for pair in pairwise(means):
            if any(rate in failed for rate in pair):
                axes.plot(pair, [means[rate] for rate in pair], color=style["color"], linewidth=0.7, zorder=1)
        axes.plot(failed, [above] * len(failed), color=style["color"], marker="x", markersize=7, linestyle="none")
    if crossed:
        axes.plot([], [], color=INK, marker="x", markersize=7, linestyle="none", label="a run diverged")
    axes.set_ylim(low, high * (high / low) ** 0.1 if crossed else high)
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return add_legend(figure)


def _ticks(low: float, high: float) -> list[float]:
    """List 1, 2 and 5 times powers of ten from `low` to `high`; powers alone where these are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
