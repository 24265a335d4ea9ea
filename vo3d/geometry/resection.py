"""The pose of a calibrated view from points of the world that it sees, and such points from depths or posed views.

Convention: pixels have the centre of the top-left one at (0, 0); points are in the world, metres; NaN marks what is not
known. Everything is float64 numpy, because OpenCV works on arrays.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from vo3d.geometry import two_view

MIN_POINTS = 4  # that determine a pose: three leave up to four
RANSAC_TRIALS = 1_000
CONFIDENCE = 0.9999
ROUNDS = 3  # of refinement and new inliers
TRACK_ROUNDS = 5  # of least squares over the views that a track fits
STEP = 1.05  # between the depths around a pixel: more is the border of something
Pixels = Float64[ndarray, "n 2"]
Points = Float64[ndarray, "n 3"]


def lift(
    pixels: Pixels, depth: Float[ndarray, "h w"], K: Float64[ndarray, "3 3"], world_T_cam: Float64[ndarray, "4 4"]
) -> Points:
    """Find the points that pixels see by the depth map of their view (z, metres; 0 = none).

    1 / z is interpolated between four measurements, which is exact on planes; NaN where one of them is missing or they
    differ by more than `STEP`: there something ends.
    """
    h, w = depth.shape
    left = np.clip(np.floor(pixels).astype(np.intp), 0, [w - 2, h - 2])
    x, y = left.T
    corners = np.stack([depth[y, x], depth[y, x + 1], depth[y + 1, x], depth[y + 1, x + 1]], axis=-1).astype(np.float64)
    known = (corners.min(-1) > 0) & (corners.max(-1) <= STEP * corners.min(-1))
    u, v = (pixels - left).T
    share = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], axis=-1)
    inverse = np.sum(share / np.where(known[:, None], corners, np.nan), axis=-1)
    rays = np.concatenate([two_view.rays_from_pixels(pixels, K), np.ones((len(pixels), 1))], axis=-1)
    points: Float64[ndarray, "n 3"] = rays / inverse[:, None] @ world_T_cam[:3, :3].T + world_T_cam[:3, 3]
    return points


def project(
    points: Float64[ndarray, "*n 3"], K: Float64[ndarray, "3 3"], world_T_cam: Float64[ndarray, "4 4"]
) -> Float64[ndarray, "*n 2"]:
    """Find the pixels that see points; NaN where they lie behind the view."""
    seen = (points - world_T_cam[:3, 3]) @ world_T_cam[:3, :3] @ K.T
    pixels: Float64[ndarray, "*n 2"] = seen[..., :2] / np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)
    return pixels


def triangulate_tracks(
    pixels: Float64[ndarray, "m n 2"],
    K: Float64[ndarray, "m 3 3"],
    world_T_cam: Float64[ndarray, "m 4 4"],
    threshold: float,
    min_angle: float,
) -> Points:
    """Find the points that n tracks through m posed views see: those nearest to their rays, in least squares.

    Args:
        pixels: of each track in each view; NaN where it is not seen.
        K: of each view.
        world_T_cam: of each view.
        threshold: pixels by which a point may be off in a view. Views that are off by more, and by more than the median
            of the track, are left out and the rest solved again (least trimmed squares; Rousseeuw, 1984).
        min_angle: degrees that the rays of two views must differ by.

    Returns:
        The points; NaN where no two views agree that see them in front of them, under a large enough angle.
    """
    centre = world_T_cam[:, :3, 3] - world_T_cam[0, :3, 3]  # near to each other, wherever the world's origin is
    rays = np.stack([two_view.rays_from_pixels(p, k) for p, k in zip(pixels, K, strict=True)])
    rays = np.concatenate([rays, np.ones((*rays.shape[:-1], 1))], axis=-1) @ world_T_cam[:, :3, :3].swapaxes(-1, -2)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    used = tracked = np.isfinite(rays[..., 0])
    rays = np.where(tracked[..., None], rays, 0)
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :]  # what is left of a vector across the ray
    for _ in range(TRACK_ROUNDS):
        weight = used[..., None, None] * across
        normal = weight.sum(0)
        solvable = np.linalg.det(normal) > 1e-9
        normal[~solvable] = np.eye(3)
        points = np.linalg.solve(normal, (weight @ centre[:, None, :, None]).sum(0))[..., 0]
        there = points + world_T_cam[0, :3, 3]
        seen = np.stack([project(there, k, pose) for k, pose in zip(K, world_T_cam, strict=True)])
        off = np.nan_to_num(np.linalg.norm(seen - pixels, axis=-1), nan=np.inf)  # also behind a view
        off[~tracked] = np.inf
        median = np.sort(off, axis=0)[(tracked.sum(0) - 1) // 2, np.arange(len(points))]
        used = (off <= np.maximum(threshold, median)) & np.isfinite(off)  # the better half, where wrong ones pull
    used = off < threshold
    cosine = np.einsum("inc,jnc->ijn", rays, rays)
    cosine[~(used[:, None] & used[None])] = 1
    good = solvable & (cosine.min((0, 1)) < math.cos(math.radians(min_angle)))
    return np.where(good[:, None], there, np.nan)


def resect(
    pixels: Pixels, points: Points, K: Float64[ndarray, "3 3"], threshold: float
) -> Float64[ndarray, "4 4"] | None:
    """Find the pose `world_T_cam` that most points agree with, or None where there is none: RANSAC (P3P).

    Points agree that are seen within `threshold` pixels of where they were found.
    """
    if len(points) < MIN_POINTS:
        return None
    origin = points.mean(0)
    cv2.setRNGSeed(0)  # the same points, the same pose
    found, turn, shift, _ = cv2.solvePnPRansac(
        points - origin,
        pixels,
        K,
        None,
        iterationsCount=RANSAC_TRIALS,
        reprojectionError=threshold,
        confidence=CONFIDENCE,
        flags=cv2.SOLVEPNP_AP3P,
    )
    return _world_T_cam(turn, shift, origin) if found and np.isfinite(shift).all() else None


def refine(
    pixels: Pixels, points: Points, K: Float64[ndarray, "3 3"], world_T_cam: Float64[ndarray, "4 4"], threshold: float
) -> tuple[Float64[ndarray, "4 4"], Bool[ndarray, " n"]]:
    """Move a pose to the least squared distances, in pixels, of the points that agree with it; and say which do."""
    origin = points.mean(0)
    agreed = agreeing(pixels, points, K, world_T_cam, threshold)
    for _ in range(ROUNDS):
        if agreed.sum() < MIN_POINTS:
            break
        turn, _ = cv2.Rodrigues(world_T_cam[:3, :3].T)
        shift = -world_T_cam[:3, :3].T @ (world_T_cam[:3, 3] - origin)
        turn, shift = cv2.solvePnPRefineLM(points[agreed] - origin, pixels[agreed], K, None, turn, shift[:, None])
        moved = _world_T_cam(turn, shift, origin)
        among = agreeing(pixels, points, K, moved, threshold)
        if among.sum() < agreed.sum():
            break
        world_T_cam, agreed = moved, among
    return world_T_cam, agreed


def agreeing(
    pixels: Pixels, points: Points, K: Float64[ndarray, "3 3"], world_T_cam: Float64[ndarray, "4 4"], threshold: float
) -> Bool[ndarray, " n"]:
    """Mark the points that a view sees within `threshold` pixels of where they were found."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.linalg.norm(project(points, K, world_T_cam) - pixels, axis=-1) < threshold)


def _world_T_cam(
    turn: Float[ndarray, "3 1"], shift: Float[ndarray, "3 1"], origin: Float64[ndarray, "3"]
) -> Float64[ndarray, "4 4"]:
    """Turn what OpenCV gives for points less their origin into a pose."""
    rotation = cv2.Rodrigues(turn)[0].T
    return two_view.rigid(rotation, origin - rotation @ shift[:, 0])
