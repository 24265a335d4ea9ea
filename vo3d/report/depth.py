"""Pictures of depth maps: depth, confidence, and the error against the truth, beside the image that they belong to.

Depth is drawn in viridis: equal steps of depth look equally large, its lightness only grows, so that it also reads in
grey and with every common colour blindness, and it has no grey of its own: grey is kept for pixels without a value.
(cividis passes through that grey; turbo and jet make edges where there are none.) Confidence is drawn in magma. Errors
stand in steps, so that a reader can tell from the colour whether a pixel is within the step that the title counts.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from vo3d.depth_map import DepthMap, Outcome
from vo3d.errors import Vo3dError
from vo3d.metrics.depth import depth_metrics
from vo3d.report.canvas import INK, SOFT, WIDTH, add_legend, new_figure
from vo3d.report.outcomes import draw_outcomes, label_outcomes

HOLE = "#b4bbc2"  # a pixel without a value
MAPS = {"depth": "viridis", "truth": "viridis", "confidence": "magma", "error": "inferno_r"}
STEPS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the error, in intervals or percent of the depth; what is above is one more
WITHIN = 1.0  # the step that the title counts
SPAN = (0.01, 0.99)  # percentiles that the colours of depth span: strays do not count
FONT = 8.0  # points, of a panel's title
TALLEST = 3.2  # inches of a panel
THICK = 0.1  # inches of a colour bar


def depth_error(view: DepthMap) -> Float[Tensor, "h w"] | None:
    """Compute the distance of depth and truth, in intervals where the map has one, else in percent of the truth.

    NaN where one of the two is missing; None without a truth.
    """
    if view.truth is None:
        return None
    truth, depth = (torch.where(known(values), values, torch.nan) for values in (view.truth, view.depth))
    return (depth - truth).abs() / (view.interval if view.interval is not None else truth / 100)


def error_unit(view: DepthMap) -> str:
    """Name the unit of errors."""
    return "%" if view.interval is None else "intervals"


def percent_within(view: DepthMap, within: float = WITHIN) -> float | None:
    """Compute the share of pixels within so many intervals or percent, of those with depth and truth; None without."""
    if view.truth is None:
        return None
    depth, truth = (torch.where(known(values), values, 0.0) for values in (view.depth, view.truth))
    interval = None if view.interval is None else depth.new_tensor(within * view.interval)
    metrics = depth_metrics(depth, truth, interval=interval, within_percent=(within,))
    key = f"depth_within_{within:g}pc_percent" if interval is None else "depth_within_1_interval_percent"
    share = metrics[key].item()
    return share if math.isfinite(share) else None


def known(depth: Float[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Mark the pixels that have a depth."""
    return (depth > 0) & depth.isfinite()


def colour_depth(depth: Float[Tensor, "h w"], limits: tuple[float, float] | None = None) -> Float[Tensor, "3 h w"]:
    """Draw a depth map as an RGB image in [0, 1], for `write_image`; pixels without a depth are grey.

    `limits` are the depths of the first and the last colour; unstated, they leave 1 % of the depths out at each end.
    """
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    low, high = limits or depth_limits([depth])
    there = known(depth)
    share = torch.where(there, (depth - low) / (high - low), 0.0).clamp(0, 1)
    image = torch.from_numpy(colormaps[MAPS["depth"]](share.cpu().numpy())[..., :3]).float()
    image[~there.cpu()] = torch.tensor(to_rgb(HOLE))
    return image.permute(2, 0, 1)


def depth_limits(maps: Sequence[Float[Tensor, "_ _"]]) -> tuple[float, float]:
    """Find the depths between which lie all but 1 % at each end of those in the maps; 0 and 1 where there is none."""
    depths = torch.cat([values[known(values)].double().cpu() for values in maps]).numpy()
    low, high = np.quantile(depths, SPAN).tolist() if len(depths) else (0.0, 1.0)
    return low, high if high > low else low + max(abs(low), 1.0) * 1e-6


