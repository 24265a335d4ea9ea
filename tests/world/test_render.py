"""Rendered views: depth, flow, masks and stereo agree with each other and with the pictures."""

from dataclasses import replace

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.geometry import backproject, project
from vo3d.geometry.warp import sample_image, warp_by_depth
from vo3d.world.casting import cast
from vo3d.world.recorder import Recorder
from vo3d.world.render import forward_flow, kitti_camera, render
from vo3d.world.scene import Scene, build_scene
from vo3d.world.sensor import Sensor
from vo3d.world.shading import shade

SIZE = (96, 312)
CLEAN = Sensor(noise=0.0, samples=2)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder("street", 8, 160, SIZE, CLEAN)


@pytest.fixture(scope="module")
def scene(recorder) -> Scene:
    return recorder.scene


def pixels(frame) -> torch.Tensor:
    return frame.image.float() / 255


def test_images_are_places_with_sky_road_and_colour(recorder):
    for index in (0, 60, 120):
        frame = recorder.frame(index)
        image = pixels(frame)
        assert image.shape == (3, *SIZE)
        assert 0.2 < float(image.mean()) < 0.7
        assert float(image.std()) > 0.12
        assert 0.005 < float((frame.depth == 0).float().mean()) < 0.6
        assert float(frame.depth[-1].min()) > 1.0
        assert float(frame.depth[-1].max()) < 12.0
        assert float(frame.depth.max()) < 2000.0


def test_the_next_view_warped_by_depth_and_pose_gives_this_one(recorder):
    K = recorder.camera.K
    for index in (20, 70, 130):
        now, later = recorder.frame(index), recorder.frame(index + 1)
        later_T_now = recorder.poses()[index + 1].inverse() @ recorder.poses()[index]
        warped, valid = warp_by_depth(pixels(later).double(), now.depth.double(), K, source_T_target=later_T_now)
        # What the next view sees there must lie at the depth that this view predicts: else it is hidden or has moved.
        points = backproject(K, now.depth.double()) @ later_T_now[:3, :3].mT + later_T_now[:3, 3]
        where, z = project(K, points)
        seen, _ = sample_image(later.depth[None].double(), where, mode="nearest")
        keep = valid & (now.mask == 0) & ((seen[0] / z - 1).abs() < 0.05)
        assert float(keep.float().mean()) > 0.5
        error = (warped - pixels(now)).abs().mean(0)[keep]
        still = (pixels(later) - pixels(now)).abs().mean(0)[keep]
        assert float(error.mean()) < 0.02
        assert float(error.mean()) < 0.5 * float(still.mean())


def test_flow_of_static_pixels_is_the_reprojection_of_depth(recorder):
    K = recorder.camera.K
    frame = recorder.frame(40, later=42)
    later_T_now = recorder.poses()[42].inverse() @ recorder.poses()[40]
    points = backproject(K, frame.depth.double()) @ later_T_now[:3, :3].mT + later_T_now[:3, 3]
    where, z = project(K, points)
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    expected = where.movedim(-1, 0) - torch.stack((x, y))
    static = (frame.mask == 0) & (frame.depth > 0) & (z > 0.01)
    torch.testing.assert_close(frame.flow[:, static].double(), expected[:, static], atol=2e-3, rtol=1e-4)
    assert frame.flow[:, (frame.depth > 0) & (z < 0)].isnan().all()
    sky = frame.depth == 0
    turned = torch.einsum(
        "ij,jhw->ihw", K @ later_T_now[:3, :3] @ K.inverse(), torch.stack((x, y, torch.ones_like(x))).double()
    )
    expected = turned[:2] / turned[2] - torch.stack((x, y))
    torch.testing.assert_close(frame.flow[:, sky].double(), expected[:, sky], atol=2e-3, rtol=1e-4)


