"""COLMAP's dense workspace, read back by the rules of COLMAP's own readers, written down here once more."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import wall
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model
from vo3d.formats.colmap_dense import FIRST_LINE, DenseView, check_workspace, write_workspace
from vo3d.formats.images import image_size
from vo3d.formats.ply import PointCloud, read_cloud

VIEWS, H, W, STRIDE = 3, 37, 50, 4  # a row and two columns more than strides fit in
FAR_AWAY = torch.tensor([500_000.0, 4_000_000.0, 30.0], dtype=torch.float64)  # as UTM coordinates are


def _as_colmap_has_it(path: Path) -> np.ndarray:
    """Height, width, channels: mvs/mat.h has value (row, column, slice) at (slice height + row) width + column."""
    w, h, c, values = path.read_bytes().split(b"&", 3)
    numbers = np.frombuffer(values, "<f4")
    rows, columns, slices = np.meshgrid(*map(np.arange, map(int, (h, w, c))), indexing="ij")
    return numbers[(slices * int(h) + rows) * int(w) + columns]


def _visibility(path: Path) -> list[list[int]]:
    content = path.read_bytes()
    (count,), at, found = struct.unpack_from("<Q", content), 8, []
    for _ in range(count):
        (seen,) = struct.unpack_from("<I", content, at)
        found.append(list(struct.unpack_from(f"<{seen}I", content, at + 4)))
        at += 4 + 4 * seen
    assert at == len(content)
    return found


def _workspace(folder: Path, offset: torch.Tensor) -> tuple[PointCloud, list[list[int]]]:
    """Write a workspace of the wall, moved by an offset; return its cloud and who sees each point."""
    K, views = wall.intrinsics(H, W), []
    for index, pose in enumerate(wall.poses(VIEWS)):
        image, depth = wall.photograph(K, pose, H, W)
        small = depth[::STRIDE, ::STRIDE]
        normal = (torch.tensor([wall.SLOPE, 0, -1.0]) / (1 + wall.SLOPE**2) ** 0.5) @ pose[:3, :3].float()
        maps = {
            "geometric": (small, normal.expand(*small.shape, 3)),
            "photometric": (small, 0 * normal.expand(*small.shape, 3)),
        }
        moved = pose.clone()
        moved[:3, 3] += offset
        others = tuple(k for k in range(VIEWS) if k != index)
        views.append(DenseView(name=f"v{index}", image=image, K=K, world_T_cam=moved, maps=maps, sources=others))
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 5), np.linspace(-0.2, 0.2, 4))
    points = np.stack((x, y, 1 + wall.SLOPE * x), -1).reshape(-1, 3) + offset.numpy()
    cloud = PointCloud(
        points=points if bool(offset.any()) else points.astype(np.float32), colours=np.full((20, 3), 7, np.uint8)
    )
    seen = [[k % 3] if k % 5 == 0 else [k % 3, (k + 1) % 3] for k in range(20)]
    write_workspace(
        folder,
        views,
        cloud,
        np.array(list(map(len, seen))),
        np.array([place for one in seen for place in one]),
        stride=STRIDE,
    )
    return cloud, seen


@pytest.mark.parametrize("offset", [0 * FAR_AWAY, FAR_AWAY])
def test_depths_as_colmap_back_projects_them_lie_on_the_wall(tmp_path: Path, offset: torch.Tensor) -> None:
    cloud, seen = _workspace(tmp_path / "dense", offset)
    folder = tmp_path / "dense"
    model = read_model(folder / "sparse")
    for image, place in zip(model.images, range(VIEWS), strict=True):
        camera = model.cameras[image.camera_id]
        assert (camera.model, image.id, image.name) == ("PINHOLE", place + 1, f"v{place}.jpg")
        assert image_size(folder / "images" / image.name) == (camera.height, camera.width) == (36, 48)
        depth = _as_colmap_has_it(folder / "stereo/depth_maps" / f"{image.name}.geometric.bin")[..., 0]
        normals = _as_colmap_has_it(folder / "stereo/normal_maps" / f"{image.name}.geometric.bin")
        assert depth.shape == (9, 12)
        # mvs/fusion.cc scales K by the ratio of both sizes; a pixel of a map is the centre of that of the image here
        fx, fy, cx, cy = (
            np.array(camera.params)
            * np.repeat([depth.shape[1] / camera.width, depth.shape[0] / camera.height], 2)[[0, 2, 1, 3]]
        )
        row, column = np.indices(depth.shape)
        shift = 0.5 / STRIDE
        rays = np.stack(((column + shift - cx) / fx, (row + shift - cy) / fy, np.ones_like(depth)), -1)
        world_T_cam = torch.linalg.inv(image.cam_T_world).numpy()
        points = (rays * depth[..., None]) @ world_T_cam[:3, :3].T + world_T_cam[:3, 3]
        # a whole number was taken off the positions: the wall is where the first camera says
        off = offset.numpy().round() if offset.any() else 0
        x, _, z = np.moveaxis(points + off - offset.numpy(), -1, 0)
        np.testing.assert_allclose(z, 1 + wall.SLOPE * x, atol=2e-5)
        world = normals @ world_T_cam[:3, :3].T
        np.testing.assert_allclose(world / world[..., 2:], [[[-wall.SLOPE, 0, 1]]] + 0 * world, atol=1e-5)
        assert (world[..., 2] < 0).all()  # towards the cameras

    fused = read_cloud(folder / "fused.ply")
    assert fused.points.dtype == np.float32
    assert not fused.scalars  # COLMAP reads no other types than float and uchar
    assert _visibility(folder / "fused.ply.vis") == seen
    told = (folder / "README.txt").read_text()
    assert ("Add 500000 4000000 30" in told) == bool(offset.any())
    shift = np.array([float(word) for word in told.split("Add ")[1].split()[:3]]) if offset.any() else 0
    np.testing.assert_allclose(fused.points + shift, cloud.points, atol=1e-6)

    assert len(model.points) == sum(len(one) == 2 for one in seen)  # a point of one view tells of no pair
    for id, xyz, _, _, track in model.points.rows():
        assert sorted(track[:, 0].tolist()) == sorted(place + 1 for place in seen[id - 1])
        for image_id, keypoint in track.tolist():
            image = model.images[image_id - 1]
            camera = image.cam_T_world[:3, :3] @ torch.tensor(xyz, dtype=torch.float64) + image.cam_T_world[:3, 3]
            pixel = (model.cameras[1].K @ (camera / camera[2]))[:2]
            torch.testing.assert_close(image.keypoints[keypoint], pixel, atol=1e-6, rtol=0)
            assert int(image.point_ids[keypoint]) == id
    assert (folder / "stereo/fusion.cfg").read_text() == "v0.jpg\nv1.jpg\nv2.jpg\n"
    assert (folder / "stereo/patch-match.cfg").read_text().splitlines()[:2] == ["v0.jpg", "v1.jpg, v2.jpg"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    _workspace(tmp_path / "dense", 0 * FAR_AWAY)
    assert check_workspace(tmp_path / "dense") == tmp_path / "dense"  # written anew by the next run
    (tmp_path / "dense/README.txt").write_text("My project." + FIRST_LINE)
    with pytest.raises(Vo3dError, match="not a workspace that vo3d wrote: remove it, or choose another --out"):
        check_workspace(tmp_path / "dense")
