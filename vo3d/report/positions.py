"""Pictures of where cameras stand: training views, true and predicted positions, in space and from above.

Training views are green, true positions blue and predicted ones red, in those shades of Okabe and Ito that colour-blind
readers tell apart; each kind has a marker of its own, and a thin line leads from a prediction to its truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vo3d.recording import evenly_spaced
from vo3d.report.canvas import INK, SOFT, WIDTH, Style, add_legend, dress, new_figure, spelled
from vo3d.report.paths import fill_with_equal_scale

TRAINING: Style = {"color": "#009E73", "marker": "s", "markersize": 2.2, "markeredgewidth": 0}
TRUE: Style = {"color": "#0072B2", "marker": "o", "markersize": 3.4, "markeredgewidth": 0}
FOUND: Style = {"color": "#D55E00", "marker": "x", "markersize": 3.8, "markeredgewidth": 1.0}
LEADER: Style = {"color": SOFT, "linewidth": 0.5, "alpha": 0.55}
MOST_POINTS = 300  # of each kind: more are one patch
MOST_MODELS = 3  # side by side
PANE = "#f4f6f7"
LOWEST, HIGHEST = 1.8, 3.6  # inches of a map
ELEVATION, AZIMUTH = 28.0, -60.0  # degrees from which space is seen


@dataclass(frozen=True)
class Positions:
    """The true and the predicted position of each frame, metres, in the world of the training views."""

    truth: Float64[Tensor, "n 3"]
    estimate: Float64[Tensor, "n 3"]


@dataclass(frozen=True)
class MapAxes:
    """The axes of the world (0 to 2) that a map from above shows, and the one that it is looked along."""

    right: int
    ahead: int  # up the page
    height: int
    sinks: bool  # whether the axis of height points down

    def __str__(self) -> str:
        """Name the two that are shown."""
        return f"{'xyz'[self.right]} and {'xyz'[self.ahead]}"


def map_axes(world_T_cam: Float64[Tensor, "n 4 4"]) -> MapAxes:
    """Choose the two axes along which the cameras are spread most, and of the third the end that their tops are at.

    The map is no mirror image: it is seen from where the tops of the images point. Of cameras at one place the axis of
    height is the one that is closest to the images' vertical.
    """
    spread, down = world_T_cam[:, :3, 3].std(dim=0, correction=0), world_T_cam[:, :3, 1].mean(0)  # a camera's y
    height = int(spread.argmin() if spread.any() else down.abs().argmax())
    sinks = down[height].item() > 0
    right, ahead = (axis for axis in range(3) if axis != height)
    if (height == 1) != sinks:  # x cross y = z, y cross z = x, but x cross z = -y
        right, ahead = ahead, right
    return MapAxes(right, ahead, height, sinks)


def plot_positions(
    models: Mapping[str, Positions], training: Float64[Tensor, "m 3"], axes: MapAxes
) -> "matplotlib.figure.Figure":
    """Draw the positions in space and from above, metres, all axes in one scale; at most the first three models.

    Of more than 300 points of a kind as many are drawn, evenly spaced. Predictions that are further from the true
    positions and training views than half of what these extend over are left out, as what is not finite; the titles
    count them.
    """
    shown = dict(list(models.items())[:MOST_MODELS])
    known = torch.cat([training, *(one.truth for one in models.values())])
    low, high = window_of(known, [one.estimate for one in shown.values()])
    columns = [axes.right, axes.ahead]
    beside = len(shown) == 1
    width = WIDTH / max(len(shown), 2)  # inches of a panel
    wide, tall = (high - low)[columns].tolist()
    height = float(np.clip((width - 0.7) * tall / wide, LOWEST, HIGHEST))
    solid_height = min(width, HIGHEST + 0.7)
    figure = new_figure(max(solid_height, height + 0.8) if beside else solid_height + height + 0.9)
    rows = {"nrows": 1, "ncols": 2} if beside else {"nrows": 2, "ncols": len(shown)}
    grid = figure.add_gridspec(**rows, height_ratios=None if beside else [solid_height, height + 0.6])
    maps = {}
    for place, (name, one) in enumerate(shown.items()):
        inside = ((one.estimate >= low) & (one.estimate <= high)).all(-1)  # NaN is not
        solid = figure.add_subplot(grid[0, place], projection="3d", computed_zorder=False)
        above = figure.add_subplot(grid[0, 1] if beside else grid[1, place])
        _dress_solid(solid, axes, low, high, beside=beside)
        dress(above, f"{'xyz'[axes.right]} (m)", f"{'xyz'[axes.ahead]} (m)" if beside or place == 0 else "")
        _draw(solid, one, training, inside, [0, 1, 2])
        _draw(above, one, training, inside, columns)
        lost = int((~inside).sum())
        note = f"\n{lost} of {len(inside)} predictions lie outside" if lost else ""
        solid.set_title(f"{spelled(name)}{note}", fontsize=9.5, color=INK, loc="left")
        maps[above] = (low[columns].numpy(), high[columns].numpy())
    add_legend(figure)
    return fill_with_equal_scale(figure, maps)


def _dress_solid(
    solid: "mpl_toolkits.mplot3d.Axes3D",
    axes: MapAxes,
    low: Float64[Tensor, " 3"],
    high: Float64[Tensor, " 3"],
    *,
    beside: bool,
) -> None:
    """Turn the axes in space upright, with one scale, ticks that do not crowd, and quiet panes.

    `beside` its map there is more room for it than above.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  matplotlib is imported late

    # seen from below and turned over where the axis of height points down: to invert the axis would be a mirror
    solid.view_init(
        elev=-ELEVATION if axes.sinks else ELEVATION,
        azim=AZIMUTH,
        roll=180 if axes.sinks else 0,
        vertical_axis="xyz"[axes.height],
    )
    extent = (high - low).numpy()
    solid.set(**dict(zip(("xlim", "ylim", "zlim"), np.stack((low, high), -1), strict=True)))
    flat = extent[axes.height] < 0.5 * extent.max()
    solid.set_box_aspect(extent, zoom=(1.12 if flat else 0.9) if beside else 1.0)
    for name, axis, length in zip("xyz", (solid.xaxis, solid.yaxis, solid.zaxis), extent, strict=True):
        axis.set_major_locator(MaxNLocator(max(2, round((5 if beside else 4) * float(length / extent.max())))))
        axis.set_pane_color(PANE)
        axis.line.set_color("#aab2ba")
        axis.set_label_text(f"{name} (m)", fontsize=9, color=INK)
        axis.labelpad = 2 if beside else -3
    solid.grid(visible=False)
    solid.tick_params(labelsize=8, colors=SOFT, pad=1)


