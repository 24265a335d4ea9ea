"""Visits: one place under other times, paths and traffic; motions; what cannot be is refused in one line."""

import re
from dataclasses import replace

import pytest
import torch

from vo3d.datasets.rendered import Rendered, RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, se3
from vo3d.world.recorder import Recorder
from vo3d.world.render import pinhole_camera, render
from vo3d.world.roads import random_line
from vo3d.world.scene import Scene, build_scene
from vo3d.world.sensor import Sensor, chosen_sensor
from vo3d.world.visit import Visit, chosen_visit

SIZE = (64, 208)
HOME = Visit(place_seed=4)


def steps(scene: Scene, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Metres and degrees of each step at 10 frames a second."""
    poses = scene.camera.poses(torch.arange(frames, dtype=torch.float64) / 10)[:, 0]
    prev_T_cam = se3.inverse(poses[:-1]) @ poses[1:]
    cosine = (prev_T_cam[:, :3, :3].diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return prev_T_cam[:, :3, 3].norm(dim=1), torch.rad2deg(cosine.clamp(-1, 1).arccos())


def near(scene: Scene) -> torch.Tensor:
    """Centres, axes and half extents of the static solids within 100 metres of the origin."""
    solids = scene.solids
    chosen = (solids.object == 0) & (solids.centre[:, ::2].norm(dim=1) < 100)
    return torch.cat((solids.centre, solids.half, solids.rotation.flatten(1)), 1)[chosen]


@pytest.mark.parametrize(
    ("seed", "frames", "sensor", "visit"),
    [
        (2, 300, Sensor(), HOME),
        (3, 150, Sensor(rate=25.0, height=1.2), replace(HOME, motion="wide", time="night", start=30.0)),
        (9, 100, Sensor(), replace(HOME, motion="walking", traffic=0.0)),
    ],
)
def test_a_place_is_the_same_whatever_the_visit(seed, frames, sensor, visit):
    home, other = build_scene("street", 1, 40, Sensor(), HOME), build_scene("street", seed, frames, sensor, visit)
    assert len(near(home)) > 200
    torch.testing.assert_close(near(other), near(home), atol=1e-4, rtol=0)
    assert torch.equal(other.lattice, home.lattice)
    assert not torch.equal(other.camera.spline.control[:20], home.camera.spline.control[:20])
    elsewhere = build_scene("street", 1, 40)
    assert len(near(elsewhere)) != len(near(home)) or not torch.equal(near(elsewhere), near(home))


def test_a_frame_from_one_pose_differs_in_light_only():
    visits = [Visit(place_seed=4, traffic=0.0), Visit(place_seed=4, traffic=0.0, time_seed=77)]
    pose = torch.eye(4, dtype=torch.float64)
    visits.append(Visit(place_seed=5, traffic=0.0))
    scenes = [build_scene("street", seed, 30 + seed, Sensor(), visit) for seed, visit in enumerate(visits)]
    one, other, elsewhere = (render(scene, pinhole_camera(SIZE), pose, 0.0) for scene in scenes)
    assert torch.equal(one.depth, other.depth)
    assert torch.equal(one.mask, other.mask)
    assert float((one.image - other.image).abs().mean()) > 0.01
    # what is painted is the same: only brightness and shadows change
    grey = torch.stack([view.image.mean(0)[one.depth > 0] for view in (one, other, elsewhere)])
    alike = torch.corrcoef(grey)[0]
    assert float(alike[1]) > max(0.4, 2 * float(alike[2]))


def test_points_of_two_visits_meet_in_one_world():
    """Points that a walker sees, put into the car's frame, lie where the car sees a surface, or behind one."""
    size = (256, 832)  # fine enough for the ground, which is seen at a grazing angle
    walk = Recorder("street", 5, 30, SIZE, Sensor(), visit=Visit(place_seed=4, motion="walking", traffic=0.0))
    car = Recorder("street", 6, 60, size, Sensor(), visit=Visit(place_seed=4, traffic=0.0))
    seen, pose = walk.frame(10), walk.poses()[10]
    points = se3.transform(pose, backproject(walk.camera.K, seen.depth.double()))[seen.depth > 0]
    for index in (0, 4):
        world_T_cam = car.poses()[index]
        in_car = se3.transform(se3.inverse(world_T_cam), points)
        pixel = (in_car @ car.camera.K.mT)[:, :2] / in_car[:, 2:]
        inside = (in_car[:, 2] > 2) & (in_car[:, 2] < 30)
        inside &= (pixel > 0).all(1) & (pixel < torch.tensor([size[1] - 1, size[0] - 1])).all(1)
        where = pixel[inside].round().long()
        depth = car.frame(index).depth[where[:, 1], where[:, 0]].double()
        ratio = in_car[inside, 2] / torch.where(depth > 0, depth, torch.inf)
        assert int(inside.sum()) > 300
        assert float((ratio > 0.97).double().mean()) > 0.97  # never before the surface, but for slanted pixels
        assert float(((ratio - 1).abs() < 0.03).double().mean()) > 0.3


def test_each_part_follows_its_own_seed():
    base = build_scene("street", 3, 60)
    time, movers, path = (
        build_scene("street", 3, 60, Sensor(), Visit(**{f"{part}_seed": 8})) for part in ("time", "movers", "path")
    )
    assert time.light != base.light
    assert movers.light == path.light == base.light
    assert torch.equal(time.camera.spline.control, base.camera.spline.control)
    assert torch.equal(movers.camera.spline.control, base.camera.spline.control)
    assert not torch.equal(path.camera.spline.control, base.camera.spline.control)
    assert torch.equal(time.movers.spline.control, base.movers.spline.control)
    assert movers.movers.spline.control.shape != base.movers.spline.control.shape or not torch.equal(
        movers.movers.spline.control, base.movers.spline.control
    )


def test_motions_go_as_they_are_called():
    """Building also shows that no path leads into a solid: `build_scene` refuses those."""
    found = {}
    for motion in ("car", "wide", "walking", "hand-held", "standing", "turning"):
        parts = [steps(build_scene("street", seed, 200, Sensor(), Visit(motion=motion)), 200) for seed in range(3)]
        found[motion] = [torch.cat(values) for values in zip(*parts, strict=True)]
    metres, degrees = found["wide"]
    assert float(metres.min()) < 0.1
    assert 2.7 < float(metres.max()) < 3.2
    assert 5.0 < float(degrees.max()) < 6.6
    assert float((degrees > 2).double().mean()) > 0.15
    assert float((metres > 1.5).double().mean()) > 0.4
    assert 0.07 < float(found["walking"][0].median()) < 0.18
    assert float(found["hand-held"][0].max()) < 0.12
    assert float(found["hand-held"][1].median()) > 0.8
    assert max(float(value.max()) for value in found["standing"]) < 1e-4
    assert float(found["turning"][0].max()) < 1e-6
    assert 4.0 < float(found["turning"][1].max()) < 7.0
    assert float(found["car"][1].max()) < 3.0


def test_the_camera_hangs_as_it_is_mounted():
    plain, tilted = (
        build_scene("street", 2, 30, sensor, Visit()).camera
        for sensor in (Sensor(), Sensor(height=2.0, pitch=0.1, roll=-0.03))
    )
    times = torch.arange(30, dtype=torch.float64) / 10
    one, other = plain.poses(times)[:, 0], tilted.poses(times)[:, 0]
    torch.testing.assert_close(other[:, 1, 3], one[:, 1, 3] - 0.35)
    assert torch.equal(other[:, [0, 2], 3], one[:, [0, 2], 3])
    level_T_cam = se3.inverse(one) @ other
    torch.testing.assert_close(level_T_cam[0, 1, 2], torch.tensor(-0.1, dtype=torch.float64).sin())


def _check_again(settings, name, value):
    """Check settings with a value that the types, which tests check too, do not allow."""
    object.__setattr__(settings, name, value)
    settings.__post_init__()


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(
        Vo3dError, match=r"^street 0: the camera is inside of a solid or below the ground in \d+ of 90 frames"
    ):
        build_scene("street", 0, 90, Sensor(), Visit(lateral=12.0))
    with pytest.raises(Vo3dError, match="below the ground"):
        build_scene("street", 0, 90, Sensor(height=0.005))
    with pytest.raises(Vo3dError, match=r"place_seed -1: expected a whole number of at least 0"):
        Visit(place_seed=-1)
    with pytest.raises(Vo3dError, match=r"start -3.0: expected metres along the road"):
        Visit(start=-3.0)
    for choice, value in (("traffic", -1.0), ("traffic", 1e9), ("traffic", float("nan")), ("start", float("inf")),
                          ("lateral", float("nan")), ("lateral", -31.0), ("movers_seed", 2**32)):  # fmt: skip
        with pytest.raises(Vo3dError, match=f"^{choice} {re.escape(str(value))}: expected"):
            Visit(**{choice: value})
    for choice, value in (("time", "dusk"), ("motion", "flying")):
        with pytest.raises(Vo3dError, match=f"^no {choice} '{value}': expected one of .*, any$"):
            _check_again(Visit(), choice, value)
    fixed = Visit(place_seed=1, time_seed=2, movers_seed=3, path_seed=4)
    with pytest.raises(Vo3dError, match="every part has a seed of its own"):
        Rendered(seeds=[0, 1], visit=fixed)
    assert len(Rendered(seeds=[0], visit=fixed, frames=4, size=(32, 64))) == 3
    for choice, value in (("movers_seed", 3), ("time", "night"), ("motion", "walking")):
        with pytest.raises(Vo3dError, match=f"tabletop has no {choice} {value!r}"):
            RenderedRecording("tabletop", 0, 4, (32, 64), visit=Visit(**{choice: value}))


def test_what_is_too_large_is_refused_before_it_is_built():
    for visit, sensor, frames, said in (
        (Visit(start=1e12), Sensor(), 2, r"^start 1e\+12: expected at most 20000 metres"),
        (Visit(traffic=0.0), Sensor(rate=1e-6), 2, r"^a drive of 1e\+06 s: expected at most 3600"),
        (Visit(), Sensor(rate=1.0), 2000, r"^a drive of 1999 s with traffic 1: .* or less traffic$"),
        (Visit(), Sensor(), 10**9, r"^1000000000 frames of 'street': expected at least 2, and at most"),
    ):
        with pytest.raises(Vo3dError, match=said):
            build_scene("street", 0, frames, sensor, visit)
    with pytest.raises(Vo3dError, match=r"^seed 4294967296 of 'street': expected a whole number"):
        build_scene("street", 2**32, 2)
    with pytest.raises(Vo3dError, match=r"^images of 20000x20000 .* at most 16384"):
        pinhole_camera((20_000, 20_000))
    with pytest.raises(Vo3dError, match=r"^height 1000\.0 of a camera: expected metres"):
        Sensor(height=1000.0)
    largest = build_scene("street", 2**32 - 1, 2)
    assert len(largest.solids) > 100


def test_the_right_camera_keeps_clear_too():
    """The left camera stands free, the right one eleven metres to its right stands in a house."""
    recording = RenderedRecording("street", 0, 3, (16, 32), stereo=True, sensor=Sensor(baseline=10.5))
    left = RenderedRecording("street", 0, 3, (16, 32), sensor=Sensor(baseline=10.5))
    assert left.clip([0]).image.shape == (1, 3, 16, 32)
    with pytest.raises(Vo3dError, match=r"^street 0: the right camera is inside of a solid .* change its baseline"):
        recording.clip([0])


def test_settings_of_another_kind_are_refused_in_one_line():
    with pytest.raises(Vo3dError, match=r"^visit \{'time': 'any'\}: expected a Visit$"):
        chosen_visit({"time": "any"})
    with pytest.raises(Vo3dError, match=r"^sensor \{'focal': 1.0\}: expected settings of a camera"):
        chosen_sensor({"focal": 1.0}, 0)
    with pytest.raises(Vo3dError, match=r"^centre \[0.5, 0.5\] of a camera"):
        _check_again(Sensor(), "centre", [0.5, 0.5])


def test_a_place_far_along_its_road_keeps_clear_of_the_line():
    """Compare the clearance from the line nearby with that from all of it."""
    line = random_line(torch.Generator().manual_seed(3), 60.0, 2000.0, 12.5)
    places = line.at(torch.linspace(0, line.length, 200, dtype=torch.float64), 9.0)[:, :2]
    corners = torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    clear = [line.keeps_clear(place + corners, 6.5) for place in places]
    assert clear == [float(line.distance(place + corners).min()) > 6.5 for place in places]
    assert 20 < sum(clear) < 180
    assert line.keeps_clear(torch.full((3, 2), 1e5, dtype=torch.float64), 6.5)
