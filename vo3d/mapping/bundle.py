"""Local bundle adjustment: the poses of a few views and the points they see, moved until the pixels agree."""

import cv2
import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import spsolve

ROUNDS = 10  # of Levenberg and Marquardt
ENOUGH = 1e-4  # share of the cost by which a round must lower it, to be followed by another
DAMPING, MOST_DAMPING = 1e-4, 1e4  # of the diagonal of the normal equations
NEAREST = 1e-3  # z of a point that is nearer than that, or behind its view


def adjust(
    pixels: Float64[ndarray, "m n 2"],
    K: Float64[ndarray, "3 3"],
    world_T_cam: Float64[ndarray, "m 4 4"],
    points: Float64[ndarray, "n 3"],
    threshold: float,
    fixed: int = 2,
) -> tuple[Float64[ndarray, "m 4 4"], Float64[ndarray, "n 3"]]:
    """Move poses and points to the least robust distances between the pixels where points are seen and found.

    Cauchy's loss of distances over `threshold`, by Levenberg and Marquardt with scipy's sparse normal equations (Triggs
    et al., "Bundle Adjustment: A Modern Synthesis", 1999). The cost never rises.

    Args:
        pixels: of each point in each view; NaN where it is not seen.
        K: of all views.
        world_T_cam: of the views.
        points: in the world.
        threshold: pixels by which inliers are off at most.
        fixed: of the first views, whose poses stay: two of them hold the unit of length.
    """
    view, point = np.nonzero(np.isfinite(pixels[..., 0]))
    seen = pixels[view, point]
    residual, jacobian = _linearised(seen, view, point, K, world_T_cam, points, threshold, fixed)
    cost, damping = _cost(residual), DAMPING
    for _ in range(ROUNDS):
        weight = diags(np.repeat(1 / (1 + (residual**2).sum(1)), 2))
        normal = (jacobian.T @ weight @ jacobian).tocsc()
        right = -(jacobian.T @ (weight @ residual.ravel()))
        before = cost
        while damping <= MOST_DAMPING:
            change = spsolve(normal + diags(damping * normal.diagonal() + 1e-12), right)
            moved = _moved(world_T_cam, points, change, fixed)
            trial, slope = _linearised(seen, view, point, K, *moved, threshold, fixed)
            if _cost(trial) < cost:
                (world_T_cam, points), residual, jacobian, cost = moved, trial, slope, _cost(trial)
                damping /= 10
                break
            damping *= 10
        if cost > before * (1 - ENOUGH):
            break
    return world_T_cam, points


def _cost(residual: Float[ndarray, "k 2"]) -> float:
    return float(np.log1p((residual**2).sum(1)).sum())


def _moved(
    world_T_cam: Float64[ndarray, "m 4 4"], points: Float64[ndarray, "n 3"], change: Float64[ndarray, " p"], fixed: int
) -> tuple[Float64[ndarray, "m 4 4"], Float64[ndarray, "n 3"]]:
    """Turn each free view about its own axes and shift it, then each point, by the parameters' `change`."""
    poses = world_T_cam.copy()
    free = 6 * (len(poses) - fixed)
    for pose, (*turn, x, y, z) in zip(poses[fixed:], change[:free].reshape(-1, 6), strict=True):
        pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(np.array(turn))[0]
        pose[:3, 3] += (x, y, z)
    return poses, points + change[free:].reshape(-1, 3)


def _linearised(
    seen: Float64[ndarray, "k 2"],
    view: Int64[ndarray, " k"],
    point: Int64[ndarray, " k"],
    K: Float64[ndarray, "3 3"],
    world_T_cam: Float64[ndarray, "m 4 4"],
    points: Float64[ndarray, "n 3"],
    threshold: float,
    fixed: int,
) -> tuple[Float64[ndarray, "k 2"], csr_matrix]:
    """Compute where each point is found beside where it is `seen`, in thresholds, and how that depends on everything.

    Parameters are six of each free view (a turn about its own axes, a shift in the world), then three of each point.
    """
    cam_R_world = world_T_cam[view, :3, :3].swapaxes(1, 2)
    local = np.einsum("kij,kj->ki", cam_R_world, points[point] - world_T_cam[view, :3, 3])
    depth = np.maximum(local[:, 2:], NEAREST)
    found = local[:, :2] / depth @ K[:2, :2].T + K[:2, 2]
    lens = np.zeros((len(seen), 2, 3))  # d pixel / d point in the view
    lens[:, :, :2] = K[:2, :2] / depth[..., None]
    lens[:, :, 2] = -(found - K[:2, 2]) / depth
    shift = lens @ cam_R_world / threshold
    turn = lens @ np.cross(np.eye(3)[None], -local[:, None]).swapaxes(1, 2) / threshold  # of local by a turn: local x
    free = view >= fixed
    count = 6 * (len(world_T_cam) - fixed)
    rows = np.arange(2 * len(seen)).reshape(-1, 2, 1)
    of_point = count + 3 * point[:, None, None] + np.arange(3)
    of_view = 6 * (view[free, None, None] - fixed) + np.arange(6)
    parts = [(rows, of_point, shift), (rows[free], of_view, np.concatenate([turn, -shift], axis=2)[free])]
    row, column, value = (
        np.concatenate([np.broadcast_to(part[place], part[2].shape).ravel() for part in parts]) for place in range(3)
    )
    return (found - seen) / threshold, csr_matrix((value, (row, column)), shape=(rows.size, count + points.size))
