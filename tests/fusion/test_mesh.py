"""Normals from depth maps, and the mesh that open3d makes of them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from ball_scene import ball_maps, changed, colour_of, distance_to_surface, footprint, outward, truth
from checks import assert_same
from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.ply import Mesh, read_mesh, write_mesh
from vo3d.fusion.fuse import normals_from_depth
from vo3d.fusion.tsdf import default_voxel, tsdf_mesh
from vo3d.geometry import pixel_grid, rays, se3

SIZE = (20, 30)
K = torch.tensor([[40.0, 3.0, 14.0], [0.0, 35.0, 11.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def plane(normal: torch.Tensor, distance: float) -> torch.Tensor:
    """Depth of the plane n . X = d."""
    return distance / (rays(K, pixel_grid(*SIZE, dtype=torch.float64)) @ normal)


@pytest.mark.parametrize("radius", [1, 2])
def test_normals_of_planes_are_exact_also_beside_edges_and_holes(radius: int) -> None:
    first = torch.nn.functional.normalize(torch.tensor((0.4, -0.3, 1.0), dtype=torch.float64), dim=0)
    second = torch.nn.functional.normalize(torch.tensor((-0.2, 0.5, 1.0), dtype=torch.float64), dim=0)
    depth = torch.cat((plane(first, 2.0)[:, :15], plane(second, 7.0)[:, 15:]), dim=1)
    depth[5, 5] = 0.0
    depth[9, 20] = math.nan
    normals = normals_from_depth(depth, K, radius=radius, max_step=0.2)
    expected = torch.cat((-first.expand(20, 15, 3), -second.expand(20, 15, 3)), dim=1).clone()
    expected[5, 5] = expected[9, 20] = 0.0
    assert_same(normals, expected)
    assert bool((expected[..., 2] <= 0).all())  # towards the camera


def test_normals_of_a_ball_turn_with_it() -> None:
    view = ball_maps()[0]
    depth, what = truth(view.world_T_cam, view.K, pixel_grid(48, 64, dtype=torch.float64))
    normals = normals_from_depth(torch.where(what == 2, depth, 0.0), view.K)
    points = se3.transform(view.world_T_cam, rays(view.K, pixel_grid(48, 64, dtype=torch.float64)) * depth[..., None])
    expected = torch.from_numpy(outward(points[what == 2].numpy()))
    found = normals[what == 2] @ view.world_T_cam[:3, :3].T
    cosines = (found * expected).sum(-1)
    assert cosines.median() > 0.999
    assert cosines.quantile(0.1) > 0.99


def test_pixels_without_neighbours_have_no_normal() -> None:
    depth = torch.zeros(SIZE, dtype=torch.float64)
    depth[3, 3] = 2.0
    depth[10, 10:13] = 2.0  # neighbours on one line do not tell a plane
    depth[15, 20] = depth[15, 21] = 1.0
    depth[16, 20] = 1.5  # another surface
    assert not bool(normals_from_depth(depth, K).any())


@pytest.fixture(scope="module")
def maps() -> list[PosedDepthMap]:
    """The ball and the plane around it; beyond that, pixels are too large on the surface."""
    cut = []
    for view in ball_maps():
        pixels = rays(view.K, pixel_grid(48, 64, dtype=torch.float64)) * view.depth[..., None]
        points = se3.transform(view.world_T_cam, pixels)
        cut.append(view.with_depth(torch.where(points[..., :2].abs().amax(-1) < 1.2, view.depth, 0.0)))
    return cut


@pytest.fixture(scope="module")
def mesh(maps: list[PosedDepthMap]) -> Mesh:
    return tsdf_mesh(maps)


def test_mesh_lies_within_a_voxel_of_the_surface(maps: list[PosedDepthMap], mesh: Mesh) -> None:
    voxel = default_voxel(maps)
    assert 1.0 < voxel / footprint(maps) < 2.0
    points = mesh.vertices.points.astype(np.float64)
    error = distance_to_surface(points)
    # Between ball and plane, and where a view looks along the plane, single voxels see more than one surface.
    assert np.quantile(error, 0.99) < voxel
    assert error.mean() < 0.25 * voxel
    upper = points[:, 2] > 0.5
    radial = np.linalg.norm(points[upper] - (0.0, 0.0, 0.5), axis=1) - 0.5
    assert np.abs(radial).max() < voxel
    assert abs(points[np.linalg.norm(points[:, :2], axis=1) > 0.8, 2].mean()) < 0.1 * voxel  # half a pixel would show
    assert mesh.vertices.colours is not None
    colours = colour_of(torch.from_numpy(points)).numpy()
    assert np.abs(mesh.vertices.colours / 255 - colours).mean() < 0.05


def test_mesh_faces_and_normals_point_outward(mesh: Mesh) -> None:
    corners = mesh.vertices.points.astype(np.float64)[mesh.faces]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((facing * outward(corners.mean(axis=1))).sum(axis=1) > 0).mean() > 0.97
    assert mesh.vertices.normals is not None
    assert np.median((mesh.vertices.normals * outward(mesh.vertices.points)).sum(axis=1)) > 0.97


def test_the_same_maps_give_the_same_mesh(maps: list[PosedDepthMap], mesh: Mesh) -> None:
    again = tsdf_mesh(maps)
    assert np.array_equal(again.vertices.points, mesh.vertices.points)
    assert np.array_equal(again.faces, mesh.faces)


def test_what_no_view_saw_stays_a_hole(maps: list[PosedDepthMap], mesh: Mesh) -> None:
    holed = []
    for view in maps:
        pixels = rays(view.K, pixel_grid(48, 64, dtype=torch.float64)) * view.depth[..., None]
        points = se3.transform(view.world_T_cam, pixels)
        holed.append(view.with_depth(torch.where(points[..., 2] < 0.6, view.depth, 0.0)))
    voxel = default_voxel(maps)
    top = tsdf_mesh(holed, voxel).vertices.points[:, 2].max()
    assert top < 0.6 + 2 * voxel
    assert mesh.vertices.points[:, 2].max() > 0.95


def test_mesh_of_a_far_world_keeps_its_digits_and_survives_a_file(
    maps: list[PosedDepthMap], mesh: Mesh, tmp_path: Path
) -> None:
    shift = torch.eye(4, dtype=torch.float64)
    voxel = default_voxel(maps)
    shift[:3, 3] = voxel * torch.tensor((2.0**22, -(2.0**21), 2.0**10))
    moved = tsdf_mesh(changed(maps, world_T_cam=[shift @ view.world_T_cam for view in maps]))
    there = moved.vertices.points - shift[:3, 3].numpy()
    assert len(there) == len(mesh.vertices)
    assert cKDTree(mesh.vertices.points).query(there)[0].max() < 1e-5
    write_mesh(tmp_path / "ball.ply", moved)
    again = read_mesh(tmp_path / "ball.ply")
    assert np.array_equal(again.faces, moved.faces)


def test_mistakes_of_a_mesh_are_told(maps: list[PosedDepthMap]) -> None:
    empty = [view.with_depth(torch.zeros_like(view.depth)) for view in maps]
    with pytest.raises(Vo3dError, match="no depth in 9 depth maps to make a mesh of"):
        tsdf_mesh(empty)
    with pytest.raises(Vo3dError, match="no depth in 9 depth maps"):
        tsdf_mesh(empty, 0.1)
    with pytest.raises(Vo3dError, match="no depth in 0 depth maps"):
        tsdf_mesh([], 0.1)
    with pytest.raises(Vo3dError, match="no surface in 1 depth maps with voxels of 50: take smaller voxels"):
        tsdf_mesh(maps[:1], 50.0)
    with pytest.raises(Vo3dError, match="voxels of 0 and truncation 0: expected lengths above 0"):
        tsdf_mesh(maps, 0.0)
    skewed = maps[0].K.clone()
    skewed[0, 1] = 0.5
    with pytest.raises(Vo3dError, match=r"00000000: K has a skew of 0\.5"):
        tsdf_mesh([replace(maps[0], K=skewed)])
