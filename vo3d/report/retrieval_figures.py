"""Figures of retrieval: recall over N, precision over recall, queries with what was found, distances, maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vo3d.formats.places import Distances
from vo3d.metrics.retrieval import PrecisionRecall
from vo3d.report.canvas import INK, WIDTH, Style, Styles, add_legend, dress, new_figure, panel_columns, plain, spelled
from vo3d.report.depth import FONT, entitle
from vo3d.report.paths import fill_with_equal_scale

RIGHT, WRONG = "#009E73", "#D55E00"  # of Okabe and Ito; borders of wrong ones are dashed as well
MATCH: Style = {"color": "#56B4E9", "marker": "s", "markeredgewidth": 0, "linestyle": "none"}
FRAME = 3.0  # points, of a border
MOST_DOTS = 60_000  # of matches in one panel
LOWEST, HIGHEST = 1.8, 6.0  # inches of a map


@dataclass(frozen=True)
class Found:
    """An image that was found, and whether it is right; None for the query itself and for what nobody found."""

    title: str
    below: str
    image: Float[Tensor, "3 _ _"]
    right: bool | None = None


def plot_recalls(sets: Mapping[str, Mapping[str, Mapping[int, float]]], styles: Styles) -> "matplotlib.figure.Figure":
    """Draw recall@N in percent over N, a panel for each set, a line for each model."""
    figure, panels = panel_columns(
        list(sets), 2.9, "N, images that are looked at (log scale)", "queries with a right one (%)"
    )
    for (axes,), of in zip(panels, sets.values(), strict=True):
        for model, recalls in of.items():
            axes.plot([*recalls], [*recalls.values()], label=spelled(model), markersize=3.5, **styles[model])
        most = max((max(recalls, default=1) for recalls in of.values()), default=1)
        ticks = [depth for depth in (1, 2, 5, 10, 20, 50, 100) if depth <= most]
        axes.set(ylim=(0, 103), xscale="log")
        axes.set_xticks(ticks, [str(depth) for depth in ticks])
        axes.minorticks_off()
    return add_legend(figure)


def plot_precision_recall(
    sets: Mapping[str, Mapping[str, PrecisionRecall]], styles: Styles
) -> "matplotlib.figure.Figure":
    """Draw precision over recall in percent as steps, a panel for each set, a line for each model."""
    figure, panels = panel_columns(list(sets), 2.9, "recall (%)", "precision (%)")
    for (axes,), of in zip(panels, sets.values(), strict=True):
        for model, curve in of.items():
            recall, precision = (100 * torch.cat((one[:1], one)) for one in (curve.recall, curve.precision))
            recall[:1] = 0
            style = plain(styles[model], drawstyle="steps-pre")
            axes.plot(recall.numpy(), precision.numpy(), label=spelled(model), **style)
        axes.set(ylim=(0, 103), xlim=(0, 101))
    return add_legend(figure)


def plot_found(rows: Sequence[Sequence[Found | None]]) -> "matplotlib.figure.Figure":
    """Draw queries with what was found for each in a row: green borders are right, red and dashed ones wrong."""
    columns = max(map(len, rows))
    width = WIDTH / columns - 0.12
    heights = [max(width * one.image.shape[-2] / one.image.shape[-1] for one in row if one is not None) for row in rows]
    heights = [min(height, 1.6 * width) for height in heights]
    figure = new_figure(sum(heights) + 0.48 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], anchor="N")
        axes.spines[:].set_visible(False)
    for line, row in zip(grid, rows, strict=True):
        for axes, one in zip(line, row, strict=False):
            if one is None:
                continue
            axes.imshow(one.image.permute(1, 2, 0).clamp(0, 1).numpy())
            entitle(axes, spelled(one.title), 0.9)
            axes.set_xlabel(one.below, fontsize=FONT, color=INK, loc="left")
            if one.right is not None:
                axes.spines[:].set(
                    visible=True,
                    color=RIGHT if one.right else WRONG,
                    linewidth=FRAME,
                    linestyle="-" if one.right else (0, (2.0, 1.2)),
                    capstyle="butt",
                )
    return figure


def plot_distances(sets: Mapping[str, tuple[Distances, Bool[Tensor, " q"], Tensor]]) -> "matplotlib.figure.Figure":
    """Draw squared distances of queries and database, with the true matches, and the best match of each query.

    Args:
        sets: by name the distances, and of every query whether its best match is right, and which image that is (-1
            for none).
    """
    figure, panels = panel_columns(list(sets), 5.2 if len(sets) == 1 else 3.4, "image of the database", "query")
    for (axes,), (distances, right, best) in zip(panels, sets.values(), strict=True):
        num_queries, num_images = distances.sizes
        extent = (-0.5, num_images - 0.5, num_queries - 0.5, -0.5)
        low, high = np.percentile(distances.squared.numpy(), (0.5, 99.5))
        drawn = axes.imshow(
            distances.squared.numpy(),
            cmap="gray",
            extent=extent,
            aspect="auto",
            interpolation="nearest",
            vmin=low,
            vmax=high if high > low else low + 1,
        )
        bar = figure.colorbar(drawn, ax=axes, pad=0.01, fraction=0.04)
        bar.set_label("squared distance", fontsize=8.5, color=INK)
        bar.ax.tick_params(labelsize=8, length=0)
        bar.outline.set_visible(False)
        axes.grid(visible=False)
        size = float(np.clip(250 / max(num_queries, num_images), 0.6, 3.0))
        pairs = distances.matches[:: max(1, len(distances.matches) // MOST_DOTS)]
        axes.plot(pairs[:, 1].numpy(), pairs[:, 0].numpy(), markersize=0.7 * size, **MATCH)
        axes.plot([], [], label="true matches", markersize=5, **MATCH)
        for chosen, colour, marker, label in (
            (right, RIGHT, "o", "best match, right"),
            (~right, WRONG, "x", "best match, wrong"),
        ):
            at = (chosen & (best >= 0)).nonzero()[:, 0]
            look: Style = {"color": colour, "marker": marker, "linestyle": "none", "markersize": size + 1.2}
            axes.plot(best[at].numpy(), at.numpy(), label=label, markeredgewidth=0.9, **look)
        axes.set(xlim=extent[:2], ylim=extent[2:])
    return add_legend(figure)


def plot_places(
    models: Mapping[str, Bool[Tensor, " q"]],
    queries: Float64[Tensor, "q 3"],
    database: Float64[Tensor, "n 3"],
    columns: tuple[int, int],
) -> "matplotlib.figure.Figure":
    """Draw where queries were taken, by whether their best match is right, over the database, metres, from above."""
    every = torch.cat((queries, database))[:, list(columns)]
    low, high = every.amin(0), every.amax(0)
    margin = 0.05 * float((high - low).max()) or 0.5
    low, high = low - margin, high + margin
    wide, tall = (high - low).tolist()
    figure = new_figure(float(np.clip((WIDTH / len(models) - 0.7) * tall / wide, LOWEST, HIGHEST)) + 0.8)
    maps = {}
    for place, (axes, (name, right)) in enumerate(
        zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True)
    ):
        dress(axes, f"{'xyz'[columns[0]]} (m)", "" if place else f"{'xyz'[columns[1]]} (m)")
        axes.set_title(spelled(name), fontsize=9.5, color=INK, loc="left")
        for points, label, look in (
            (database, "database", {"color": "#b4bbc2", "marker": "s", "markersize": 2.0, "markeredgewidth": 0}),
            (queries[right], "query, right", {"color": RIGHT, "marker": "o", "markersize": 3.6, "markeredgewidth": 0}),
            (queries[~right], "query, wrong", {"color": WRONG, "marker": "x", "markersize": 4.4}),
        ):
            axes.plot(*points[:, list(columns)].T.numpy(), linestyle="none", label=label, **look)
        maps[axes] = (low.numpy(), high.numpy())
    add_legend(figure)
    return fill_with_equal_scale(figure, maps)
