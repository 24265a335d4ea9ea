"""Recordings and datasets around others: what stays as it is where only views or readings change."""

from collections.abc import Sequence
from functools import cached_property

from jaxtyping import Float64
from torch import Tensor

from vo3d.inertial import InertialSteps
from vo3d.recording import Recording, RecordingDataset


class RecordingAround(Recording):
    """The frames of another recording, with its name, numbers, poses and readings; `clip` is left to its kinds.

    Args:
        recording: the other one.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.name, self.metric, self.first_frame = recording.name, recording.metric, recording.first_frame
        self.notes, self.camera = recording.notes, recording.camera

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as the recording does."""
        return self.recording.frames

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each frame as the recording does."""
        return self.recording.names

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.recording)

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Give the poses of the recording."""
        return self.recording.poses()

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the positions of the recording."""
        return self.recording.positions()

    def inertial(self) -> InertialSteps | None:
        """Give the inertial readings of the recording."""
        return self.recording.inertial()


class DatasetAround(RecordingDataset):
    """The samples of another dataset, out of recordings around its own.

    Its transforms are those of the other dataset, which draw from the same seed, epoch and number.

    Args:
        dataset: the other one.
        recordings: one for each of its own, in their order.
    """

    def __init__(self, dataset: RecordingDataset, recordings: Sequence[Recording]) -> None:
        self.dataset, self.recordings = dataset, recordings
        self.transforms, self.seed = dataset.transforms, dataset.seed

    def set_epoch(self, epoch: int) -> None:
        """Choose the augmentations of `epoch`, and what the other dataset draws in it."""
        super().set_epoch(epoch)
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.dataset)

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording around that of sample `index`, and its views."""
        recording, views = self.dataset.place(index)
        return self.recordings[list(self.dataset.recordings).index(recording)], views
