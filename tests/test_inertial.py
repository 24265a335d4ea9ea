"""The readings between frames, as samples get them."""

import itertools

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.inertial import InertialSteps, cut_to_frames


def test_views_two_frames_apart_have_the_readings_of_both_steps() -> None:
    imu = torch.arange(36, dtype=torch.float64).reshape(3, 2, 6)
    time = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    fields = InertialSteps(imu, time).since_previous([1, 3], "walk")
    assert fields["imu"] is not None
    assert fields["imu"][0].isnan().all()
    assert fields["imu_time"] is not None
    assert torch.equal(fields["imu"][1], imu[1:].flatten(0, 1).float())
    assert fields["imu_time"][1].tolist() == [2.0, 3.0, 4.0, 5.0]
    with pytest.raises(Vo3dError, match=r"views \[0, 1, 3\] of 'walk' with imu: expected ascending views at one"):
        InertialSteps(imu, time).since_previous([0, 1, 3], "walk")


def test_a_reading_has_an_instant_and_an_instant_a_reading() -> None:
    imu, time = torch.zeros(3, 2, 6, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    time[2, 1] = torch.nan
    with pytest.raises(Vo3dError, match="NaN at different places"):
        InertialSteps(imu, time)


def stream(rate: float = 100.0, seconds: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Instants, and readings that are linear in time."""
    time = torch.arange(round(rate * seconds) + 1, dtype=torch.float64) / rate
    return time, time[:, None] * torch.arange(1.0, 7.0, dtype=torch.float64)


def test_steps_end_at_the_frames_with_readings_between_their_neighbours() -> None:
    time, imu = stream()
    frames = torch.tensor([0.0, 0.05, 0.123, 1.0], dtype=torch.float64)
    steps = cut_to_frames(time, imu, frames, "imu.csv")
    for row, (begin, end) in enumerate(itertools.pairwise(frames)):
        known = ~steps.time[row].isnan()
        inside = steps.time[row][known]
        assert inside[0] == begin
        assert inside[-1] == end
        assert (inside.diff() > 0).all()
        assert set(time[(time > begin) & (time < end)].tolist()) == set(inside[1:-1].tolist())
        expected = inside[:, None] * torch.arange(1.0, 7.0, dtype=torch.float64)
        assert torch.allclose(steps.imu[row][known], expected, atol=1e-12)


def test_a_stream_that_does_not_cover_the_frames_is_refused() -> None:
    time, imu = stream()
    frames = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    with pytest.raises(Vo3dError, match=r"imu.csv: the readings end 0.400 s before the last frame"):
        cut_to_frames(time[:51], imu[:51], frames, "imu.csv")
    with pytest.raises(Vo3dError, match=r"imu.csv: the readings begin 0.100 s after the first frame"):
        cut_to_frames(time[20:], imu[20:], frames, "imu.csv")
    with pytest.raises(Vo3dError, match=r"imu.csv: no reading for 0.210 s after 0.400000 s, 5 times the usual 0.0100"):
        cut_to_frames(torch.cat((time[:41], time[61:])), torch.cat((imu[:41], imu[61:])), frames, "imu.csv")
    with pytest.raises(Vo3dError, match=r"imu.csv: reading 3 at 0.020000 s follows 0.020000 s: expected two or more"):
        cut_to_frames(torch.cat((time[:3], time[2:])), torch.cat((imu[:3], imu[2:])), frames, "imu.csv")
    early = torch.tensor([0.7, 0.9], dtype=torch.float64)  # a gap outside of the frames does no harm
    assert (
        cut_to_frames(torch.cat((time[:41], time[61:])), torch.cat((imu[:41], imu[61:])), early, "x")
        .imu.isfinite()
        .all()
    )
