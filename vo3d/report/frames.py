"""Sample frames of a recording: which to show, and a figure of them with the motion ahead."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.geometry.trajectory import start_at_identity
from vo3d.report.canvas import (
    INK,
    REFERENCE,
    SOFT,
    WIDTH,
    Style,
    Styles,
    add_legend,
    dress,
    line_styles,
    new_figure,
    plain,
)
from vo3d.report.paths import Paths, frame_motion, seen_from_above

MOST_PICTURE = 3.0  # inches of height


def telling_frames(world_T_cam: Float64[Tensor, "n 4 4"], ahead: int) -> dict[int, str]:
    """Frames from which much happens in the next `ahead`: the sharpest turn, the fastest and the slowest stretch.

    Keys are the frames in their order, values say what is to be seen. The frames are at least `ahead` apart; a path
    that is too short for three such frames has fewer, and every path has one.
    """
    ahead = min(ahead, len(world_T_cam) - 1)
    speed, yaw = frame_motion(world_T_cam)
    turn, way = (np.convolve(value, np.ones(ahead), "valid") for value in (yaw, speed))  # over the frames ahead
    found: dict[int, str] = {}
    for what, value in (("sharpest turn", np.abs(turn)), ("fastest", way), ("slowest", -way)):
        free = [frame for frame in range(len(value)) if all(abs(frame - taken) >= ahead for taken in found)]
        if not free:
            break
        frame = max(free, key=lambda place, value=value: float(value[place]))
        side = "right" if turn[frame] > 0 else "left"
        size = f"{abs(turn[frame]):.0f}\N{DEGREE SIGN} to the {side}" if "turn" in what else f"{way[frame]:.1f} m"
        found[frame] = f"{what}, {size}"
    return dict(sorted(found.items()))


def plot_frames_with_motion(
    images: Float[Tensor, "k 3 h w"],
    frames: Sequence[int],
    titles: Sequence[str],
    paths: Paths,
    styles: Styles | None = None,
    ahead: int = 20,
) -> "matplotlib.figure.Figure":
    """Frames (`images`, RGB in [0, 1]) side by side, under each the path of the next `ahead` frames from above.

    True and estimated paths start at the camera of the frame, which looks up the page; all panels have one scale.
    """
    styles = styles or line_styles(list(paths.estimates))
    height, width = images.shape[-2:]
    picture = min((WIDTH / len(frames) - 0.2) * height / width, MOST_PICTURE)  # inches
    figure = new_figure(picture + 2.6)
    grid = figure.subplots(2, len(frames), squeeze=False, height_ratios=[picture, 1.9])
    lines: list[tuple[str, Tensor, Style]] = [("ground truth", paths.reference, REFERENCE)]
    lines += [(name, estimate, plain(styles[name])) for name, estimate in paths.estimates.items()]
    for (above, below), image, frame, title in zip(grid.T, images, frames, titles, strict=True):
        above.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="bicubic")
        above.set_axis_off()
        above.set_title(f"frame {frame}: {title}", fontsize=9.5, color=INK, loc="left")
        dress(below, "to the right (m)", "forward (m)" if below is grid[1, 0] else "")
        for name, poses, style in lines:
            path = seen_from_above(start_at_identity(poses[frame : frame + ahead + 1]))
            below.plot(path[:, 0], path[:, 1], label=name, **style)
        below.plot([0], [0], marker=(3, 0, 0), markersize=8, color=SOFT, linestyle="none", label="camera", zorder=5)
    add_legend(figure)
    _one_scale(figure, list(grid[1]))
    return figure


def _one_scale(figure: "matplotlib.figure.Figure", panels: "list[matplotlib.axes.Axes]") -> None:
    """The same limits for all panels, wide enough for every line; a metre is as long across as up."""
    near, far = min(panel.dataLim.y0 for panel in panels), max(panel.dataLim.y1 for panel in panels)
    near, far = near - 0.06 * (far - near), far + 0.06 * (far - near)
    aside = max(1.05 * abs(x) for panel in panels for x in panel.dataLim.intervalx)
    figure.draw_without_rendering()  # the layout, which says how large the panels are
    box = panels[0].get_window_extent()
    scale = min(box.height / max(far - near, 1e-3), box.width / 2 / max(aside, 1e-3))  # pixels a metre
    middle, half = (near + far) / 2, box.height / scale / 2
    for panel in panels:
        panel.set(xlim=(-box.width / scale / 2, box.width / scale / 2), ylim=(middle - half, middle + half))
        panel.set_aspect("equal")
