"""Every n-th frame is what the source has there, with all readings since the one before."""

from pathlib import Path

import pytest
import torch

from tiny import TinyRecording
from vo3d.datasets.euroc import EuRoC
from vo3d.errors import Vo3dError
from vo3d.every_nth import EveryNth


@pytest.mark.parametrize("step", [1, 2, 3, 7, 20])
def test_frames_names_and_poses_stay_those_of_the_source(step: int) -> None:
    whole = TinyRecording(frames=7)
    found = EveryNth(whole, step)
    places = list(range(0, 7, step))
    assert len(found) == len(places)
    assert list(found.frames) == [whole.frames[place] for place in places]
    assert list(found.names) == [whole.names[place] for place in places]
    poses, truth = found.poses(), whole.poses()
    assert poses is not None
    assert truth is not None
    assert torch.equal(poses, truth[places])
    sample, expected = found.clip(range(len(places))), whole.clip(places)
    assert torch.equal(sample.image, expected.image)
    assert sample.index is not None
    assert sample.index.tolist() == list(range(len(places)))


def test_steps_below_one_are_refused() -> None:
    with pytest.raises(Vo3dError, match="every 0 frames: expected a whole number of at least 1"):
        EveryNth(TinyRecording(frames=7), 0)


@pytest.mark.real
def test_readings_are_those_of_a_clip_with_that_stride(shared_data: Path) -> None:
    (whole,) = EuRoC(shared_data / "euroc", ["MH_01_easy"], imu=True, frames=(0, 12)).recordings
    found = EveryNth(whole, 4)
    steps = found.inertial()
    assert steps is not None
    direct = whole.clip(list(range(0, len(whole), 4)))
    assert direct.imu is not None
    places = list(range(len(found)))
    given = steps.since_previous(places, found.name)
    for name in ("imu", "imu_time"):
        torch.testing.assert_close(given[name], getattr(direct, name), equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(getattr(found.clip(places), name), given[name], equal_nan=True, rtol=0, atol=0)
