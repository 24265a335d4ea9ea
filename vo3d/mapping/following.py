"""The motion of a camera between points of known inverse depths."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from vo3d.geometry.two_view import BEHIND, ROUNDS, rigid

ENOUGH = 1e-4  # share of the loss by which a round must lower it, to be followed by another
Rows = Float[ndarray, "n 2"]


def follow_points(
    a: Rows,
    b: Rows,
    inverse: Float[ndarray, " n"],
    variance: Float[ndarray, " n"],
    guess: Float[ndarray, "4 4"],
    threshold: float,
) -> tuple[Float64[ndarray, "4 4"], Bool[ndarray, " n"]]:
    """Find the motion `b_T_a` near a `guess` that puts points of known inverse depths in a where b sees them.

    Gauss-Newton on squares reweighted for Cauchy's loss, over turns and shifts in b. `threshold` is twice the noise of
    a ray; that of an inverse depth adds to it by how far it moves the point. Also tells which points agree.
    """
    rays, found = np.stack([a[:, 0], a[:, 1], np.ones(len(a))]), np.ascontiguousarray(b.T)
    pose = guess
    turned, depth, seen = _projected(rays, inverse, pose)
    slope = (pose[:2, 3, None] - seen * pose[2, 3]) / depth * (depth > BEHIND)
    noise = np.sqrt((threshold / 2) ** 2 + (slope**2).sum(0) * variance)
    residual = (seen - found) / noise
    squared = (residual**2).sum(0)
    loss = np.log1p(squared).sum()
    for _ in range(ROUNDS):
        slopes = _slopes(turned, inverse, seen) / (depth * noise)
        weighted = (slopes / (1 + squared)).reshape(6, -1)
        normal, gradient = weighted @ slopes.reshape(6, -1).T, weighted @ residual.ravel()
        change = cv2.solve(normal, -gradient[:, None], flags=cv2.DECOMP_SVD)[1][:, 0]
        moved = rigid(cv2.Rodrigues(change[:3])[0] @ pose[:3, :3], pose[:3, 3] + change[3:])
        turned, depth, seen = _projected(rays, inverse, moved)
        changed = (seen - found) / noise
        less = np.log1p(apart := (changed**2).sum(0)).sum()
        if not less < loss * (1 - ENOUGH):
            break
        pose, residual, squared, loss = moved, changed, apart, less
    return pose, squared < 9


def _projected(
    rays: Float64[ndarray, "3 n"], inverse: Float[ndarray, " n"], b_T_a: Float[ndarray, "4 4"]
) -> tuple[Float64[ndarray, "3 n"], Float64[ndarray, " n"], Float64[ndarray, "2 n"]]:
    """Give the rays of a turned into b, the depths of their points there over those in a, and the rays in b."""
    turned = b_T_a[:3, :3] @ rays
    point = turned + b_T_a[:3, 3, None] * inverse
    depth = np.maximum(point[2], BEHIND)
    return turned, depth, point[:2] / depth


def _slopes(
    turned: Float64[ndarray, "3 n"], inverse: Float[ndarray, " n"], seen: Float64[ndarray, "2 n"]
) -> Float64[ndarray, "6 2 n"]:
    """Derive the rays in b, times the depths, by turns and shifts in b.

    d seen / d point is (1, 0, -x) / z and (0, 1, -y) / z; a turn d moves the point by d x turned.
    """
    (p, q, r), (x, y) = turned, seen
    found = np.zeros((6, 2, len(inverse)))
    found[0, 0], found[1, 0], found[2, 0] = -x * q, r + x * p, -q
    found[0, 1], found[1, 1], found[2, 1] = -r - y * q, y * p, p
    found[3, 0] = found[4, 1] = inverse
    found[5] = -inverse * seen
    return found
