"""The settings of a virtual camera; plain numbers, so that a command's options need no torch."""

import math
import random
from dataclasses import dataclass
from typing import Literal

from vo3d.errors import Vo3dError

LENSES = ("radtan", "equidistant")  # the models of `vo3d.geometry.distortion`


@dataclass(frozen=True)
class Sensor:
    """The settings by which frames are taken; the defaults are KITTI's camera, without any fault but a little noise.

    Height, yaw, pitch and roll are those at which the camera is mounted: the path adds its own on top. Convention:
    positive yaw looks to the right, positive pitch up, positive roll turns the right side down, as R_y, R_x and R_z of
    `vo3d.world.path.RigidPath` do. Tables are seen from a dome, rooms from a hand, whatever these are.

    Raises Vo3dError for a number that no camera has.
    """

    rate: float = 10.0  # Hz
    baseline: float = 0.54  # metres from the left to the right camera
    exposure: float = 1.0  # factor on the light
    noise: float = 0.004  # standard deviation of white noise on the encoded image in [0, 1]
    samples: int = 1  # rays a pixel in each direction; through a lens at least 2
    focal: float = 718.856 / 1241.0  # focal length as a share of the image's width
    centre: tuple[float, float] = (0.5, 0.5)  # the principal point as shares of the image's width and height
    height: float = 1.65  # metres above the road
    yaw: float = 0.0  # radians
    pitch: float = 0.0  # radians
    roll: float = 0.0  # radians
    motion_blur: float = 0.0  # share of the time between two frames during which the shutter is open
    rolling_shutter: float = 0.0  # seconds from the first to the last row; each frame's time is that of its middle
    lens: tuple[Literal["radtan", "equidistant"], tuple[float, ...]] | None = None  # model, coefficients in its order

    def __post_init__(self) -> None:
        checks = (
            ("rate", 0 < self.rate < math.inf, "a positive number of Hz"),
            ("baseline", 0 < self.baseline < math.inf, "a positive number of metres"),
            ("exposure", 0 < self.exposure < math.inf, "a positive number"),
            ("noise", 0 <= self.noise < math.inf, "a number of at least 0"),
            ("samples", self.samples >= 1, "at least 1"),
            ("focal", 0 < self.focal < math.inf, "a positive share of the image's width"),
            (
                "centre",
                isinstance(self.centre, tuple)
                and len(self.centre) == 2
                and all(0 <= share <= 1 for share in self.centre),
                "two shares from 0 to 1, of the image's width and height",
            ),
            ("height", 0 < self.height <= 100, "metres above the road, more than 0 and at most 100"),
            ("yaw", abs(self.yaw) <= math.pi, "radians from -pi to pi"),
            ("pitch", abs(self.pitch) < math.pi / 2, "radians between -pi/2 and pi/2"),
            ("roll", abs(self.roll) <= math.pi, "radians from -pi to pi"),
            ("motion_blur", 0 <= self.motion_blur <= 1, "a share from 0 to 1"),
            (
                "rolling_shutter",
                0 <= self.rolling_shutter * self.rate <= 1,
                f"0 to {1 / self.rate if self.rate else 0:g} seconds, the time between two frames",
            ),
            (
                "lens",
                self.lens is None or _is_lens(self.lens),
                f"one of {', '.join(LENSES)} and a tuple of finite coefficients",
            ),
        )
        for name, holds, expected in checks:
            if not holds:
                raise Vo3dError(f"{name} {getattr(self, name)} of a camera: expected {expected}")
        if self.lens and self.rolling_shutter:
            raise Vo3dError("a camera with a lens and a rolling_shutter: expected one of them: leave the other out")

    def check_flow(self) -> None:
        """Raise Vo3dError where optical flow has no one meaning: under a rolling shutter."""
        if self.rolling_shutter:
            raise Vo3dError(
                f"flow with a rolling_shutter of {self.rolling_shutter:g} s, where each row has its own time: expected "
                "rolling_shutter 0, or no flow"
            )


def _is_lens(lens: tuple[object, ...]) -> bool:
    """Tell whether these are the name of a model and finite numbers, as tuples: sensors are keys of caches."""
    if not isinstance(lens, tuple) or len(lens) != 2 or lens[0] not in LENSES or not isinstance(lens[1], tuple):
        return False
    return all(isinstance(value, int | float) and math.isfinite(value) for value in lens[1])


def drawn_sensor(seed: int, rate: float = 10.0) -> Sensor:
    """Draw a camera: focal length, principal point, height, pitch, roll, stereo baseline, exposure, noise."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets

    def even_in_logarithm(low: float, high: float) -> float:
        return math.exp(dice.uniform(math.log(low), math.log(high)))

    return Sensor(
        rate=rate,
        focal=even_in_logarithm(0.45, 1.3),
        centre=(dice.uniform(0.45, 0.55), dice.uniform(0.45, 0.55)),
        height=dice.uniform(1.1, 2.2),
        pitch=math.radians(dice.uniform(-6.0, 6.0)),
        roll=math.radians(dice.uniform(-2.0, 2.0)),
        baseline=even_in_logarithm(0.1, 1.0),
        exposure=even_in_logarithm(0.7, 1.4),
        noise=dice.uniform(0.002, 0.012),
    )


def chosen_sensor(sensor: object, seed: int) -> Sensor:
    """Return the camera of a recording: the given one, the default for None, for "drawn" one that its seed draws.

    Raises Vo3dError for anything else.
    """
    if sensor == "drawn":
        return drawn_sensor(seed)
    if sensor is not None and not isinstance(sensor, Sensor):
        raise Vo3dError(f"sensor {sensor!r}: expected settings of a camera, or 'drawn'")
    return sensor or Sensor()
