"""A mesh from depth maps by a truncated signed distance field."""

from collections.abc import Sequence

import numpy as np
import torch

from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.formats.ply import Mesh, PointCloud
from vo3d.fusion.fuse import pixel_size, single_if_enough
from vo3d.fusion.open3d_library import load_open3d
from vo3d.geometry import crop_intrinsics, se3

_PIXELS_A_VOXEL = 1.5  # by default: finer voxels than pixels would hold nothing but noise and gaps
_VOXELS_TO_TRUNCATION = 4.0
_BLOCK = 8  # voxels along the edge of a block, the piece that is allocated at once
_FIRST_BLOCKS = 1000  # grows as needed
_ONE_VIEW = 0.5  # the weight above which a voxel is part of the surface: what one view saw counts 1


def default_voxel(maps: Sequence[PosedDepthMap]) -> float:
    """One and a half times the size of a pixel on the surface, its median over the views; the unit of the poses.

    Raises:
        Vo3dError: no map holds a depth.
    """
    sizes = [size for size in map(pixel_size, maps) if size < float("inf")]
    if not sizes:
        raise _no_depth(maps)
    return _PIXELS_A_VOXEL * float(np.median(sizes))


def tsdf_mesh(maps: Sequence[PosedDepthMap], voxel: float | None = None, truncation: float | None = None) -> Mesh:
    """The surface that depth maps agree on, with colours and normals; what no view saw stays a hole.

    Every depth counts, whatever its confidence: filter the maps first (`filtering.filter_map`). It is computed on the
    CPU by open3d; voxels exist only near the surface, so memory grows with its area over `voxel` squared.

    Arguments:
        maps: the views; they may be read from files on access, twice where `voxel` is not given.
        voxel: length of the edge of a voxel, the unit of the poses; by default, `default_voxel`.
        truncation: how far from the surface, in the same unit, a depth still says something; by default four voxels.

    Raises:
        Vo3dError: no depth, no surface, a voxel or truncation that is not above 0, or K with skew.

    Source: Curless and Levoy, "A volumetric method for building complex models from range images", 1996.
    """
    if not maps:
        raise _no_depth(maps)
    voxel = default_voxel(maps) if voxel is None else voxel
    truncation = _VOXELS_TO_TRUNCATION * voxel if truncation is None else truncation
    if not voxel > 0 or not truncation > 0:
        raise Vo3dError(f"a mesh with voxels of {voxel:g} and truncation {truncation:g}: expected lengths above 0")
    open3d = load_open3d()
    numbers = open3d.core.Tensor.from_numpy
    # Not ScalableTSDFVolume: that of open3d 0.20 stays empty without a word.
    volume = open3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), (open3d.core.float32,) * 3, ((1), (1), (3)), voxel, _BLOCK, _FIRST_BLOCKS
    )
    # Positions are kept in single precision: around the first camera they keep their digits.
    origin = maps[0].world_T_cam[:3, 3].cpu()
    seen = 0
    for view in maps:
        if view.K[0, 1] != 0:
            raise Vo3dError(f"{view.name}: K has a skew of {float(view.K[0, 1]):g}: expected 0: undistort the images")
        if not view.known.any():
            continue
        seen += 1
        depth = torch.where(view.known, view.depth, 0.0).float().cpu()
        colours = view.image.clamp(0, 1).float().movedim(0, -1).cpu().contiguous()  # h w 3
        world_T_cam = view.world_T_cam.cpu().clone()
        world_T_cam[:3, 3] -= origin
        depth_image = open3d.t.geometry.Image(numbers(depth.numpy()))
        # open3d cuts the decimals off a pixel: half a pixel more makes that the nearest one.
        K = numbers(crop_intrinsics(view.K.double().cpu(), -0.5, -0.5).numpy())
        cam_T_world = numbers(se3.inverse(world_T_cam).numpy())
        limits = (1.0, float(depth.max()) * 1.01, truncation / voxel)  # depth unit, greatest depth, voxels
        blocks = volume.compute_unique_block_coordinates(depth_image, K, cam_T_world, *limits)
        colour_image = open3d.t.geometry.Image(numbers(colours.numpy()))
        volume.integrate(blocks, depth_image, colour_image, K, K, cam_T_world, *limits)
    if not seen:
        raise _no_depth(maps)
    surface = volume.extract_triangle_mesh(weight_threshold=_ONE_VIEW)
    if not len(surface.triangle.indices):
        raise Vo3dError(
            f"no surface in {len(maps)} depth maps with voxels of {voxel:g}: take smaller voxels, or look at the depths"
        )
    # open3d's threads number points and faces as they come: sorted, the same maps give the same file.
    points = surface.vertex.positions.numpy()
    order = np.lexsort(points.T)
    faces = np.argsort(order)[surface.triangle.indices.numpy()]
    world_points = points[order].astype(np.float64) + origin.numpy()
    return Mesh(
        vertices=PointCloud(
            points=single_if_enough(world_points, voxel),
            colours=np.rint(surface.vertex.colors.numpy()[order] * 255).clip(0, 255).astype(np.uint8),
            normals=surface.vertex.normals.numpy()[order],
        ),
        faces=faces[np.lexsort(faces.T)],
    )


def _no_depth(maps: Sequence[PosedDepthMap]) -> Vo3dError:
    return Vo3dError(
        f"no depth in {len(maps)} depth maps to make a mesh of: look at what the filters left, and loosen them"
    )
