"""Bundle adjustment on views and points that are known."""

import cv2
import numpy as np
import pytest
from numpy import ndarray

from vo3d.mapping import bundle
from vo3d.mapping.bundle import adjust

K = np.array([[400.0, 0, 320], [0, 410, 240], [0, 0, 1]])
RANDOM = np.random.default_rng(0)
POINTS = RANDOM.uniform([-3, -2, 4], [3, 2, 10], (80, 3))


def truth(views: int) -> ndarray:
    """Poses along a bent path."""
    poses = np.stack([np.eye(4)] * views)
    for index in range(views):
        poses[index, :3, :3] = cv2.Rodrigues(np.array([0.01, 0.03, -0.01]) * index)[0]
        poses[index, :3, 3] = np.array([0.3, 0.02, 0.1]) * index
    return poses


def seen(poses: ndarray) -> ndarray:
    """Pixels of the points; a fifth of the views of each is missing."""
    local = np.einsum("mji,mnj->mni", poses[:, :3, :3], POINTS - poses[:, None, :3, 3]) @ K.T
    pixels = local[..., :2] / local[..., 2:]
    pixels[RANDOM.random(pixels.shape[:2]) < 0.2] = np.nan
    return np.asarray(pixels)


def disturbed(poses: ndarray, size: float) -> ndarray:
    """The poses but the first two, moved and turned."""
    moved = poses.copy()
    for pose in moved[2:]:
        pose[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(size * RANDOM.standard_normal(3))[0]
        pose[:3, 3] += size * RANDOM.standard_normal(3)
    return moved


def test_exact_pixels_bring_back_poses_and_points() -> None:
    poses = truth(6)
    found, points = adjust(seen(poses), K, disturbed(poses, 0.01), POINTS + 0.05 * RANDOM.standard_normal((80, 3)), 0.5)
    assert np.abs(found - poses).max() < 1e-5
    assert np.abs(points - POINTS).max() < 1e-4


def test_outliers_do_not_pull_and_fixed_views_stay() -> None:
    poses = truth(6)
    pixels = seen(poses) + 0.1 * RANDOM.standard_normal((6, 80, 2))
    pixels[3, :8] += 40
    start = disturbed(poses, 0.005)
    found, _ = adjust(pixels, K, start, POINTS, 0.5)
    assert np.array_equal(found[:2], start[:2])
    assert np.abs(found[2:] - poses[2:]).max() < 0.5 * np.abs(start[2:] - poses[2:]).max()


def test_derivatives_are_those_of_finite_differences() -> None:
    poses, fixed = truth(4), 2
    view, point = np.nonzero(np.isfinite(pixels := seen(poses))[..., 0])
    args = (pixels[view, point] + 1.0, view, point, K)
    start = disturbed(poses, 0.02)
    residual, jacobian = bundle._linearised(*args, start, POINTS, 0.5, fixed)
    for column in (0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 14, 200):
        change = np.zeros(jacobian.shape[1])
        change[column] = 1e-6
        moved = bundle._moved(start, POINTS, change, fixed)
        slope = (bundle._linearised(*args, *moved, 0.5, fixed)[0] - residual).ravel() / 1e-6
        assert jacobian[:, [column]].toarray()[:, 0] == pytest.approx(slope, abs=2e-3 * max(1, np.abs(slope).max()))


def test_the_cost_never_rises() -> None:
    poses = truth(5)
    pixels = seen(poses) + 2 * RANDOM.standard_normal((5, 80, 2))
    start, points = disturbed(poses, 0.2), POINTS + RANDOM.standard_normal((80, 3))
    view, point = np.nonzero(np.isfinite(pixels[..., 0]))

    def cost(poses: ndarray, points: ndarray) -> float:
        return bundle._cost(bundle._linearised(pixels[view, point], view, point, K, poses, points, 0.5, 2)[0])

    assert cost(*adjust(pixels, K, start, points, 0.5)) < cost(start, points)
