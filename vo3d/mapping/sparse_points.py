"""Sparse points of photographs with known poses: key points that match, triangulated and held against the poses.

What COLMAP's point_triangulator makes of a model, in small: enough to know how far things are and which views see the
same. Everything after the matching is computed in float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from scipy.spatial import cKDTree

from vo3d.mapping.features import Grey, describe, match_descriptors

NUM_FEATURES = 1500  # of each view, spread over its image
ALL_PAIRS = 20  # views up to which each is matched with each other
PARTNERS = 10  # views that each is matched with where there are more
MAX_TURN = 60.0  # degrees between the directions that two views look in
MIN_ANGLE = 1.0  # degrees at which the rays of a point meet
MAX_ERROR = 2.0  # pixels by which a point may miss the key points that it is from
NEIGHBOURS, ALIKE, AGREEING = (
    8,
    0.1,
    2,
)  # of a point's nearest ones in an image, so many lie within a tenth of its depth


@dataclass(frozen=True, kw_only=True, eq=False)
class SparsePoints:
    """Points in the world; observation i says that view `view[i]` sees point `point[i]`."""

    xyz: Float64[ndarray, "p 3"]
    point: Int64[ndarray, " m"]
    view: Int64[ndarray, " m"]


def sparse_points(
    images: Iterable[Grey], K: Float64[ndarray, "v 3 3"], world_T_cam: Float64[ndarray, "v 4 4"]
) -> SparsePoints:
    """Match SIFT key points between views that look alike by their poses, and triangulate those that fit the poses.

    A point is one of two views: one that k views see may come up to k (k - 1) / 2 times. Kept are points before both
    cameras, whose rays meet at 1 degree or more, that miss their key points by 2 pixels at most, and that are not alone
    at their depth in the image around them.
    """
    described = [describe(image, "sift", NUM_FEATURES) for image in images]
    cam_T_world = np.linalg.inv(world_T_cam)
    found: list[Float64[ndarray, "n 3"]] = []
    pairs: list[tuple[int, int]] = []
    for a, b in view_pairs(world_T_cam):
        (points, descriptors), (others, descriptors_too) = described[a], described[b]
        index = match_descriptors(descriptors, descriptors_too, cv2.NORM_L2)
        pixels = np.stack((points[index[:, 0]], others[index[:, 1]])).astype(np.float64)
        xyz = _pair_points(pixels, K[[a, b]], world_T_cam[[a, b]], cam_T_world[[a, b]])
        found.append(xyz)
        pairs += [(a, b)] * len(xyz)
    xyz = np.concatenate(found) if found else np.empty((0, 3))
    view = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    kept = _supported(xyz, view, K, cam_T_world)
    xyz, view = xyz[kept], view[kept]
    return SparsePoints(xyz=xyz, point=np.repeat(np.arange(len(xyz)), 2), view=view.ravel())


def view_pairs(world_T_cam: Float64[ndarray, "v 4 4"]) -> list[tuple[int, int]]:
    """Choose the pairs of views to match: all that look in about one direction, of many views the nearest ones."""
    num = len(world_T_cam)
    centres, forward = world_T_cam[:, :3, 3], world_T_cam[:, :3, 2]
    alike = forward @ forward.T > np.cos(np.radians(MAX_TURN))
    distance = np.where(alike, np.linalg.norm(centres[:, None] - centres, axis=-1), np.inf)
    np.fill_diagonal(distance, np.inf)
    near = distance.argsort(axis=1)[:, : num if num <= ALL_PAIRS else PARTNERS]
    chosen = {(min(a, b), max(a, b)) for a in range(num) for b in near[a].tolist() if np.isfinite(distance[a, b])}
    return sorted(chosen)


def _pair_points(
    pixels: Float64[ndarray, "2 m 2"],
    K: Float64[ndarray, "2 3 3"],
    world_T_cam: Float64[ndarray, "2 4 4"],
    cam_T_world: Float64[ndarray, "2 4 4"],
) -> Float64[ndarray, "n 3"]:
    """Triangulate the matches of two views that fit their poses."""
    if not pixels.size or (world_T_cam[0, :3, 3] == world_T_cam[1, :3, 3]).all():
        return np.empty((0, 3))
    projections = K @ cam_T_world[:, :3]  # 2 3 4
    homogeneous = cv2.triangulatePoints(projections[0], projections[1], pixels[0].T, pixels[1].T)
    with np.errstate(divide="ignore", invalid="ignore"):  # rays that never meet
        xyz = (homogeneous[:3] / homogeneous[3]).T  # n 3
    told = np.isfinite(xyz).all(-1)
    xyz, pixels = xyz[told], pixels[:, told]
    rays = world_T_cam[:, None, :3, 3] - xyz  # 2 n 3
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    good = (rays[0] * rays[1]).sum(-1) < np.cos(np.radians(MIN_ANGLE))
    for seen, projection in zip(pixels, projections, strict=True):
        x, y, z = projection[:, :3] @ xyz.T + projection[:, 3:]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.hypot(x / z - seen[:, 0], y / z - seen[:, 1])
        good &= (z > 0) & (error < MAX_ERROR)
    return np.asarray(xyz[good])


def _supported(
    xyz: Float64[ndarray, "n 3"],
    view: Int64[ndarray, "n 2"],
    K: Float64[ndarray, "v 3 3"],
    cam_T_world: Float64[ndarray, "v 4 4"],
) -> Bool[ndarray, " n"]:
    """Find the points that have neighbours at their depth in both images: a wrong match lies at a depth of its own."""
    kept = np.ones(len(xyz), dtype=bool)
    for index in range(len(K)):
        (rows,) = np.nonzero((view == index).any(axis=1))
        if not len(rows):
            continue
        kept[rows] &= _alike(xyz[rows], K[index], cam_T_world[index])
    return kept


def _alike(
    xyz: Float64[ndarray, "n 3"], K: Float64[ndarray, "3 3"], cam_T_world: Float64[ndarray, "4 4"]
) -> Bool[ndarray, " n"]:
    """Find the points that a view sees beside others of about their depth."""
    points: Float[ndarray, "n 3"] = (xyz @ cam_T_world[:3, :3].T + cam_T_world[:3, 3]) @ K.T
    z, pixels = points[:, 2], points[:, :2] / points[:, 2:]
    if len(xyz) <= NEIGHBOURS:
        return np.ones(len(xyz), dtype=bool)
    _, near = cKDTree(pixels).query(pixels, k=NEIGHBOURS + 1)
    alike = np.abs(z[near[:, 1:]] / z[:, None] - 1) < ALIKE
    return np.asarray(alike.sum(axis=1) >= AGREEING)
