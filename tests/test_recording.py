"""Recordings: positions, names, those of joined datasets."""

import torch
from torch.utils.data import ConcatDataset, TensorDataset

from tiny import TinyRecording, Whole
from vo3d.recording import recordings_of


def test_positions_are_those_of_the_poses_and_names_count_in_the_source() -> None:
    recording = TinyRecording(frames=3)
    recording.first_frame = 40
    assert torch.equal(recording.positions(), recording.poses()[:, :3, 3])
    assert list(recording.names) == ["000040", "000041", "000042"]


def test_joined_datasets_have_the_recordings_of_all() -> None:
    first, second = Whole([TinyRecording(0)]), Whole([TinyRecording(1), TinyRecording(2)])
    joined = ConcatDataset([first, ConcatDataset([second, TensorDataset(torch.zeros(3))])])
    assert [recording.name for recording in recordings_of(joined)] == ["tiny-0", "tiny-1", "tiny-2"]
