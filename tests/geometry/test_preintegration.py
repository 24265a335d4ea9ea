"""Preintegration: closed forms, finite differences, noise drawn many times, and the rendered world's exact readings."""

import math

import pytest
import torch
from torch import Tensor

from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, so3_exp, so3_log
from vo3d.geometry.preintegration import Preintegration, interval_signals, preintegrate
from vo3d.geometry.rotations import so3_right_jacobian
from vo3d.world.path import GRAVITY
from vo3d.world.scene import build_scene

RATE = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
FORCE = torch.tensor([1.0, 9.0, -2.0], dtype=torch.float64)


def wobble(time: Tensor) -> Tensor:
    """Smooth readings that turn and push in all axes."""
    phase = torch.arange(6, dtype=torch.float64)
    return (1.3 * time[..., None] + phase).sin() * torch.cat((RATE, FORCE)) + 0.3 * phase


def vector(moved: Preintegration) -> Tensor:
    return torch.cat((so3_log(moved.rotation), moved.velocity, moved.position), -1)


def test_constant_rate_and_force_along_the_axis_are_exact() -> None:
    time = torch.tensor([0.0, 0.3, 0.35, 2.0], dtype=torch.float64)
    moved = preintegrate(torch.cat((RATE, 3 * RATE)).expand(4, 6), time)
    torch.testing.assert_close(moved.rotation, so3_exp(2 * RATE))
    torch.testing.assert_close(moved.velocity, 2 * 3 * RATE)
    torch.testing.assert_close(moved.position, 2 * 3 * RATE)
    assert float(moved.duration) == 2.0
    moved = preintegrate(torch.cat((0 * RATE, FORCE)).expand(4, 6), time)
    torch.testing.assert_close(moved.position, FORCE * 2)


@pytest.mark.parametrize("readings", [20, 40, 80])
def test_a_circle_at_constant_speed_closes_with_the_square_of_the_time_between_readings(readings: int) -> None:
    speed, turn = 5.0, 2 * math.pi / 4  # m/s forward (z), rad/s about y: a circle in four seconds
    imu = torch.tensor([0.0, turn, 0.0, speed * turn, -9.81, 0.0], dtype=torch.float64).expand(4 * readings + 1, 6)
    moved = preintegrate(imu, torch.arange(4 * readings + 1, dtype=torch.float64) / readings)
    start = torch.eye(4, dtype=torch.float64)
    gravity, velocity = torch.tensor([[0, 9.81, 0], [0, 0, speed]], dtype=torch.float64)
    pose, velocity = moved.predict(start, velocity, gravity)
    torch.testing.assert_close(pose[:3, :3], start[:3, :3])
    torch.testing.assert_close(velocity, torch.tensor([0, 0, speed]).double(), atol=1e-9, rtol=0)
    assert 1e-12 < float(pose[:3, 3].norm()) < 3 / readings**2  # of a path of 20 m


def test_derivatives_by_the_bias_are_those_of_finite_differences() -> None:
    time = torch.tensor([0.0, 0.1, 0.15, 0.4, 0.4, 0.7], dtype=torch.float64)
    imu, step = wobble(time), 1e-6
    moved = preintegrate(imu, time)
    for column in range(6):
        bias = step * torch.eye(6, dtype=torch.float64)[column]
        high, low = preintegrate(imu, time, bias), preintegrate(imu, time, -bias)
        turn = so3_log(low.rotation.mT @ high.rotation)
        change = torch.cat((turn, high.velocity - low.velocity, high.position - low.position)) / (2 * step)
        torch.testing.assert_close(moved.by_bias[:, column], change, atol=1e-8, rtol=1e-6)


def test_a_correction_for_the_bias_is_of_first_order() -> None:
    time = torch.linspace(0, 0.5, 11, dtype=torch.float64)
    away = torch.tensor([0.02, -0.01, 0.03, 0.1, -0.2, 0.1], dtype=torch.float64)
    moved = preintegrate(wobble(time), time)
    errors = []
    for size in (1.0, 0.1):
        truth, corrected = preintegrate(wobble(time), time, size * away), moved.at_bias(size * away)
        torch.testing.assert_close(corrected.bias, truth.bias)
        errors.append(float((vector(truth) - vector(corrected)).norm()))
    assert errors[0] < 0.2 * float((vector(truth) - vector(moved)).norm())
    assert errors[1] < 0.012 * errors[0]  # a tenth of the change, a hundredth of the error


def test_the_covariance_is_that_of_noise_drawn_many_times() -> None:
    time, drawn = torch.linspace(0, 1, 51, dtype=torch.float64), 4000
    gyro, accelerometer = 0.01, 0.05
    exact = preintegrate(wobble(time), time, gyro_density=gyro, accelerometer_density=accelerometer)
    densities = torch.tensor([gyro] * 3 + [accelerometer] * 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(drawn, 51, 6, generator=generator, dtype=torch.float64) * densities * 50**0.5
    noise[:, [0, -1]] *= 2**0.5  # they stand for half as long
    moved = preintegrate(wobble(time) + noise, time.expand(drawn, 51))
    turn = so3_log(exact.rotation.mT @ moved.rotation)
    errors = torch.cat((turn, moved.velocity - exact.velocity, moved.position - exact.position), -1)
    size = exact.covariance.diagonal().sqrt()
    found, expected = (value / size / size[:, None] for value in (errors.T.cov(), exact.covariance))
    torch.testing.assert_close(found, expected, atol=0.08, rtol=0)
    torch.testing.assert_close(size[:3], torch.full((3,), gyro, dtype=torch.float64), rtol=1e-2, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 0.0999, 0.1001, 2.5, math.pi])
