"""Dead reckoning: a perfect sensor, one with errors, one beside the camera, starts that are refused."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
import yaml
from torch import Tensor

from samples import between, make_sample
from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, so3_exp, trajectory
from vo3d.model import Model
from vo3d.models.dead_reckoning import DeadReckoning
from vo3d.sample import Sample
from vo3d.settings.build import build

FRAMES = 61


@cache
def street(errors: str | None = None) -> Sample:
    """A drive of six seconds, without its images."""
    recording = RenderedRecording("street", 5, FRAMES, (8, 16), imu=True, imu_readings=20, imu_errors=errors)
    time = torch.arange(FRAMES, dtype=torch.float64) / 10
    fields = recording.inertial().since_previous(range(FRAMES), "street")
    return Sample(image=torch.zeros(FRAMES, 3, 1, 1), world_T_cam=recording.poses(), time=time, **fields)


def clips(sample: Sample, length: int) -> Iterator[Sample]:
    """The clip as a recording is shown: in parts that overlap by one view, each a batch of one."""
    batch = Sample.collate([sample])
    for first in range(0, FRAMES - 1, length - 1):
        yield between(batch, first, first + length)


def drift(model: Model, sample: Sample, length: int = 11) -> float:
    """Metres between the true and the found position at the end."""
    steps = torch.cat([prediction["prev_T_cam"][0] for prediction in model.stream(clips(sample, length))])
    found = trajectory.chain(steps.double(), start=sample.world_T_cam[0])
    return float((found[-1] - sample.world_T_cam[-1])[:3, 3].norm())


def test_a_perfect_sensor_follows_a_street_for_six_seconds_whatever_the_windows() -> None:
    assert drift(DeadReckoning(), street()) < 0.1  # metres of about 50
    assert drift(DeadReckoning(), street(), 31) == pytest.approx(drift(DeadReckoning(), street(), 16), abs=1e-3)
    turned = se3.exp(torch.tensor([3.0, 1.0, 2.0, 1.0, -2.0, 0.5], dtype=torch.float64))  # where up is, nobody says
    moved = replace(street(), world_T_cam=turned @ street().world_T_cam)
    assert drift(DeadReckoning(), moved) == pytest.approx(drift(DeadReckoning(), street()), abs=1e-5)


def test_a_real_sensor_drifts_far() -> None:
    assert drift(DeadReckoning(), street("mems")) > 10 * drift(DeadReckoning(), street())


def test_a_sensor_beside_the_camera_is_brought_to_it() -> None:
    sample = street()
    cam_T_imu = se3.exp(torch.tensor([0.3, -0.2, 0.5, 0.4, -1.0, 2.0], dtype=torch.float64))
    R, lever = cam_T_imu[:3, :3], cam_T_imu[:3, 3]
    rate, force = sample.imu.double().split(3, dim=-1)
    flat, when = rate[1:].flatten(0, 1), sample.imu_time[1:].flatten()
    (grown,) = torch.gradient(flat, spacing=(when,), dim=0)  # the angular acceleration
    grown = torch.cat((torch.full_like(rate[:1], torch.nan), grown.view_as(rate[1:])))
    force = force + torch.linalg.cross(grown, lever.expand_as(rate))
    force = force + torch.linalg.cross(rate, torch.linalg.cross(rate, lever.expand_as(rate)))
    away = replace(sample, imu=torch.cat((rate @ R, force @ R), -1).float(), cam_T_imu=cam_T_imu.float())
    assert drift(DeadReckoning(), away) < 0.1
    assert drift(DeadReckoning(), replace(away, cam_T_imu=torch.eye(4))) > 1.0
    assert drift(DeadReckoning(), replace(sample, cam_T_imu=None)) == drift(DeadReckoning(), sample)


def at_rest() -> Sample:
    """A camera that lies still for 1.2 seconds, then is pushed along its z; its sensor is biased."""
    sample = make_sample(b=1, s=31, size=(4, 400))
    time = sample.imu_time[:, 1:]
    imu = torch.zeros_like(sample.imu[:, 1:])
    gravity = so3_exp(torch.tensor([0.3, 0.0, 0.2])) @ torch.tensor([0.0, 9.81, 0.0])
    late = (time > 1.2)[..., None]
    imu[..., 3:] = -gravity + late * torch.tensor([0.0, 0.0, 0.5])
    imu[..., :3] = torch.tensor([0.02, -0.01, 0.03])
    noise = 1e-5 * torch.randn(imu.shape, generator=torch.Generator().manual_seed(0))
    imu = torch.cat((sample.imu[:, :1], imu + noise), 1).where(sample.imu_time[..., None].isfinite(), torch.nan)
    return replace(sample, imu=imu, world_T_cam=None)


def test_from_rest_gravity_and_bias_are_those_of_the_first_second() -> None:
    model = DeadReckoning("rest")
    assert "world_T_cam" not in model.needs
    steps = model(at_rest())["prev_T_cam"][0].double()
    found = trajectory.chain(steps)[-1]
    torch.testing.assert_close(found[:3, 3], torch.tensor([0.0, 0.0, 0.5 * 1.8**2 / 2]).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(found[:3, :3], torch.eye(3).double(), atol=1e-4, rtol=0)


def test_two_poses_alone_are_of_one_velocity() -> None:
    sample = make_sample(b=2, s=2, size=(8, 64))
    found = DeadReckoning()(sample)["prev_T_cam"]
    truth = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])
    torch.testing.assert_close(found[..., :3, 3].double(), truth[..., :3, 3], atol=1e-5, rtol=0)


def test_mistakes_are_told_in_words() -> None:
    sample = Sample.collate([street()])
    with pytest.raises(Vo3dError, match=r"^start='rest': no 1 s at rest in \d+ readings: at the quietest"):
        DeadReckoning("rest")(
            replace(sample, imu=sample.imu * (1 + 0.1 * (9 * sample.imu_time).sin()[..., None]).float())
        )
    with pytest.raises(Vo3dError, match="needs world_T_cam: choose a recording with poses, or start='rest'"):
        DeadReckoning()(replace(sample, world_T_cam=None))
    with pytest.raises(Vo3dError, match="DeadReckoning needs imu, imu_time and time: turn imu on"):
        DeadReckoning()(replace(sample, time=None))
    with pytest.raises(Vo3dError, match="num_poses=1: expected at least 2"):
        DeadReckoning(num_poses=1)
    with pytest.raises(Vo3dError, match="no parameters"):
        DeadReckoning().loss({}, sample)
    words = "{class_path: vo3d.models.dead_reckoning.DeadReckoning, init_args: {start: true}}"
    assert build(Model, yaml.safe_load(words)).start == "true"


def test_scale_says_where_it_comes_from() -> None:
    assert DeadReckoning().scale_source == "IMU, and 10 true poses"
    assert DeadReckoning("rest").scale_source == "IMU, from rest"


def test_one_view_has_no_step() -> None:
    found: Tensor = DeadReckoning()(make_sample(b=2, s=1, size=(8, 64)))["prev_T_cam"]
    assert found.shape == (2, 0, 4, 4)
