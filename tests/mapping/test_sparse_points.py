"""Sparse points of posed views: they lie on the surface, and wrong matches are left out."""

import numpy as np
import torch

from tests.support.textured_plane import DISTANCE, NORMAL, textured_plane
from vo3d.geometry import se3
from vo3d.geometry.grey import grey_image
from vo3d.mapping.sparse_points import sparse_points, view_pairs


def plane_points(*, turned: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points found on a plane seen by three views, and how far each lies off it; one pose may be wrong by degrees."""
    sample = textured_plane(size=(240, 320), cells=60)
    if sample.K is None or sample.world_T_cam is None:
        raise TypeError("the plane lacks its cameras")
    world_T_cam = sample.world_T_cam[0].clone()
    wrong = se3.exp(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, np.radians(turned)], dtype=torch.float64))
    world_T_cam[2] = world_T_cam[2] @ wrong
    images = [grey_image(image) for image in sample.image[0]]
    found = sparse_points(images, sample.K[0].double().numpy(), world_T_cam.numpy())
    assert len(found.point) == len(found.view) == 2 * len(found.xyz)
    normal = np.array(NORMAL)
    return found.xyz, (found.xyz @ normal - DISTANCE) / np.linalg.norm(normal)


def test_points_lie_on_the_surface() -> None:
    points, off = plane_points()
    assert len(points) > 150
    assert np.median(np.abs(off)) < 0.003
    assert np.quantile(np.abs(off), 0.98) < 0.03


def test_a_wrong_pose_costs_its_points() -> None:
    good, bad = plane_points()[0], plane_points(turned=10)[0]
    assert 0 < len(bad) < 0.6 * len(good)  # those of the two views that are right remain


def test_views_that_look_apart_are_no_pairs() -> None:
    about_y = torch.tensor([[0, 0, 0, 0, angle, 0] for angle in (0.0, 0.5, 2.0)], dtype=torch.float64)
    assert view_pairs(se3.exp(about_y).numpy()) == [(0, 1)]


def test_of_many_views_the_nearest_are_paired() -> None:
    poses = np.eye(4)[None].repeat(40, axis=0)
    poses[:, 0, 3] = np.arange(40)
    pairs = view_pairs(poses)
    assert all(abs(a - b) <= 10 for a, b in pairs)
    assert {(a, a + 1) for a in range(39)} <= set(pairs)


def test_one_place_gives_no_points() -> None:
    flat = [np.full((60, 80), 90, np.uint8)] * 2
    K = np.array([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]])[None].repeat(2, axis=0)
    assert not len(sparse_points(flat, K, np.eye(4)[None].repeat(2, axis=0)).xyz)
