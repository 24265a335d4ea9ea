"""The depth map of one view with all that fusion wants to know of it."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthMap:
    """Depth, confidence and colours of one view on one grid of pixels, with its camera and its partners.

    Lengths are in the unit of the poses. A depth that is 0, negative or not finite is no measurement. `sources` are
    positions in the sequence of maps that this one belongs to: the views that may confirm its depths.

    Convention: `world_T_cam` maps points of the camera (x right, y down, z forward) into the world; the centre of the
    top-left pixel of the map is (0, 0), and `K` is that of the map, not of the image that it was estimated from.
    """

    name: str
    depth: Float[Tensor, "h w"]  # z
    confidence: Float[Tensor, "h w"]  # in [0, 1]; 1 where a sensor measured
    K: Float[Tensor, "3 3"]
    world_T_cam: Float[Tensor, "4 4"]
    image: Float[Tensor, "3 h w"]  # RGB in [0, 1]
    sources: tuple[int, ...]
    depth_range: tuple[float, float]  # near and far that the estimate was confined to

    @property
    def known(self) -> Bool[Tensor, "h w"]:
        """Where there is a depth."""
        return (self.depth > 0) & self.depth.isfinite()

    def with_depth(self, depth: Float[Tensor, "h w"]) -> "DepthMap":
        """The same view with other depths."""
        return replace(self, depth=depth)
