"""Noise of neighbouring seeds, frames, eyes, views and lights is independent: no two share a generator."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from vo3d.world import imu, recorder, times
from vo3d.world.dome import LIGHTS, dome_light, dome_poses
from vo3d.world.imu import ImuErrors, imu_readings
from vo3d.world.path import RigidPath, Spline
from vo3d.world.recorder import Recorder
from vo3d.world.scene import generator_of
from vo3d.world.sensor import Sensor
from vo3d.world.stills import Stills
from vo3d.world.visit import Visit

SIZE = (32, 64)
NOISE = 0.03


def noise_of(noisy: Tensor, clean: Tensor) -> Tensor:
    """What noise has added to an image of bytes; NaN where white or black cut it off."""
    difference = noisy.double() - clean.double()
    return torch.where((clean > 40) & (clean < 215), difference, torch.nan)


def correlation(one: Tensor, other: Tensor) -> float:
    """Of two noises, where both are there."""
    both = ~(one.isnan() | other.isnan())
    assert int(both.sum()) > 1000
    return float(torch.corrcoef(torch.stack((one[both], other[both])))[0, 1])


def test_no_two_frames_of_neighbouring_seeds_share_their_noise() -> None:
    noises = {}
    for seed in (2, 3, 4):
        quiet, loud = (Recorder("street", seed, 6, SIZE, Sensor(noise=noise)) for noise in (0.0, NOISE))
        for index in range(4):
            for right in (False, True):
                one, other = loud.frame(index, right=right), quiet.frame(index, right=right)
                noises[seed, index, right] = noise_of(one.image, other.image)
    worst = max(combinations(noises, 2), key=lambda pair: abs(correlation(noises[pair[0]], noises[pair[1]])))
    assert abs(correlation(noises[worst[0]], noises[worst[1]])) < 0.2, worst
    again = Recorder("street", 3, 6, SIZE, Sensor(noise=NOISE)).frame(1).image
    quiet_again = Recorder("street", 3, 6, SIZE, Sensor(noise=0.0)).frame(1).image
    assert correlation(noises[3, 1, False], noise_of(again, quiet_again)) > 0.99


def test_no_two_parts_of_a_recording_share_a_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do those of neighbouring seeds: images of either eye, the inertial sensor, the light."""
    used: list[int] = []

    def noted(seed: int, part: str) -> torch.Generator:
        generator = generator_of(seed, part)
        used.append(generator.initial_seed())
        return generator

    for module in (recorder, imu, times):
        monkeypatch.setattr(module, "generator_of", noted)
    for seed in range(12):
        one = Recorder("street", seed, 6, SIZE, Sensor(), visit=Visit(traffic=0.0))
        one.imu(2, ImuErrors())
        for index in range(6):
            one.frame(index)
            one.frame(index, right=True)
    assert len(used) == len(set(used)) == 12 * (1 + 1 + 2 * 6)
    before = torch.get_rng_state()
    Recorder("street", 3, 6, SIZE, Sensor(), visit=Visit(time="rain", motion="any")).frame(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_two_stills_of_neighbouring_seeds_share_their_noise() -> None:
    noises = {}
    for seed in (2, 3):
        loud, quiet = (Stills(seed, SIZE, views=4, noise=noise, exposure=0.0) for noise in (NOISE, 0.0))
        for index in range(3):
            for light in (0, 1, 3):
                one, other = loud.take(index, light), quiet.take(index, light)
                noises[seed, index, light] = noise_of(one.image, other.image)
    worst = max(combinations(noises, 2), key=lambda pair: abs(correlation(noises[pair[0]], noises[pair[1]])))
    assert abs(correlation(noises[worst[0]], noises[worst[1]])) < 0.2, worst


def test_lights_and_cameras_of_neighbouring_seeds_are_drawn_apart() -> None:
    heights = {(seed, index): dome_light(seed, index).to_sun[1] for seed in range(4) for index in range(LIGHTS)}
    assert len({round(height, 6) for height in heights.values()}) == len(heights)
    jitters = [dome_poses(seed, 49)[:, :3, :3].flatten().diff() for seed in range(6)]
    for one, other in combinations(jitters, 2):
        assert float((one - other).abs().max()) > 1e-3


@pytest.mark.parametrize("seed", [0, 5])
def test_errors_of_an_inertial_sensor_are_no_shifted_copies_of_the_next_seed_s(seed: int) -> None:
    still = RigidPath(Spline(torch.zeros(300, 6, dtype=torch.float64), -1.0, 0.2))
    instants = torch.arange(300, dtype=torch.float64) * 0.1
    errors = ImuErrors(gyro_density=1e-3, accelerometer_density=1e-3)
    perfect = imu_readings(still, instants, 4, replace(errors, gyro_density=0.0, accelerometer_density=0.0), 0)
    one, other = ((imu_readings(still, instants, 4, errors, each) - perfect).flatten() for each in (seed, seed + 1))
    for shift in range(-12, 13):
        pair = torch.stack((one[20:-20], other.roll(shift)[20:-20]))
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.08
    assert float(torch.corrcoef(torch.stack((one[1:], one[:-1])))[0, 1]) < 0.08
