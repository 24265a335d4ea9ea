"""Pictures of located images: where they were taken, from above, and over time, with what the model was unsure of."""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.formats.located import Located
from vo3d.report.canvas import COLOURS, INK, SOFT, WIDTH, add_legend, dress, new_figure, panel_columns
from vo3d.report.paths import fill_with_equal_scale
from vo3d.report.positions import HIGHEST, LOWEST, TRAINING, MapAxes, map_axes, thinned, window_of

MAP_COLOURS = "plasma"  # of time, from dark to bright
DARKEST, BRIGHTEST = 0.0, 0.9  # of these colours: the last is too pale on white
LOOK = 0.035  # length of the stroke along which a camera looks, of the map's width
BAND = {"color": COLOURS[1], "alpha": 0.2, "linewidth": 0}
LINE = {"color": COLOURS[1], "linewidth": 1.3}
TRUTH = {"color": COLOURS[0], "linewidth": 1.1}


def plot_located(
    found: Located, training: Float64[Tensor, "m 4 4"], truth: Float64[Tensor, "n 4 4"] | None = None
) -> "matplotlib.figure.Figure":
    """Draw the positions from above, metres, both axes in one scale, coloured by time, beside the training views.

    A stroke leads from each position to where its camera looks; a disc reaches as far as one predicted deviation. Of
    more than 300 points of a kind as many are drawn, evenly spaced. Positions further from the training views than
    half of what these extend over are left out; a title counts them.
    """
    axes = map_axes(training if len(training) else found.world_T_cam)
    columns = [axes.right, axes.ahead]
    position = found.world_T_cam[:, :3, 3]
    known = torch.cat([training, *([truth] if truth is not None else [])])[:, :3, 3]
    low, high = window_of(known if len(known) else position, [position])
    inside = ((position >= low) & (position <= high)).all(-1)
    low, high = low[columns], high[columns]
    wide, tall = (high - low).tolist()
    figure = new_figure(float(np.clip((WIDTH - 2.2) * tall / wide, LOWEST, 1.4 * HIGHEST)))
    above = dress(figure.subplots(), f"{'xyz'[axes.right]} (m)", f"{'xyz'[axes.ahead]} (m)")
    if len(training):
        views = training[thinned(len(training))][:, columns, 3]
        above.plot(*views.T.numpy(), label="training views", linestyle="none", **TRAINING)
    if truth is not None:
        above.plot(*truth[:, columns, 3].T.numpy(), label="true path", alpha=0.6, **TRUTH)
    drawn = torch.tensor([place for place in thinned(len(found)) if inside[place]], dtype=torch.long)
    _draw_cameras(above, found, drawn, columns, LOOK * max(wide, tall))
    if lost := int((~inside).sum()):
        title = f"{lost} of {len(found)} positions lie outside"
        above.set_title(title, fontsize=9.5, color=INK, loc="left")
    add_legend(figure)
    return fill_with_equal_scale(figure, {above: (low.numpy(), high.numpy())})


