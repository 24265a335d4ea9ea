"""Pictures of found places: queries beside their best images, the similarities of all, precision and recall."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.report.canvas import COLOURS, INK, SOFT, WIDTH, dress, new_figure, spelled

RIGHT, WRONG = COLOURS[2], COLOURS[1]
TALLEST = 1.4  # height over width of a picture, above which it is drawn narrower
NAME = 22  # letters of a name under a picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Match:
    """A query and its best images of the map, best first.

    Args:
        name, image: of the query, RGB in [0, 1].
        names, images, similarity: of the best images.
        right: whether each shows the place of the query; None where it is not known.
        doubtful: whether the best could be one by chance.
    """

    name: str
    image: Float[Tensor, "3 _ _"]
    names: Sequence[str]
    images: Sequence[Float[Tensor, "3 _ _"]]
    similarity: Sequence[float]
    right: Sequence[bool] | None
    doubtful: bool


def plot_matches(matches: Sequence[Match]) -> "matplotlib.figure.Figure":
    """Draw a row for each query: its picture, then its best images with their similarities.

    Where the truth is known, images of the same place have a green frame, others a red one.
    """
    columns = 1 + max(len(match.images) for match in matches)
    shapes = [[image.shape[-2] / image.shape[-1] for image in (match.image, *match.images)] for match in matches]
    heights = [WIDTH / 6 * min(max(row), TALLEST) + 0.25 for row in shapes]
    figure = new_figure(sum(heights) + 0.1)
    grid = figure.subplots(len(matches), max(columns, 6), squeeze=False, height_ratios=heights)
    for line, match in zip(grid, matches, strict=True):
        for axes in line:
            axes.set_axis_off()
        _show(line[0], match.image, f"query {_short(match.name)}", SOFT, bold=True)
        for rank, (axes, image, name) in enumerate(zip(line[1:], match.images, match.names, strict=False)):
            doubt = " ?" if match.doubtful and rank == 0 else ""
            colour = SOFT if match.right is None else RIGHT if match.right[rank] else WRONG
            _show(
                axes,
                image,
                f"{match.similarity[rank]:.2f}{doubt} {_short(name)}",
                colour,
                framed=match.right is not None,
            )
    return figure


def _show(
    axes: "matplotlib.axes.Axes",
    image: Float[Tensor, "3 h w"],
    title: str,
    colour: str,
    *,
    framed: bool = False,
    bold: bool = False,
) -> None:
    axes.set_axis_on()
    axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(spelled(title), fontsize=7.5, color=INK, loc="left", fontweight="bold" if bold else "normal", pad=3)
    axes.spines[:].set_visible(framed)
    axes.spines[:].set_color(colour)
    axes.spines[:].set_linewidth(3.5)


def _short(name: str) -> str:
    """Cut a name at its beginning, where folders stand."""
    return name if len(name) <= NAME else f"...{name[-NAME + 3 :]}"


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


def plot_precision_recall(precision: Float[Tensor, " t"], recall: Float[Tensor, " t"]) -> "matplotlib.figure.Figure":
    """Draw precision over recall of believing best matches up to a distance, both in percent, as steps."""
    figure = new_figure(4.2)
    axes = dress(figure.subplots(), "recall (%)", "precision (%)")
    start = [0.0], [100.0 * precision[0].item()]
    axes.step([*start[0], *(100 * recall).tolist()], [*start[1], *(100 * precision).tolist()], where="pre",
              color=COLOURS[0], linewidth=1.8)  # fmt: skip
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 103)
    return figure