def plot_contact_sheet(
    views: Sequence[DepthMap],
    *,
    unit: str = "m",
    min_confidence: float | None = None,
    steps: Sequence[float] = STEPS,
    within: float = WITHIN,
    outcomes: Sequence[UInt8[Tensor, "_ _"]] = (),
) -> "matplotlib.figure.Figure":
    """Draw a row for each view: image, depth, and where some view has them confidence, truth and error.

    A column has one scale and one colour bar; depth and truth have the same: that of the truth where there is one, else
    of the depths that do not lie at an end of the range, by the `outcomes`, else of all. `unit` is that of the lengths,
    empty where it is not known. With `min_confidence` the titles count the pixels that reach it. Errors are drawn in
    `steps`, of which the title counts what is `within` one; both are intervals or percent. `outcomes` of the views'
    pixels, if given, stand in a column of their own, see `vo3d.depth_map`.

    Raises:
        Vo3dError: there is no view, or some errors are in intervals and others in percent.
    """
    if not views:
        raise Vo3dError("a sheet without views was asked for: expected at least one")
    if len({error_unit(view) for view in views if view.truth is not None}) > 1:
        raise Vo3dError("some views have an interval and some have none: one sheet needs one unit of errors")
    optional = ("confidence", "truth", "error")
    kinds = ["image", "depth", *(kind for kind in optional if any(_values(view, kind) is not None for view in views))]
    kinds += ["outcome"] if outcomes else []
    width = WIDTH / len(kinds) - 0.1
    heights = [min(TALLEST, width * view.image.shape[-2] / view.image.shape[-1]) for view in views]  # of the panels
    figure = new_figure(sum(heights) + 0.22 * len(views) + 0.65)  # with titles and colour bars
    grid = figure.subplots(len(views), len(kinds), squeeze=False, height_ratios=heights)
    scales = _scales(views, steps, outcomes)
    for column, kind in zip(grid.T, kinds, strict=True):
        if kind == "outcome":
            for axes, one in zip(column, outcomes, strict=True):
                draw_outcomes(axes, one)
            label_outcomes(column[0], outcomes)
            continue
        drawn = [
            _draw(axes, view, kind, scales, min_confidence, within) for axes, view in zip(column, views, strict=True)
        ]
        with_values = [(image, view) for image, view in zip(drawn, views, strict=True) if image is not None]
        if with_values:
            image, view = with_values[0]
            units = {"depth": unit, "truth": unit, "error": error_unit(view)}
            label = f"{kind} ({units[kind]})" if units.get(kind) else kind
            _bar(figure, image, list(column), kind, label, sum(heights))
    if any(axes.get_legend_handles_labels()[1] for axes in figure.axes):  # there is grey to be explained
        add_legend(figure)
    return figure


def _values(view: DepthMap, kind: str) -> Float[Tensor, "h w"] | None:
    """Compute what a panel shows; NaN where there is nothing to be shown."""
    if kind in {"depth", "truth"}:
        depth = view.depth if kind == "depth" else view.truth
        return None if depth is None else torch.where(known(depth), depth, torch.nan)
    return view.confidence if kind == "confidence" else depth_error(view)


