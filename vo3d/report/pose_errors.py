"""Figures of errors of absolute poses: over time, shares of frames within a distance, and what was foretold of them.

Errors are pairs, metres and degrees; each figure has a panel for either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from vo3d.metrics.relocalisation import rank_correlation, sparsification
from vo3d.report.canvas import (
    SOFT,
    Style,
    Styles,
    add_legend,
    dress,
    fit_scale,
    new_figure,
    panel_columns,
    plain,
    spelled,
)

UNITS = ("position error (m)", "rotation error (deg)")
SHORT = ("error (m)", "error (deg)")
FEW = 60  # points of a line that are marked
SMOOTH = 250  # frames of a recording: of more a line is a running median, else it is a patch
STRETCHES = 120  # how many times shorter its windows are than the recording
BROAD = 10.0  # log scale where the medians of models are further apart
TIMID = 2.0  # deviations make axes at most so many times as high as errors do
ABOVE_0 = 1e-12  # where a band begins: a log scale has no 0
BINS, LEAST_BIN = 10, 5  # of deviations, and frames in each
MOST_DOTS = 1000  # frames of a model that are dots
MOST_TITLES = 3  # models that are summed up over a panel
NEAREST = "distance to the nearest training view"
NEAREST_COLOUR = "#8a939c"


@dataclass(frozen=True)
class ErrorsOverTime:
    """The errors of one model in one recording, metres and degrees, with what it foretold and what is near."""

    frames: Int64[Tensor, " n"]
    errors: Float64[Tensor, "n 2"]
    deviation: Float64[Tensor, "n 2"] | None = None
    nearest: Float64[Tensor, "n 2"] | None = None


def plot_errors_over_time(
    recordings: Mapping[str, Mapping[str, ErrorsOverTime]], styles: Styles, unordered: Sequence[str] = ()
) -> "matplotlib.figure.Figure":
    """Draw the errors of each recording over the number of the frame, one line a model.

    A thin grey line is the distance to the nearest training view, where it is known; a band with a thin edge reaches
    from 0 to the predicted deviation. Of over 250 frames lines are running medians. Recordings that are `unordered`
    have points.

    Args:
        recordings: By their names the errors of each model by its name.
        styles: Of the models.
        unordered: The names of recordings whose views are in no order.
    """
    figure, panels = panel_columns(list(recordings), 2.1, "frame", *SHORT)
    for stack, (name, models) in zip(panels, recordings.items(), strict=True):
        nearest = [(one.frames, one.nearest) for one in models.values() if one.nearest is not None]
        for place, axes in enumerate(stack):
            looks = {"linestyle": "none"} if name in unordered else {}
            for model, one in models.items():
                style = {**styles[model], "linewidth": 1.3, "markersize": 3.5, **looks}
                _draw_line(axes, one.frames, one.errors[:, place], style, spelled(model))
                if one.deviation is not None and not looks:
                    at, deviation = running_median(one.frames, one.deviation[:, place])
                    if len(at) == 1:  # a band has a width
                        at, deviation = at + np.array([-0.1, 0.1]), deviation.repeat(2)
                    label = f"{spelled(model)}: predicted deviation"
                    band = {"color": style["color"], "zorder": 1.5}
                    axes.fill_between(at, ABOVE_0, deviation, label=label, alpha=0.15, linewidth=0, **band)
                    axes.plot(at, deviation, linewidth=0.6, alpha=0.5, **band)
            if nearest:  # of the true poses: the same for all models
                frames, distance = nearest[0]
                look = {
                    "color": NEAREST_COLOUR,
                    "linewidth": 0.9,
                    "marker": ".",
                    "markersize": 3,
                    "zorder": 1.8,
                    **looks,
                }
                _draw_line(axes, frames, distance[:, place], look, NEAREST)
    for place in range(len(UNITS)):
        _fit_errors([stack[place] for stack in panels], recordings, place)
    return add_legend(figure)


def plot_share_within(models: Mapping[str, Float64[Tensor, "_ 2"]], styles: Styles) -> "matplotlib.figure.Figure":
    """Draw the share of frames whose error is at most so many metres, or degrees, one curve a model.

    Axes end where 95 % of the errors of the worst model do; they are logarithmic where medians are far apart.

    Args:
        models: The errors of all frames, metres and degrees, by the name of the model.
        styles: Of the models.
    """
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415  matplotlib is imported late

    figure = new_figure(3.1)
    panels = figure.subplots(1, len(UNITS), sharey=True)
    for place, (axes, unit) in enumerate(zip(panels, UNITS, strict=True)):
        errors = {name: np.sort(found[:, place].numpy()) for name, found in models.items()}
        high = max(float(np.quantile(one, 0.95)) for one in errors.values())
        high = high if high > 0 else 1e-3
        medians = [float(np.median(one)) for one in errors.values()]
        broad = min(medians) > 0 and max(medians) > BROAD * min(medians)
        dress(axes, f"{unit[:-1]}, log scale)" if broad else unit, "" if place else "frames within it (%)")
        low = min(float(np.quantile(one, 0.05)) for one in errors.values())
        if broad:
            axes.set_xscale("log", nonpositive="clip")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
        for name, one in errors.items():
            shares = 100 * np.arange(1, len(one) + 1) / len(one)
            at = np.concatenate([[0.0], one, [max(2 * high, one[-1])]])
            curve = np.concatenate([[0.0], shares, [100.0]])
            axes.plot(at, curve, drawstyle="steps-post", label=spelled(name), **plain(styles[name]))
        axes.set_xlim(max(0.8 * low, 1e-3 * high) if broad else 0.0, 1.2 * high)
        axes.set(ylim=(0, 102), yticks=[0, 25, 50, 75, 100])
    return add_legend(figure)


def plot_deviations(
    models: Mapping[str, tuple[Float64[Tensor, "_ 2"], Float64[Tensor, "_ 2"]]], styles: Styles
) -> "matplotlib.figure.Figure":
    """Draw what predicted deviations are worth: above, against the errors; below, how leaving out by them lowers those.

    Above, each faint dot is a frame, of many every so many-th, and each point on a line a tenth of the frames in the
    order of their deviations (of few frames a larger part, of at least 5), as root mean squares: those of the error and
    of the deviation are equal where that is told right. Titles have Spearman's correlation and the share of errors of
    at most one deviation. Axes are logarithmic where the points are far apart, and leave single dots outside. Below,
    the oracle's curve is that of leaving out by the errors themselves (see `vo3d.metrics.relocalisation`).

    Args:
        models: The errors and the predicted deviations of all frames, metres and degrees, by the name of the model.
        styles: Of the models.
    """
    figure = new_figure(6.4)
    grid = figure.subplots(2, len(UNITS))
    for place, (above, below) in enumerate(grid.T):
        unit = ("m", "deg")[place]
        dress(above, f"predicted deviation ({unit})", f"observed error ({unit})")
        dress(below, "frames left out, highest deviation first (%)", f"mean error of the rest ({unit})")
        pairs = {name: (error[:, place], deviation[:, place]) for name, (error, deviation) in models.items()}
        _draw_calibration(above, pairs, styles)
        for name, (error, deviation) in pairs.items():
            style = {**styles[name], "linewidth": 1.4, "markersize": 4.5}
            left_out = 100 * np.arange(len(error)) / len(error)
            thin = {**style, "linewidth": 0.9, "alpha": 0.55}
            for by, label, look in ((deviation, None, style), (error, f"{spelled(name)}: oracle", thin)):
                curve = sparsification(error, by).numpy()
                below.plot(left_out, curve, label=label, **(look if len(error) == 1 else plain(look)))
        below.set(xlim=(0, 100), ylim=(0, 1.06 * max([*(float(line.get_ydata().max()) for line in below.lines), 1e-9])))
    return add_legend(figure)


def _draw_calibration(
    axes: "matplotlib.axes.Axes",
    models: Mapping[str, tuple[Float64[Tensor, " _"], Float64[Tensor, " _"]]],
    styles: Styles,
) -> None:
    """Draw errors over predicted deviations, frames as dots and bins as lines, with the diagonal where they agree."""
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415  matplotlib is imported late

    titles, points = [], []
    for name, (error, deviation) in models.items():
        style = {**styles[name], "linewidth": 1.6, "markersize": 5.0, "markeredgecolor": "white"}
        some = slice(None, None, max(1, -(-len(error) // MOST_DOTS)))
        look = {"s": 5, "alpha": 0.22, "linewidths": 0, "zorder": 1.6}
        axes.scatter(deviation[some].numpy(), error[some].numpy(), color=style["color"], **look)
        points.append(torch.stack(quantile_bins(deviation, error)))
        axes.plot(*points[-1].numpy(), label=spelled(name), zorder=3, **style)
        rank, share = rank_correlation(error, deviation), 100 * float((error <= deviation).double().mean())
        correlated = "" if rank is None else f"rank correlation {rank:.2f}, "
        titles.append(f"{spelled(name)}: {correlated}{share:.0f} % within one deviation")
    axes.set_title("\n".join(titles[:MOST_TITLES]), fontsize=8.5, color=SOFT, loc="left")
    everything = torch.cat(points, dim=1)
    low, high = everything.amin().item(), everything.amax(1).clamp(min=1e-9).tolist()
    top = 1.06 * max(high[1], *(float(error.quantile(0.98)) for error, _ in models.values()))
    if 0 < BROAD * low < max(high):
        line = [0.3 * low, 10 * max(high)]
        axes.set(xscale="log", yscale="log", xlim=(0.7 * everything[0].amin().item(), 1.4 * high[0]))
        axes.set_ylim(0.4 * everything[1].amin().item(), max(top, 1.4 * high[1]))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:g}")
            axis.get_label().set_text(axis.get_label().get_text().replace(")", ", log scale)"))
    else:
        line = [0.0, 2 * max(*high, top)]
        axes.set(xlim=(0, 1.06 * high[0]), ylim=(0, top))
    axes.plot(line, line, label="error = deviation", color=NEAREST_COLOUR, linewidth=1.0, zorder=1.8)


def quantile_bins(
    deviation: Float64[Tensor, " n"], error: Float64[Tensor, " n"]
) -> tuple[Float64[Tensor, " k"], Float64[Tensor, " k"]]:
    """Compute the root mean squares of deviations and errors in bins of as many frames each, ascending by deviation."""
    order = deviation.argsort(stable=True)
    bins = max(1, min(BINS, len(order) // LEAST_BIN))
    parts = order.tensor_split(bins)
    return (
        torch.stack([deviation[part].square().mean().sqrt() for part in parts]),
        torch.stack([error[part].square().mean().sqrt() for part in parts]),
    )


def running_median(
    frames: Int64[Tensor, " n"], values: Float64[Tensor, " n"]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order values by their frames; of over 250 each becomes the median of those around it, a 120th of all."""
    from scipy.ndimage import median_filter  # noqa: PLC0415

    order = frames.argsort()
    sorted_frames, found = frames[order].numpy(), values[order].numpy()
    if len(found) > SMOOTH:
        found = median_filter(found, size=len(found) // STRETCHES | 1, mode="nearest")
    return sorted_frames, found


def _draw_line(
    axes: "matplotlib.axes.Axes",
    frames: Int64[Tensor, " n"],
    values: Float64[Tensor, " n"],
    style: Style,
    label: str,
) -> None:
    """Draw values over frames; a line of many points has no markers, and points without a line are never joined."""
    if style.get("linestyle") == "none":
        few = {"markersize": style["markersize"] * (1.0 if len(frames) <= FEW else 0.6)}
        axes.plot(frames.numpy(), values.numpy(), label=label, **{**style, **few})
        return
    at, value = running_median(frames, values)
    axes.plot(at, value, label=label, **(style if len(at) <= FEW else plain(style)))


def _fit_errors(
    panels: "Sequence[matplotlib.axes.Axes]",
    recordings: Mapping[str, Mapping[str, ErrorsOverTime]],
    place: int,
) -> None:
    """Give the panels of one error the same limits: a few frames that are far off do not shrink the rest."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  matplotlib is imported late

    everything = [one for models in recordings.values() for one in models.values()]
    errors = [one.errors[:, place].numpy() for one in everything]
    near, told = (
        [values[:, place].numpy() for one in everything if (values := getattr(one, name)) is not None]
        for name in ("nearest", "deviation")
    )
    top = 1.3 * max(float(np.quantile(one, 0.95)) for one in (*errors, *near))
    foretold = 1.3 * max((float(np.quantile(one, 0.95)) for one in told), default=0.0)
    top = max(top, min(foretold, TIMID * top)) if top > 0 else foretold
    low = min(float(np.quantile(one, 0.02)) for one in errors)
    for axes, models in zip(panels, recordings.values(), strict=True):
        fit_scale(axes, [float(np.median(one)) for one in errors], most=BROAD)
        logarithmic = axes.get_yscale() == "log"
        axes.set_ylim(max(low, 1e-3 * top) if logarithmic else 0.0, top if top > 0 else 1.0)
        frames = np.concatenate([one.frames.numpy() for one in models.values()])
        room = max(0.01 * float(np.ptp(frames)), 1.0)
        axes.set_xlim(frames.min() - room, frames.max() + room)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
