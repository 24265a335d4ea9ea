"""The bias of a gyroscope: at rest, and from rotations that are known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import so3_exp
from vo3d.geometry.gyro_bias import gyro_bias_at_rest, gyro_bias_from_rotations
from vo3d.geometry.preintegration import preintegrate

BIAS = torch.tensor([0.01, -0.02, 0.03], dtype=torch.float64)


def stream(rest: bool) -> tuple[Tensor, Tensor]:
    """Ten seconds at 100 Hz of a moving sensor with the noise of a small one; two of them, from 4 s on, at rest."""
    time = torch.arange(1000, dtype=torch.float64) / 100
    phase = torch.arange(6, dtype=torch.float64)
    motion = 0.3 * (2 * time[:, None] + phase).sin() + torch.tensor([0.0] * 5 + [9.81]).double()
    if rest:
        motion[400:600] = torch.tensor([0.0] * 5 + [9.81]).double()
    sizes = torch.tensor([2e-3] * 3 + [2e-2] * 3, dtype=torch.float64)
    noise = torch.randn(1000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * sizes
    noise[:, :3] += BIAS
    return time, motion + noise


def test_the_mean_rate_at_rest_is_the_bias() -> None:
    time, imu = stream(rest=True)
    found = gyro_bias_at_rest(time, imu.float(), "imu.csv")
    torch.testing.assert_close(found, BIAS, atol=1e-3, rtol=0)  # 0.0002 of noise, and the ends of the rest
    torch.testing.assert_close(gyro_bias_at_rest(time + 1e5, imu, "imu.csv", 1.5), BIAS, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("change", "seconds", "words"),
    [
        (
            lambda imu: imu,
            1.0,
            r"no 1 s at rest in 1000 readings: at the quietest, from \d.\d\d s on, the rate deviates",
        ),
        (lambda imu: 0 * imu + 0.5, 1.0, r"the gyroscope reads \(0.5, 0.5, 0.5\) rad/s in all 1000 readings: expected"),
        (lambda imu: imu, 60.0, "no 60 s at rest in 1000 readings, which last less"),
        (lambda imu: imu[:1], 1.0, "no 1 s at rest in 1 readings, which last less"),
        (lambda imu: imu[:0], 1.0, "no 1 s at rest in 0 readings, which last less"),
    ],
)
def test_what_has_no_rest_is_told_in_one_line(change, seconds: float, words: str) -> None:
    time, imu = stream(rest=False)
    imu = change(imu)
    with pytest.raises(Vo3dError, match=rf"^imu.csv: {words}[^\n]*$"):
        gyro_bias_at_rest(time[: len(imu)], imu, "imu.csv", seconds)


def test_known_rotations_give_the_bias_although_a_third_of_them_are_wrong() -> None:
    time, imu = stream(rest=False)
    imu, time = imu[:990].unflatten(0, (-1, 11)), time[:990].unflatten(0, (-1, 11))
    exact = preintegrate(imu, time, torch.cat((BIAS, BIAS * 0))).rotation
    moved = preintegrate(imu, time)
    torch.testing.assert_close(gyro_bias_from_rotations(moved, exact), BIAS, atol=1e-7, rtol=0)
    away = torch.tensor([0.02, 0.02, 0.02, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(gyro_bias_from_rotations(moved.at_bias(away), exact), BIAS, atol=1e-4, rtol=0)
    wrong = exact.clone()
    wrong[::3] = wrong[::3] @ so3_exp(torch.tensor([0.0, 0.05, 0.0], dtype=torch.float64))
    torch.testing.assert_close(gyro_bias_from_rotations(moved, wrong), BIAS, atol=1e-4, rtol=0)
    with pytest.raises(Vo3dError, match="no step of known rotation and with readings"):
        gyro_bias_from_rotations(replace(moved, duration=0 * moved.duration), exact)
