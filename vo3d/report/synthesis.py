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
from vo3d.report.depth import FONT, HOLE, MAPS, colour_depth, depth_limits, known
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
        residual = (again - image).abs().mean(0)
        made.append(
            MadeView(
                key=key,
                source=words,
                image=again,
                seen=seen,
                residual=torch.where(seen, residual, torch.nan),
                identity=(subsample(other.float(), stride) - image).abs().mean(0),
            )
        )
    return ViewSynthesis(name=name, image=image, depth=depth, disparity=disparity, made=made)


def synthesis_pictures(
    found: ViewSynthesis, limits: tuple[float, float] | None = None
) -> dict[str, Float[Tensor, "3 h w"]]:
    """Draw each part as RGB in [0, 1], by names such as depth, right, right_residual and right_identity.

    `limits` are the depths of the first and the last colour. Residuals of one view have one scale, from 0 on; it
    depends on the images alone, so that pictures of one clip in the course of a training can be compared.
    """
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    pictures = {"image": found.image, "depth": colour_depth(found.depth, limits)}
    if found.disparity is not None:
        pictures["disparity"] = colour_depth(found.disparity)
    top = residual_limit(found)
    for made in found.made:
        pictures[made.key] = _greyed(made.image, made.seen)
        for kind, values in (("residual", made.residual), ("identity", made.identity)):
            shade = torch.from_numpy(colormaps[RESIDUAL]((values / top).clamp(0, 1).nan_to_num().numpy())[..., :3])
            pictures[f"{made.key}_{kind}"] = _greyed(shade.float().permute(2, 0, 1), made.seen)
    return {name: picture.clamp(0, 1) for name, picture in pictures.items()}


def residual_limit(found: ViewSynthesis) -> float:
    """Choose the residual of the last colour: 99 % of those of doing nothing are below it."""
    residuals = [torch.quantile(made.identity.flatten(), 0.99).item() for made in found.made]
    return max([LEAST, *residuals])


def plot_view_synthesis(
    found: ViewSynthesis, *, unit: str = "m", limits: tuple[float, float] | None = None
) -> "matplotlib.figure.Figure":
    """Draw image, depth and disparity in a row, and below what was made of each other image, beside its residuals.

    Titles tell the mean residuals, over the pixels seen, and how many these are. `limits` are the depths of the first
    and the last colour, `unit` is that of the depth.
    """
    height = min(2.6, (WIDTH / COLUMNS - 0.1) * found.image.shape[-2] / found.image.shape[-1])
    rows = 1 + len(found.made)
    figure = new_figure(rows * (height + 0.22) + BAR * (2 if found.made else 1))
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    _draw(grid[0, 0], found.image, found.name or "image")
    share = f"{100 * known(found.depth).float().mean().item():.0f} % of pixels"
    _draw(grid[0, 1], found.depth, f"depth: {share}", limits or depth_limits([found.depth]))
    _bar(figure, grid[0, 1:2], f"depth ({unit})" if unit else "depth")
    if found.disparity is None:
        grid[0, 2].set_axis_off()
    else:
        _draw(grid[0, 2], found.disparity, f"disparity: {share}", depth_limits([found.disparity]))
        _bar(figure, grid[0, 2:], "disparity (pixels)")
    top = residual_limit(found)
    for row, made in zip(grid[1:], found.made, strict=True):
        residual, identity = (f"mean {mean:.4f}" if made.seen.any() else "nothing to compare" for mean in made.means())
        inside = f"{100 * made.share:.0f} % of pixels lie in it"
        _draw(row[0], _greyed(made.image, made.seen), f"made from {made.source}: {inside}", grey=not made.seen.all())
        nothing = f"{made.source} as it is: {identity}"
        for axes, values, title in zip(
            row[1:], (made.residual, made.identity), (f"residual: {residual}", nothing), strict=True
        ):
            _draw(axes, torch.where(made.seen, values, torch.nan), title, (0.0, top), RESIDUAL)
    if found.made:
        _bar(figure, grid[-1, 1:], "mean absolute difference of the colours, which are in [0, 1]")
    if any(axes.get_legend_handles_labels()[1] for axes in figure.axes):  # there is grey to be explained
        add_legend(figure)
    return figure


def _greyed(image: Float[Tensor, "3 h w"], seen: Bool[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Paint the pixels that are not seen in the grey of what has no value."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415  matplotlib is imported late

    return torch.where(seen, image, torch.tensor(to_rgb(HOLE))[:, None, None])


def _draw(
    axes: "matplotlib.axes.Axes",
    values: Float[Tensor, "*c h w"],
    title: str,
    ends: tuple[float, float] | None = None,
    colours: str = MAPS["depth"],
    *,
    grey: bool = False,
) -> None:
    """Draw an image, or values with the first and the last that have a colour; what is 0 of depths, or NaN, is grey."""
    from matplotlib import colormaps  # noqa: PLC0415  matplotlib is imported late

    axes.set(xticks=[], yticks=[], anchor="N")
    axes.spines[:].set_visible(False)
    axes.set_title(spelled(title), fontsize=FONT, color=INK, loc="left", pad=3)
    if ends is None:
        axes.imshow(values.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
    else:
        there = values.isfinite() if colours == RESIDUAL else known(values)
        grey = not there.all()
        shown = torch.where(there, values, torch.nan).numpy()
        cmap = colormaps[colours].with_extremes(bad=HOLE)
        axes.imshow(shown, cmap=cmap, vmin=ends[0], vmax=ends[1], interpolation="nearest")
    if grey:
        axes.scatter([], [], marker="s", s=60, color=HOLE, label="no value")


def _bar(figure: "matplotlib.figure.Figure", panels: Any, label: str) -> None:
    """Add a colour bar below the panels."""
    bar = figure.colorbar(
        panels[0].get_images()[0], ax=list(panels), location="bottom", fraction=0.06, aspect=30 * len(panels), pad=0.03
    )
    bar.set_label(label, fontsize=FONT, color=INK)
    bar.ax.tick_params(labelsize=FONT - 1, colors=SOFT, length=2)
    bar.outline.set_visible(False)
