"""A recording thinned out: for videos whose frames follow each other faster than the camera moves."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.inertial import InertialSteps
from vo3d.recording import Recording
from vo3d.sample import Sample


class EveryNth(Recording):
    """Every n-th frame of another recording, from its first on; numbers and names stay those of the source.

    Args:
        recording: frames in time order.
        step: from each frame to the next.

    Raises:
        Vo3dError: the step is below 1.
    """

    def __init__(self, recording: Recording, step: int) -> None:
        if step < 1:
            raise Vo3dError(f"every {step} frames: expected a whole number of at least 1")
        self.recording, self.step = recording, step
        self.name, self.metric, self.first_frame = recording.name, recording.metric, recording.first_frame
        self.notes, self.camera = recording.notes, recording.camera

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as in their source."""
        return self.recording.frames[:: self.step]

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each frame as the other recording does."""
        return self.recording.names[:: self.step]

    def __len__(self) -> int:
        """Count the frames that are left."""
        return len(range(0, len(self.recording), self.step))

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`, with all readings since the view before; raises as the other recording does."""
        sample = self.recording.clip([index * self.step for index in indices])
        return replace(sample, index=torch.tensor(list(indices)))

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Give the poses of the frames."""
        poses = self.recording.poses()
        return None if poses is None else poses[:: self.step]

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the positions of the frames."""
        positions = self.recording.positions()
        return None if positions is None else positions[:: self.step]

    def inertial(self) -> InertialSteps | None:
        """Give all readings between the frames."""
        found, steps = self.recording.inertial(), len(self) - 1
        if found is None:
            return None
        imu, time = (
            part[: steps * self.step].reshape(steps, self.step * part.shape[1], *part.shape[2:])
            for part in (found.imu, found.time)
        )
        return InertialSteps(imu, time, found.cam_T_imu)
