"""Recordings with faults of the sensors: a turned or late inertial sensor, bias, noise, frames that did not arrive."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vo3d.datasets.around import DatasetAround, RecordingAround
from vo3d.errors import Vo3dError
from vo3d.geometry import so3_exp
from vo3d.inertial import InertialSteps
from vo3d.recording import MultiViewScene, Recording, RecordingDataset
from vo3d.sample import Sample
from vo3d.world.imu import ImuChoice, ImuErrors, imu_errors_of, with_errors
from vo3d.world.scene import generator_of

IMAGES = ("image", "right")  # what a driver repeats where a frame does not arrive


class PerturbedRecording(RecordingAround):
    """Another recording whose sensors say something else, while the truth and the instants stay what they are.

    What is drawn depends on the seed and the name of the recording alone, and not on the size of a fault: twice the
    bias has the same direction, and frames that drop at a share of 0.05 drop at 0.1 as well.

    Args:
        recording: frames in time order.
        rotation_deg: angle that the inertial sensor is turned by about a drawn axis, in a way that nobody told:
            `cam_T_imu` stays as it was.
        time_offset: seconds; readings with the stamp t were taken at t + offset, of the signal that is linear between
            the readings of the recording and stays as it is before the first and after the last.
        imu_errors: bias, its walk and noise that come on top of those that the readings have; "mems" for those of a
            small real sensor. A reading stands for half the time from the one before it to the one after it.
        dropped: share of the frames that did not arrive: their images are those of the last frame that did. The first
            arrives always; depth, flow and masks are truth and stay.
        seed: of what is drawn.

    Raises:
        Vo3dError: an argument that is negative (but for the offset) or not finite, a share of 1 or more, faults of
            readings that the recording does not give, views in no order.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        rotation_deg: float = 0.0,
        time_offset: float = 0.0,
        imu_errors: ImuChoice = None,
        dropped: float = 0.0,
        seed: int = 0,
    ) -> None:
        if isinstance(recording, MultiViewScene):
            raise Vo3dError(f"{recording.name} holds views in no order: only frames in time order are perturbed")
        if not 0 <= rotation_deg < math.inf:
            raise Vo3dError(f"rotation_deg {rotation_deg}: expected an angle of at least 0 degrees")
        if not math.isfinite(time_offset):
            raise Vo3dError(f"time_offset {time_offset}: expected a number of seconds")
        if not 0 <= dropped < 1:
            raise Vo3dError(f"dropped {dropped}: expected a share of the frames, at least 0 and less than 1")
        if seed < 0:
            raise Vo3dError(f"seed {seed}: expected at least 0")
        super().__init__(recording)
        self._rotation, self._offset, self._errors = math.radians(rotation_deg), time_offset, imu_errors_of(imu_errors)
        self._dropped, self._seed = dropped, seed
        self._faulty = bool(rotation_deg or time_offset or self._errors != ImuErrors())  # readings
        if self._faulty and recording.inertial() is None:
            raise Vo3dError(
                f"{recording.name} gives no inertial readings to perturb: turn imu on in the dataset's arguments, or "
                "leave rotation_deg, time_offset and imu_errors out"
            )

    def inertial(self) -> InertialSteps | None:
        """Give the perturbed readings; None where the recording has none."""
        return self._inertial if self._faulty else self.recording.inertial()

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices` as the faulty sensors tell them."""
        sample = self.recording.clip(indices)
        fields: dict[str, Any] = self._inertial.since_previous(indices, self.name) if self._faulty else {}
        sources = self._sources[list(indices)].tolist()
        if sources != list(indices):
            read = {index: (sample, view) for view, index in enumerate(indices)}  # what the clip shows already
            shown = [read.get(one) or (self.recording.clip((one,)), 0) for one in sources]
            for name in IMAGES:
                if name in sample.given():
                    fields[name] = torch.stack([getattr(one, name)[view] for one, view in shown])
        return replace(sample, **fields)

    @cached_property
    def _sources(self) -> Int[Tensor, " n"]:
        """Find the frame whose image stands for each frame: the last one that arrived."""
        drawn = torch.rand(len(self), generator=self._generator("dropped"), dtype=torch.float64)
        arrived = drawn >= self._dropped
        arrived[0] = True
        return torch.where(arrived, torch.arange(len(self)), 0).cummax(0).values

    @cached_property
    def _inertial(self) -> InertialSteps:
        """Perturb the readings: what the sensor saw late, then in its turned axes, then with its own errors."""
        steps = self.recording.inertial()
        assert steps is not None  # noqa: S101  by the constructor
        known = ~steps.time.isnan()
        time, place = torch.unique(steps.time[known], return_inverse=True)  # frames' instants stand in two steps
        if len(time) < 2:
            raise Vo3dError(f"{self.name}: {len(time)} inertial readings: expected two or more, to perturb them")
        signal = torch.empty(len(time), 6, dtype=torch.float64)
        signal[place] = steps.imu[known]
        taken = (time + self._offset).numpy()
        signal = torch.from_numpy(np.stack([np.interp(taken, time.numpy(), axis) for axis in signal.mT.numpy()], 1))
        axis = torch.randn(3, generator=self._generator("axis"), dtype=torch.float64)
        turn = so3_exp(self._rotation * axis / axis.norm())
        signal = (signal.view(-1, 2, 3) @ turn.mT).flatten(1)
        gaps = time.diff()
        around = (torch.cat((gaps[:1], gaps)) + torch.cat((gaps, gaps[-1:]))) / 2
        elapsed = torch.cat((gaps.new_zeros(1), gaps))
        signal = with_errors(signal, elapsed, around, self._errors, self._generator("errors"))
        imu = steps.imu.clone()
        imu[known] = signal[place]
        return replace(steps, imu=imu)

    def _generator(self, part: str) -> torch.Generator:
        """Return the source of random numbers of one fault of this recording."""
        return generator_of(self._seed, f"{self.name} {part}")


class Perturbed(DatasetAround):
    """The samples of another dataset of frames in time order as faulty sensors tell them.

    Args:
        dataset: whose recordings are perturbed.
        rotation_deg, time_offset, imu_errors, dropped, seed: see `PerturbedRecording`; `seed` is that of the faults.

    Raises:
        Vo3dError: as `PerturbedRecording`.
    """

    def __init__(
        self,
        dataset: RecordingDataset,
        *,
        rotation_deg: float = 0.0,
        time_offset: float = 0.0,
        imu_errors: ImuChoice = None,
        dropped: float = 0.0,
        seed: int = 0,
    ) -> None:
        perturbed = [
            PerturbedRecording(
                recording,
                rotation_deg=rotation_deg,
                time_offset=time_offset,
                imu_errors=imu_errors,
                dropped=dropped,
                seed=seed,
            )
            for recording in dataset.recordings
        ]
        super().__init__(dataset, perturbed)
