"""Rendered rooms: one place for all visits, things that move between them, free paths that cross, light that fits."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from solids import contain
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, project
from vo3d.geometry.rotations import axis_rotation, so3_log
from vo3d.world.primitives import TRIANGLE
from vo3d.world.recorder import Recorder
from vo3d.world.render import pinhole_camera, render
from vo3d.world.scene import build_scene, scene_kinds
from vo3d.world.scenes.room import BESIDE, FLOOR
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Visit

SIZE = (48, 64)
SENSOR = Sensor(rate=10.0, focal=525 / 640, noise=0.0)
FRAMES = 300
FIELDS = ("kind", "centre", "rotation", "half", "paint", "material", "shape")


@cache
def room(place=0, time=0, movers=0, path=0, when="day"):
    visit = Visit(place_seed=place, time_seed=time, movers_seed=movers, path_seed=path, time=when)
    return build_scene("room", 9, FRAMES, SENSOR, visit)


def positions(scene):
    return scene.camera.poses(torch.arange(FRAMES, dtype=torch.float64) / 10)[:, 0]


def same(one, other):
    """Whether two scenes' solids are equal, one by one."""
    rows = [torch.cat([getattr(each, name).reshape(len(one), -1) for name in FIELDS], 1) for each in (one, other)]
    return (rows[0] == rows[1]).all(1)


def test_a_room_depends_on_its_own_seeds_alone():
    first, other = room(), room(time=5, path=6)
    assert "room" in scene_kinds()
    assert same(first.solids, other.solids).all()
    assert torch.equal(first.lattice, other.lattice)
    assert first.light != other.light
    assert not torch.equal(positions(first), positions(other))
    visit = Visit(place_seed=0, time_seed=0, movers_seed=0, path_seed=0)
    again = build_scene("room", 77, 20, SENSOR, visit)  # another recording, shorter
    assert same(again.solids, first.solids).all()
    torch.testing.assert_close(again.camera.poses(torch.tensor([1.7]).double()), positions(first)[17][None, None])
    assert len(room(place=1).solids) != len(first.solids)


def test_what_can_be_moved_is_moved_by_another_seed_and_looks_the_same():
    first, second = room().solids, room(movers=1).solids
    assert len(first) == len(second)
    kept = same(first, second)
    assert 0.25 < float(kept.float().mean()) < 0.9
    for name in ("kind", "half", "paint", "material"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    apart = (first.centre - second.centre).norm(dim=1)[~kept]
    assert float((apart < 0.3).float().mean()) > 0.3  # pushed
    assert float((apart > 0.5).float().mean()) > 0.1  # elsewhere


@pytest.mark.parametrize("place", range(2))
def test_a_room_is_closed_and_holds_its_furniture(place):
    """No sky but through the window, from any place, in any direction."""
    scene = room(place)
    assert 250 < int((scene.solids.kind != TRIANGLE).sum()) < 600
    assert len(scene.solids) < 3500
    light = scene.indoors
    size = light.high - light.low
    assert 3.7 < float(size[0]) < 4.6
    assert 4.5 < float(size[2]) < 5.5
    assert 2.4 < float(size[1]) < 2.8
    camera, generator = pinhole_camera(SIZE, Sensor(focal=0.4)), torch.Generator().manual_seed(place)
    middle, across, down = light.window.double()
    out = torch.linalg.cross(across, down)
    seen = 0
    for angles in torch.rand(8, 3, generator=generator, dtype=torch.float64):
        turn = axis_rotation(1, 6.283 * angles[0]) @ axis_rotation(0, 2.4 * angles[1] - 1.2)
        world_T_cam = se3.from_rotation_translation(turn, torch.tensor([angles[2] - 0.5, 0.0, 0.5 - angles[2]]))
        view = render(scene, camera, world_T_cam, 0.0)
        depth = view.depth
        assert view.radiance.isfinite().all()
        ray = backproject(camera.K, torch.ones(SIZE, dtype=torch.float64))[depth == 0] @ turn.mT
        along = ((middle - world_T_cam[:3, 3]) @ out) / (ray @ out)
        there = world_T_cam[:3, 3] + along[:, None] * ray - middle
        assert (along > 0).all()
        for side in (across, down):
            assert ((there @ side).abs() <= side @ side * 1.001).all()
        seen += len(ray)
    assert seen > 0


@pytest.mark.parametrize(("place", "path"), [(0, 0), (1, 2)])
def test_the_camera_goes_like_a_hand_and_keeps_a_quarter_of_a_metre_from_everything(place, path):
    scene = room(place, path=path)
    time = torch.arange(0, FRAMES / 10, 0.05, dtype=torch.float64)
    motion = scene.camera.motion(time)
    position = motion.world_T_cam[:, :3, 3]
    size = (scene.indoors.high - scene.indoors.low) / 2
    assert (position[:, [0, 2]].abs().amax(0) < size[[0, 2]] - BESIDE + 0.03).all()
    assert float(position[:, 1].min()) > FLOOR - 1.8
    assert float(position[:, 1].max()) < FLOOR - 1.2
    speed, turning = motion.velocity.norm(dim=1), motion.angular_rate.norm(dim=1).rad2deg()
    assert 0.1 < float(speed.median()) < 0.4
    assert float(speed.max()) < 0.7
    assert 8 < float(turning.median()) < 35
    assert float(turning.max()) < 70
    ahead = motion.world_T_cam[:, :3, 2]
    assert 0 < float(ahead[:, 1].asin().rad2deg().median()) < 30  # y is down
    yaw = torch.atan2(ahead[:, 0], ahead[:, 2])
    assert len((yaw * 4 / torch.pi).floor().unique()) >= 5  # of eight directions
    around = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)), dim=1) * 0.25
    mesh = scene.solids.kind == TRIANGLE
    solid, triangle = (scene.solids.select(chosen.nonzero()[:, 0]) for chosen in (~mesh, mesh))
    corners = (triangle.corners() + triangle.centre[:, None]).flatten(0, 1)
    for point in position[::20].float():
        assert float((corners - point).norm(dim=1).min()) > 0.25
        for offset in around:
            assert not contain(solid, point + offset).any()


