"""The street: a place to drive through, not into; varied speeds, turns both ways; the door for other scene kinds."""

import math

import pytest
import torch

from solids import contain
from vo3d.errors import Vo3dError
from vo3d.world.primitives import BOX
from vo3d.world.scene import build_scene, scene_kinds
from vo3d.world.scenes.street import KERB, OWN_LANE, WALL
from vo3d.world.sensor import Sensor


@pytest.fixture(scope="module")
def scenes():
    return {seed: build_scene("street", seed, 1000) for seed in range(3)}


def test_the_camera_is_never_inside_an_object(scenes):
    for scene in scenes.values():
        times = torch.arange(0, 1000, 5, dtype=torch.float64) / 10
        position = scene.camera.poses(times)[:, 0, :3, 3].float()
        for time, point in zip(times.tolist(), position, strict=True):
            assert not contain(scene.placed(time), point).any(), f"inside an object at {time} s"


def test_no_static_object_stands_on_the_driving_lanes(scenes):
    for scene in scenes.values():
        line = scene.paints[0].line
        lateral = torch.linspace(-2.4, 2.4, 9, dtype=torch.float64)
        s = torch.arange(30, line.length - 10, 0.5, dtype=torch.float64)
        spots = line.at(s.repeat_interleave(9), lateral.repeat(len(s)))
        points = torch.stack((spots[:, 0], torch.zeros(len(spots), dtype=torch.float64), spots[:, 1]), 1).float()
        static = scene.solids.select(((scene.solids.object == 0) & (scene.solids.kind == BOX)).nonzero()[:, 0])
        for part in points.split(4000):
            offset = part[:, None] - static.centre
            local = torch.einsum("pnk,nkl->pnl", offset, static.rotation).abs() / static.half
            assert not (local.amax(-1) < 1).any()


def test_the_road_never_comes_back_to_itself(scenes):
    for scene in scenes.values():
        point = scene.paints[0].line.point[::8]
        apart = torch.cdist(point, point)
        far_along = (torch.arange(len(point))[:, None] - torch.arange(len(point))).abs() * 2.0 > 60
        assert float(apart[far_along].min()) > 2 * KERB


def test_speeds_vary_and_turns_go_both_ways(scenes):
    for scene in scenes.values():
        times = torch.arange(1000, dtype=torch.float64) / 10
        motion = scene.camera.motion(times)
        speed = motion.velocity.norm(dim=1)
        assert 1.5 < float(speed.min()) < 5
        assert 9 < float(speed.max()) < 17
        assert float(motion.angular_rate[:, 1].max()) > 0.2
        assert float(motion.angular_rate[:, 1].min()) < -0.2
        forward = (motion.world_T_cam[:, :3, 2] * motion.velocity).sum(1) / speed
        assert float(forward.min()) > math.cos(math.radians(6))  # a car drives where it looks
    curvature = torch.cat([scene.paints[0].line.curvature for scene in scenes.values()])
    assert 1 / 25 < float(curvature.abs().max()) < 1 / 12
    assert float((curvature.abs() < 1e-3).double().mean()) > 0.2


def test_the_first_camera_is_the_origin_and_keeps_its_lane_and_height(scenes):
    for scene in scenes.values():
        poses = scene.camera.poses(torch.arange(1000, dtype=torch.float64) / 10)[:, 0]
        torch.testing.assert_close(poses[0], torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0)
        assert float(poses[:, 1, 3].abs().max()) < 0.1
        _, lateral, _ = scene.paints[0].map.lookup(poses[:, 0, 3].float(), poses[:, 2, 3].float())
        assert float((lateral - OWN_LANE).abs().max()) < 0.4


def test_the_road_map_knows_length_and_side(scenes):
    line, ground = scenes[1].paints[0].line, scenes[1].paints[0].map
    s = torch.linspace(20, line.length - 20, 400, dtype=torch.float64)
    for lateral in (-4.0, -1.0, 0.0, 2.5):
        x, z, _ = line.at(s, lateral).float().unbind(1)
        length, side, _ = ground.lookup(x, z)
        torch.testing.assert_close(side, torch.full_like(side, lateral), atol=0.02, rtol=0)
        torch.testing.assert_close(length, s.float(), atol=0.1, rtol=0)


def test_houses_line_both_sides(scenes):
    for scene in scenes.values():
        walls = scene.solids.select((scene.solids.paint == WALL).nonzero()[:, 0])
        _, lateral, _ = scene.paints[0].map.lookup(walls.centre[:, 0], walls.centre[:, 2])
        length = scene.paints[0].line.length
        assert int((lateral < 0).sum()) > length / 60
        assert int(((lateral > 0) & (lateral < 100)).sum()) > length / 60


def test_the_same_seed_gives_the_same_scene_and_another_does_not():
    first, second, other = (build_scene("street", seed, 30) for seed in (4, 4, 5))
    for name, value in vars(first.solids).items():
        assert torch.equal(value, getattr(second.solids, name))
    assert torch.equal(first.camera.spline.control, second.camera.spline.control)
    assert first.light == second.light
    assert not torch.equal(first.camera.spline.control, other.camera.spline.control)


def test_an_unknown_kind_names_those_that_exist():
    assert "street" in scene_kinds()
    with pytest.raises(Vo3dError, match=r"no scene kind 'moon': expected one of .*street"):
        build_scene("moon", 0, 10)
    with pytest.raises(Vo3dError, match="1 frames of 'street': expected at least 2"):
        build_scene("street", 0, 1)
    with pytest.raises(Vo3dError, match="rate"):
        Sensor(rate=0.0)