def test_flow_follows_moving_objects(recorder, scene):
    found = 0
    for index in range(10, 150, 10):
        now, later = recorder.frame(index, later=index + 1), recorder.frame(index + 1)
        for number in now.mask.unique().tolist():
            object_pixels = (now.mask == number) & (now.depth < 40)
            if number == 0 or int(object_pixels.sum()) < 60:
                continue
            y, x = object_pixels.nonzero().T
            target = torch.stack((x, y), -1) + now.flow[:, object_pixels].T
            ids, inside = sample_image(later.mask[None].float(), target[None], mode="nearest")
            covering, _ = sample_image(later.depth[None].float(), target[None], mode="nearest")
            world_T_later, before, after = (
                recorder.poses()[index + 1], scene.objects(index / 10)[number], scene.objects((index + 1) / 10)[number]
            )  # fmt: skip
            later_T_now = world_T_later.inverse() @ after @ before.inverse() @ recorder.poses()[index]
            points = backproject(recorder.camera.K, now.depth.double())[object_pixels]
            z = (points @ later_T_now[:3, :3].mT + later_T_now[:3, 3])[:, 2]
            free = inside[0] & (covering[0, 0] > 0.98 * z)  # not hidden since
            if int(free.sum()) < 60:
                continue
            agree = ids[0, 0][free] == number
            assert float(agree.float().mean()) > 0.75  # the rest: outlines
            colour, _ = sample_image(pixels(later), target[None])
            error = (colour[:, 0] - pixels(now)[:, object_pixels]).abs().mean(0)[free][agree]
            assert float(error.median()) < 0.03
            found += 1
    assert found >= 6


def test_moving_objects_move_as_flow_says_and_not_as_the_road(scene):
    camera = kitti_camera(SIZE)
    still = torch.eye(4, dtype=torch.float64)
    view = render(scene, camera, still, 0.0)
    same, later = scene.objects(0.0), scene.objects(0.2)
    flow = forward_flow(view, camera, still, still, same, later)
    moving = (later - same)[view.mask, :3, 3].norm(dim=-1) > 0.1  # some people stand
    assert int(moving.sum()) > 30
    assert float(flow[:, view.mask == 0].abs().max()) < 1e-3
    assert float(flow[:, moving & (view.depth < 60)].norm(dim=0).min()) > 0.05


def test_the_right_view_warped_by_depth_gives_the_left(recorder):
    baseline = CLEAN.baseline
    for index in (10, 90):
        left, right = recorder.frame(index), recorder.frame(index, right=True)
        warped, valid = warp_by_depth(
            pixels(right).double(),
            left.depth.double(),
            recorder.camera.K,
            source_T_target=recorder.left_T_right.inverse(),
        )
        disparity = recorder.camera.K[0, 0] * baseline / left.depth
        y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
        seen, _ = sample_image(right.depth[None], torch.stack((x - disparity, y), -1).float(), mode="nearest")
        keep = valid & (left.depth > 0) & ((seen[0] / left.depth - 1).abs() < 0.05)
        assert float(keep.float().mean()) > 0.5
        assert float((warped - pixels(left)).abs().mean(0)[keep].mean()) < 0.02


def test_textures_do_not_alias_with_distance(scene):
    """Without its outlines, an image of one ray per pixel is close to the mean of 16 rays per pixel."""
    coarse, fine = kitti_camera(SIZE), kitti_camera((SIZE[0] * 4, SIZE[1] * 4))
    fine.K[:2, :2] = coarse.K[:2, :2] * 4
    fine.K[:2, 2] = coarse.K[:2, 2] * 4 + 1.5
    for time in (2.0, 8.0, 14.0):
        world_T_cam = scene.camera.poses(torch.tensor([time], dtype=torch.float64))[0, 0]
        solids = scene.placed(time)
        seen = [cast(solids, camera, world_T_cam, scene.view_range) for camera in (coarse, fine)]
        one, many = (
            camera.untile(shade(scene, part, camera, world_T_cam)).clamp(0, 1).sqrt()
            for camera, part in zip((coarse, fine), seen, strict=True)
        )
        mean = torch.nn.functional.avg_pool2d(many, 4)
        owner = coarse.untile(
            seen[0].solids.centre[seen[0].solid][..., 0] + 0.37 * seen[0].solids.centre[seen[0].solid][..., 2]
        )
        fine_owner = fine.untile(
            seen[1].solids.centre[seen[1].solid][..., 0] + 0.37 * seen[1].solids.centre[seen[1].solid][..., 2]
        )
        blocks = fine_owner.unfold(0, 4, 4).unfold(1, 4, 4).flatten(2)
        whole = (blocks == owner[..., None]).all(-1)  # all 16 rays meet the solid of the one
        difference = (one - mean).abs().mean(0)[whole]
        assert float(whole.float().mean()) > 0.5
        assert float(difference.mean()) < 0.012
        assert float(difference.quantile(0.99)) < 0.08