def _draw(
    axes: "matplotlib.axes.Axes",
    one: Positions,
    training: Float64[Tensor, "m 3"],
    inside: Bool[Tensor, " n"],
    columns: Sequence[int],
) -> None:
    """Draw the points and leaders of one model by these coordinates, two of them or three."""
    drawn = torch.tensor(thinned(len(inside)), dtype=torch.long)
    truth, estimate, inside = (values[drawn] for values in (one.truth, one.estimate, inside))
    gap = torch.full_like(truth, torch.nan)
    leaders = torch.stack((truth, estimate, gap), dim=1)[inside].flatten(0, 1)

    def add(points: Float64[Tensor, "n 3"], label: str | None, **style: object) -> None:
        if len(points):
            axes.plot(*points[:, columns].T.numpy(), label=label, **style)

    add(training[thinned(len(training))], "training views", linestyle="none", **TRAINING)
    add(leaders, None, **LEADER)
    add(estimate[inside], "predicted position", linestyle="none", zorder=2.1, **FOUND)
    add(truth, "true position", linestyle="none", zorder=2.2, **TRUE)


def paint_positions(one: Positions, axes: MapAxes) -> Float[Tensor, "3 h w"]:
    """Draw a small map from above as RGB in [0, 1]; its window depends on the true positions alone.

    It reaches half of their extent beyond them; a title counts the predictions that lie outside.
    """
    low, high = window_of(one.truth, [])
    room = (high - low).max() / 2
    low, high = low - room, high + room
    inside = ((one.estimate >= low) & (one.estimate <= high)).all(-1)
    figure = new_figure(5.0, dpi=64)
    above = dress(figure.subplots(), f"{'xyz'[axes.right]} (m)", f"{'xyz'[axes.ahead]} (m)")
    columns = [axes.right, axes.ahead]
    _draw(above, one, one.truth[:0], inside, columns)
    if lost := int((~inside).sum()):
        above.set_title(f"{lost} of {len(inside)} predictions lie outside", fontsize=9.5, color=INK, loc="left")
    add_legend(figure)
    fill_with_equal_scale(figure, {above: (low[columns].numpy(), high[columns].numpy())})
    figure.canvas.draw()
    pixels = np.array(figure.canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def thinned(count: int) -> list[int]:
    """Choose the places of the points that are drawn."""
    return evenly_spaced(range(count), MOST_POINTS)


def window_of(
    known: Float64[Tensor, "n 3"], estimates: Sequence[Float64[Tensor, "_ 3"]]
) -> tuple[Float64[Tensor, " 3"], Float64[Tensor, " 3"]]:
    """Find the lowest and the highest corner of what is shown: all that is known, and what is not too far from it."""
    low, high = known.amin(0), known.amax(0)
    reach = max(float((high - low).max()) / 2, 0.1)  # a single camera has 10 cm of space around it
    found = torch.cat([known, *(one[one.isfinite().all(-1)] for one in estimates)])
    near = found[((found >= low - reach) & (found <= high + reach)).all(-1)]
    low, high = near.amin(0), near.amax(0)
    margin = 0.04 * max(float((high - low).max()), 2 * reach)
    return low - margin, high + margin
