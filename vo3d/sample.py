"""What every dataset yields: a clip of S views, in metres, radians, seconds and pixels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import trajectory


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip of S views, or a batch of them (leading axes `*b`); optional fields are None, never missing.

    Convention: camera axes x right, y down, z forward; `world_T_cam` maps camera points into the world;
    the centre of the top-left pixel is (0, 0). Millimetres, axis flips and nanoseconds end in the loader.
    """

    image: Float[Tensor, "*b s 3 h w"]  # RGB in [0, 1]; each model does its own normalisation
    K: Float[Tensor, "*b s 3 3"]  # pixels
    world_T_cam: Float[Tensor, "*b s 4 4"] | None = None  # metres
    depth: Float[Tensor, "*b s h w"] | None = None  # z in metres; 0 = no measurement
    depth_range: Float[Tensor, "*b s 2"] | None = None  # near and far, metres
    time: Float64[Tensor, "*b s"] | None = None  # seconds
    imu: Float[Tensor, "*b s n 6"] | None = None  # rad/s then m/s^2, since the previous view; row 0 of s: zeros
    right: Float[Tensor, "*b s 3 h w"] | None = None  # the stereo partner of `image`
    left_T_right: Float[Tensor, "*b 4 4"] | None = None  # its rigid offset, metres
    mask: Int[Tensor, "*b s h w"] | None = None  # object ids, 0 = static world
    flow: Float[Tensor, "*b s 2 h w"] | None = None  # pixels, to the next view in time; NaN = not defined
    occupancy: Bool[Tensor, "*b d d d"] | None = None  # voxel truth
    scene: str | list[str] = ""  # the recording; a list once collated
    index: Int[Tensor, "*b s"] | None = None  # place of each view in its recording

    def given(self) -> tuple[str, ...]:
        """Names of the fields that are present, in the order of the class."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Sample":
        """The sample with `function` applied to every tensor that it holds."""
        changed: dict[str, Any] = {
            name: function(value) for name in self.given() if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Sample":
        """The sample with every tensor on `device`; dtypes stay as they are."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Sample":
        """The sample in page-locked memory, for asynchronous copies; torch's DataLoader calls this."""
        return self.map(Tensor.pin_memory)

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
        for name in first.given():
            if name == "scene":
                continue
            tensors = [getattr(sample, name) for sample in samples]
            for other, tensor in zip(samples, tensors, strict=True):
                if tensor.shape != tensors[0].shape:
                    raise Vo3dError(
                        f"{name} has shape {tuple(tensors[0].shape)} in {first.scene!r} but {tuple(tensor.shape)} in "
                        f"{other.scene!r}: one batch needs equal shapes; give the dataset a size"
                    )
            stacked[name] = torch.stack(tensors)
        return Sample(**stacked)


class Recording(ABC):
    """One sequence of frames in time order, from which clips are taken; a clip never leaves its recording."""

    name: str
    first_frame: int = 0  # number of frame 0 in the source; more in an excerpt

    @property
    def frames(self) -> range:
        """Numbers of the frames in their source, by which results tell excerpts of one sequence apart."""
        return range(self.first_frame, self.first_frame + len(self))

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def clip(self, indices: Sequence[int]) -> Sample:
        """The views at `indices`, unaugmented, in that order; `scene` is `name`, `index` is `indices`."""

    @abstractmethod
    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """`world_T_cam` of every frame in metres without reading an image; None where there is no truth."""


class MultiViewScene(Recording):
    """Views of one scene in no order, each with the other views that suit it; indices are places, from 0 on."""

    names: Sequence[str]  # of the views' images, without suffixes; results name their files by them
    metric: bool = True  # whether lengths are metres; else they are in a unit that nobody told, and samples keep it

    @abstractmethod
    def sources(self, index: int) -> Sequence[int]:
        """Indices of the views to match view `index` with, best first; empty where it is only ever a source."""

    @property
    def references(self) -> list[int]:
        """Indices of the views that have sources."""
        return [index for index in range(len(self)) if self.sources(index)]


def known_steps(recordings: Iterable[Recording]) -> Float64[Tensor, "n 4 4"]:
    """All steps `prev_T_cam` (metres) between neighbouring frames of `recordings`.

    Raises Vo3dError when a recording has no poses or when there is no step at all.
    """
    found = []
    for recording in recordings:
        world_T_cam = recording.poses()
        if world_T_cam is None:
            raise Vo3dError(f"{recording.name} has no poses: a baseline is fitted to recordings with ground truth")
        if len(world_T_cam) > 1:
            found.append(trajectory.steps(world_T_cam))
    if not found:
        raise Vo3dError("no recording with two or more frames: a baseline needs at least one step to be fitted to")
    return torch.cat(found)
