"""The classic pipeline with a gyroscope, through a drawn corridor: rotations, biases, scales, and what is refused."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from corridor import clip
from samples import between
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, so3_exp, so3_log, trajectory
from vo3d.model import check_needs
from vo3d.models.classic import ClassicOdometry
from vo3d.models.classic_gyro import GyroClassic
from vo3d.sample import Sample

FRAMES = 4
BIAS = torch.tensor([0.03, -0.02, 0.025])  # rad/s: 0.15 degrees a step and axis


@cache
def walk() -> Sample:
    """A batch of one clip through the corridor, ten frames a second, with a perfect sensor in the left camera."""
    sample = clip("forward", "turn", "forward", stereo=True, noise=0.005)
    time = torch.arange(FRAMES, dtype=torch.float64) / 10
    rate = so3_log(trajectory.steps(sample.world_T_cam)[:, :3, :3]) / 0.1
    imu = torch.full((FRAMES, 4, 6), torch.nan)
    imu[1:, :, :3], imu[1:, :, 3:] = rate[:, None], torch.tensor([0.0, -9.81, 0.0])
    imu_time = time[:, None] + torch.tensor([-0.1, -0.06, -0.03, 0.0])  # both ends: rates jump from step to step
    imu_time[1:, 0] = time[:-1]
    imu_time[0] = torch.nan
    return replace(sample, imu=imu, imu_time=imu_time, time=time).map(lambda tensor: tensor[None])


def biased() -> Sample:
    return replace(walk(), imu=walk().imu + torch.cat((BIAS, torch.zeros(3))))


def errors(steps: Tensor, sample: Sample) -> tuple[float, float]:
    """Mean errors of a step: its rotation in degrees, its translation in metres."""
    truth = se3.relative(sample.world_T_cam[:, :-1], sample.world_T_cam[:, 1:])
    apart = se3.relative(truth, steps.double())
    return float(so3_log(apart[..., :3, :3]).norm(dim=-1).mean().rad2deg()), float(
        apart[..., :3, 3].norm(dim=-1).mean()
    )


@pytest.mark.parametrize("scale", ["true", "stereo"])
def test_rotations_are_those_of_the_gyroscope_and_translations_no_worse(scale: str) -> None:
    sample, model = walk(), GyroClassic(scale=scale, bias="none")
    check_needs(model, sample, "the test")
    prediction = model(sample)
    turned, moved = errors(prediction["prev_T_cam"], sample)
    _, visual = errors(ClassicOdometry(scale=scale)(sample)["prev_T_cam"], sample)
    assert turned < 0.002
    assert moved < 1.1 * visual + 0.002
    assert bool(prediction["tracked"].all())


def test_the_bias_is_learnt_from_the_images_along_the_recording() -> None:
    sample, model = biased(), GyroClassic(scale="true")
    halves = [between(sample, 0, 3), between(sample, 2, FRAMES)]
    turned, _ = errors(torch.cat([found["prev_T_cam"] for found in model.stream(halves)], 1), sample)
    without, _ = errors(GyroClassic(scale="true", bias="none")(sample)["prev_T_cam"], sample)
    assert without == pytest.approx(float(BIAS.norm().rad2deg()) / 10, rel=0.02)
    assert turned < 0.2 * without
    again = torch.cat([found["prev_T_cam"] for found in model.stream(halves)], 1)  # nothing is left of the last run
    torch.testing.assert_close(errors(again, sample)[0], turned)
    both = model(Sample.collate([one.map(lambda tensor: tensor[0]) for one in (walk(), sample)]))["prev_T_cam"]
    torch.testing.assert_close(both[1], model(sample)["prev_T_cam"][0])  # the rows of a batch do not know each other


def test_the_axes_of_the_sensor_are_those_that_cam_t_imu_tells() -> None:
    sample = biased()
    cam_R_imu = so3_exp(torch.tensor([0.5, -1.0, 2.0]))
    cam_T_imu = se3.from_rotation_translation(cam_R_imu, torch.tensor([0.1, 0.2, 0.3]))[None]
    imu = torch.cat([values @ cam_R_imu for values in sample.imu.split(3, dim=-1)], -1)
    for bias in ("none", "vision"):
        turned = GyroClassic(scale="true", bias=bias)(replace(sample, imu=imu, cam_T_imu=cam_T_imu))["prev_T_cam"]
        expected = GyroClassic(scale="true", bias=bias)(replace(sample, cam_T_imu=None))["prev_T_cam"]
        assert float(so3_log(turned[..., :3, :3].mT @ expected[..., :3, :3]).norm(dim=-1).max()) < 1e-5


def test_a_camera_at_rest_tells_the_bias() -> None:
    sample = biased()
    noise = 1e-4 * torch.randn(sample.imu.shape, generator=torch.Generator().manual_seed(0))
    imu = noise + torch.cat((BIAS, torch.tensor([0.0, -9.81, 0.0])))
    still = replace(
        sample,
        image=sample.image[:, :1].expand_as(sample.image),
        imu=imu.where(sample.imu_time[..., None].isfinite(), torch.nan),
    )
    steps = GyroClassic(scale="true", bias="rest")(still)["prev_T_cam"]
    torch.testing.assert_close(steps, torch.eye(4).expand_as(steps), atol=1e-5, rtol=0)
    with pytest.raises(Vo3dError, match=r"^bias='rest': no 0.3 s at rest in \d+ readings: at the quietest"):
        GyroClassic(scale="true", bias="rest")(sample)


def test_mistakes_are_told_in_words() -> None:
    with pytest.raises(Vo3dError, match="GyroClassic needs imu, imu_time and time: turn imu on"):
        GyroClassic(step=1.0)(replace(walk(), time=None))
    with pytest.raises(Vo3dError, match="bias='best' is unknown: expected one of none, rest, vision"):
        GyroClassic.__init__.__wrapped__(GyroClassic.__new__(GyroClassic), bias="best")
