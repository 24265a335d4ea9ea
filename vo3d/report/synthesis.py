"""Pictures of what depth and motion are worth without any truth: a view made from other images, and what is left over.

Depth says where each pixel lies in the right image of a stereo pair, and with the motion in another frame. Sampled
there, these images make the view again. What differs is the residual; beside it stands that of doing nothing, which is
the other image as it is. Nothing is said of pixels that leave the other image: they are grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.camera import subsample, subsample_intrinsics
from vo3d.geometry.warp import depth_from_disparity, warp_by_depth
from vo3d.model import Prediction
from vo3d.report.canvas import INK, SOFT, WIDTH, add_legend, new_figure, spelled
from vo3d.report.depth import FONT, HOLE, MAPS, colour_depth, depth_limits, entitle, known
from vo3d.sample import Sample

RESIDUAL = "magma"  # its black is no difference
LEAST = 0.02  # the least residual that the last colour stands for: noise of a still camera must not glare
BAR = 0.45  # inches of a colour bar with its label
COLUMNS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class MadeView:
    """A view made from another image by depth and pose, beside that image as it is.

    Residuals are means over the channels of the absolute difference to the view, whose colours are in [0, 1].
    """

    key: str  # a word for what it was made from: right, next, before
    source: str  # the same in words, as "the right image"
    image: Float[Tensor, "3 h w"]  # 0 where nothing is seen
    seen: Bool[Tensor, "h w"]  # pixels that lie within the other image
    residual: Float[Tensor, "h w"]  # NaN where nothing is seen
    identity: Float[Tensor, "h w"]  # the residual of the other image as it is

    @property
    def share(self) -> float:
        """Compute the share of pixels that lie within the other image."""
        return self.seen.float().mean().item()

    def means(self) -> tuple[float, float]:
        """Compute the mean residual and that of doing nothing, both over the pixels seen; NaN where none is."""
        return self.residual[self.seen].mean().item(), self.identity[self.seen].mean().item()


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewSynthesis:
    """A view with its predicted depth, and itself as that depth makes it from other images."""

    name: str
    image: Float[Tensor, "3 h w"]  # RGB in [0, 1], at the pixels of the depth
    depth: Float[Tensor, "h w"]  # z in metres, 0 = none
    disparity: Float[Tensor, "h w"] | None = None  # pixels of the image, 0 = none; where there is a stereo pair
    made: Sequence[MadeView] = ()


def synthesise_first(sample: Sample, prediction: Prediction, *, stride: int = 1, name: str = "") -> ViewSynthesis:
    """Make the first view of a clip from its right image, and from the next view by the predicted motion.

    Args:
        sample: One clip, without a batch axis.
        prediction: Of that clip, without a batch axis: `depth`, and `prev_T_cam` or not.
        stride: Of the depth's pixels.
        name: Of the view.

    Returns:
        What there is: without a right image, or without a motion, what is made of it is left out.
    """
    steps = prediction.get("prev_T_cam")
    moving = steps is not None and len(steps) > 0
    return synthesise(
        sample,
        prediction["depth"][0],
        source=1 if moving else None,
        source_T_view=se3.inverse(steps[0]) if moving and steps is not None else None,
        stride=stride,
        name=name,
    )


def synthesise(
    sample: Sample,
    depth: Float[Tensor, "h w"],
    *,
    view: int = 0,
    source: int | None = None,
    source_T_view: Float[Tensor, "4 4"] | None = None,
    after: bool = True,
    stride: int = 1,
    name: str = "",
) -> ViewSynthesis:
    """Make a view of a clip from its right image, and from another view of the clip by a motion.

    Args:
        sample: One clip, without a batch axis; with `right` and `left_T_right`, or without.
        depth: Of the view, at every `stride`-th pixel of it, metres.
        view: Its place in the clip.
        source: The place of the other view; None for none.
        source_T_view: The motion from the view to that one.
        after: Whether that one is later in time.
        stride: Of the depth's pixels.
        name: Of the view.

    Returns:
        On the CPU. Without `K` there is the depth alone.
    """
    depth = torch.where(known(depth), depth, 0.0).detach().float().cpu()
    sample = sample.to("cpu")
    image = subsample(sample.image[view].float(), stride)
    if sample.K is None:
        return ViewSynthesis(name=name, image=image, depth=depth)
    K = sample.K[view].float()
    others: list[tuple[str, str, Tensor, Tensor, Tensor]] = []
    disparity = None
    if sample.right is not None and sample.left_T_right is not None:
        disparity = depth_from_disparity(depth, K, sample.left_T_right.float())  # one formula for both ways
        others.append(("right", "the right image", sample.right[view], K, se3.inverse(sample.left_T_right)))
    if source is not None and source_T_view is not None:
        key, words = ("next", "the next frame") if after else ("before", "the frame before")
        others.append((key, words, sample.image[source], sample.K[source].float(), source_T_view.detach().cpu()))
    made = []
    for key, words, other, K_other, other_T_view in others:
        again, seen = warp_by_depth(
            other.float(), depth, subsample_intrinsics(K, stride), other_T_view.float(), K_other
        )
        made.append(compare_view(key, words, image, subsample(other.float(), stride), again, seen))
    return ViewSynthesis(name=name, image=image, depth=depth, disparity=disparity, made=made)


def compare_view(
    key: str,
    source: str,
    image: Float[Tensor, "3 h w"],
    other: Float[Tensor, "3 h w"],
    again: Float[Tensor, "3 h w"],
    seen: Bool[Tensor, "h w"],
) -> MadeView:
    """Hold a view against itself made `again` from an `other` image, where that is `seen`, and against that image."""
    residual = torch.where(seen, (again - image).abs().mean(0), torch.nan)
    identity = (other - image).abs().mean(0)
    return MadeView(key=key, source=source, image=again, seen=seen, residual=residual, identity=identity)


def synthesis_pictures(
    found: ViewSynthesis, limits: tuple[float, float] | None = None
) -> dict[str, Float[Tensor, "3 h w"]]:
    """Draw each part as RGB in [0, 1], by names such as depth, right, right_residual and right_identity.

    `limits` are the depths of the first and the last colour. Residuals of one view have one scale, from 0 on; it
    depends on the images alone, so that pictures of one clip in the course of a training can be compared.
    """
    pictures = {"image": found.image.clamp(0, 1), "depth": colour_depth(found.depth, limits)}
    if found.disparity is not None:
        pictures["disparity"] = colour_depth(found.disparity)
    return pictures | view_pictures(found.made)


def view_pictures(views: Sequence[MadeView]) -> dict[str, Float[Tensor, "3 h w"]]:
    """Draw each view and its residuals, as `synthesis_pictures` does, by the key of the view."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    pictures = {}
    top = residual_limit(views)
    for made in views:
        pictures[made.key] = greyed(made.image.clamp(0, 1), made.seen)
        for kind, values in (("residual", made.residual), ("identity", made.identity)):
            shade = torch.from_numpy(colormaps[RESIDUAL]((values / top).clamp(0, 1).nan_to_num().numpy())[..., :3])
            pictures[f"{made.key}_{kind}"] = greyed(shade.float().permute(2, 0, 1), made.seen)
    return pictures


