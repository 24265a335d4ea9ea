"""The settings of a virtual camera; plain numbers, so that a command's options need no torch."""

from dataclasses import dataclass

from vo3d.errors import Vo3dError


@dataclass(frozen=True)
class Sensor:
    """The settings by which frames are taken.

    Raises Vo3dError for a number that no camera has.
    """

    rate: float = 10.0  # Hz
    baseline: float = 0.54  # metres from the left to the right camera, KITTI's
    exposure: float = 1.0  # factor on the light
    noise: float = 0.004  # standard deviation of white noise on the encoded image in [0, 1]
    samples: int = 1  # rays a pixel in each direction
    height: float = 1.65  # metres above the road
    pitch: float = 0.0  # radians
    roll: float = 0.0  # radians

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise Vo3dError(f"a frame rate of {self.rate} Hz: expected a positive number")
        if self.samples < 1:
            raise Vo3dError(f"samples {self.samples}: expected at least 1")
