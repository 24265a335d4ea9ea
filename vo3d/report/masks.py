"""Pictures of moving objects: their masks in colours, and how each moves as an arrow with metres and degrees.

The image is drawn pale and grey, so that colours are those of masks alone: Okabe and Ito's and four of Tol's, which
colour-blind readers tell apart; after ten they begin again, and each arrow names its mask. Membership is opacity. A
true mask has the colour of the predicted one that covers it. The motions of masks leave the camera's out, which is told
in a line by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import degrees, dist
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3, so3_log
from vo3d.geometry.camera import pixel_grid, project, rays
from vo3d.report.canvas import COLOURS, INK, new_figure
from vo3d.report.depth import FONT, known
from vo3d.report.synthesis import draw_panel, panel_height

PALETTE = (*COLOURS, "#F0E442", "#882255", "#44AA99", "#999933")
OPACITY = 0.75  # of a pixel that is a mask's for certain
PALE = 0.55  # how far the grey image goes towards white
SURE = 0.5  # the membership from which on a pixel belongs to a mask
MATCH = 0.1  # intersection over union from which on a true mask has the colour of a predicted one
LEAST_PIXELS = 20  # of a mask with an arrow
MOST_ARROWS = 12  # of the largest masks
COLUMNS = 2
SHORTEST = 2.0  # points of an arrow that is drawn; else it is a dot
SMALL = FONT - 1.5  # points, of the words beside an arrow


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """The way that the centre of a mask goes, in pixels (x, y) of the image, and its motion in numbers."""

    start: tuple[float, float]
    end: tuple[float, float] | None  # None where it comes to lie behind the camera
    length: float  # of the displacement of the centre, in the unit of the depth
    degrees: float  # by which the object turns


@dataclass(frozen=True, kw_only=True, eq=False)
class MovingMasks:
    """Masks of one view with how each of them, and the camera, moves to the next view.

    Motions are in the axes of the view's camera, without what the camera does meanwhile: X(next) = M X(now).
    """

    mask: Float[Tensor, "k h w"]  # membership in [0, 1]
    motion: Float[Tensor, "k 4 4"] | None = None
    camera: Float[Tensor, "4 4"] | None = None  # the next view in the frame of this one, `prev_T_cam`
    names: Sequence[str] = ()  # of the masks; by their numbers, from 1 on, where it is empty
    colours: Sequence[int] = ()  # of the masks, as `paint_masks` has them

    def name(self, number: int) -> str:
        """Name a mask, from 0 on."""
        return self.names[number] if self.names else str(number + 1)

    @property
    def large(self) -> list[int]:
        """List the masks of at least 20 pixels that are theirs, the largest first."""
        sizes = (self.mask >= SURE).flatten(1).sum(1).tolist()
        return sorted((one for one, size in enumerate(sizes) if size >= LEAST_PIXELS), key=lambda one: -sizes[one])


def true_masks(
    mask: Int[Tensor, "h w"],
    object_motion: Float64[Tensor, "k 4 4"] | None = None,
    world_T_cam: Float64[Tensor, "2 4 4"] | None = None,
) -> MovingMasks:
    """Make masks of the true ids that are seen in a view, with their motions where these and the poses are known.

    Args:
        mask: Ids, 0 = static.
        object_motion: Of the ids 1 to k, in the world.
        world_T_cam: Of the view and the next one, metres.

    Raises:
        Vo3dError: an id that is seen has no motion.
    """
    ids = sorted(set(mask.flatten().tolist()) - {0})
    camera = None if world_T_cam is None else se3.relative(world_T_cam[0], world_T_cam[1])
    motion = None
    if object_motion is not None and world_T_cam is not None:
        if ids and not 0 < min(ids) <= max(ids) <= len(object_motion):
            raise Vo3dError(
                f"a mask with the ids {min(ids)} to {max(ids)}, and motions of {len(object_motion)} objects: expected "
                "a motion of each id from 1 on"
            )
        chosen = object_motion[[one - 1 for one in ids]]
        motion = se3.compose(se3.inverse(world_T_cam[0]), chosen, world_T_cam[0])
    membership = torch.stack([mask == one for one in ids]) if ids else mask.new_zeros(0, *mask.shape)
    return MovingMasks(mask=membership.float(), motion=motion, camera=camera, names=[str(one) for one in ids])


def coloured_like(truth: MovingMasks, found: MovingMasks) -> MovingMasks:
    """Give each mask the colour of that of the found ones that overlaps it most, the best pairs first; others new ones.

    Overlap is intersection over union, of at least 0.1.
    """
    ours, theirs = ((one.mask >= SURE).flatten(1).double() for one in (truth, found))
    both = ours @ theirs.T
    overlap = both / (ours.sum(1)[:, None] + theirs.sum(1) - both).clamp(min=1)
    chosen: dict[int, int] = {}
    for place in overlap.flatten().argsort(descending=True).tolist():
        one, other = divmod(place, len(theirs))
        if overlap[one, other] >= MATCH and one not in chosen and other not in chosen.values():
            chosen[one] = other
    new = iter(range(len(theirs), len(theirs) + len(ours)))
    return replace(truth, colours=[chosen[one] if one in chosen else next(new) for one in range(len(ours))])


def paint_masks(
    image: Float[Tensor, "3 h w"], mask: Float[Tensor, "k h w"], colours: Sequence[int] = ()
) -> Float[Tensor, "3 h w"]:
    """Draw masks over a pale grey image, RGB in [0, 1]: each in its colour, as opaque as its membership in [0, 1] says.

    Where several masks have a pixel, later ones lie above. `colours` are places in the palette; the masks take them in
    its order where none are given.
    """
    from matplotlib.colors import to_rgb  # noqa: PLC0415  matplotlib is imported late

    painted = (image.detach().cpu().clamp(0, 1).mean(0) * (1 - PALE) + PALE).expand(3, -1, -1)
    for number, member in enumerate(mask.detach().float().cpu().nan_to_num().clamp(0, 1)):
        painted = torch.lerp(painted, torch.tensor(to_rgb(_colour(number, colours)))[:, None, None], OPACITY * member)
    return painted


def arrow(
    mask: Float[Tensor, "h w"], depth: Float[Tensor, "h w"], K: Float[Tensor, "3 3"], motion: Float[Tensor, "4 4"]
) -> Arrow | None:
    """Find how the centre of a mask moves: a point at the mask's median depth, moved and projected.

    Args:
        mask: Membership in [0, 1]; pixels from 0.5 on belong to it.
        depth: z, 0 = none.
        K: Pixels.
        motion: In the camera's axes, in the unit of the depth.

    Returns:
        None for a mask of fewer than 20 pixels, or without a depth.
    """
    inside = mask >= SURE
    depths = depth[inside & known(depth)]
    if inside.sum() < LEAST_PIXELS or not len(depths):
        return None
    centre = pixel_grid(*mask.shape[-2:])[inside].double().mean(0)
    camera, motion = K.double(), motion.double()
    point = rays(camera, centre) * depths.double().median()
    moved = se3.transform(motion, point)
    end, _ = project(camera, moved)
    return Arrow(
        start=_place(centre),
        end=_place(end) if end.isfinite().all() else None,
        length=(moved - point).norm().item(),
        degrees=_turn(motion),
    )


def plot_masks(
    image: Float[Tensor, "3 h w"],
    found: MovingMasks,
    truth: MovingMasks | None = None,
    *,
    depth: Float[Tensor, "h w"] | None = None,
    K: Float[Tensor, "3 3"] | None = None,
    name: str = "",
    unit: str = "m",
) -> "matplotlib.figure.Figure":
    """Draw predicted masks beside the true ones, or beside the image where none are known, with the camera's motion.

    Arrows are drawn for the twelve largest masks of at least 20 pixels, where `depth` and `K` are known; they show how
    objects move, without what the camera does. `unit` is that of lengths, empty where it is not known.
    """
    figure = new_figure(panel_height(image, COLUMNS) + 0.55)
    left, right = figure.subplots(1, COLUMNS)
    if truth is None:
        draw_panel(left, image, name or "image")
        _draw_masks(right, image, found, "predicted", depth, K, unit)
    else:
        _draw_masks(left, image, found, f"{name}, predicted" if name else "predicted", depth, K, unit)
        _draw_masks(right, image, coloured_like(truth, found), "true", depth, K, unit)
    lines = [
        f"{what} {_words(one.camera[:3, 3].norm().item(), _turn(one.camera), unit)}"
        for one, what in ((found, "predicted"), (truth, "true"))
        if one is not None and one.camera is not None
    ]
    if lines:
        told = f"The camera moves: {'; '.join(lines)}. Arrows leave that out."
        figure.supxlabel(told, fontsize=FONT, color=INK, x=0.01, ha="left")
    return figure


def _colour(number: int, colours: Sequence[int]) -> str:
    """Give the colour of a mask, from 0 on."""
    return PALETTE[(colours[number] if colours else number) % len(PALETTE)]


def _place(pixel: Tensor) -> tuple[float, float]:
    """Turn a pixel into numbers."""
    x, y = pixel.tolist()
    return x, y


def _turn(motion: Float[Tensor, "4 4"]) -> float:
    """Compute the angle of a motion's rotation, degrees."""
    return degrees(so3_log(motion[:3, :3].double()).norm().item())