def residual_limit(views: Sequence[MadeView]) -> float:
    """Choose the residual of the last colour: 99 % of those of doing nothing are below it."""
    residuals = [torch.quantile(made.identity.flatten(), 0.99).item() for made in views]
    return max([LEAST, *residuals])


def plot_view_synthesis(
    found: ViewSynthesis, *, unit: str = "m", limits: tuple[float, float] | None = None
) -> "matplotlib.figure.Figure":
    """Draw image, depth and disparity in a row, and below what was made of each other image, beside its residuals.

    Titles tell the mean residuals, over the pixels seen, and how many these are. `limits` are the depths of the first
    and the last colour, `unit` is that of the depth.
    """
    height = panel_height(found.image)
    rows = 1 + len(found.made)
    figure = new_figure(rows * (height + 0.22) + BAR * (2 if found.made else 1))
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    draw_panel(grid[0, 0], found.image, found.name or "image")
    share = f"{100 * known(found.depth).float().mean().item():.0f} % of pixels"
    draw_panel(grid[0, 1], found.depth, f"depth: {share}", limits or depth_limits([found.depth]))
    add_bar(figure, grid[0, 1:2], f"depth ({unit})" if unit else "depth")
    if found.disparity is None:
        grid[0, 2].set_axis_off()
    else:
        draw_panel(grid[0, 2], found.disparity, f"disparity: {share}", depth_limits([found.disparity]))
        add_bar(figure, grid[0, 2:], "disparity (pixels)")
    draw_views(figure, grid[1:], found.made)
    explain_grey(figure)
    return figure


