"""Rendered tables: things rest and do not grow into one another, cameras look at them, truth is exact, files agree."""

import math

import pytest
import torch

import vo3d.world.render
from solids import contain
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.formats.mvsnet import read_cam, read_pairs, read_scene
from vo3d.formats.pfm import read_pfm
from vo3d.formats.ply import read_cloud
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, project
from vo3d.geometry.view_selection import pair_scores
from vo3d.world.dome import DEPTH_RANGE, DIFFUSE, LIGHTS, RADIUS, dome_light, dome_poses, dome_scores, dtu_camera
from vo3d.world.paints import MATERIAL_SIZE
from vo3d.world.primitives import BALL, BOX, PLANE
from vo3d.world.recorder import Recorder
from vo3d.world.scene import SolidList, build_scene, scene_kinds
from vo3d.world.scenes.tabletop import _Table
from vo3d.world.sensor import Sensor
from vo3d.world.shadows import lit
from vo3d.world.stills import Stills
from vo3d.world.table_files import render_to_dtu, render_to_dtu_training

SIZE = (48, 64)


def surface_points(solids):
    """Many points of each solid's surface, or of its edges where these are its outermost ones, shape n 4000 3."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=1)
    around = direction[:, ::2] / direction[:, ::2].norm(dim=1, keepdim=True)
    rim = torch.stack((around[:, 0], direction[:, 1].sign(), around[:, 1]), 1)
    local = torch.stack(
        [direction if kind == BALL else direction.sign() if kind == BOX else rim for kind in solids.kind]
    )
    return (local * solids.half[:, None]) @ solids.rotation.mT + solids.centre[:, None]


def on_table(solids):
    """The things on the table: all solids that reach above it and are no sheet of paper."""
    return solids.select(((solids.kind != PLANE) & (solids.centre[:, 1] < -0.002)).nonzero()[:, 0])


def test_the_kind_is_found_and_drives_like_any_other():
    assert "tabletop" in scene_kinds()
    recorder = Recorder("tabletop", 3, 30, SIZE, Sensor(noise=0.0))
    poses = recorder.poses()
    torch.testing.assert_close(poses[:, :3, 3].norm(dim=1), torch.full((30,), RADIUS).double(), atol=0.02, rtol=0)
    frame = recorder.frame(20)
    assert float(((frame.depth > 0.4) & (frame.depth < 1)).float().mean()) > 0.1  # KITTI's lens is wide


@pytest.mark.parametrize("seed", range(6))
def test_things_rest_on_the_table(seed):
    solids = on_table(build_scene("tabletop", seed, 2).solids)
    lowest = -surface_points(solids)[..., 1].amax(1)  # up
    assert float(lowest.min()) > -0.002  # nothing is sunk into the table by more than a hair
    assert float(lowest.min()) < 0.0005
    assert float(solids.centre[:, ::2].norm(dim=1).max()) < 0.23
    # Whatever floats must be held up: its lowest point lies within the heights of another thing beside or under it.
    top = -solids.centre[:, 1] + (solids.rotation[:, 1].abs() * solids.half).sum(1)
    for index in (lowest > 0.001).nonzero()[:, 0].tolist():
        apart = (solids.centre[:, ::2] - solids.centre[index, ::2]).norm(dim=1)
        near = (apart < solids.half.norm(dim=1) + solids.half[index].norm()) & (top > lowest[index] - 0.002)
        assert int(near.sum()) > 1, index


def table(seed):
    solids = SolidList(MATERIAL_SIZE)
    return _Table(torch.Generator().manual_seed(seed), solids), solids


@pytest.mark.parametrize("maker", ["box", "can", "ball", "pile", "books", "house", "plant", "leaning"])
def test_each_thing_keeps_to_its_disc(maker):
    for seed in range(12):
        things, solids = table(seed)
        size = things.uniform(0.022, 0.06)
        getattr(things, maker)(0.1, -0.05, size)
        points = surface_points(solids.build())
        away = torch.hypot(points[..., 0] - 0.1, points[..., 2] + 0.05)
        assert float(away.max()) < size * 1.001, seed
        assert float(points[..., 1].max()) < 0.0011  # y is down: a hair below the table
        assert float(points[..., 1].min()) > -0.2


def test_four_to_ten_things_stand_apart():
    counts = set()
    for seed in range(20):
        discs = table(seed)[0].things()
        counts.add(len(discs))
        for number, (x, z, radius) in enumerate(discs):
            for a, b, other in discs[:number]:
                assert math.hypot(x - a, z - b) > radius + other
    assert min(counts) >= 4
    assert max(counts) <= 10
    assert len(counts) > 4


def test_every_camera_looks_at_the_table_from_the_dome():
    for seed in range(4):
        poses = dome_poses(seed)
        assert poses.shape == (49, 4, 4)
        centre, ahead = poses[:, :3, 3], poses[:, :3, 2]
        torch.testing.assert_close(poses[:, :3, :3] @ poses[:, :3, :3].mT, torch.eye(3).double().expand(49, 3, 3))
        miss = torch.linalg.cross(centre, ahead).norm(dim=1)  # from the ray to the middle of the table
        assert float(miss.max()) < 0.07
        assert float((centre * ahead).sum(1).max()) < 0
        assert float((centre.norm(dim=1) - RADIUS).abs().max()) < 0.06
        assert float(centre[:, 1].max()) < -0.15  # above the table: y is down
        assert float(poses[:, 1, 0].abs().max()) < math.sin(math.radians(3))  # upright
        ray = torch.nn.functional.normalize(centre, dim=1)
        angle = (ray[1:] * ray[:-1]).sum(1).clamp(-1, 1).acos().rad2deg()
        assert float(angle.min()) > 3  # neighbours of a row
        assert float(angle.max()) < 14
    assert not torch.equal(dome_poses(0), dome_poses(1))
    assert torch.equal(dome_poses(1), dome_poses(1))


@pytest.mark.parametrize("views", [2, 5, 9, 20])
def test_a_part_of_the_dome_keeps_the_distance_of_neighbours(views):
    centre = torch.nn.functional.normalize(dome_poses(2, views)[:, :3, 3], dim=1)
    cosine = (centre @ centre.T).fill_diagonal_(-1).amax(1)
    assert 4 < float(cosine.clamp(-1, 1).acos().rad2deg().max()) < 11


def test_the_lens_is_that_of_dtu():
    camera = dtu_camera((1200, 1600))
    expected = torch.tensor([[2892.33, 0, 823.205], [0, 2892.33, 619.071], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(camera.K, expected)
    small = dtu_camera((512, 640))  # scaled by 512 / 1200, cropped by 21 1/3 columns on each side
    scale = 512 / 1200
    assert float(small.K[0, 0]) == pytest.approx(2892.33 * scale)
    assert float(small.K[0, 2]) == pytest.approx((823.205 + 0.5) * scale - 0.5 - (1600 * scale - 640) / 2)
    assert float(small.K[1, 2]) == pytest.approx((619.071 + 0.5) * scale - 0.5)


def test_scores_are_those_of_the_common_formula():
    """The dense form against `pair_scores` on the same points, listed one by one."""
    poses, camera = dome_poses(5, 12), dtu_camera(SIZE)
    points = torch.tensor([[x, y, z] for x in (-0.1, 0.0, 0.1) for y in (-0.09, 0.0) for z in (-0.1, 0.0, 0.1)])
    seen = []
    for view, world_T_cam in enumerate(poses):
        for point, position in enumerate(points.double()):
            (x, y), _ = project(camera.K, se3.transform(se3.inverse(world_T_cam), position))
            if 0 <= x <= camera.width - 1 and 0 <= y <= camera.height - 1:
                seen.append((point, view))
    point, view = torch.tensor(seen).T
    assert len(seen) < 12 * 18  # some points are outside of some images: the test covers that
    expected = pair_scores(se3.inverse(poses), points, point, view)
    torch.testing.assert_close(dome_scores(poses, camera), expected, atol=1e-4, rtol=1e-4)


def test_a_view_depends_on_nothing_but_its_arguments():
    first, second = Stills(4, SIZE), Stills(4, SIZE)
    second.take(7, 0)
    second.take(30, 5)
    one, two = first.take(20, 2), second.take(20, 2)
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.depth, two.depth)
    other = first.take(20, 3)
    assert torch.equal(other.depth, one.depth)
    assert float((other.image.float() - one.image.float()).abs().mean()) > 3
    assert not torch.equal(Stills(5, SIZE).take(20, 2).depth, one.depth)


def test_views_agree_with_each_other_through_their_depth():
    """A point that one view sees lies, in another, on its surface or behind it; never before it."""
    stills = Stills(1, (96, 128), noise=0.0, exposure=0.0)
    for a, b in ((10, 11), (24, 17), (40, 30)):
        first, second = stills.take(a, DIFFUSE), stills.take(b, DIFFUSE)
        K = stills.camera.K
        b_T_a = se3.relative(stills.world_T_cam[b], stills.world_T_cam[a])
        points = se3.transform(b_T_a, backproject(K, first.depth.double()))[(first.depth > 0) & (first.depth < 0.935)]
        pixels, _ = project(K, points)
        inside = ((pixels >= 0) & (pixels <= torch.tensor([127, 95]))).all(1)
        pixels, z = pixels[inside].round().long(), points[inside][:, 2]
        surface = second.depth.double()[pixels[:, 1], pixels[:, 0]]
        surface = torch.where(surface > 0, surface, torch.inf)
        before = (z < surface - 0.01).double().mean()  # 1 cm: the rounded pixel may lie beyond an outline
        assert float(before) < 0.04, (a, b)
        assert float(((z - surface).abs() < 0.01).double().mean()) > 0.75


def test_bands_of_rows_make_the_same_view(monkeypatch):
    stills = Stills(2, (64, 96), samples=2)
    whole = stills.take(5, 1)
    monkeypatch.setattr(vo3d.world.render, "MOST_RAYS", 96 * 4 * 24)
    banded = stills.take(5, 1)
    torch.testing.assert_close(banded.depth, whole.depth, atol=1e-5, rtol=0)
    assert int((banded.image.int() - whole.image.int()).abs().max()) <= 2


def test_shadows_are_those_of_rays_towards_the_lamp():
    """Against marching along each ray and asking whether a solid contains the point."""
    scene = build_scene("tabletop", 2, 2)
    light = dome_light(2, 0)
    generator = torch.Generator().manual_seed(1)
    flat = (torch.rand(300, 2, generator=generator) - 0.5) * 0.3
    points = torch.stack((flat[:, 0], torch.full((300,), -0.0011), flat[:, 1]))  # above the sheet of paper too
    normal = torch.tensor([0.0, -1.0, 0.0])[:, None].expand(3, 300)
    found = lit(scene.solids, points, normal, light.to_sun)
    steps = torch.arange(0.002, 0.5, 0.0005)[:, None] * torch.tensor(light.to_sun)
    marched = []
    inside = torch.zeros(300, dtype=torch.bool)
    for index, point in enumerate(points.T):
        inside[index] = bool(contain(scene.solids, point).any())
        path = point + steps
        local = ((path[:, None] - scene.solids.centre)[:, :, None] @ scene.solids.rotation)[:, :, 0] / scene.solids.half
        size, kind = local.abs(), scene.solids.kind
        radius = torch.hypot(local[..., 0], local[..., 2])
        hit = torch.where(kind == BOX, size.amax(-1) < 1, (radius < 1) & (size[..., 1] < 1))
        hit = torch.where(kind == BALL, local.square().sum(-1) < 1, hit) & (kind != PLANE)
        marched.append(not bool(hit.any()))
    shadow = ~torch.tensor(marched)[~inside]
    assert 0.1 < float(shadow.float().mean()) < 0.9
    agree = (found[~inside] == 0) == shadow
    assert float(agree.float().mean()) > 0.985  # the march steps over the thinnest corners


def test_lights_differ_and_one_is_diffuse():
    lights = [dome_light(0, index) for index in range(LIGHTS)]
    assert len({light.to_sun for light in lights}) == LIGHTS
    for index, light in enumerate(lights):
        assert math.hypot(*light.to_sun) == pytest.approx(1)
        assert light.to_sun[1] < -0.5
        assert (light.sun[1] > light.ambient[1]) == (index != DIFFUSE)


def test_a_table_as_a_folder_of_mvsnet(tmp_path):
    render_to_dtu(7, tmp_path, SIZE, views=5, samples=1, spacing=2.0)
    scene = read_scene(tmp_path / "scan7")
    assert list(scene) == list(range(5))
    stills = Stills(7, SIZE, views=5)
    cloud = read_cloud(tmp_path / "Points" / "stl" / "stl007_total.ply")
    cubes = {tuple(row) for row in (cloud.points // 2.0).astype(int).tolist()}
    assert len(cubes) == len(cloud)  # one point in each cube
    for index, view in scene.items():
        assert view.sources == tuple(stills.sources[index][0])
        assert (view.camera.depth_min, view.camera.depth_interval, view.camera.depth_max) == (425.0, 2.5, 935.0)
        assert view.camera.depth_min + view.camera.depth_interval * (view.camera.num_depths - 1) == 935.0
        still = stills.take(index, DIFFUSE)
        assert torch.equal((read_image(view.image) * 255).round().to(torch.uint8), still.image)
        depth = read_pfm(tmp_path / "scan7" / "depths" / f"{index:08d}.pfm")
        near, far = DEPTH_RANGE
        expected = torch.where((still.depth >= near) & (still.depth <= far), 1000 * still.depth, 0.0)
        torch.testing.assert_close(depth, expected)
        # The cloud holds a point within a cube's diagonal of every surface point of every view.
        world_T_cam = se3.inverse(view.camera.cam_T_world)
        points = se3.transform(world_T_cam, backproject(view.camera.K, depth.double()))[depth > 0]
        nearest = torch.cdist(points[::17], torch.from_numpy(cloud.points).double()).amin(1)
        assert float(nearest.max()) < 2 * math.sqrt(3)
    with pytest.raises(Vo3dError, match="holds images already"):
        render_to_dtu([7], tmp_path, SIZE, views=5)


def test_tables_in_the_layout_of_dtu_training(tmp_path):
    render_to_dtu_training([2, 6], tmp_path, SIZE, views=4, lights=(0, 3))
    assert [row.view for row in read_pairs(tmp_path / "Cameras" / "pair.txt")] == [0, 1, 2, 3]
    for seed in (2, 6):
        stills = Stills(seed, SIZE, views=4, cameras=2)
        still = stills.take(1, 3)
        image = read_image(tmp_path / "Rectified" / f"scan{seed}_train" / "rect_002_3_r5000.png")
        assert torch.equal((image * 255).round().to(torch.uint8), still.image)
        truth = tmp_path / "Depths" / f"scan{seed}_train"
        depth = read_pfm(truth / "depth_map_0001.pfm")
        mask = read_image(truth / "depth_visual_0001.png", grey_to_rgb=False)[0] > 0.5
        assert torch.equal(mask, depth > 0)
        torch.testing.assert_close(depth[mask], 1000 * still.depth[::4, ::4][mask])
        camera = read_cam(tmp_path / "Cameras" / "train" / "00000001_cam.txt")
        torch.testing.assert_close(camera.K[:2] * 4, stills.camera.K[:2])
        centre = se3.inverse(camera.cam_T_world)[:3, 3]
        torch.testing.assert_close(centre, 1000 * stills.world_T_cam[1, :3, 3])
    with pytest.raises(Vo3dError, match="multiples of 4"):
        render_to_dtu_training([2], tmp_path / "b", (50, 64))
    with pytest.raises(Vo3dError, match="0 seeds"):
        render_to_dtu_training([], tmp_path / "b", SIZE)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(Vo3dError, match="seed -1"):
        Stills(-1, SIZE)
    with pytest.raises(Vo3dError, match="1 views about a table: expected 2"):
        Stills(0, SIZE, views=1)
    with pytest.raises(Vo3dError, match="4x64"):
        Stills(0, (4, 64))
    with pytest.raises(Vo3dError, match="0 samples"):
        Stills(0, SIZE, samples=0)
    with pytest.raises(Vo3dError, match="light 7: expected 0 to 6"):
        dome_light(0, 7)
    with pytest.raises(Vo3dError, match="spacing"):
        render_to_dtu(0, tmp_path, SIZE, views=2, spacing=0.0)
