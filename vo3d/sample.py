"""What every dataset yields: a clip of S views, in metres, radians, seconds and pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError

UNKNOWN_LABEL = 255  # in `Sample.label`: the class of a pixel is not known
DOUBLES = (
    "world_T_cam",
    "object_motion",
    "world_T_grid",
    "time",
    "imu_time",
)  # float32 does not hold their digits


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip of S views, or a batch of them (leading axes `*b`); optional fields are None, never missing.

    Poses are float64, because a world's origin may lie 5,000 km away: models make poses relative, or subtract a
    buffered mean, before they cast. Axes that lead from one view to the next (`flow`, `object_motion`) have S - 1.

    Convention: camera axes x right, y down, z forward; `world_T_cam` maps camera points into the world;
    the centre of the top-left pixel is (0, 0). Millimetres, axis flips and nanoseconds end in the loader.

    Raises Vo3dError for a field of `DOUBLES` in another type, and for `imu` without `imu_time`.
    """

    image: Float[Tensor, "*b s 3 h w"]  # RGB in [0, 1]; each model does its own normalisation
    K: Float[Tensor, "*b s 3 3"] | None = None  # pixels; None where a source does not know it
    world_T_cam: Float64[Tensor, "*b s 4 4"] | None = None  # metres
    depth: Float[Tensor, "*b s h w"] | None = None  # z in metres; 0 = no measurement
    depth_range: Float[Tensor, "*b s 2"] | None = None  # near and far, metres
    time: Float64[Tensor, "*b s"] | None = None  # seconds
    imu: Float[Tensor, "*b s n 6"] | None = None  # rad/s then m/s^2, since the previous view; NaN = no reading
    imu_time: Float64[Tensor, "*b s n"] | None = None  # instants of the readings, in the clock of `time`; NaN as there
    cam_T_imu: Float[Tensor, "*b 4 4"] | None = None  # where the inertial sensor sits
    right: Float[Tensor, "*b s 3 h w"] | None = None  # the stereo partner of `image`
    left_T_right: Float[Tensor, "*b 4 4"] | None = None  # its rigid offset, metres
    mask: Int[Tensor, "*b s h w"] | None = None  # object ids, 0 = static world
    flow: Float[Tensor, "*b s-1 2 h w"] | None = None  # pixels, to the next view; NaN = not defined
    object_motion: Float64[Tensor, "*b s-1 k 4 4"] | None = None  # of ids 1 to k in the world, to the next view
    label: Int[Tensor, "*b s h w"] | None = None  # class of each pixel, 255 = unknown
    occupancy: Bool[Tensor, "*b d d d"] | None = None  # voxel truth, axes x y z
    world_T_grid: Float64[Tensor, "*b 4 4"] | None = None  # from the grid's [0, 1]^3 to metres
    scene: str | list[str] = ""  # the recording; a list once collated
    index: Int[Tensor, "*b s"] | None = None  # place of each view in its recording

    def __post_init__(self) -> None:
        for name in DOUBLES:
            value = getattr(self, name)
            if value is not None and value.dtype != torch.float64:
                raise Vo3dError(f"{name} of {self.scene!r} is {value.dtype}: expected torch.float64, call .double()")
        if self.imu is not None and self.imu_time is None:
            raise Vo3dError(f"{self.scene!r} has imu without imu_time: expected the instant of each reading in seconds")

    def given(self) -> tuple[str, ...]:
        """Name the fields that are present, in the order of the class."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Sample":
        """Make the sample with `function` applied to every tensor that it holds."""
        changed: dict[str, Any] = {
            name: function(value) for name in self.given() if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Sample":
        """Put every tensor of the sample on `device`; dtypes stay as they are."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Sample":
        """Put the sample in page-locked memory, for asynchronous copies; torch's DataLoader calls this."""
        return self.map(Tensor.pin_memory)

    def batched(self) -> "Sample":
        """Give the sample a batch axis of one, without a copy of its tensors."""
        return replace(self.map(lambda tensor: tensor[None]), scene=[str(self.scene)])

    @staticmethod
    def collate(samples: Sequence["Sample"]) -> "Sample":
        """Stack samples along a new first axis; `scene` becomes a list.

        Raises Vo3dError when the samples do not carry the same fields or shapes.
        """
        if not samples:
            raise Vo3dError("an empty batch cannot be collated: expected at least one sample")
        first = samples[0]
        for other in samples[1:]:
            if other.given() != first.given():
                odd = ", ".join(sorted(set(first.given()) ^ set(other.given())))
                raise Vo3dError(
                    f"samples of {first.scene!r} and {other.scene!r} differ in the fields {odd}: "
                    "one batch needs the same fields in all; choose them in the dataset's arguments"
                )
        stacked: dict[str, Any] = {"scene": [sample.scene for sample in samples]}
        for name in (name for name in first.given() if name != "scene"):
            tensors = [getattr(sample, name) for sample in samples]
            for other, tensor in zip(samples, tensors, strict=True):
                if tensor.shape != tensors[0].shape:
                    raise Vo3dError(
                        f"{name} has shape {tuple(tensors[0].shape)} in {first.scene!r} but {tuple(tensor.shape)} in "
                        f"{other.scene!r}: one batch needs equal shapes; give the dataset a size"
                    )
            stacked[name] = torch.stack(tensors)
        return Sample(**stacked)
