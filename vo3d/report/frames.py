"""Sample frames of a recording: which to show, and a figure of them with the motion ahead."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.geometry.trajectory import start_at_identity
from vo3d.report.canvas import (
    INK,
    SOFT,
    WIDTH,
    Styles,
    add_legend,
    dress,
    line_styles,
    new_figure,
)
from vo3d.report.paths import Paths, fill_with_equal_scale, frame_motion, seen_from_above

MOST_PICTURE = 3.0  # inches of height


def telling_frames(world_T_cam: Float64[Tensor, "n 4 4"], ahead: int) -> dict[int, str]:
    """Choose frames with much in the next `ahead`: the sharpest turn, the fastest and the slowest stretch.

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
        frame = free[int(np.argmax(value[free]))]
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
    """Draw frames (`images`, RGB in [0, 1]) side by side, each over the path of the next `ahead` frames from above.

    True and estimated paths start at the camera of the frame, which looks to the right of the page; all panels have
    one scale.
    """
    styles = styles or line_styles(list(paths.estimates))
    routes = [
        [
            (name, seen_from_above(start_at_identity(poses[frame : frame + ahead + 1])), style)
            for name, poses, style in paths.lines(styles)
        ]
        for frame in frames
    ]
    points = np.concatenate([path for route in routes for _, path, _ in route])
    width = WIDTH / len(frames) - 0.5  # inches of a panel, without its labels
    aside = max(1.2 * float(np.abs(points[:, 0]).max()), 1e-3)
    near, far = points[:, 1].min(), max(points[:, 1].max(), points[:, 1].min() + 1e-3)
    near, far = near - 0.05 * (far - near), far + 0.05 * (far - near)
    strip = float(np.clip(width * 2 * aside / (far - near), 0.9, 2.2))  # inches of height
    picture = min(width * images.shape[-2] / images.shape[-1], MOST_PICTURE)

    figure = new_figure(picture + strip + 0.9)
    grid = figure.subplots(2, len(frames), squeeze=False, height_ratios=[picture, strip])
    for (above, below), image, frame, title, route in zip(grid.T, images, frames, titles, routes, strict=True):
        above.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="bicubic")
        above.set_axis_off()
        above.set_title(f"frame {frame}: {title}", fontsize=9.5, color=INK, loc="left")
        dress(below, "forward (m)", "to the left (m)" if below is grid[1, 0] else "")
        for name, path, style in route:
            below.plot(path[:, 1], -path[:, 0], label=name, **style)
        below.plot([0], [0], marker=(3, 0, -90), markersize=8, color=SOFT, linestyle="none", label="camera", zorder=5)
    add_legend(figure)
    window = (np.array([near, -aside]), np.array([far, aside]))
    return fill_with_equal_scale(figure, dict.fromkeys(grid[1], window))
