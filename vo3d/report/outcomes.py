"""Pictures of what became of each pixel of the depth maps: a colour for each reason why one was dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vo3d.depth_map import Outcome, count_outcomes
from vo3d.report.canvas import COLOURS, INK, WIDTH, add_legend, new_figure, spelled

PAINT: Mapping[Outcome, str] = {
    Outcome.BACKGROUND: "#e6e9ec",
    Outcome.NO_DEPTH: "#8d98a3",
    Outcome.END: COLOURS[5],
    Outcome.CLIPPED: INK,
    Outcome.UNSURE: COLOURS[4],
    Outcome.UNCONFIRMED: COLOURS[1],
    Outcome.SEEN_THROUGH: COLOURS[3],
    Outcome.REPEATED: "#9fd8c4",
    Outcome.KEPT: COLOURS[2],
}
ACROSS = 4  # panels side by side


def colour_outcomes(outcomes: UInt8[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Paint each pixel in the colour of its outcome, RGB in [0, 1]."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415  matplotlib is imported late

    palette = torch.tensor([to_rgb(PAINT[outcome]) for outcome in Outcome])
    return palette[outcomes.long()].permute(2, 0, 1)


def plot_outcomes(outcomes: Mapping[str, UInt8[Tensor, "_ _"]]) -> "matplotlib.figure.Figure":
    """Draw a panel for each view, by its name, under one legend with the share of all pixels that each outcome has."""
    rows = -(-len(outcomes) // ACROSS)
    h, w = next(iter(outcomes.values())).shape
    figure = new_figure(rows * (WIDTH / ACROSS * min(1.5, h / w) + 0.2))
    panels = figure.subplots(rows, ACROSS, squeeze=False).flatten()
    for axes in panels[len(outcomes) :]:
        axes.remove()
    for axes, (name, one) in zip(panels, outcomes.items(), strict=False):
        draw_outcomes(axes, one, f"{name}: {_kept(one):.0f} %")
    label_outcomes(panels[0], list(outcomes.values()))
    return add_legend(figure)


def draw_outcomes(axes: "matplotlib.axes.Axes", outcomes: UInt8[Tensor, "h w"], title: str | None = None) -> None:
    """Draw the outcomes of one view into a panel; the title says which share of its pixels became points."""
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_visible(False)
    axes.imshow(colour_outcomes(outcomes).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_title(spelled(title or f"points: {_kept(outcomes):.0f} %"), fontsize=8.0, color=INK, loc="left", pad=3)


def label_outcomes(axes: "matplotlib.axes.Axes", outcomes: Sequence[UInt8[Tensor, "_ _"]]) -> None:
    """Give a figure's legend an entry for each outcome that occurs, with its share of all pixels."""
    counts: Counter[Outcome] = Counter()
    for one in outcomes:
        counts.update(count_outcomes(one))
    for outcome in reversed(Outcome):
        if counts[outcome]:
            label = f"{outcome.words}: {100 * counts[outcome] / counts.total():.1f} %"
            axes.scatter([], [], marker="s", s=60, color=PAINT[outcome], label=label)


def _kept(outcomes: UInt8[Tensor, "h w"]) -> float:
    """Compute the percentage of pixels that became points."""
    return 100 * float((outcomes == Outcome.KEPT).float().mean())