def test_frames_do_not_depend_on_the_order_and_follow_the_seed():
    first = Recorder("street", 2, 12, (48, 160), Sensor())
    frames = [first.frame(index, later=index + 1) for index in (3, 4, 5)]
    again = Recorder("street", 2, 12, (48, 160), Sensor())
    for index in (5, 3, 4):
        frame, before = again.frame(index, later=index + 1), frames[index - 3]
        for name in ("image", "depth", "mask", "flow"):
            torch.testing.assert_close(getattr(frame, name), getattr(before, name), rtol=0, atol=0, equal_nan=True)
    other = Recorder("street", 3, 12, (48, 160), Sensor()).frame(3)
    assert not torch.equal(other.image, frames[0].image)
    assert not torch.equal(frames[0].image, frames[1].image)


def test_exposure_noise_and_samples_change_the_image_alone(scene):
    takes = {
        name: Recorder("street", 2, 12, (48, 160), replace(Sensor(noise=0.0), **change)).frame(5)
        for name, change in {
            "plain": {}, "bright": {"exposure": 1.5}, "noisy": {"noise": 0.03}, "fine": {"samples": 2},
        }.items()
    }  # fmt: skip
    plain = pixels(takes["plain"])
    assert float((pixels(takes["bright"]) - plain).mean()) > 0.05
    noise = (pixels(takes["noisy"]) - plain)[:, (plain > 0.2).all(0) & (plain < 0.8).all(0)]
    assert float(noise.std()) == pytest.approx(0.03, rel=0.1)
    assert 0.001 < float((pixels(takes["fine"]) - plain).abs().mean()) < 0.05
    for take in takes.values():
        assert torch.equal(take.depth, takes["plain"].depth)
        assert torch.equal(take.mask, takes["plain"].mask)


def test_objects_cast_shadows_on_the_road(scene):
    """The road is darker where the sun's ray to it meets a car: move the car away and it is bright."""
    camera = kitti_camera(SIZE)
    empty = replace(scene, movers=None, solids=scene.solids.select((scene.solids.object == 0).nonzero()[:, 0]))

    def shaded_pixels(time: float) -> int:
        world_T_cam = scene.camera.poses(torch.tensor([time], dtype=torch.float64))[0, 0]
        with_cars, without = (render(kind, camera, world_T_cam, time) for kind in (scene, empty))
        darker = (without.image - with_cars.image).mean(0) > 0.08
        road = (with_cars.mask == 0) & (with_cars.depth == without.depth) & (with_cars.depth > 0)
        return int((darker & road).sum())

    assert any(shaded_pixels(float(time)) > 20 for time in range(1, 15))


def test_sizes_that_cannot_be_are_refused():
    for size in ((127, 416), (128, 415), (6, 416), (0, 0)):
        with pytest.raises(Vo3dError, match="expected even numbers of at least 8"):
            kitti_camera(size)
    assert render(
        build_scene("street", 0, 2), kitti_camera((34, 50)), torch.eye(4, dtype=torch.float64), 0.0
    ).image.shape == (3, 34, 50)
