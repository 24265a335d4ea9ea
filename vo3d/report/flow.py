"""Pictures of optical flow: its colours with a wheel that explains them, its error, and the next frame warped back.

Hue is the direction and saturation the length: white is no motion, and the full colour `limit` pixels or more. The
wheel is one of our own, not Middlebury's: its order is theirs (red to the right, yellow down, blue to the left, purple
up), its colours are those of Okabe and Ito, whose opposites colour-blind readers tell apart. Grey has no flow.

Source of the convention: Baker et al., "A database and evaluation methodology for optical flow", 2011, section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.warp import warp_by_flow
from vo3d.report.canvas import new_figure
from vo3d.report.depth import HOLE, MAPS
from vo3d.report.synthesis import (
    BAR,
    COLUMNS,
    MadeView,
    add_bar,
    compare_view,
    draw_panel,
    draw_views,
    explain_grey,
    greyed,
    panel_height,
    view_pictures,
)

RIM = {0: "#D55E00", 90: "#F0E442", 135: "#56B4E9", 180: "#0072B2", 270: "#CC79A7"}  # degrees from right, clockwise
STEPS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)  # of the error, pixels; what is above is one more
WRONG = 3.0  # the step that the title counts: KITTI's
LEAST = 1.0  # pixels; the least flow that the full colour stands for: noise of a still camera must not glare
FULL = 0.9  # the quantile of the lengths that has the full colour
DISC = 201  # pixels of the wheel


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowPair:
    """Two frames, the predicted flow from the first to the second, and the true one where it is known."""

    name: str
    image: Float[Tensor, "3 h w"]  # RGB in [0, 1]
    following: Float[Tensor, "3 h w"]
    flow: Float[Tensor, "2 h w"]  # pixels, NaN = none
    truth: Float[Tensor, "2 h w"] | None = None

    @cached_property
    def error(self) -> Float[Tensor, "h w"] | None:
        """Compute the end-point error, pixels; NaN where one of the two has no flow, None without a truth."""
        return None if self.truth is None else (self.flow - self.truth).norm(dim=0)

    @cached_property
    def made(self) -> MadeView:
        """Make the first frame from the second by the flow; where the flow is NaN or leads outside nothing is seen."""
        again, seen = warp_by_flow(self.following, self.flow)
        return compare_view("flow_next", "the next frame", self.image, self.following, again, seen)


def colour_flow(flow: Float[Tensor, "2 h w"], limit: float) -> Float[Tensor, "3 h w"]:
    """Draw flow (pixels) as an RGB image in [0, 1]; the full colour stands for `limit` pixels and more, grey for NaN.

    See the head of this file for the colours.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415  matplotlib is imported late

    known = flow.isfinite().all(0).cpu()
    u, v = torch.where(known, flow.detach().cpu(), 0.0).double()
    degrees = torch.rad2deg(torch.atan2(v, u)).numpy()
    colours = np.array([to_rgb(colour) for colour in RIM.values()])
    rim = np.stack([np.interp(degrees, list(RIM), channel, period=360) for channel in colours.T])
    share = (torch.hypot(u, v) / limit).clamp(max=1)
    return greyed((1 - share * (1 - torch.from_numpy(rim))).float(), known)


def flow_limit(flows: Sequence[Float[Tensor, "2 _ _"]]) -> float:
    """Find the length, pixels, below which are 90 % of the flow that ends within the image; at least 1.

    What leaves the image, as near things do, would leave no colour for the rest.
    """
    lengths = torch.cat([_staying(flow) for flow in flows]).double().numpy() if flows else np.empty(0)
    return max(LEAST, float(np.quantile(lengths, FULL)) if len(lengths) else LEAST)


def _staying(flow: Float[Tensor, "2 h w"]) -> Float[Tensor, " n"]:
    """List the lengths of the flow that ends within the image."""
    h, w = flow.shape[-2:]
    x, y = flow.detach().cpu() + pixel_grid(h, w).permute(2, 0, 1)
    lengths: Tensor = flow.detach().cpu().norm(dim=0)
    return lengths[(x >= 0) & (x <= w - 1) & (y >= 0) & (y <= h - 1)]


def colour_wheel() -> Float[Tensor, "3 n n"]:
    """Draw the wheel: the colour at a place is that of a flow from the middle to it; white outside."""
    radius = DISC // 2
    flow = pixel_grid(DISC, DISC).permute(2, 0, 1) - radius
    return torch.where(flow.norm(dim=0) <= radius, colour_flow(flow, float(radius)), 1.0)


def flow_pictures(pair: FlowPair, limit: float) -> dict[str, Float[Tensor, "3 h w"]]:
    """Draw the flow, and what is left over by it, as RGB in [0, 1]: flow, flow_next, flow_next_residual and _identity.

    The scale of residuals depends on the images alone. `limit` is that of `colour_flow`.
    """
    return {"flow": colour_flow(pair.flow, limit), **view_pictures([pair.made])}


def plot_flow(pair: FlowPair, limit: float | None = None) -> "matplotlib.figure.Figure":
    """Draw the image, the predicted and the true flow with their wheel, the error, and the next frame warped back.

    The full colour stands for `limit` pixels, unstated for what `flow_limit` finds in the true flow, without one in the
    predicted. Titles tell the mean end-point error with the share of pixels over 3 pixels, and the mean residuals.
    """
    known = pair.truth is not None and bool(pair.truth.isfinite().any())
    limit = limit or flow_limit([pair.truth if known and pair.truth is not None else pair.flow])
    height = panel_height(pair.image)
    rows = 2 if pair.truth is None else 3
    figure = new_figure(rows * (height + 0.32) + BAR * (rows - 1))
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    draw_panel(grid[0, 0], pair.image, pair.name or "image")
    _draw_flow(grid[0, 1], pair.flow, "flow", limit)
    if pair.truth is None or pair.error is None:
        _draw_wheel(grid[0, 2], limit)
    else:
        _draw_flow(grid[0, 2], pair.truth, "true flow", limit)
        draw_panel(grid[1, 0], pair.following, "the next frame")
        draw_panel(grid[1, 1], pair.error, _error_title(pair.error), STEPS, MAPS["error"])
        add_bar(figure, grid[1, 1:2], "end-point error (pixels)", ticks=STEPS)
        _draw_wheel(grid[1, 2], limit)
    draw_views(figure, grid[-1:], [pair.made])
    explain_grey(figure)
    return figure


def _draw_flow(axes: "matplotlib.axes.Axes", flow: Float[Tensor, "2 h w"], name: str, limit: float) -> None:
    """Draw flow into a panel, with its mean length in the title."""
    there = flow.isfinite().all(0)
    title = f"{name}: mean {flow.norm(dim=0)[there].mean().item():.2f} pixels" if there.any() else f"{name}: none"
    draw_panel(axes, colour_flow(flow, limit), title, grey=not there.all())
    axes.spines[:].set(visible=True, color=HOLE, linewidth=0.6)  # the paper is as white as no motion


def _draw_wheel(axes: "matplotlib.axes.Axes", limit: float) -> None:
    """Draw the wheel as a legend, with the length of the flow that its rim stands for."""
    draw_panel(axes, colour_wheel(), f"flow: white 0, rim {limit:.3g} pixels or more")


def _error_title(error: Float[Tensor, "h w"]) -> str:
    """Name the mean error and the share of what is far off."""
    there = error[error.isfinite()]
    if not len(there):
        return "error: nothing to compare"
    return f"error: mean {there.mean().item():.2f} pixels, {100 * (there > WRONG).float().mean().item():.1f} % over 3"
