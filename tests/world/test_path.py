"""Splines and inertial readings: derivatives against differences, readings integrated back to the poses."""

import pytest
import torch

from vo3d.geometry.rotations import so3_exp, so3_log
from vo3d.world.imu import ImuErrors, imu_readings
from vo3d.world.path import GRAVITY, RigidPath, Spline
from vo3d.world.scene import build_scene
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit


@pytest.fixture
def path(generator) -> RigidPath:
    """A lively path: metres of translation, tenths of radians of rotation in every axis."""
    control = torch.randn(40, 6, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1, 3, 0.8, 0.3, 0.3])
    return RigidPath(Spline(control.double(), -1.0, 0.3))


def test_derivatives_of_the_spline_equal_differences(path):
    time = torch.linspace(0, 8, 101, dtype=torch.float64)
    step = 1e-4
    for order in (1, 2, 3):
        before, after = (path.spline(time + sign * step, order - 1) for sign in (-1, 1))
        torch.testing.assert_close(path.spline(time, order), (after - before) / (2 * step), atol=1e-4, rtol=1e-4)


def test_spline_reproduces_straight_lines_and_has_no_seams(generator):
    slope = torch.randn(6, generator=generator, dtype=torch.float64)
    knots = torch.arange(20, dtype=torch.float64)[:, None] * 0.5 - 2
    time = torch.linspace(-0.5, 5, 77, dtype=torch.float64)
    torch.testing.assert_close(Spline(knots * slope, -2.0, 0.5)(time), time[:, None] * slope)
    curved = Spline(torch.randn(20, 2, generator=generator, dtype=torch.float64), -2.0, 0.5)
    at_knot = torch.tensor([1.0 - 1e-9, 1.0 + 1e-9], dtype=torch.float64)
    for order in range(5):
        left, right = curved(at_knot, order)
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_angular_rate_is_that_of_the_rotation(path):
    time = torch.linspace(0, 8, 101, dtype=torch.float64)
    step = 1e-5
    before, after = path.poses(time - step)[:, 0, :3, :3], path.poses(time + step)[:, 0, :3, :3]
    rate = so3_log(before.mT @ after) / (2 * step)
    torch.testing.assert_close(path.motion(time).angular_rate, rate, atol=1e-6, rtol=1e-6)


def test_a_sensor_at_rest_reads_gravity_upwards():
    still = RigidPath(Spline(torch.zeros(30, 6, dtype=torch.float64), -1.0, 0.2))
    readings = imu_readings(still, torch.arange(10, dtype=torch.float64) * 0.1, 10, ImuErrors(), 0)
    expected = torch.tensor([0.0, 0.0, 0.0, 0.0, -9.81, 0.0], dtype=torch.float64)  # y points down
    torch.testing.assert_close(readings, expected.expand(9, 10, 6))


def integrate(path: RigidPath, times: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
    """Strapdown integration from the first pose and velocity: `world_T_cam` at every frame."""
    start = path.motion(times[:1])
    rotation, position, velocity = start.world_T_cam[0, :3, :3], start.world_T_cam[0, :3, 3], start.velocity[0]
    gravity = torch.tensor(GRAVITY, dtype=torch.float64)
    poses = [start.world_T_cam[0]]
    for step, duration in zip(readings, times.diff(), strict=True):
        dt = duration / len(step)
        for reading in step:
            middle = rotation @ so3_exp(reading[None, :3] * dt / 2)[0]
            acceleration = middle @ reading[3:] + gravity
            position = position + velocity * dt + acceleration * dt**2 / 2
            velocity = velocity + acceleration * dt
            rotation = rotation @ so3_exp(reading[None, :3] * dt)[0]
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = rotation, position
        poses.append(pose)
    return torch.stack(poses)


def test_readings_of_a_street_integrate_back_to_the_poses():
    scene = build_scene("street", 3, 120)
    times = torch.arange(100, dtype=torch.float64) / 10
    truth = scene.camera.poses(times)[:, 0]
    length = float(truth[:, :3, 3].diff(dim=0).norm(dim=1).sum())
    assert length > 25
    errors = []
    for readings in (10, 20):
        estimate = integrate(scene.camera, times, imu_readings(scene.camera, times, readings, ImuErrors(), 0))
        errors.append(float((estimate[:, :3, 3] - truth[:, :3, 3]).norm(dim=1).max()))
        turned = so3_log(truth[:, :3, :3].mT @ estimate[:, :3, :3]).norm(dim=1)
        assert float(turned.max()) < 2e-4
    assert errors[0] < 0.01  # metres after ten seconds
    assert errors[1] < errors[0] / 3  # second order: a quarter


def test_bias_is_constant_noise_is_white_and_both_follow_the_seed():
    still = RigidPath(Spline(torch.zeros(600, 6, dtype=torch.float64), -1.0, 0.2))
    times = torch.arange(1000, dtype=torch.float64) * 0.1
    exact = imu_readings(still, times, 10, ImuErrors(), 0)
    biased = imu_readings(still, times, 10, ImuErrors(gyro_bias=0.01, accelerometer_bias=0.1), 0) - exact
    assert float(biased.view(-1, 6).std(0).max()) < 1e-12
    assert float(biased[0, 0, :3].abs().min()) > 0
    noise = imu_readings(still, times, 10, ImuErrors(gyro_density=2e-3, accelerometer_density=5e-2), 0) - exact
    torch.testing.assert_close(noise.view(-1, 6).std(0)[:3], torch.full((3,), 2e-2).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(noise.view(-1, 6).std(0)[3:], torch.full((3,), 0.5).double(), rtol=0.05, atol=0)
    again = imu_readings(still, times, 10, ImuErrors(gyro_density=2e-3, accelerometer_density=5e-2), 0)
    other = imu_readings(still, times, 10, ImuErrors(gyro_density=2e-3, accelerometer_density=5e-2), 1)
    assert torch.equal(again - exact, noise)
    assert not torch.equal(other - exact, noise)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.5])
@pytest.mark.parametrize(("kind", "motion"), [("street", "car"), ("street", "hand-held"), ("tabletop", "car")])
def test_paths_hold_for_all_that_a_shutter_sees_about_the_first_and_last_frame(rate, kind, motion):
    scene = build_scene(kind, 3, 5, Sensor(rate=rate), Visit(motion=motion))
    time = torch.linspace(-1 / rate, 5 / rate, 300, dtype=torch.float64)
    inside = (time > 0) & (time < 4 / rate)
    for path in filter(None, (scene.camera, scene.movers)):
        state = path.motion(time)
        for values in (state.velocity, state.acceleration):
            size = values.norm(dim=1)
            assert float(size.max()) < 2.5 * float(size[inside].max()) + 5.0