def test_the_right_jacobian_is_the_derivative_of_the_exponential(scale: float) -> None:
    phi = scale * torch.nn.functional.normalize(RATE, dim=0)
    turned = so3_exp(phi)
    # the derivative of log(exp(phi)^T exp(phi + d)) at d = 0, out of R' = R [J d]
    slope = torch.autograd.functional.jacobian(so3_exp, phi)
    axes = torch.einsum("ji,jkd->ikd", turned, slope)
    found = torch.stack((axes[2, 1], axes[0, 2], axes[1, 0]))
    torch.testing.assert_close(so3_right_jacobian(phi), found, atol=1e-9, rtol=1e-9)
    assert torch.autograd.gradcheck(so3_right_jacobian, phi.requires_grad_())


def test_gradients_are_right_and_finite_through_padding_and_rest() -> None:
    time = torch.tensor([[0.0, 0.1, 0.25, 0.25], [0.0, 0.2, 0.3, 0.4]], dtype=torch.float64)
    imu, bias = wobble(time), torch.zeros(6, dtype=torch.float64)
    imu[0, :, :3] = 0

    def moved(imu: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        found = preintegrate(imu, time, bias, gyro_density=0.1, accelerometer_density=0.2)
        return vector(found.at_bias(bias + 0.01)), found.covariance

    assert torch.autograd.gradcheck(moved, (imu.requires_grad_(), bias.requires_grad_()))


def clip_of(time: Tensor, inside: list[list[float]], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Readings that are linear in time, at the instants of each step, as a sample has them."""
    width = max(map(len, inside))
    rows = [[math.nan] * width, *([*row, *[math.nan] * (width - len(row))] for row in inside)]
    instants = torch.tensor(rows, dtype=torch.float64)
    return instants[..., None] * scale, instants


def test_signals_of_every_layout_are_the_linear_function_that_was_read() -> None:
    time, scale = torch.tensor([1.0, 1.5, 2.5], dtype=torch.float64), torch.arange(1.0, 7.0, dtype=torch.float64)
    layouts = {
        "both ends": [[1.0, 1.2, 1.5], [1.5, 2.0, 2.5]],
        "no end": [[1.125, 1.375], [1.75, 2.25]],
        "later end": [[1.25, 1.5], [2.0, 2.5]],
        "fewer": [[1.1, 1.2, 1.3], [2.4]],
        "none in a step": [[1.1, 1.2, 1.3], []],
        "padding inside": [[1.1, math.nan, 1.3], [math.nan, 2.0, math.nan]],
        "outside": [[0.9, 1.2, 1.6], [1.7, 2.6, 1.9]],
    }
    for name, inside in layouts.items():
        imu, instants = clip_of(time, inside, scale)
        values, when = interval_signals(imu.float(), instants, time)
        assert values.shape == (2, instants.shape[1] + 2, 6), name
        torch.testing.assert_close(values, when[..., None] * scale, atol=1e-5, rtol=0)
        torch.testing.assert_close(when[:, 0], time[:-1])
        torch.testing.assert_close(when[:, -1], time[1:])
        assert bool((when.diff() >= 0).all()), name


def test_one_reading_is_a_constant_one_view_has_no_step_and_no_reading_is_refused() -> None:
    time = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    imu, instants = clip_of(time, [[0.05], []], torch.ones(6, dtype=torch.float64))
    values, when = interval_signals(imu, instants, time)
    assert torch.equal(values, torch.full((2, 3, 6), 0.05, dtype=torch.float64))
    assert when[1].tolist() == [0.1, 0.2, 0.2]
    values, when = interval_signals(imu[:1], instants[:1], time[:1])
    assert preintegrate(values, when).rotation.shape == (0, 3, 3)
    with pytest.raises(Vo3dError, match="a clip has no inertial reading: expected some between its views"):
        interval_signals(imu * math.nan, instants * math.nan, time)


def test_no_nan_reaches_a_gradient() -> None:
    time = torch.tensor([[0.0, 0.1, 0.3]] * 2, dtype=torch.float64)
    imu, instants = clip_of(time[0], [[0.02, 0.07], [0.2]], torch.arange(1.0, 7.0, dtype=torch.float64))
    batch = torch.stack((imu, imu)).float().requires_grad_()
    values, when = interval_signals(batch, torch.stack((instants, instants)), time)
    vector(preintegrate(values, when)).sum().backward()
    assert batch.grad is not None
    assert bool(batch.grad.isfinite().all())
    known = ~batch.isnan()
    assert bool((batch.grad[known] != 0).all())
    assert bool((batch.grad[~known] == 0).all())


@pytest.mark.parametrize("kind", ["street", "room"])
def test_the_worlds_readings_give_back_its_poses_with_the_square_of_their_distance(kind: str) -> None:
    path = build_scene(kind, 3, 9).camera
    errors = []
    for readings in (10, 20):
        clip = RenderedRecording(kind, 3, 9, (8, 16), imu=True, imu_readings=readings).clip(range(9))
        time = clip.time
        imu, instants = interval_signals(clip.imu, clip.imu_time, time)
        gravity = torch.tensor(GRAVITY, dtype=torch.float64)
        start = path.motion(time[:1])
        pose, velocity = start.world_T_cam[0], start.velocity[0]
        for step in range(8):
            pose, velocity = preintegrate(imu[step], instants[step]).predict(pose, velocity, gravity)
        last = se3.relative(path.motion(time[-1:]).world_T_cam[0], pose)
        errors.append((float(so3_log(last[:3, :3]).norm()), float(last[:3, 3].norm())))
    (coarse, far), (fine, near) = errors
    assert coarse < 1e-3
    assert far < 0.02
    assert fine < 0.3 * coarse
    assert near < 0.3 * far
