"""The faults that `vo3d robustness` injects: what each changes, in which unit, and the sizes that are tried."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vo3d.errors import Vo3dError, quoted
from vo3d.world.imu import MEMS

CLEAN = "clean"  # the point that all sweeps share


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which sensors fail, and the sizes of it that are tried.

    Args:
        title, unit: for people.
        field: of a `Sample` that it changes; a model that does not read it is not run.
        arguments: of `vo3d.datasets.perturbed.Perturbed`, by the size.
        meaning: what is injected, in a sentence.
        values: sizes; 0 is no fault.
    """

    title: str
    unit: str
    field: str
    arguments: Callable[[float], dict[str, Any]]
    meaning: str
    values: Sequence[float]

    @property
    def label(self) -> str:
        """Name it with its unit."""
        return f"{self.title} ({self.unit})"


def _mems(kind: str, times: float) -> dict[str, Any]:
    """Give errors of a sensor: some times the biases, or the densities of noise, of `MEMS`."""
    names = [f"{sensor}_{kind}" for sensor in ("gyro", "accelerometer")]
    return {"imu_errors": {name: times * getattr(MEMS, name) for name in names}}


FAULTS: Mapping[str, Fault] = {
    "rotation": Fault(
        title="extrinsic rotation",
        unit="deg",
        field="imu",
        arguments=lambda size: {"rotation_deg": size},
        meaning="The inertial sensor is turned by this angle about an axis that is drawn for each recording, and "
        "nobody is told: rates and forces are rotated, cam_T_imu stays.",
        values=(0.0, 5.0, 10.0, 15.0),
    ),
    "time": Fault(
        title="time offset",
        unit="s",
        field="imu",
        arguments=lambda size: {"time_offset": size},
        meaning="Inertial readings with the stamp t were taken at t + offset; between readings the signal is linear.",
        values=(0.0, 0.01, 0.02, 0.05, 0.1),
    ),
    "bias": Fault(
        title="bias",
        unit="times MEMS",
        field="imu",
        arguments=lambda size: _mems("bias", size),
        meaning="A constant is added to each axis of the inertial sensor, drawn for each recording; at 1 with the "
        f"standard deviation of a MEMS sensor, {MEMS.gyro_bias:.4f} rad/s and {MEMS.accelerometer_bias:.3f} m/s^2, on "
        "top of the errors that the data have.",
        values=(0.0, 1.0, 2.0, 5.0),
    ),
    "noise": Fault(
        title="noise",
        unit="times MEMS",
        field="imu",
        arguments=lambda size: _mems("density", size),
        meaning="White noise is added to each inertial reading; at 1 with the density of a MEMS sensor, "
        f"{MEMS.gyro_density:.3g} rad/s/sqrt(Hz) and {MEMS.accelerometer_density:.3g} m/s^2/sqrt(Hz), on top of the "
        "errors that the data have.",
        values=(0.0, 10.0, 30.0, 100.0),
    ),
    "dropped": Fault(
        title="dropped frames",
        unit="share",
        field="image",
        arguments=lambda size: {"dropped": size},
        meaning="This share of the frames, drawn for each recording, did not arrive: the image of the last one that "
        "did stands in for each. All frames are scored.",
        values=(0.0, 0.05, 0.1, 0.2),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One fault of one size; without a fault it is the clean point."""

    fault: str = ""
    value: float = 0.0

    @property
    def name(self) -> str:
        """Name the folder of its results."""
        return f"{self.fault}_{self.value:g}" if self.value else CLEAN

    @property
    def arguments(self) -> dict[str, Any]:
        """Give the arguments of `vo3d.datasets.perturbed.Perturbed`."""
        return FAULTS[self.fault].arguments(self.value) if self.value else {}


def make_sweeps(chosen: Sequence[str], sizes: Mapping[str, Sequence[float]]) -> dict[str, list[Point]]:
    """List the points of each fault that is chosen, all of them if none is, in the order of size and with a clean one.

    Args:
        chosen: names in `FAULTS`.
        sizes: other sizes than the usual ones, by the name of the fault; empty ones do not count.

    Raises:
        Vo3dError: there is no such fault; sizes are given of a fault that is not chosen.
    """
    if strange := [name for name in chosen if name not in FAULTS]:
        raise Vo3dError(f"--faults: there is no fault {quoted(strange[0])}: expected {', '.join(FAULTS)}")
    names = list(dict.fromkeys(chosen)) or list(FAULTS)
    if unused := [name for name, given in sizes.items() if given and name not in names]:
        raise Vo3dError(f"sizes of the fault {unused[0]}, and --faults {' '.join(names)}: add it there, or leave them")
    return {
        name: [Point(fault=name, value=size) for size in sorted({0.0, *(sizes.get(name) or FAULTS[name].values)})]
        for name in names
    }
