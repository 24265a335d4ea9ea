"""Clouds are drawn where their points are: the nearest one seen, upright, strays left aside."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.formats.ply import Mesh, PointCloud
from vo3d.geometry import camera, se3
from vo3d.report.clouds import extent, points_on_mesh, render_cloud, turntable, upright_axes, write_turntable

K = torch.tensor([[30.0, 0.0, 15.5], [0.0, 32.0, 11.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
SIZE = (24, 32)
EYE = torch.eye(4, dtype=torch.float64)


def pose(seed: int) -> Tensor:
    """Some rigid motion."""
    random = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return se3.exp(random)


def ball(count: int = 20_000, radius: float = 1.0, seed: int = 0) -> PointCloud:
    """A sphere, red above (y < 0) and blue below, with normals to the outside."""
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = np.where(normals[:, 1:2] < 0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    return PointCloud(points=radius * normals, colours=colours, normals=normals)


def moved(cloud: PointCloud, a_T_b: Tensor) -> PointCloud:
    """The cloud in frame a."""
    points = se3.transform(a_T_b, torch.from_numpy(cloud.points)).numpy()
    return PointCloud(points=points, colours=cloud.colours)


def test_a_depth_map_comes_back_from_its_cloud() -> None:
    random = torch.Generator().manual_seed(1)
    depth = 1 + 5 * torch.rand(SIZE, generator=random, dtype=torch.float64)
    depth[3:5, 7:20] = 0
    image = (255 * torch.rand(3, *SIZE, generator=random)).round()
    world_T_cam = pose(2)
    points = se3.transform(world_T_cam, camera.backproject(K, depth))[depth > 0]
    colours = image[:, depth > 0].T.byte().numpy()
    shown, z = render_cloud(PointCloud(points=points.numpy(), colours=colours), K, se3.inverse(world_T_cam), SIZE)
    torch.testing.assert_close(z.double(), depth, rtol=1e-6, atol=0)
    torch.testing.assert_close(shown, torch.where(depth > 0, image / 255, 1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("point_size", [1, 2, 3, 4])
def test_the_nearest_square_is_seen_in_each_pixel(point_size: int) -> None:
    random = np.random.default_rng(point_size)
    points = random.uniform((-4, -3, -2), (4, 3, 6), size=(400, 3))
    colours = random.integers(0, 256, size=(400, 3)).astype(np.uint8)
    expected, nearest = np.ones((3, *SIZE)), np.full(SIZE, np.inf)
    for (x, y, z), colour in zip(points, colours, strict=True):
        if z <= 0:
            continue
        left = round(30 * x / z + 15.5 - (point_size - 1) / 2)
        top = round(32 * y / z + 11.5 - (point_size - 1) / 2)
        for row in range(max(top, 0), min(top + point_size, SIZE[0])):
            for column in range(max(left, 0), min(left + point_size, SIZE[1])):
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    expected[:, row, column] = colour / 255
    shown, depth = render_cloud(PointCloud(points=points, colours=colours), K, EYE, SIZE, point_size)
    np.testing.assert_allclose(depth.numpy(), np.where(np.isinf(nearest), 0, nearest), rtol=1e-6)
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-6)


def test_numbers_of_points_survive_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = moved(ball(3000), se3.exp(torch.tensor([0, 0, 4, 0, 0, 0], dtype=torch.float64)))
    whole = render_cloud(cloud, K, EYE, SIZE, 2)
    monkeypatch.setattr("vo3d.report.clouds.CHUNK", 700)
    pieces = render_cloud(cloud, K, EYE, SIZE, 2)
    assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))
    assert (whole[0] < 1).any()


def test_without_colours_the_light_falls_from_above_and_on_both_sides() -> None:
    cloud = ball(60_000)
    cam_T_world = se3.exp(torch.tensor([0, 0, 3, 0, 0, 0], dtype=torch.float64))
    assert cloud.normals is not None
    out, into = (PointCloud(points=cloud.points, normals=sign * cloud.normals) for sign in (1, -1))
    shown, depth = render_cloud(out, K, cam_T_world, SIZE, 2)
    assert torch.equal(shown, render_cloud(into, K, cam_T_world, SIZE, 2)[0])
    assert torch.equal(shown[0], shown[2])
    upper, lower = (depth[half] > 0 for half in (slice(None, 12), slice(12, None)))
    assert shown[0, :12][upper].mean() > shown[0, 12:][lower].mean() + 0.1


def test_without_normals_steps_in_depth_are_dark() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 200), np.linspace(-2, 2, 200)), -1).reshape(-1, 2)
    z = np.where(grid[:, 0] < 0, 2.0, 3.0)
    points = np.concatenate((grid * z[:, None], z[:, None]), 1)
    shown, _ = render_cloud(PointCloud(points=points), K, EYE, SIZE, 1)
    columns = shown[0].mean(0)
    assert columns.argmin() == 16  # the first column of the far half
    assert columns[16] < 0.5 * columns[14]
    torch.testing.assert_close(columns[20:], columns[20:21].expand(12))


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (0.3, -0.2, 5.0), (-1.0, 0.0, 0.0)])
def test_the_turntable_stands_upright_and_looks_at_the_middle(up: tuple[float, float, float]) -> None:
    axes = upright_axes(up)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(axes) > 0
    a_T_b = se3.from_rotation_translation(
        axes.T @ torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64),
        torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64),
    )  # of the ball's -y, which is red, along `up`
    for image in turntable(moved(ball(), a_T_b), 5, (60, 80), up=up):
        seen = (image < 1).any(0)
        rows, columns = (where.double() for where in seen.nonzero().unbind(-1))
        assert rows.mean().item() == pytest.approx(29.5, abs=2)
        assert columns.mean().item() == pytest.approx(39.5, abs=2)
        red, blue = ((image[channel] > image[2 - channel]).nonzero()[:, 0].double().mean() for channel in (0, 2))
        assert red < blue - 10  # rows grow downwards
        assert 50 <= len(rows.unique()) <= 60  # as near as it can be


def test_the_turntable_goes_around_once_from_the_side_of_the_cameras() -> None:
    cloud = ball()
    sides = np.where(cloud.points[:, 2:] < 0, [[0, 255, 0]], [[255, 0, 255]]).astype(np.uint8)  # green towards -z
    cloud = PointCloud(points=cloud.points, colours=sides)
    world_T_cam = EYE.repeat(3, 1, 1)
    world_T_cam[:, :3, 3] = torch.tensor([[-0.5, 0, 4], [0.5, 0, 4], [0, -0.5, 4]])
    world_T_cam[:, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))  # half a turn about y
    shares = [
        float((image[1] > image[0]).sum() / (image < 1).any(0).sum())
        for image in turntable(cloud, 4, (40, 40), world_T_cam=world_T_cam)
    ]
    assert shares == pytest.approx([0.0, 0.5, 1.0, 0.5], abs=0.12)


def ring(angles: Tensor, elevation: float, roll: float) -> Tensor:
    """Cameras around the axis -y that look at the origin from above it, rolled about their own axes; all in radians."""

    def turn(axis: int, angle: Tensor | float) -> Tensor:
        twist = torch.zeros(len(angles), 6, dtype=torch.float64)
        twist[:, 3 + axis] = torch.as_tensor(angle)
        return se3.exp(twist)

    poses = turn(1, angles) @ turn(0, -elevation) @ turn(2, roll)
    poses[:, :3, 3] = -3 * poses[:, :3, 2]
    return poses


@pytest.mark.parametrize("roll", [0.0, 0.3, math.pi / 2, -math.pi / 2])
@pytest.mark.parametrize("arc", [1.0, 2 * math.pi])
def test_the_axis_of_a_ring_of_cameras_is_up_however_they_are_rolled(roll: float, arc: float) -> None:
    cameras = ring(torch.linspace(0, arc, 12, dtype=torch.float64)[:-1], elevation=0.3, roll=roll)
    assert cameras[0, 1, 3] < 0  # above
    frame = pose(7)
    expected = (frame[:3, :3] @ torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)).tolist()
    assert upright_axes(None, frame @ cameras)[2].tolist() == pytest.approx(expected, abs=1e-6)


def test_up_is_the_mean_of_the_cameras_that_turn_around_no_axis_unless_they_point_every_way() -> None:
    rolled = se3.exp(torch.tensor([[0, 0, 0, 0, 0, math.pi / 2]], dtype=torch.float64))
    assert upright_axes(None, rolled)[2].tolist() == pytest.approx([1, 0, 0], abs=1e-9)
    dome = torch.cat([ring(torch.linspace(-0.7, 0.7, 9).double(), elevation, 0.0) for elevation in (0.2, 0.8, 1.4)])
    up = upright_axes(None, dome)[2]
    mean = -dome[:, :3, 1].mean(0)
    assert up.tolist() == pytest.approx((mean / mean.norm()).tolist(), abs=1e-9)
    turns = math.pi * torch.cat((torch.zeros(4, 3), torch.eye(4, 3)), 1).double()
    assert upright_axes(None, se3.exp(turns))[2].tolist() == pytest.approx([0, -1, 0], abs=1e-9)
    assert upright_axes((0.0, 0.0, 2.0), rolled)[2].tolist() == pytest.approx([0, 0, 1], abs=1e-9)


def test_strays_change_neither_middle_nor_radius() -> None:
    points = ball().points
    strays = 1000 * np.random.default_rng(3).normal(size=(100, 3))
    centre, radius = extent(
        PointCloud(points=np.concatenate((points, strays))[np.random.default_rng(0).permutation(20_100)])
    )
    assert centre.norm().item() < 0.02
    assert 1 <= radius < 1.1
    assert extent(PointCloud(points=np.ones((1, 3))))[1] == 1.0
    assert len(turntable(PointCloud(points=np.ones((1, 3))), 2, (16, 16))) == 2


def test_points_lie_evenly_on_the_triangles_of_a_mesh() -> None:
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 3], [2, 0, 3]], dtype=np.float64)
    colours = np.array([[0, 0, 0], [200, 0, 0], [0, 100, 0], [0, 0, 0], [200, 0, 0]], dtype=np.uint8)
    mesh = Mesh(vertices=PointCloud(points=corners, colours=colours), faces=np.array([[0, 1, 2], [0, 3, 4], [0, 1, 1]]))
    cloud = points_on_mesh(mesh, 30_000)
    assert cloud.colours is not None
    assert cloud.normals is not None
    flat = cloud.points[:, 2] == 0
    assert flat.mean() == pytest.approx(1 / 4, abs=0.01)  # areas 1 and 3
    x, y = cloud.points[flat, :2].T
    assert (y <= 1 - x / 2 + 1e-12).all()
    assert (x.mean(), y.mean()) == pytest.approx((2 / 3, 1 / 3), abs=0.02)
    np.testing.assert_allclose(cloud.colours[flat], np.stack((100 * x, 100 * y, 0 * x), 1), atol=0.5 + 1e-9)
    np.testing.assert_allclose(np.abs(cloud.normals), np.where(flat[:, None], [[0, 0, 1]], [[0, 1, 0]]), atol=1e-12)


def test_the_turntable_is_written_as_pictures_and_as_one_that_moves(tmp_path: Path) -> None:
    images = turntable(ball(), 6, (40, 56))
    (tmp_path / "new").mkdir()
    for name in ("turntable_006.png", "turntable_007.png", "turntable_of_mine.png"):
        (tmp_path / "new" / name).touch()
    gif, *pictures = write_turntable(tmp_path / "new", images, seconds=3.0)
    (tmp_path / "new" / "turntable_of_mine.png").unlink()  # it is left alone
    assert [path.name for path in pictures] == [f"turntable_{number:03d}.png" for number in range(6)]
    for path, image in zip(pictures, images, strict=True):
        torch.testing.assert_close(read_image(path), image, rtol=0, atol=0.5 / 255 + 1e-6)
    with Image.open(gif) as moving:
        assert (moving.n_frames, moving.size, moving.info["duration"], moving.info["loop"]) == (6, (56, 40), 500, 0)  # type: ignore[attr-defined]
        moving.seek(4)
        assert np.abs(np.asarray(moving.convert("RGB")) / 255 - images[4].permute(1, 2, 0).numpy()).mean() < 0.02
    assert {path.name for path in gif.parent.iterdir()} == {path.name for path in (gif, *pictures)}


def test_what_cannot_be_drawn_is_said() -> None:
    empty = PointCloud(points=np.zeros((0, 3)))
    flat = Mesh(vertices=PointCloud(points=np.zeros((3, 3))), faces=np.array([[0, 1, 2]]))
    with pytest.raises(Vo3dError, match="of 0 points"):
        turntable(empty, 4)
    with pytest.raises(Vo3dError, match="at least one of each"):
        turntable(ball(), 0)
    with pytest.raises(Vo3dError, match=r"up \[0.0, 0.0, 0.0\]: expected three numbers"):
        turntable(ball(), 4, up=(0.0, 0.0, 0.0))
    with pytest.raises(Vo3dError, match="points of 0 pixels"):
        render_cloud(ball(), K, EYE, SIZE, 0)
    with pytest.raises(Vo3dError, match="without area"):
        points_on_mesh(flat)
