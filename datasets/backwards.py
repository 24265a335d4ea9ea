"""Recordings walked backwards: the same views and poses in the opposite order, as of a film that is run backwards."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.around import DatasetAround
from vo3d.datasets.resize import changed
from vo3d.errors import Vo3dError
from vo3d.recording import MultiViewScene, Recording, RecordingDataset
from vo3d.sample import Sample

SUFFIX = "_backwards"  # behind the names of recordings
ONE_WAY = ("flow", "object_motion", "imu")  # fields that lead from one view to the next


class BackwardsRecording(Recording):
    """The views of another recording from its last to its first.

    `frames` and `names` are those of the other, reversed: results tell which frame is which. `time` runs as in a film
    that is run backwards, from 0 at what was the last frame, in seconds: t = t_last - t_frame, so it ascends as
    everything that reads recordings expects, and intervals keep their lengths.

    Args:
        recording: frames in time order.

    Raises:
        Vo3dError: its views are in no order.
    """

    def __init__(self, recording: Recording) -> None:
        if isinstance(recording, MultiViewScene):
            raise Vo3dError(f"{recording.name} holds views in no order: only frames in time order run backwards")
        self.recording = recording
        self.name, self.metric, self.notes = f"{recording.name}{SUFFIX}", recording.metric, recording.notes

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames as the recording does, from its last on."""
        return self.recording.frames[::-1]

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each frame as the recording does."""
        return self.recording.names[::-1]

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.recording)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices` of the reversed order.

        Raises Vo3dError for fields that lead from one view to the next: nobody measured the way back.
        """
        sample = self.recording.clip([len(self) - 1 - index for index in reversed(indices)])  # as it knows them
        if found := [name for name in ONE_WAY if name in sample.given()]:
            raise Vo3dError(
                f"{self.recording.name} gives {', '.join(found)}, which lead forwards from view to view: turn them off "
                "in the arguments of the dataset that is run backwards"
            )
        per_view = [name for name in sample.given() if name not in {"left_T_right", "scene"}]
        fields = changed(sample, per_view, lambda field: field.flip(0)) | {"index": torch.tensor(list(indices))}
        if "time" in fields:
            fields["time"] = self._end - fields["time"]
        return replace(sample, scene=self.name, **fields)

    @cached_property
    def _end(self) -> Float64[Tensor, ""]:
        """Read the time of the last frame."""
        time = self.recording.clip([len(self) - 1]).time
        assert time is not None  # noqa: S101  by the caller
        return time[0]

    def poses(self) -> Float64[Tensor, "n 4 4"] | None:
        """Give the poses of the recording, from its last on."""
        poses = self.recording.poses()
        return None if poses is None else poses.flip(0)

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the positions of the recording, from its last on."""
        positions = self.recording.positions()
        return None if positions is None else positions.flip(0)


class Backwards(DatasetAround):
    """The samples of another dataset of frames in time order, each run backwards, of recordings that run backwards.

    Its transforms are those of the other dataset, which draw from the same seed, epoch and number.

    Args:
        dataset: whose recordings are walked backwards.

    Raises:
        Vo3dError: views of a recording are in no order.
    """

    def __init__(self, dataset: RecordingDataset) -> None:
        super().__init__(dataset, [BackwardsRecording(recording) for recording in dataset.recordings])

    def place(self, index: int) -> tuple[Recording, list[int]]:
        """Give the recording of sample `index` and its views, those of the other dataset's sample in reverse."""
        recording, views = super().place(index)
        return recording, [len(recording) - 1 - view for view in reversed(views)]
