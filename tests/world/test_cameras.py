"""Cameras of every kind: truth stays exact for any pinhole, shutters and lenses change what they should and no more."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from vo3d.datasets.rendered import RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, project, se3, so3_exp
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.distortion import undistort_points
from vo3d.geometry.warp import sample_image, warp_by_depth
from vo3d.world.casting import FAR, Camera, cast
from vo3d.world.drive_files import render_sequence
from vo3d.world.optics import lens_of, take
from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL, BOX, CYLINDER, ENTER, PLANE
from vo3d.world.recorder import Recorder
from vo3d.world.render import pinhole_camera, render
from vo3d.world.scene import Light, Scene, SolidList, Solids
from vo3d.world.sensor import Sensor, chosen_sensor, drawn_sensor
from vo3d.world.textures import noise_lattice

SIZE = (64, 208)
CLEAN = Sensor(noise=0.0)
RADTAN = Sensor(noise=0.0, lens=("radtan", (-0.28, 0.08, 0.001, -0.001)))
FISHEYE = Sensor(noise=0.0, focal=0.5, lens=("equidistant", (0.02, -0.01, 0.0, 0.0)))


@cache
def street_scene(frames: int, mounting: Sensor) -> Scene:
    return Recorder("street", 8, frames, SIZE, mounting).scene


def street(sensor: Sensor, frames: int = 40, size: tuple[int, int] = SIZE) -> Recorder:
    """A recorder whose scene is built once for all sensors that are mounted alike."""
    recorder = Recorder("street", 8, frames, size, sensor)
    mounting = Sensor(rate=sensor.rate, height=sensor.height, pitch=sensor.pitch, roll=sensor.roll)
    vars(recorder)["scene"] = street_scene(frames, mounting)
    return recorder


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"focal": 0.0}, "focal 0.0 of a camera: expected a positive share"),
        ({"focal": math.nan}, "focal nan"),
        ({"height": -1.0}, "height -1.0 of a camera: expected metres above the road"),
        ({"centre": (0.5, 1.2)}, r"centre \(0.5, 1.2\) of a camera: expected two shares from 0 to 1"),
        ({"centre": (math.nan, 0.5)}, r"centre \(nan"),
        ({"pitch": 2.0}, "pitch 2.0"),
        ({"roll": math.inf}, "roll inf"),
        ({"baseline": 0.0}, "baseline 0.0"),
        ({"exposure": math.nan}, "exposure nan"),
        ({"noise": -0.1}, "noise -0.1"),
        ({"rate": math.nan}, "rate nan"),
        ({"motion_blur": 1.5}, "motion_blur 1.5 of a camera: expected a share from 0 to 1"),
        ({"rolling_shutter": 0.2}, "rolling_shutter 0.2 of a camera: expected 0 to 0.1 seconds"),
        ({"rolling_shutter": -0.01}, "rolling_shutter -0.01"),
        (
            {"lens": ("radtan", (math.nan, 0.0, 0.0, 0.0))},
            "lens .* expected one of radtan, equidistant and a tuple of fin",
        ),
        ({"lens": RADTAN.lens, "rolling_shutter": 0.01}, "a lens and a rolling_shutter: expected one of them"),
    ],
)
def test_settings_that_no_camera_has_are_refused_by_name(settings, words):
    with pytest.raises(Vo3dError, match=words) as caught:
        Sensor(**settings)
    assert "\n" not in str(caught.value)


def test_drawn_cameras_follow_their_seed_and_spread_over_their_ranges():
    drawn = [drawn_sensor(seed) for seed in range(200)]
    assert drawn[:20] == [drawn_sensor(seed) for seed in range(20)]
    assert len(set(drawn)) == len(drawn)
    ranges = {"focal": (0.45, 1.3), "height": (1.1, 2.2), "baseline": (0.1, 1.0), "exposure": (0.7, 1.4),
              "noise": (0.002, 0.012), "pitch": (-math.radians(6), math.radians(6)),
              "roll": (-math.radians(2), math.radians(2))}  # fmt: skip
    for name, (low, high) in ranges.items():
        values = [getattr(sensor, name) for sensor in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    assert all(abs(share - 0.5) <= 0.05 for sensor in drawn for share in sensor.centre)
    assert {sensor.rate for sensor in drawn} == {10.0}
    assert drawn_sensor(3, rate=20.0) == replace(drawn[3], rate=20.0)
    assert chosen_sensor("drawn", 5) == drawn[5]
    assert chosen_sensor(None, 5) == Sensor()
    assert chosen_sensor(CLEAN, 5) == CLEAN
    with pytest.raises(Vo3dError, match="sensor 'new': expected settings of a camera, or 'drawn'"):
        chosen_sensor("new", 5)


def test_the_pinhole_of_a_sensor_has_its_focal_length_and_principal_point():
    K = pinhole_camera((64, 200), Sensor(focal=0.8, centre=(0.25, 0.75))).K
    torch.testing.assert_close(K, torch.tensor([[160, 0, 49.5], [0, 160, 47.5], [0, 0, 1]], dtype=torch.float64))
    plain = pinhole_camera((64, 200)).K
    assert plain[:2, 2].tolist() == [99.5, 31.5]
    assert float(plain[0, 0]) == pytest.approx(718.856 / 1241 * 200)


def test_casting_equals_a_test_of_every_solid_at_every_pixel():
    """Tiles, the near plane and what is left out as out of view lose nothing, whatever the camera."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    height, width, wrong, seen = 48, 64, 0, 0
    for _ in range(20):
        focal = float(torch.exp(uniform(math.log(0.25), math.log(2.5)))) * width
        (cx, cy), rows = (uniform(0.0, 1.0, 2) * torch.tensor([width, height]) - 0.5).tolist(), height * width
        K = torch.tensor([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)
        camera = Camera(K, height, width)
        turn = so3_exp(uniform(-2.0, 2.0, 3))
        world_T_cam = se3.from_rotation_translation(turn, uniform(-1.0, 1.0, 3))
        solids = some_solids(generator, world_T_cam)
        found = cast(solids, camera, world_T_cam, 1000.0)

        ray = torch.cat((pixel_grid(height, width, dtype=torch.float64), torch.ones(height, width, 1)), -1)
        ray = ray.view(rows, 3) @ (turn @ K.inverse()).mT
        into = solids.rotation.double().mT / solids.half.double()[..., None]  # n 3 3
        start = (into @ (world_T_cam[:3, 3] - solids.centre.double())[..., None])[..., 0]
        direction = torch.einsum("nij,pj->nip", into, ray) + 1e-9
        depth = torch.stack(
            [
                ENTER[int(kind)](tuple(start[i, :, None]), tuple(direction[i]))  # type: ignore[arg-type]
                for i, kind in enumerate(solids.kind)
            ]
        )
        depth = torch.where(depth < FAR, depth, torch.inf).amin(0).view(height, width).float()
        cast_depth = camera.untile(found.depth)
        same = (cast_depth == depth) | ((cast_depth / depth - 1).abs() < 1e-3)
        wrong, seen = wrong + int((~same).sum()), seen + int((depth < torch.inf).sum())
    assert seen > 20 * 48 * 64 * 0.3
    assert wrong <= 6, wrong  # outlines, where float32 decides otherwise


def some_solids(generator: torch.Generator, world_T_cam: Tensor) -> Solids:
    """Boxes, cylinders and balls all about the origin, some larger than their distance, and a ground plane.

    Two long beams have their middle beside the camera and one end before it, at the border of a wide view.
    """
    solids = SolidList(MATERIAL_SIZE)
    solids.add(PLANE, (0.0, 2.5, 0.0), (1.0, 1.0, 1.0), paint=0)
    for kind in (BOX, BOX, CYLINDER, BALL):
        for _ in range(12):
            draw = torch.randn(9, generator=generator, dtype=torch.float64)
            half = (draw[:3] * 1.3).exp().clamp(0.05, 12.0) * 0.5  # some long and thin
            place = torch.nn.functional.normalize(draw[3:6], dim=0) * (float(half.norm()) + 1.0 + 3.0 * draw[6].abs())
            turn = so3_exp(draw[6:9]).flatten().tolist()
            solids.add(kind, place.tolist(), half.tolist(), paint=0, rotation=turn)
    for side in (-1.0, 1.0):
        beam = so3_exp(torch.tensor([0.0, -side * math.pi / 4, 0.0], dtype=torch.float64))
        middle = se3.transform(world_T_cam, torch.tensor([side * 9.3, 0.0, 0.0], dtype=torch.float64))
        turn = (world_T_cam[:3, :3] @ beam).flatten().tolist()
        solids.add(BOX, middle.tolist(), (0.3, 0.3, 6.0), paint=0, rotation=turn)
    return solids.build()


@pytest.mark.parametrize("seed", range(12))
def test_flow_and_stereo_of_drawn_cameras_are_those_of_depth_and_poses(seed):
    sensor = replace(drawn_sensor(seed), noise=0.0, samples=2, baseline=(0.1, 0.3, 1.0)[seed % 3])
    recorder = street(sensor)
    K, frame = recorder.camera.K, recorder.frame(20, later=21)
    later_T_now = recorder.poses()[21].inverse() @ recorder.poses()[20]
    points = se3.transform(later_T_now, backproject(K, frame.depth.double()))
    where, _ = project(K, points)
    expected = (where - pixel_grid(*SIZE, dtype=torch.float64)).movedim(-1, 0)
    near_image = ((where > -200) & (where < 400)).all(-1) & (frame.mask == 0) & (frame.depth > 0)
    assert float(near_image.float().mean()) > 0.4
    torch.testing.assert_close(frame.flow[:, near_image].double(), expected[:, near_image], atol=1e-3, rtol=0)

    right = recorder.frame(20, right=True)
    assert recorder.left_T_right[:3, 3].tolist() == [sensor.baseline, 0.0, 0.0]
    assert_warped(frame.image, frame.depth, right.image, right.depth, K, recorder.left_T_right.inverse())


def assert_warped(image: Tensor, depth: Tensor, other: Tensor, other_depth: Tensor, K: Tensor, pose: Tensor) -> None:
    """The other image, warped by the depth of this one and `other_T_this`, is this one wherever both see the place."""
    one, two = (pixels.double() / (255 if pixels.dtype == torch.uint8 else 1) for pixels in (image, other))
    warped, valid = warp_by_depth(two, depth.double(), K, source_T_target=pose)
    where, z = project(K, se3.transform(pose, backproject(K, depth.double())))
    seen, _ = sample_image(other_depth[None].double(), where, mode="nearest")
    keep = valid & (depth > 0) & ((seen[0] / z - 1).abs() < 0.03)
    assert float(keep.float().mean()) > 0.3
    error = (warped - one).abs().mean(0)[keep]
    assert float(error.mean()) < 0.025
    shifted = (warped.roll(2, -1) - one).abs().mean(0)[keep]
    assert float(error.mean()) < 0.6 * float(shifted.mean())


def test_depth_and_masks_know_nothing_of_exposure_noise_and_blur():
    plain = street(CLEAN).frame(20, later=21)
    for change in ({"exposure": 1.3}, {"noise": 0.02}, {"motion_blur": 0.5}):
        frame = street(replace(CLEAN, **change)).frame(20, later=21)
        assert not torch.equal(frame.image, plain.image)
        assert torch.equal(frame.depth, plain.depth)
        assert torch.equal(frame.mask, plain.mask)
        torch.testing.assert_close(frame.flow, plain.flow, rtol=0, atol=0, equal_nan=True)


def test_exposure_scales_linear_light():
    one, two = (street(replace(CLEAN, exposure=factor)).frame(20).image.double() / 255 for factor in (0.5, 1.0))
    middle = (one > 0.3) & (two < 0.95)
    assert float(middle.double().mean()) > 0.3
    torch.testing.assert_close(two[middle].square(), 2 * one[middle].square(), atol=0.02, rtol=0)
    assert float((two[middle].square() / one[middle].square()).mean()) == pytest.approx(2.0, abs=0.005)


def test_noise_is_the_same_whatever_the_exposure_time():
    noisy, quiet = (street(replace(CLEAN, motion_blur=0.4, noise=noise)).frame(20).image for noise in (0.03, 0.0))
    sharp_noisy, sharp = (street(replace(CLEAN, noise=noise)).frame(20).image for noise in (0.03, 0.0))
    middle = (quiet > 60) & (quiet < 200) & (sharp > 60) & (sharp < 200)
    one = (noisy.double() - quiet.double())[middle]
    other = (sharp_noisy.double() - sharp.double())[middle]
    assert float((one - other).abs().max()) <= 2.0
    assert float(one.std()) == pytest.approx(0.03 * 255, rel=0.1)


def test_rows_of_a_rolling_shutter_are_those_of_views_at_their_own_instants():
    sensor = replace(CLEAN, rolling_shutter=0.08)
    recorder, sharp_recorder = street(sensor, 140), street(CLEAN, 140)
    indices = range(5, 139, 5)
    index = next(one for one in indices if int((sharp_recorder.frame(one).mask > 0).sum()) > 50)  # behind a moving car
    scene, frame, sharp = recorder.scene, recorder.frame(index), sharp_recorder.frame(index)
    wrong = 0
    for row in range(0, SIZE[0], 5):
        time = index / 10 + 0.08 * ((row // 2 * 2 + 0.5) / (SIZE[0] - 1) - 0.5)
        world_T_cam = scene.camera.poses(torch.tensor([time], dtype=torch.float64))[0, 0]
        view = render(scene, recorder.camera, world_T_cam, time)
        depth, image = view.depth[row], (view.image[:, row] * 255).round()
        same = ((frame.depth[row] - depth).abs() <= 1e-5 * depth) & (frame.mask[row] == view.mask[row])
        wrong += int((~(same & ((frame.image[:, row] - image).abs() <= 1).all(0))).sum())
    assert wrong <= 12, wrong  # of 2704 pixels: outlines, where float32 decides otherwise for a level edge at once
    middle = slice(SIZE[0] // 2 - 1, SIZE[0] // 2 + 1)
    assert float(((frame.depth - sharp.depth).abs() <= 1e-2 * sharp.depth)[middle].float().mean()) > 0.95
    assert float(((frame.depth - sharp.depth).abs() > 1e-3 * sharp.depth).float().mean()) > 0.1


def test_a_still_rolling_shutter_is_a_global_one(still):
    camera, poses = pinhole_camera(SIZE), lambda _: torch.eye(4, dtype=torch.float64)
    rolled = take(still, camera, poses, 0.0, replace(CLEAN, rolling_shutter=0.1))
    plain = take(still, camera, poses, 0.0, CLEAN)
    torch.testing.assert_close(rolled.radiance, plain.radiance, atol=1e-4, rtol=0)
    torch.testing.assert_close(rolled.depth, plain.depth, atol=1e-4, rtol=0)
    assert torch.equal(rolled.mask, plain.mask)


def test_blur_of_a_still_camera_changes_nothing_and_of_a_moving_one_is_the_mean_of_its_light(still):
    camera, poses = pinhole_camera(SIZE), lambda _: torch.eye(4, dtype=torch.float64)
    views = [take(still, camera, poses, 0.0, replace(CLEAN, motion_blur=share)) for share in (0.0, 1.0)]
    torch.testing.assert_close(views[0].radiance, views[1].radiance, atol=1e-6, rtol=0)

    recorder = street(CLEAN)
    scene, sensor = recorder.scene, replace(CLEAN, motion_blur=0.9)
    times = 2.0 + torch.arange(-4, 5, dtype=torch.float64) * 0.01  # 0.9 of a tenth of a second, in nine equal parts
    poses = scene.camera.poses(times)[:, 0]
    views = [render(scene, recorder.camera, pose, float(time)) for pose, time in zip(poses, times, strict=True)]
    mean = sum(view.radiance for view in views) / 9
    blurred = street(sensor).frame(20).image
    assert float((blurred - (mean.clamp(0, 1).sqrt() * 255).round()).abs().max()) <= 1
    assert float((blurred.float() - recorder.frame(20).image.float()).abs().mean()) > 1


def test_blur_and_rolling_shutter_combine():
    size, middle = (16, 80), slice(7, 9)
    both, rolled, blurred = (
        street(replace(CLEAN, rolling_shutter=delay, motion_blur=share), 140, size).frame(60)
        for delay, share in ((0.05, 0.5), (0.05, 0.0), (0.0, 0.5))
    )
    assert torch.equal(both.depth, rolled.depth)
    assert torch.equal(both.mask, rolled.mask)
    assert float((both.image.float() - rolled.image.float()).abs().mean()) > 1
    difference = (both.image.float() - blurred.image.float()).abs()
    assert float(difference[:, middle].mean()) < 0.4 * float(difference.mean())


def test_flow_of_a_rolling_shutter_is_refused():
    sensor = replace(CLEAN, rolling_shutter=0.05)
    with pytest.raises(Vo3dError, match=r"flow with a rolling_shutter of 0\.05 s"):
        street(sensor).frame(0, later=1)
    with pytest.raises(Vo3dError, match=r"flow with a rolling_shutter of 0\.05 s"):
        RenderedRecording("street", 8, 4, SIZE, flow=True, sensor=sensor)
    recording = RenderedRecording("street", 8, 2, (8, 16), depth=True, sensor=sensor)
    assert recording.clip([0, 1]).depth.shape == (2, 8, 16)


@pytest.fixture(scope="module")
def still() -> Scene:
    """A dark wall with a vertical edge to the left of the axis, before a plain sky."""
    solids = SolidList(MATERIAL_SIZE)
    solids.add(BOX, (29.0, 0.0, 6.0), (30.0, 20.0, 1.0), paint=0, material=(*(0.02,) * 6, 0.0, 1.0))
    control = torch.zeros(20, 6, dtype=torch.float64)
    sky = (0.4 * 0.16 / 0.45, 0.4 * 0.22 / 0.45, 0.4 * 0.17 / 0.45)  # of which the far trees have the colour too
    light = Light((0.0, -0.8, -0.6), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), sky, sky, 400.0, -1.0)
    lattice = noise_lattice(torch.Generator().manual_seed(0))
    return Scene(solids.build(), (mottled,), light, RigidPath(Spline(control, -1.0, 0.1)), None, lattice, 50.0)


@pytest.mark.parametrize("sensor", [RADTAN, FISHEYE])
def test_straight_edges_bend_as_the_model_of_the_lens_says(still, sensor):
    size, sensor = (96, 128), replace(sensor, samples=4)
    camera = pinhole_camera(size, sensor)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = -1.0 + 0.5 * 5.0 / sensor.focal * 0.8  # the edge shows at a tenth of the width from the left border
    lens = lens_of(sensor, size)
    grey = take(still, camera, lambda _: pose, 0.0, sensor, lens).radiance.mean(0).double()
    edge = []
    for row in grey[2:-2]:
        drop = int(row.diff().argmin())
        left, right = row[drop - 2], row[drop + 3]
        # the area under a step tells where it is
        edge.append(drop - 1.5 + float(((row[drop - 1 : drop + 3] - right) / (left - right)).sum()))
    x = torch.tensor(edge, dtype=torch.float64)
    y = torch.arange(2, size[0] - 2, dtype=torch.float64)
    assert float(x.max() - x.min()) > 2
    ideal = undistort_points(torch.stack((x, y), -1), camera.K, sensor.lens[1], sensor.lens[0])
    expected = float(camera.K[0, 0]) * (-1.0 - float(pose[0, 3])) / 5.0 + float(camera.K[0, 2])
    torch.testing.assert_close(ideal[:, 0], torch.full_like(x, expected), atol=0.2, rtol=0)


@pytest.mark.parametrize("sensor", [RADTAN, FISHEYE])
def test_an_undone_lens_leaves_the_ideal_camera_of_depth_and_poses(sensor):
    recording = RenderedRecording("street", 8, 40, SIZE, sensor=sensor, stereo=True, depth=True, flow=True, mask=True)
    clip = recording.clip([20, 21])
    K = clip.K[0].double()
    assert float(K[0, 0]) != pytest.approx(float(pinhole_camera(SIZE, sensor).K[0, 0]))
    ideal = Recorder("street", 8, 40, SIZE, replace(sensor, lens=None, samples=2), K=K)
    view, right = ideal.frame(20), ideal.frame(20, right=True)
    torch.testing.assert_close(clip.depth[0], view.depth, rtol=1e-4, atol=1e-3)
    error = (clip.image[0] - view.image / 255).abs().mean()
    assert float(error) < 0.025
    assert float(error) < 0.6 * float((clip.image[0].roll(1, -1) - view.image / 255).abs().mean())
    shown = street(sensor).frame(20).image / 255
    assert float((clip.image[0] - shown).abs().mean()) > 2 * float(error)
    baseline = recording._recorder.left_T_right.inverse()
    assert_warped(clip.image[0], clip.depth[0], clip.right[0], right.depth, K, baseline)
    later_T_now = clip.world_T_cam[1].inverse() @ clip.world_T_cam[0]
    static = torch.where(clip.mask[0] == 0, clip.depth[0], 0.0)
    assert_warped(clip.image[0], static, clip.image[1], clip.depth[1], K, later_T_now)


def test_a_lens_that_cannot_be_drawn_is_refused_in_one_line():
    folding = replace(RADTAN, focal=0.3, lens=("radtan", (-0.9, 0.0, 0.0, 0.0)))
    for sensor in (folding, replace(FISHEYE, focal=0.2)):
        with pytest.raises(Vo3dError, match="give a longer focal length or smaller coefficients"):
            street(sensor).frame(0)
    with pytest.raises(Vo3dError, match="radtan lens model takes 4, 5, 8, 12, 14 coefficients, not 3"):
        street(replace(RADTAN, lens=("radtan", (0.1, 0.1, 0.1)))).frame(0)


def test_files_have_no_room_for_a_lens():
    with pytest.raises(Vo3dError, match=r"frames with lens .*radtan.*, for which KITTI's files have no room"):
        next(render_sequence(street(RADTAN), stereo=False))
