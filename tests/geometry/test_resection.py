"""Points from depths and from tracks, poses from points: exact where nothing is off, and sturdy where some is."""

import numpy as np
import pytest
import torch
from numpy import ndarray

from vo3d.geometry import resection, se3
from vo3d.geometry.camera import pixel_grid, rays

K = np.array([[300.0, 0, 155], [0, 310, 122], [0, 0, 1]])
FAR_AWAY = np.array([4e6, 5e5, -3e6])  # metres


def poses(count: int, seed: int = 0) -> ndarray:
    """Cameras a little apart, all of which look at the same place."""
    generator = torch.Generator().manual_seed(seed)
    return se3.exp(0.15 * torch.randn(count, 6, generator=generator, dtype=torch.float64)).numpy()


def cloud(count: int, seed: int = 1) -> ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform([-1, -1, 2.5], [1, 1, 4], (count, 3))


@pytest.mark.parametrize("origin", [np.zeros(3), FAR_AWAY])
def test_depths_lift_pixels_of_a_plane_exactly(origin: ndarray) -> None:
    normal = np.array([0.2, -0.3, 0.4])  # normal . X = 1 in the frame of the camera
    pose = poses(1)[0]
    pose[:3, 3] += origin
    depth = 1 / (rays(torch.from_numpy(K), pixel_grid(240, 320, dtype=torch.float64)).numpy() @ normal)
    pixels = np.random.default_rng(0).uniform([0, 0], [319, 239], (50, 2))
    points = resection.lift(pixels, depth, K, pose)
    np.testing.assert_allclose((points - pose[:3, 3]) @ pose[:3, :3] @ normal, 1, rtol=1e-8)
    np.testing.assert_allclose(resection.project(points, K, pose), pixels, atol=1e-5)


def test_depths_that_are_missing_or_end_are_not_known() -> None:
    depth = np.full((6, 8), 2.0)
    depth[:, 5:] = 3
    depth[0, 0] = 0
    pixels = np.array([[0.5, 0.2], [4.5, 3], [3.5, 3], [7, 5], [1.2, 1.2]])
    points = resection.lift(pixels, depth, K, np.eye(4))
    assert np.isnan(points).all(-1).tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(points[2:, 2], [2, 3, 2])


@pytest.mark.parametrize("origin", [np.zeros(3), FAR_AWAY])
def test_tracks_are_triangulated_exactly(origin: ndarray) -> None:
    views = poses(6)
    views[:, :3, 3] += origin
    points = cloud(40) + origin
    cameras = np.repeat(K[None], 6, 0)
    pixels = np.stack([resection.project(points, K, pose) for pose in views])
    pixels[2, :10] += 40  # wrong matches
    pixels[3, 5:20] = np.nan  # not seen
    found = resection.triangulate_tracks(pixels, cameras, views, 3.0, 1.0)
    np.testing.assert_allclose(found, points, atol=1e-6)


def test_tracks_that_tell_no_point_are_left_out() -> None:
    views = poses(3)
    points = cloud(6)
    pixels = np.stack([resection.project(points, K, pose) for pose in views])
    pixels[1:, 0] = np.nan  # seen once
    pixels[1, 1], pixels[2, 1] = (10, 10), (300, 200)  # rays that do not meet
    far = 1e4 * points[2]  # no angle
    behind = views[0, :3, 3] - 3 * (points[3] - views[0, :3, 3])  # of all cameras, so that the rays meet there
    for row, pose in enumerate(views):
        pixels[row, 2] = resection.project(far, K, pose)
        local = (behind - pose[:3, 3]) @ pose[:3, :3] @ K.T
        pixels[row, 3] = local[:2] / local[2]
    found = resection.triangulate_tracks(pixels, np.repeat(K[None], 3, 0), views, 2.0, 1.0)
    assert np.isnan(found).all(-1).tolist() == [True, True, True, True, False, False]
    strict = resection.triangulate_tracks(pixels, np.repeat(K[None], 3, 0), views, 2.0, 60.0)
    assert np.isnan(strict).all()


@pytest.mark.parametrize("origin", [np.zeros(3), FAR_AWAY])
def test_most_points_tell_the_pose(origin: ndarray) -> None:
    pose = poses(1, seed=5)[0]
    pose[:3, 3] += origin
    points = cloud(100) + origin
    pixels = resection.project(points, K, pose)
    generator = np.random.default_rng(2)
    pixels[:60] = generator.uniform([0, 0], [320, 240], (60, 2))
    proposed = resection.resect(pixels, points, K, 2.0)
    assert proposed is not None
    found, agreed = resection.refine(pixels, points, K, proposed, 2.0)
    assert agreed[60:].all()
    assert agreed[:60].sum() <= 2
    if agreed.sum() == 40:
        np.testing.assert_allclose(found, pose, atol=1e-6)
    again = resection.resect(pixels, points, K, 2.0)
    assert np.array_equal(again, proposed)


def test_refinement_averages_noise() -> None:
    pose = poses(1, seed=6)[0]
    points = cloud(200)
    pixels = resection.project(points, K, pose) + np.random.default_rng(3).normal(0, 0.5, (200, 2))
    proposed = resection.resect(pixels, points, K, 2.0)
    assert proposed is not None
    found, agreed = resection.refine(pixels, points, K, proposed, 2.0)
    assert agreed.mean() > 0.95
    assert np.linalg.norm(found[:3, 3] - pose[:3, 3]) < 0.003  # metres: 0.5 pixels / 300, of 200 points at 3 m
    assert np.linalg.norm(proposed[:3, 3] - pose[:3, 3]) > np.linalg.norm(found[:3, 3] - pose[:3, 3])


def test_too_few_points_tell_none() -> None:
    points = cloud(3)
    pose = np.eye(4)
    assert resection.resect(resection.project(points, K, pose), points, K, 2.0) is None
    assert resection.resect(np.empty((0, 2)), np.empty((0, 3)), K, 2.0) is None
    scattered = np.random.default_rng(4).uniform(0, 200, (30, 2))
    found = resection.resect(scattered, cloud(30), K, 0.01)
    assert found is None or resection.agreeing(scattered, cloud(30), K, found, 0.01).sum() < 6
