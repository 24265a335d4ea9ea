"""Inverse depths of tracked points with their variances: found in two views, fused, moved on, and made a scale of.

Convention: as in `vo3d.geometry.two_view`: rays are the first two coordinates of K^-1 (u, v, 1), `b_T_a` maps points of
view a into view b. Inverse depths are 1 / z in a view; NaN with infinite variance where one is not known. Everything
is float64 numpy.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from vo3d.geometry import two_view

LEAST = 1e-4  # 1 / z at which the motion of a point across the image is looked at, at the least: it never vanishes
KNOWN = 2.0  # deviations that an inverse depth must lie above zero, to tell a length
AGREE = 3.0  # deviations by which two of one point may differ


@dataclass(frozen=True)
class InverseDepths:
    """Gaussian estimates of the inverse depths of n points in one view."""

    mean: Float64[ndarray, " n"]
    variance: Float64[ndarray, " n"]

    @classmethod
    def unknown(cls, count: int) -> "InverseDepths":
        """Make `count` that nothing is known of."""
        return cls(np.full(count, np.nan), np.full(count, np.inf))

    def __getitem__(self, chosen: Bool[ndarray, " n"]) -> "InverseDepths":
        """Take some of them."""
        return InverseDepths(self.mean[chosen], self.variance[chosen])

    def extended(self, count: int) -> "InverseDepths":
        """Add `count` that nothing is known of behind them."""
        more = InverseDepths.unknown(count)
        return InverseDepths(np.concatenate([self.mean, more.mean]), np.concatenate([self.variance, more.variance]))

    def without(self, wrong: Bool[ndarray, " n"]) -> "InverseDepths":
        """Forget those that are `wrong`."""
        return InverseDepths(np.where(wrong, np.nan, self.mean), np.where(wrong, np.inf, self.variance))

    def scaled(self, length: float) -> "InverseDepths":
        """Express them in a unit in which what was 1 long is `length` long; of length 0 they tell nothing."""
        if length <= 0:
            return InverseDepths.unknown(len(self.mean))
        return InverseDepths(self.mean / length, self.variance / length**2)

    @property
    def known(self) -> Bool[ndarray, " n"]:
        """Tell which lie well above zero: of points that are neither infinitely far nor unknown."""
        return np.asarray(np.isfinite(self.mean) & (self.mean > KNOWN * np.sqrt(self.variance)))

    @classmethod
    def between(
        cls,
        a: Float[ndarray, "n 2"],
        b: Float[ndarray, "n 2"],
        b_T_a: Float[ndarray, "4 4"],
        noise: float,
    ) -> "InverseDepths":
        """Triangulate matched rays, in a; the variance is that of a ray, squared, over how far depth moves a point.

        `noise` is the deviation of a matched ray, in units of rays.
        """
        mean = two_view.inverse_depth(a, b, b_T_a)
        _, slope = two_view.project(a, np.maximum(mean, LEAST), b_T_a)
        return cls(mean, noise**2 / np.maximum((slope**2).sum(1), 1e-18))

    def fused(self, seen: "InverseDepths", forget: float = 1.0) -> "InverseDepths":
        """Fuse two independent estimates of each point, the product of two Gaussians; contradictions are forgotten.

        `forget` is a factor on the variances of the older ones, self's: tracks wander from what they once showed.
        """
        old, new = self.variance * forget, seen.variance
        both = np.isfinite(self.mean) & np.isfinite(seen.mean)
        here, there = (np.where(both, value, 1.0) for value in (old, new))
        mean = np.where(both, (self.mean * there + seen.mean * here) / (here + there), seen.mean)
        variance = np.where(both, here * there / (here + there), new)
        apart = both & (np.abs(self.mean - seen.mean) > AGREE * np.sqrt(here + there))
        return InverseDepths(mean, variance).without(apart)

    def moved(self, a: Float[ndarray, "n 2"], b_T_a: Float[ndarray, "4 4"]) -> "InverseDepths":
        """Express those of rays in a as those of the same points in b; points behind b are forgotten.

        With z' = (R r)_z z + t_z, the inverse depth w becomes w / ((R r)_z + t_z w).
        """
        turned = np.concatenate([a, np.ones((len(a), 1))], axis=1) @ b_T_a[2, :3]
        nearer = turned + b_T_a[2, 3] * np.nan_to_num(self.mean)
        front = nearer > 0
        nearer = np.where(front, nearer, 1.0)
        found = InverseDepths(self.mean / nearer, self.variance * (turned / nearer**2) ** 2)
        return found.without(~front | ~np.isfinite(self.mean))


def relative_length(known: InverseDepths, unit: InverseDepths, least: int) -> float | None:
    """Find the length of a motion of unit length, in the unit of `known`: the weighted median of the points' ratios.

    A point's inverse depth is `unit` where the motion has length 1; where it has the length s, it is unit / s. Each
    ratio weighs by what the variances of both leave of it. None for fewer than `least` points.
    """
    both = known.known & unit.known
    if both.sum() < least:
        return None
    known, unit = known[both], unit[both]
    ratio = unit.mean / known.mean
    weight = 1 / (unit.variance / unit.mean**2 + known.variance / known.mean**2)
    order = np.argsort(ratio)
    share = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(share, share[-1] / 2)])
