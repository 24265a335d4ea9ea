"""Depth between the hypotheses of a sweep: what a winner-takes-all map gains from looking at the images again."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.precision import full_precision
from vo3d.geometry.warp import warp_by_depth

NOISE = 2 / 255  # of grey: windows with less contrast than this have no correlation to speak of
ALIKE = 0.5  # correlation at the start from which on a source is believed to see the pixel's surface
JUMP = 2.5  # intervals between neighbours at the start that make them two surfaces; hypotheses are whole ones apart
FIRST_MOVE = 0.1  # intervals, mean over the pixels, of the first step
GROW, SHRINK = 1.2, 0.5  # what a step is multiplied by after one that lowered the energy, and after one that did not


@full_precision
def refine_depth(
    depth: Float[Tensor, "h w"],
    images: Float[Tensor, "s 3 h w"],
    K: Float[Tensor, "s 3 3"],
    world_T_cam: Float[Tensor, "s 4 4"],
    interval: Float[Tensor, ""] | float,
    *,
    inverse: bool = False,
    iterations: int = 20,
    window: int = 7,
    smoothness: float = 0.1,
    colour_deviation: float = 0.1,
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "n"]]:
    """The depth of the first view (z; 0 = none), moved by at most one interval so that the views agree better.

    Lowers, by gradient descent on the depth alone, the mean over the pixels p with a depth of

        C(p) + smoothness sum_q exp(-|I(p) - I(q)|^2 / (2 colour_deviation^2)) (v(p) - v(q))^2,

    where C is 1 - the normalised correlation of a window of the reference with the same pixels seen in a source by
    their depths, mean over the sources that see p and correlate by more than 0.5 before the first iteration (others
    see what hides it); v is the depth, or 1 / depth if `inverse`, in intervals; and q are those of the four neighbours
    that have a depth and whose v was not more than 2.5 from that of p then (others belong to another surface).

    A step that would not lower the energy is not taken, so the energies that are returned (before the first iteration,
    and after each) never rise. Steps and weights are not those of the paper.

    Args:
        depth: what is refined, in the unit of the poses.
        images: RGB in [0, 1] of the reference and then the sources, all of the depth map's size.
        K: of each view, for that size.
        world_T_cam: of each view.
        interval: from one hypothesis to the next: a depth, or a 1 / depth if `inverse`.
        inverse: whether the hypotheses are evenly spaced in 1 / depth.
        iterations: steps of the descent.
        window: side of the windows in pixels, odd.
        smoothness: what neighbours of one colour pay for a difference of one interval, beside C in [0, 2].
        colour_deviation: the difference of colours, over the channels, at which neighbours are let go.

    Raises:
        Vo3dError: there are fewer than two views, the window is even, or the interval is not positive and finite.

    Source: after Yao et al., "Recurrent MVSNet", CVPR 2019, whose program for it was not published.
    """
    if len(images) < 2 or window < 1 or window % 2 == 0:
        raise Vo3dError(f"{len(images)} views, window {window}: expected at least 2 views and an odd window")
    interval = float(interval)
    if not 0 < interval < float("inf"):
        raise Vo3dError(f"an interval of {interval} between hypotheses: expected a positive number")
    known = (depth > 0) & depth.isfinite()
    start = torch.where(known, depth, 1.0)
    start = (1 / start if inverse else start) / interval  # v

    def moved(shift: Tensor) -> Tensor:
        """The depths after v has moved by `shift`; 0 where there is none."""
        value = (start + shift) * interval
        return torch.where(known, 1 / value if inverse else value, 0.0)

    lowest = torch.maximum(-torch.ones_like(start), -start / 2)  # depths stay positive
    depths = tuple(moved(shift) for shift in (lowest, torch.zeros_like(start), torch.ones_like(start)))
    photometric = _photometric(images, K, world_T_cam, window, depths)
    smooth = _smooth(images[0], torch.where(known, start, torch.nan), smoothness, colour_deviation)
    num = known.sum().clamp(min=1)

    def energy_and_gradient(shift: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            shift = shift.detach().requires_grad_()
            energy = (photometric(moved(shift)) + smooth(start + shift)) / num
        return energy.detach(), torch.autograd.grad(energy, shift)[0]

    shift = torch.zeros_like(start)
    energy, gradient = energy_and_gradient(shift)
    energies = [energy]
    step = FIRST_MOVE * num / gradient.abs().sum().clamp(min=1e-12)
    for _ in range(iterations):
        trial = torch.clamp(shift - step * gradient, lowest, torch.ones_like(lowest))
        trial_energy, trial_gradient = energy_and_gradient(trial)
        if trial_energy < energy:
            shift, energy, gradient, step = trial, trial_energy, trial_gradient, step * GROW
        else:
            step = step * SHRINK
        energies.append(energy)
    return moved(shift), torch.stack(energies)


def _photometric(
    images: Float[Tensor, "s 3 h w"],
    K: Float[Tensor, "s 3 3"],
    world_T_cam: Float[Tensor, "s 4 4"],
    window: int,
    depths: tuple[Float[Tensor, "h w"], ...],
) -> Callable[[Tensor], Tensor]:
    """The sum of C over the pixels as a function of the depth; `depths` are the least, the first, the greatest.

    A source sees a pixel if it does at the least and at the greatest depth, and so everywhere between. Who counts then
    does not change with the depth, and the energy has no jumps.
    """
    grey = images.mean(1, keepdim=True)  # s 1 h w
    source_T_reference = se3.relative(world_T_cam, world_T_cam[:1]).to(K)

    def look(source: int, depth: Tensor) -> tuple[Tensor, Tensor]:
        return warp_by_depth(grey[source], depth, K[0], source_T_reference[source], K[source])

    seen, alike = [], []
    for source in range(1, len(images)):
        (_, near), (first, _), (_, far) = (look(source, depth) for depth in depths)
        mask = (near & far)[None].to(grey)  # 1 h w
        seen.append(mask)
        alike.append(mask * (_correlation(grey[0], first, mask, window) > ALIKE))
    num = torch.stack(alike).sum(0).clamp(min=1)

    def total(depth: Tensor) -> Tensor:
        costs = [
            weight * (1 - _correlation(grey[0], look(source, depth)[0], mask, window))
            for source, (mask, weight) in enumerate(zip(seen, alike, strict=True), start=1)
        ]
        return (torch.stack(costs).sum(0) / num).sum()

    return total


def _smooth(
    image: Float[Tensor, "3 h w"], start: Float[Tensor, "h w"], smoothness: float, deviation: float
) -> Callable[[Tensor], Tensor]:
    """The sum of the second term over the pixels as a function of v; NaN in `start`: no depth."""
    weights = []
    for axis in (-2, -1):
        colour = image.diff(dim=axis).square().sum(0)
        joined = start.diff(dim=axis).abs() <= JUMP
        # each pair of neighbours is met twice
        weights.append(2 * smoothness * joined * torch.exp(-colour / (2 * deviation**2)))

    def total(value: Tensor) -> Tensor:
        rows, columns = (weights[axis] * value.diff(dim=axis).square() for axis in (-2, -1))
        return rows.sum() + columns.sum()

    return total


def _correlation(
    one: Float[Tensor, "1 h w"], other: Float[Tensor, "1 h w"], mask: Float[Tensor, "1 h w"], side: int
) -> Float[Tensor, "1 h w"]:
    """The correlation of two maps in a window round each pixel, over the pixels where `mask` is 1."""
    maps = torch.stack((torch.ones_like(one), one, other, one * one, other * other, one * other), dim=1)  # 1 6 h w
    sums = avg_pool2d(mask * maps, side, stride=1, padding=side // 2)[0]
    _, mean_one, mean_other, squares_one, squares_other, products = sums / sums[:1].clamp(min=1e-6)
    variance_one = (squares_one - mean_one.square()).clamp(min=0) + NOISE**2
    variance_other = (squares_other - mean_other.square()).clamp(min=0) + NOISE**2
    correlation: Tensor = (products - mean_one * mean_other) / (variance_one * variance_other).sqrt()
    return correlation[None]