def _draw_cameras(
    above: "matplotlib.axes.Axes", found: Located, drawn: Int64[Tensor, " k"], columns: list[int], reach: float
) -> None:
    """Draw positions in the colours of their times, with strokes of the length `reach` and discs, and a bar of time."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.collections import EllipseCollection, LineCollection  # noqa: PLC0415
    from matplotlib.colors import ListedColormap, Normalize  # noqa: PLC0415

    stamps = found.stamps.numpy()
    colours = ListedColormap(colormaps[MAP_COLOURS](np.linspace(DARKEST, BRIGHTEST, 256)))
    scale = Normalize(stamps.min(), max(stamps.max(), stamps.min() + 1e-9))
    at, colour = found.world_T_cam[drawn][:, columns, 3].numpy(), colours(scale(stamps[drawn]))
    ahead = found.world_T_cam[drawn][:, columns, 2].numpy()  # the optical axis, as long as it looks level
    strokes = np.stack((at, at + reach * ahead), axis=1)
    above.add_collection(LineCollection([*strokes], colors=colour, linewidths=0.8, zorder=2.2), autolim=False)
    if found.deviations is not None and len(drawn):
        wide, tall = 2 * found.deviations[drawn][:, columns].T.numpy()
        look = {"units": "xy", "offset_transform": above.transData, "linewidths": 0, "alpha": 0.1, "zorder": 1.6}
        discs = EllipseCollection(wide, tall, np.zeros(len(at)), offsets=at, facecolors=colour, **look)
        above.add_collection(discs, autolim=False)
        above.plot([], [], label="one predicted deviation", marker="o", markersize=9, alpha=0.25, **_MARKER)
    above.scatter(*at.T, c=stamps[drawn], cmap=colours, norm=scale, s=9, linewidths=0, zorder=2.4)
    above.plot([], [], label="located images, and where they look", marker="o", markersize=3.5, **_MARKER)
    if len(found) > 1:
        mappable = above.collections[-1]
        bar = above.figure.colorbar(mappable, ax=above, shrink=0.8, pad=0.01, aspect=30)
        bar.set_label("time (s)" if found.time is not None else "frame", fontsize=9.5, color=INK)
        bar.ax.tick_params(labelsize=8.5, colors=SOFT, length=0)
        bar.outline.set_visible(False)


_MARKER = {"color": "#9c179e", "linestyle": "none", "markeredgewidth": 0}


def plot_over_time(
    found: Located, axes: MapAxes, truth: Float64[Tensor, "n 4 4"] | None = None
) -> "matplotlib.figure.Figure":
    """Draw the position along each axis of the world, metres, and the heading, degrees, over time or frames.

    Bands are one predicted deviation to either side. Limits leave out values that are far off, and bands of the least
    sure frames.

    Args:
        found: The frames.
        axes: Of the map from above, in which the heading is an angle.
        truth: Poses to draw beside it.
    """
    names = ["x (m)", "y (m)", "z (m)", "heading (deg)"]
    figure, ((*panels,),) = panel_columns(
        [""], 1.45, "time (s)" if found.time is not None else "frame", *names, same_y=False
    )
    stamps = found.stamps.numpy()
    values, std = panel_values(found, axes)
    true = None if truth is None else torch.cat((truth[:, :3, 3], headings(truth, axes)[:, None]), -1).numpy()
    if true is not None:  # the same turn of the circle
        values[:, 3] += 360 * round((np.median(true[:, 3]) - values[:, 3].median().item()) / 360)
    for place, panel in enumerate(panels):
        value = values[:, place].numpy()
        shown = [value]
        if std is not None:
            around = std[:, place].numpy()
            panel.fill_between(stamps, value - around, value + around, label="one predicted deviation", **BAND)
            reach = float(np.quantile(around, 0.9))
            shown += [value - reach, value + reach]
        few = {"marker": "o", "markersize": 3} if len(stamps) <= 60 else {}
        panel.plot(stamps, value, label="located images", **LINE, **few)
        if true is not None:
            panel.plot(stamps, true[:, place], label="truth", **TRUTH)
            shown.append(true[:, place])
        low = min(float(np.quantile(one, 0.01)) for one in shown)
        high = max(float(np.quantile(one, 0.99)) for one in shown)
        room = max(0.15 * (high - low), 1e-3)
        panel.set_ylim(low - room, high + room)
    panels[-1].set_xlim(stamps.min(), max(stamps.max(), stamps.min() + 1e-9))
    return add_legend(figure)


def headings(world_T_cam: Float64[Tensor, "n 4 4"], axes: MapAxes) -> Float64[Tensor, " n"]:
    """Compute the directions of the optical axes on the map, degrees from its right to its top, without jumps of 360.

    Of a camera that looks straight up or down it is that of the top of its image, or of no meaning.
    """
    ahead = world_T_cam[:, :3, 2]
    angles = torch.atan2(ahead[:, axes.ahead], ahead[:, axes.right])
    return torch.from_numpy(np.unwrap(angles.numpy())).rad2deg()


def panel_values(found: Located, axes: MapAxes) -> tuple[Float64[Tensor, "n 4"], Float64[Tensor, "n 4"] | None]:
    """Compute x, y, z in metres and the heading in degrees, and their deviations, where those are known.

    The deviation of the heading is that of the turn about the upright axis.
    """
    values = torch.cat((found.world_T_cam[:, :3, 3], headings(found.world_T_cam, axes)[:, None]), -1)
    if found.deviations is None:
        return values, None
    upright = found.world_T_cam[:, axes.height, :3]  # that axis of the world, in the axes of each camera
    turn = (upright * found.deviations[:, 3:]).norm(dim=-1)
    return values, torch.cat((found.deviations[:, :3], turn.rad2deg()[:, None]), -1)