def _words(length: float, turn: float, unit: str) -> str:
    """Write a motion in numbers."""
    return f"{length:.2f}{f' {unit}' if unit else ''}, {turn:.1f}\N{DEGREE SIGN}"


def _draw_masks(
    axes: "matplotlib.axes.Axes",
    image: Float[Tensor, "3 h w"],
    masks: MovingMasks,
    title: str,
    depth: Float[Tensor, "h w"] | None,
    K: Float[Tensor, "3 3"] | None,
    unit: str,
) -> None:
    """Draw masks into a panel, and their arrows with numbers beside them."""
    arrows: dict[int, Arrow] = {}
    if masks.motion is not None and depth is not None and K is not None:
        for one in masks.large[:MOST_ARROWS]:
            if (way := arrow(masks.mask[one], depth, K, masks.motion[one])) is not None:
                arrows[one] = way
    count = f"{len(masks.mask)} {'object' if masks.names else 'mask'}{'s' * (len(masks.mask) != 1)}"
    told = "" if masks.motion is None else f", {len(arrows)} with an arrow"
    draw_panel(axes, paint_masks(image, masks.mask, masks.colours), f"{title}: {count}{told}")
    limits = axes.get_xlim(), axes.get_ylim()
    for way in arrows.values():
        _draw_arrow(axes, way, image)
    words = {one: f"{masks.name(one)}: {_words(way.length, way.degrees, unit)}" for one, way in arrows.items()}
    places = _label_places(list(arrows.values()), list(words.values()), image)
    for (one, way), place in zip(arrows.items(), places, strict=True):
        axes.plot(*zip(way.start, place, strict=True), color=_colour(one, masks.colours), linewidth=1, zorder=2)
        axes.text(
            *place,
            words[one],
            fontsize=SMALL,
            color=INK,
            ha="center",
            va="center",
            zorder=5,
            bbox={
                "boxstyle": "square,pad=0.2",
                "facecolor": "white",
                "edgecolor": _colour(one, masks.colours),
                "linewidth": 1.2,
            },
        )
    axes.set(xlim=limits[0], ylim=limits[1])


