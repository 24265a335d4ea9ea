"""The picture of a walk that is gone again: similarities of queries to a map."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.report.canvas import INK, SOFT, WIDTH, dress, new_figure


def plot_similarity(
    matrix: Float[Tensor, "q m"], rows: Sequence[int], columns: Sequence[int]
) -> "matplotlib.figure.Figure":
    """Draw the similarities of queries (down) to images of the map (right); a path that is walked again is a line.

    Args:
        matrix: similarities; colours span all but the lowest and highest 1 %.
        rows: which queries these are, evenly spaced.
        columns: which images of the map.
    """
    q, m = matrix.shape
    figure = new_figure(min(max(WIDTH * 0.8 * q / m, 1.8), 9.0))
    axes = dress(figure.subplots(), "image of the map", "query")
    low, high = torch.quantile(matrix, torch.tensor([0.01, 0.99])).tolist()
    extent = (columns[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5, rows[0] - 0.5)
    drawn = axes.imshow(
        matrix.numpy(), cmap="viridis", vmin=low, vmax=max(high, low + 1e-6), extent=extent, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    axes.grid(visible=False)
    bar = figure.colorbar(drawn, ax=axes, pad=0.01, aspect=30)
    bar.set_label("similarity", fontsize=9.5, color=INK)
    bar.ax.tick_params(labelsize=8.5, colors=SOFT, length=0)
    bar.outline.set_visible(False)
    return figure