def panel_height(image: Float[Tensor, "3 h w"], columns: int = COLUMNS) -> float:
    """Compute how high a picture is in a figure of so many columns, inches."""
    return min(2.6, (WIDTH / columns - 0.1) * image.shape[-2] / image.shape[-1])


def draw_views(figure: "matplotlib.figure.Figure", rows: Any, views: Sequence[MadeView]) -> None:
    """Draw each view into a row of three axes, beside its residual and that of doing nothing, with one colour bar."""
    top = residual_limit(views)
    for row, made in zip(rows, views, strict=True):
        residual, identity = (f"mean {mean:.4f}" if made.seen.any() else "nothing to compare" for mean in made.means())
        inside = f"{100 * made.share:.0f} % of pixels lie in it"
        title = f"made from {made.source}: {inside}"
        draw_panel(row[0], greyed(made.image, made.seen), title, grey=not made.seen.all())
        nothing = f"{made.source} as it is: {identity}"
        for axes, values, title in zip(
            row[1:], (made.residual, made.identity), (f"residual: {residual}", nothing), strict=True
        ):
            draw_panel(axes, torch.where(made.seen, values, torch.nan), title, (0.0, top), RESIDUAL)
    if views:
        add_bar(figure, rows[-1][1:], "mean absolute difference of the colours, which are in [0, 1]")


def explain_grey(figure: "matplotlib.figure.Figure") -> None:
    """Add a legend that explains the grey, where there is some."""
    if any(axes.get_legend_handles_labels()[1] for axes in figure.axes):
        add_legend(figure)


def greyed(image: Float[Tensor, "3 h w"], seen: Bool[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Paint the pixels that are not seen in the grey of what has no value."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415  matplotlib is imported late

    return torch.where(seen, image, torch.tensor(to_rgb(HOLE))[:, None, None])


def draw_panel(
    axes: "matplotlib.axes.Axes",
    values: Float[Tensor, "*c h w"],
    title: str,
    ends: Sequence[float] | None = None,
    colours: str = MAPS["depth"],
    *,
    grey: bool = False,
) -> None:
    """Draw an image, or values with the first and the last that have a colour; what is 0 of depths, or NaN, is grey.

    More than two `ends` are steps of one colour each; what lies beyond the last is one more.
    """
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.colors import BoundaryNorm, Normalize  # noqa: PLC0415

    axes.set(xticks=[], yticks=[], anchor="NW")  # a title has the whole column
    axes.spines[:].set_visible(False)
    entitle(axes, spelled(title), 0.95)
    if ends is None:
        axes.imshow(values.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
    else:
        there = known(values) if colours == MAPS["depth"] else values.isfinite()
        grey = not there.all()
        shown = torch.where(there, values, torch.nan).numpy()
        cmap = colormaps[colours].with_extremes(bad=HOLE)
        norm = BoundaryNorm(ends, cmap.N, extend="max") if len(ends) > 2 else Normalize(ends[0], ends[1])
        axes.imshow(shown, cmap=cmap, norm=norm, interpolation="nearest")
    if grey:
        axes.scatter([], [], marker="s", s=60, color=HOLE, label="no value")


def add_bar(figure: "matplotlib.figure.Figure", panels: Any, label: str, ticks: Sequence[float] | None = None) -> None:
    """Add a colour bar below the panels, with ticks of one's own or those that matplotlib finds."""
    bar = figure.colorbar(
        panels[0].get_images()[0],
        ax=list(panels),
        location="bottom",
        fraction=0.06,
        aspect=30 * len(panels),
        pad=0.03,
        panchor=False,
    )
    bar.set_label(label, fontsize=FONT, color=INK)
    bar.ax.tick_params(labelsize=FONT - 1, colors=SOFT, length=2)
    bar.outline.set_visible(False)
    if ticks is not None:
        bar.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
