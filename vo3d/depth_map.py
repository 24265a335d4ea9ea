"""The depth of one view: the one form that inference, evaluation, fusion and reports share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The depths that a sweep tried: `num` from near to far, even in depth or, if `inverse`, in 1 / depth."""

    near: float
    far: float
    num: int  # at least 2
    inverse: bool

    @property
    def interval(self) -> float:
        """Compute the mean distance of neighbours, in depth."""
        return (self.far - self.near) / (self.num - 1)

    def margin(self, steps: float) -> float:
        """Limit a number of steps at either end of the sweep to an eighth of it: a coarse one has none to spare."""
        return min(steps, (self.num - 1) / 8)

    def steps(self, depth: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Count the steps, also parts of one, from the nearest plane to each depth, which is positive."""
        if self.inverse:
            return (self.num - 1) * (1 / self.near - 1 / depth) / (1 / self.near - 1 / self.far)
        return (self.num - 1) * (depth - self.near) / (self.far - self.near)


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthMap:
    """Depth of one view on a grid of pixels, with its colours and, where they are known, its confidence and its truth.

    Lengths are in the unit of the recording. A depth that is 0, negative or not finite is no measurement.

    Convention: pixel (x, y) of the map is pixel (stride x, stride y) of the image that it was estimated from.
    """

    name: str  # of the view
    depth: Float[Tensor, "h w"]  # z
    image: Float[Tensor, "3 hi wi"]  # RGB in [0, 1], of any size
    confidence: Float[Tensor, "h w"] | None = None  # in [0, 1]; None where nobody tells
    variance: Float[Tensor, "h w"] | None = None  # of the depth, its unit squared; of methods that filter depth
    truth: Float[Tensor, "h w"] | None = None  # z, 0 = none
    planes: Planes | None = None  # that were tried, where the method tries some
    seconds: float = 0.0  # that the estimate took

    @property
    def known(self) -> Bool[Tensor, "h w"]:
        """Mark the pixels that have a depth."""
        return (self.depth > 0) & self.depth.isfinite()

    @property
    def interval(self) -> float | None:
        """Return the mean distance of the planes that were tried; None where there are none."""
        return None if self.planes is None else self.planes.interval


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedDepthMap(DepthMap):
    """A depth map with its camera and its partners: what fusion works on, and what key frames are.

    `sources` are positions in the sequence of maps that this one belongs to: the views that may confirm its depths.

    Convention: `world_T_cam` maps points of the camera (x right, y down, z forward) into the world; the centre of the
    top-left pixel of the map is (0, 0), and `K` is that of the map, not of the image that it was estimated from.
    """

    image: Float[Tensor, "3 h w"]  # RGB in [0, 1]
    confidence: Float[Tensor, "h w"]  # in [0, 1]; 1 where a sensor measured
    K: Float[Tensor, "3 3"]
    world_T_cam: Float64[Tensor, "4 4"]
    sources: tuple[int, ...]
    depth_range: tuple[float, float]  # near and far that the estimate was confined to
    foreground: Bool[Tensor, "h w"] | None = None  # pixels that are wanted; None: all

    def with_depth(self, depth: Float[Tensor, "h w"]) -> "PosedDepthMap":
        """Give the same view other depths."""
        return replace(self, depth=depth)


class Outcome(IntEnum):
    """The fate of a pixel, in the order in which it is tested; `words` say it to people."""

    BACKGROUND = 0
    NO_DEPTH = 1
    END = 2
    CLIPPED = 3
    UNSURE = 4
    UNCONFIRMED = 5
    SEEN_THROUGH = 6
    REPEATED = 7
    KEPT = 8

    @property
    def words(self) -> str:
        """Say what it means."""
        return _WORDS[self]


_WORDS: Mapping[Outcome, str] = {
    Outcome.BACKGROUND: "background (mask)",
    Outcome.NO_DEPTH: "no depth",
    Outcome.END: "end of the depth range",
    Outcome.CLIPPED: "black or burnt out",
    Outcome.UNSURE: "low confidence",
    Outcome.UNCONFIRMED: "too few sources agree",
    Outcome.SEEN_THROUGH: "seen through by other views",
    Outcome.REPEATED: "in the cloud by another view",
    Outcome.KEPT: "a point",
}


def count_outcomes(outcomes: UInt8[Tensor, "h w"]) -> dict[Outcome, int]:
    """Count the pixels of each outcome, also those that no pixel has."""
    counts = torch.bincount(outcomes.flatten().long(), minlength=len(Outcome)).tolist()
    return dict(zip(Outcome, counts, strict=True))