def _scales(
    views: Sequence[DepthMap], steps: Sequence[float], outcomes: Sequence[UInt8[Tensor, "_ _"]]
) -> dict[str, dict[str, Any]]:
    """Give the arguments of `imshow` by which values of each kind become colours."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import BoundaryNorm  # noqa: PLC0415

    # what is there is shown in the scale of the truth: a map that is wrong everywhere must not look right
    truths = [view.truth for view in views if view.truth is not None]
    # a sky at the far end would leave few colours to the rest, which is shown also where hardly a pixel was kept
    inner = [torch.where(fate > Outcome.END, view.depth, 0) for view, fate in zip(views, outcomes, strict=False)]
    filled = (maps for maps in (truths, inner) if any(bool(known(one).any()) for one in maps))
    low, high = depth_limits(next(filled, [view.depth for view in views]))
    maps = {kind: colormaps[name].with_extremes(bad=HOLE) for kind, name in MAPS.items()}
    norm = BoundaryNorm(steps, maps["error"].N, extend="max")
    depth = {"vmin": low, "vmax": high, "cmap": maps["depth"]}
    return {
        "depth": depth,
        "truth": depth,
        "confidence": {"vmin": 0.0, "vmax": 1.0, "cmap": maps["confidence"]},
        "error": {"norm": norm, "cmap": maps["error"]},
    }


def _draw(
    axes: "matplotlib.axes.Axes",
    view: DepthMap,
    kind: str,
    scales: dict[str, dict[str, Any]],
    min_confidence: float | None,
    within: float,
) -> "matplotlib.image.AxesImage | None":
    """Draw one panel; give what its colour bar needs, None where there are no values."""
    # anchor: pictures of a row stand on one line, whether there are colour bars below them or not
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_visible(False)
    if kind == "image":
        axes.imshow(view.image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy())
        entitle(axes, view.name)
        return None
    values = _values(view, kind)
    if values is None:
        axes.set_axis_off()
        return None
    shown: NDArray[Any] = values.detach().cpu().double().numpy()
    if np.isnan(shown).any():
        axes.scatter([], [], marker="s", s=60, color=HOLE, label="no value")
    # blocks where pixels are enlarged, and the nearest pixel where they are shrunk: depths of an edge must not be mixed
    drawn = axes.imshow(np.ma.masked_invalid(shown), interpolation="nearest", **scales[kind])
    entitle(axes, _title(view, kind, shown, min_confidence, within))
    return drawn


def _title(view: DepthMap, kind: str, shown: NDArray[Any], min_confidence: float | None, within: float) -> str:
    """Name the kind of the picture, with the number that matters."""
    if kind == "error":
        share = percent_within(view, within)
        what = f"{within:g} %" if view.interval is None else f"{within:g} interval{'s' * (within != 1)}"
        return "error: nothing to compare" if share is None else f"error: {share:.1f} % within {what}"
    if kind == "confidence":
        if min_confidence is None:
            return f"confidence: mean {np.nanmean(shown):.2f}"
        sure = 100 * np.mean(shown >= min_confidence)
        return f"confidence: {sure:.0f} % \N{GREATER-THAN OR EQUAL TO} {min_confidence:g}"
    return f"{kind}: {100 * np.isfinite(shown).mean():.0f} % of pixels"


def entitle(axes: "matplotlib.axes.Axes", text: str, share: float = 0.85) -> None:
    """Set a title that stays within a share of its column: the middle of a long one is left out."""
    title = axes.set_title(text, fontsize=FONT, color=INK, loc="left", pad=3)
    figure = axes.get_figure()
    room = share * WIDTH * figure.dpi / axes.get_subplotspec().get_gridspec().ncols
    kept = len(text)
    while title.get_window_extent(figure.canvas.get_renderer()).width > room and kept > 2:
        kept -= 1
        title.set_text(f"{text[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 2 :]}")


def _bar(
    figure: "matplotlib.figure.Figure",
    drawn: "matplotlib.image.AxesImage",
    panels: "list[matplotlib.axes.Axes]",
    kind: str,
    label: str,
    height: float,
) -> None:
    """Add a colour bar below the panels, pointed where values lie beyond its ends."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  matplotlib is imported late

    values = np.concatenate([image.get_array().compressed() for axes in panels for image in axes.get_images()])
    low, high = drawn.get_clim()
    extend = ("neither", "min", "max", "both")[(values < low).any() + 2 * (values > high).any()]
    width = 0.85 * WIDTH / panels[0].get_subplotspec().get_gridspec().ncols
    bar = figure.colorbar(
        drawn,
        ax=panels,
        location="bottom",
        fraction=THICK / height,
        aspect=width / THICK,
        pad=0.02,
        panchor=False,
        extend=None if kind == "error" else extend,
    )
    bar.set_label(label, fontsize=FONT, color=INK)
    bar.ax.tick_params(labelsize=FONT - 1, colors=SOFT, length=2)
    bar.outline.set_visible(False)
    if kind == "error":
        steps = drawn.norm.boundaries
        bar.set_ticks(steps, labels=[f"{step:g}" for step in steps])
    elif kind == "confidence":
        bar.set_ticks([0.0, 0.5, 1.0])
    else:
        bar.set_ticks([tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high])
