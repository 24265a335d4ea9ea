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
    """A panel for each optimiser: its band and mean over the steps, on a log scale, before the means of all others.

    Raises Vo3dError when there is none.
    """
    if not bands:
        raise Vo3dError("curves of no optimiser were asked for: expected those of at least one")
    figure, columns = panel_columns(list(bands), 1.75)
    styles = line_styles(list(bands))
    _, wide = grid_shape(len(bands))
    low = min(min(band.least) for band in bands.values())
    high = max(max(band.largest) for band in bands.values())
    ticks = [tick for tick in _ticks(low, high) if low / 1.1 <= tick <= high * 1.1]
    for place, (name, (axes,)) in enumerate(zip(bands, columns, strict=True)):
        lowest, first = place + wide >= len(bands), place % wide == 0
        dress(axes, "optimiser step" if lowest else "", f"{ylabel}\n(log scale)" if first else "")
        for other, band in bands.items():
            if other != name:
                axes.plot(band.steps, band.mean, color="#c9cfd4", linewidth=1.0, label="mean of each other optimiser")
        band, style = bands[name], plain(styles[name], linestyle="-", color=styles[name]["color"])
        axes.fill_between(band.steps, band.least, band.largest, color=style["color"], alpha=0.25, linewidth=0)
        axes.plot(band.steps, band.mean, **style)
        axes.set_yscale("log")
        axes.set_ylim(low / 1.15, high * 1.15)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    key = columns[0][0]  # words for what every panel shows, in no panel's own colour
    key.plot([], [], color=INK, linewidth=1.8, label="mean of the seeds")
    key.fill_between([], [], [], color=SOFT, alpha=0.35, linewidth=0, label="least to largest")
    add_legend(figure)
    return figure


def plot_rates(tried: Mapping[str, Mapping[float, Sequence[float]]], ylabel: str) -> "matplotlib.figure.Figure":
    """Final loss over the learning rate, one line an optimiser, both on log scales.

    `tried`: of each optimiser the losses at each rate, one a run, infinite where it diverged. Lines join the means,
    strokes reach from the least to the largest; a cross above stands for a rate at which a run diverged. Raises
    Vo3dError when no run ended.
    """
    finite = [loss for rates in tried.values() for runs in rates.values() for loss in runs if math.isfinite(loss)]
    if not finite:
        raise Vo3dError("rates without a finite loss: expected at least one run that did not diverge")
    figure = new_figure(3.9)
    axes = dress(figure.subplots(), "learning rate (log scale)", f"{ylabel} (log scale)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = min(finite) / 1.15, max(finite) * 1.15
    above = high * (high / low) ** 0.05
    crossed = False
    for place, (name, style) in enumerate(line_styles(list(tried)).items()):
        means = [(rate, min(mean(runs), above)) for rate, runs in sorted(tried[name].items())]
        ended = [point for point in means if point[1] < above]
        failed = [point for point in means if point[1] == above]
        again = {"markerfacecolor": "white"} if place >= len(COLOURS) else {}  # tells a colour's second line apart
        axes.plot(*_columns(ended), label=name, **style, **again, markersize=5)
        for rate, _ in ended:
            ends = [min(tried[name][rate]), max(tried[name][rate])]
            axes.plot([rate, rate], ends, color=style["color"], linewidth=1.0, zorder=1)
        for one, two in pairwise(means):
            if above in {one[1], two[1]}:
                axes.plot(*_columns([one, two]), color=style["color"], linewidth=0.7, zorder=1)
        axes.plot(*_columns(failed), color=style["color"], marker="x", markersize=7, linestyle="none")
        crossed = crossed or bool(failed)
    if crossed:
        axes.plot([], [], color=INK, marker="x", markersize=7, linestyle="none", label="a run diverged")
    axes.set_ylim(low, high * (high / low) ** 0.1 if crossed else high)
    ticks = _ticks(low, high)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    add_legend(figure)
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """All x, all y."""
    return [x for x, _ in points], [y for _, y in points]


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`; powers alone where these are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