@pytest.mark.parametrize("place", range(2))
def test_paths_of_two_seeds_cross_but_do_not_coincide(place):
    """What relocalisation is tested on: other views of the space that was seen."""
    test, *training = (positions(room(place, path=path)) for path in range(3))
    for other in training:
        nearest = torch.cdist(test[:, :3, 3], other[:, :3, 3]).amin(1)
        assert float(nearest.min()) < 0.5
        assert 0.05 < float(nearest.median()) < 1.0
    known = torch.cat(training)
    metres = torch.cdist(test[:, :3, 3], known[:, :3, 3])
    degrees = so3_log(test[:, None, :3, :3].mT @ known[:, :3, :3]).norm(dim=-1).rad2deg()
    best = (metres / 0.5 + degrees / 30).argmin(1, keepdim=True)
    assert float(metres.gather(1, best).median()) < 0.8
    assert float(degrees.gather(1, best).median()) < 15


def test_views_agree_through_depth_and_flow():
    """A point of one view lies, in the next, on its surface; the flow leads there."""
    recorder = Recorder("room", 4, 60, (96, 128), SENSOR)
    now, then = recorder.frame(10, later=14), recorder.frame(14)
    K, poses = recorder.camera.K, recorder.poses()
    points = se3.transform(se3.relative(poses[14], poses[10]), backproject(K, now.depth.double()))
    pixels, z = project(K, points)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    seen = (now.depth > 0) & (z > 0.1)
    torch.testing.assert_close(
        (torch.stack((x, y)) + now.flow).movedim(0, -1)[seen], pixels[seen].float(), atol=0.01, rtol=0
    )
    inside = seen & ((pixels >= 0) & (pixels <= torch.tensor([127, 95]))).all(-1)
    at = pixels[inside].round().long()
    assert float(((then.depth[at[:, 1], at[:, 0]] - z[inside]).abs() < 0.05).float().mean()) > 0.85


def test_light_comes_through_the_window_by_day_and_from_lamps_at_night():
    day, night = room(), room(when="night")
    camera, pose = pinhole_camera(SIZE, SENSOR), positions(day)[30]
    bright = render(day, camera, pose, 0.0)
    dark = render(night, camera, pose, 0.0)
    assert torch.equal(bright.depth, dark.depth)
    assert float(bright.radiance.mean()) > 1.3 * float(dark.radiance.mean())
    off = replace(
        night,
        indoors=replace(
            night.indoors, lights=replace(night.indoors.lights, colour=torch.zeros_like(night.indoors.lights.colour))
        ),
    )
    assert float(render(off, camera, pose, 0.0).radiance.mean()) < float(dark.radiance.mean())
    # The sun shines on what sees it through the window: with the sun or without, all else is the same.
    sunny = next(scene for time in range(9) if max((scene := room(time=time)).light.sun) > 0)
    light = sunny.indoors
    without = replace(sunny, light=replace(sunny.light, sun=(0.0, 0.0, 0.0)))
    middle, across, down = light.window
    out, sun = torch.linalg.cross(across, down), torch.tensor(sunny.light.to_sun)
    assert float(out @ sun) != 0
    changed = 0
    for yaw in torch.arange(4) * torch.pi / 2:
        turn = axis_rotation(1, yaw.double()) @ axis_rotation(0, torch.tensor(-0.5).double())
        look = se3.from_rotation_translation(turn, torch.zeros(3, dtype=torch.float64))
        wide = pinhole_camera(SIZE, Sensor(focal=0.5))
        lit_, shaded = render(sunny, wide, look, 0.0), render(without, wide, look, 0.0)
        where = ((lit_.radiance - shaded.radiance).abs().amax(0) > 0.05) & (lit_.depth > 0)
        points = se3.transform(look, backproject(wide.K, lit_.depth.double()))[where].float()
        there = points + ((middle - points) @ out / (sun @ out))[:, None] * sun - middle
        for side in (across, down):
            outside = ((there @ side).abs() > 1.1 * (side @ side)).float()
            assert float(outside.sum()) <= 0.1 * len(points)  # edges are mixed with what is beside them
        changed += len(points)
    assert changed > 20


def test_a_room_as_a_dataset_and_what_is_refused():
    data = Rendered(
        scene="room", seeds="0-1", frames=6, size=SIZE, clip_length=2, depth=True, visit=Visit(place_seed=7)
    )
    first, second = data[0], data[len(data) - 1]
    assert first.image.shape == (2, 3, *SIZE)
    assert float((first.depth > 0).float().mean()) > 0.9
    assert not torch.equal(first.world_T_cam[0], second.world_T_cam[0])
    with pytest.raises(Vo3dError, match="room has no time 'rain': expected one of day, low-sun, night or any"):
        Recorder("room", 0, 10, SIZE, SENSOR, visit=Visit(time="rain"))
    with pytest.raises(Vo3dError, match="room has no motion 'wide'"):
        Recorder("room", 0, 10, SIZE, SENSOR, visit=Visit(motion="wide"))
