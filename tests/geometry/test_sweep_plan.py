"""Planning of plane sweeps: parallax and angles against closed forms, planes against both."""

import math

import pytest
import torch

from vo3d.depth_map import Planes
from vo3d.geometry import depth_hypotheses, sweep_pixels
from vo3d.geometry.sweep_plan import num_planes, parallax, triangulation_angles, widened

SIZE = (96, 128)
FOCAL = 100.0


def cameras(*shifts: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """K and poses of cameras that look along z, the first one at the origin."""
    K = torch.tensor([[FOCAL, 0, 63.5], [0, FOCAL, 47.5], [0, 0, 1]], dtype=torch.float64)
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(shifts) + 1, 1, 1)
    world_T_cam[1:, :3, 3] = torch.tensor(shifts, dtype=torch.float64)
    return K.expand(len(world_T_cam), 3, 3), world_T_cam


def test_sideways_cameras_see_the_parallax_of_stereo() -> None:
    found = parallax(*cameras((0.2, 0, 0), (0, -0.5, 0)), torch.tensor([2.0, 8.0]), SIZE)
    assert found.tolist() == pytest.approx([FOCAL * baseline * (1 / 2 - 1 / 8) for baseline in (0.2, 0.5)])


def test_what_lies_behind_a_source_has_no_parallax() -> None:
    found = parallax(*cameras((0, 0, 3), (0, 0, 9)), torch.tensor([2.0, 8.0]), SIZE)
    assert found.tolist() == [0, 0]  # the near ends lie behind both


def test_the_angle_is_that_of_the_rays() -> None:
    K, world_T_cam = cameras((0, 0, 0), (1, 0, 0))
    K = K.clone()
    K[:, :2, 2] = 0  # the one pixel looks straight ahead
    found = triangulation_angles(K, world_T_cam, 5.0, (1, 1))
    assert found.tolist() == pytest.approx([0, math.degrees(math.atan(1 / 5))], abs=1e-4)


def test_planned_planes_lie_a_quarter_of_a_pixel_apart_in_the_widest_source() -> None:
    K, world_T_cam = cameras((0.3, 0, 0))
    ends = torch.tensor([1.0, 6.0], dtype=torch.float64)
    num = num_planes(float(parallax(K, world_T_cam, ends, SIZE).max()), least=2, most=1000)
    depths = depth_hypotheses(ends, num, inverse=True)
    source_T_reference = torch.eye(4, dtype=torch.float64)
    source_T_reference[0, 3] = -0.3
    x = sweep_pixels(K[0], K[1], source_T_reference, depths, SIZE)[:, 40, 60, 0]
    assert (x[1:] - x[:-1]).tolist() == pytest.approx([0.25] * (num - 1), abs=0.01)
    assert num_planes(1e9, least=2, most=256) == 256
    assert num_planes(0.0, least=16, most=256) == 16


@pytest.mark.parametrize("inverse", [False, True])
def test_a_widened_range_keeps_the_given_one_between_its_steps(inverse: bool) -> None:
    near, far = widened(2.0, 5.0, 41, 3.0, inverse=inverse)
    planes = Planes(near=near, far=far, num=41, inverse=inverse)
    assert planes.steps(torch.tensor([2.0, 5.0])).tolist() == pytest.approx([3, 37], abs=1e-3)
    depths = depth_hypotheses(torch.tensor([near, far]), 41, inverse=inverse)
    assert planes.steps(depths).tolist() == pytest.approx(list(range(41)), abs=1e-3)


def test_a_range_that_ends_near_infinity_stays_finite() -> None:
    near, far = widened(0.5, 1000.0, 41, 3.0, inverse=True)
    assert 0 < near < 0.5
    assert far == pytest.approx(10_000)
    near, far = widened(0.5, 1000.0, 41, 3.0, inverse=False)
    assert (near, far) == (pytest.approx(0.05), pytest.approx(1000 + 3 * 999.5 / 34))


def test_a_coarse_sweep_drops_an_eighth_at_most() -> None:
    assert Planes(near=1.0, far=2.0, num=9, inverse=False).margin(3.0) == 1
    assert Planes(near=1.0, far=2.0, num=192, inverse=False).margin(3.0) == 3