def _draw_arrow(axes: "matplotlib.axes.Axes", way: Arrow, image: Float[Tensor, "3 h w"]) -> None:
    """Draw an arrow with a white rim, so that it is seen on every colour; a short one has a small head."""
    from matplotlib.patches import FancyArrowPatch  # noqa: PLC0415  matplotlib is imported late
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    rim = [withStroke(linewidth=3.0, foreground="white")]
    axes.scatter(*way.start, s=6, color=INK, path_effects=rim, linewidths=0, zorder=3)
    points = 0.0 if way.end is None else 72 * dist(way.start, way.end) / _pixels_per_inch(image)
    if points >= SHORTEST:
        look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": min(8.0, 2 * points), "shrinkA": 0, "shrinkB": 0}
        axes.add_patch(
            FancyArrowPatch(way.start, way.end, color=INK, linewidth=1.2, path_effects=rim, zorder=3, **look)
        )


def _pixels_per_inch(image: Float[Tensor, "3 h w"]) -> float:
    """Compute how many pixels of the image are an inch of the figure."""
    return image.shape[-2] / panel_height(image, COLUMNS)


def _label_places(
    arrows: Sequence[Arrow], labels: Sequence[str], image: Float[Tensor, "3 h w"]
) -> list[tuple[float, float]]:
    """Choose where the middles of labels stand, pixels: near their arrows, within the image, covering no other label.

    They cover arrows only where there is no other room.
    """
    height, width = image.shape[-2:]
    inch = _pixels_per_inch(image)
    ways = [torch.tensor([way.start, way.end or way.start]) for way in arrows]
    steps = torch.linspace(0, 1, 9)[:, None]
    taken = torch.cat([torch.lerp(start, end, steps) for start, end in ways]) if ways else torch.zeros(0, 2)
    middles: list[Tensor] = []
    sizes: list[Tensor] = []
    for way, label in zip(ways, labels, strict=True):
        size = SMALL / 72 * inch * torch.tensor([0.6 * len(label) + 0.9, 1.9])
        xs, ys = (
            torch.linspace(half, max(half, extent - half), 60)
            for half, extent in zip((size / 2).tolist(), (width, height), strict=True)
        )
        spots = torch.cartesian_prod(xs, ys)
        cost = (spots - way[0]).norm(dim=1)
        for middle, other in zip(middles, sizes, strict=True):
            cost += 1e6 * ((spots - middle).abs() < (size + other) / 2).all(1)
        cost += 1e3 * ((spots[:, None] - taken).abs() < size / 2 + 0.03 * inch).all(2).sum(1)
        middles.append(spots[cost.argmin()])
        sizes.append(size)
    return [_place(middle) for middle in middles]
