"""The readings between frames, as samples get them."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.inertial import InertialSteps


def test_views_two_frames_apart_have_the_readings_of_both_steps() -> None:
    imu = torch.arange(36, dtype=torch.float64).reshape(3, 2, 6)
    time = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    fields = InertialSteps(imu, time).since_previous([1, 3], "walk")
    assert fields["imu"] is not None and fields["imu"][0].isnan().all() and fields["imu_time"] is not None
    assert torch.equal(fields["imu"][1], imu[1:].flatten(0, 1).float())
    assert fields["imu_time"][1].tolist() == [2.0, 3.0, 4.0, 5.0]
    with pytest.raises(Vo3dError, match=r"views \[0, 1, 3\] of 'walk' with imu: expected ascending views at one"):
        InertialSteps(imu, time).since_previous([0, 1, 3], "walk")


def test_a_reading_has_an_instant_and_an_instant_a_reading() -> None:
    imu, time = torch.zeros(3, 2, 6, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    time[2, 1] = torch.nan
    with pytest.raises(Vo3dError, match="NaN at different places"):
        InertialSteps(imu, time)
