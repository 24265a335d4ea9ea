"""The motion between two views of known points: into all directions, with its sign, and with its length."""

import cv2
import numpy as np
import pytest
from numpy import ndarray

from vo3d.geometry import two_view

DIRECTIONS = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 2, -2), (-1, -2, 2)]
TURNS = [(0.0, 0.05, 0.0), (0.03, -0.1, 0.02)]


def scene(direction: tuple[int, int, int], turn: tuple[float, float, float]) -> tuple[ndarray, ndarray, ndarray]:
    """The true `b_T_a`, 200 points of view a, 5 to 12 metres away, and their rays in b; one in five is wrong."""
    random = np.random.default_rng(1)
    b_T_a = np.eye(4)
    b_T_a[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    b_T_a[:3, 3] = 1.5 * np.array(direction) / np.linalg.norm(direction)
    depth = random.uniform(5, 12, 200)
    points = np.stack((random.uniform(-0.5, 0.5, 200) * depth, random.uniform(-0.4, 0.4, 200) * depth, depth), axis=1)
    moved = points @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    b = moved[:, :2] / moved[:, 2:]
    b[::5] = random.uniform(-0.5, 0.5, (40, 2))
    return b_T_a, points, b


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_motion_has_its_direction_and_not_the_opposite_one(
    direction: tuple[int, int, int], turn: tuple[float, float, float]
) -> None:
    b_T_a, points, b = scene(direction, turn)
    found = two_view.fit_motion(points[:, :2] / points[:, 2:], b, 1e-3)
    assert found is not None
    pose, inlier = found
    assert pose[:3, :3] == pytest.approx(b_T_a[:3, :3], abs=1e-3)
    assert pose[:3, 3] == pytest.approx(b_T_a[:3, 3] / 1.5, abs=1e-2)
    assert 155 <= inlier.sum() <= 170
    assert int(inlier[::5].sum()) <= 5


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_length_of_a_motion_is_found_from_depths_in_metres(
    direction: tuple[int, int, int], turn: tuple[float, float, float]
) -> None:
    b_T_a, points, b = scene(direction, turn)
    unit = two_view.rigid(b_T_a[:3, :3], b_T_a[:3, 3] / 1.5)
    found = two_view.fit_metric_motion(points[:, :2] / points[:, 2:], b, 1 / points[:, 2], 0.5, unit, 1e-3)
    assert found is not None
    assert found == pytest.approx(b_T_a, abs=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_points_are_in_front_of_both_views_for_the_true_motion_alone(direction: tuple[int, int, int]) -> None:
    b_T_a, points, _ = scene(direction, TURNS[1])
    moved = points @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    a, b = points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:]
    assert bool(two_view.in_front(a, b, b_T_a).all())
    assert not bool(two_view.in_front(a, b, two_view.rigid(b_T_a[:3, :3], -b_T_a[:3, 3])).any())


def test_depths_of_a_narrow_pair_better_the_rotation() -> None:
    before, after = [], []
    for seed in range(20):  # a hand-held pair, 0.11 m apart, a step of 3 cm among things 2 to 6 metres away
        random = np.random.default_rng(seed)
        b_T_a = two_view.rigid(cv2.Rodrigues(0.02 * random.standard_normal(3))[0], 0.02 * random.standard_normal(3))
        depth, noise = random.uniform(2, 6, 200), 0.2 / 450
        a = np.stack((random.uniform(-0.8, 0.8, 200), random.uniform(-0.5, 0.5, 200)), axis=1)
        moved = np.concatenate((a, np.ones((200, 1))), axis=1) @ b_T_a[:3, :3].T + b_T_a[:3, 3] / depth[:, None]
        b = moved[:, :2] / moved[:, 2:] + noise * random.standard_normal((200, 2))
        start, inlier = two_view.fit_motion(a, b, 0.5 / 450)
        inverse = 1 / depth + noise / 0.11 * random.standard_normal(200)
        found = two_view.fit_metric_motion(a[inlier], b[inlier], inverse[inlier], 0.11, start, 0.5 / 450)
        for angles, motion in ((before, start), (after, found)):
            angles.append(np.linalg.norm(cv2.Rodrigues(motion[:3, :3] @ b_T_a[:3, :3].T)[0]))
        assert found[:3, 3] == pytest.approx(b_T_a[:3, 3], abs=0.004)
    assert np.mean(after) < 0.5 * np.mean(before)


def matches(count: int, outliers: float) -> tuple[ndarray, ndarray, ndarray]:
    """Rays of points that two views see, a tenth of a pixel off, some of them anywhere; and `b_T_a`."""
    random = np.random.default_rng(0)
    b_T_a = two_view.rigid(cv2.Rodrigues(np.array([0.01, -0.04, 0.02]))[0], np.array([0.1, -0.05, -0.8]))
    points = np.stack([random.uniform(-8, 8, count), random.uniform(-3, 3, count), random.uniform(4, 30, count)], 1)
    moved = points @ b_T_a[:3, :3].T + b_T_a[:3, 3]
    a, b = points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:] + 2e-4 * random.standard_normal((count, 2))
    wrong = random.random(count) < outliers
    b[wrong] = random.uniform(-0.5, 0.5, (wrong.sum(), 2))
    return a, b, b_T_a


@pytest.mark.parametrize("guess", [None, np.array([-0.1, 0.05, 0.8]), np.array([0.1, 0.0, -0.8])])
def test_the_direction_of_a_known_rotation_survives_outliers(guess: ndarray | None) -> None:
    a, b, b_T_a = matches(300, outliers=0.4)
    found, inlier = two_view.fit_translation(a, b, b_T_a[:3, :3], 1e-3, guess)
    assert np.array_equal(found[:3, :3], b_T_a[:3, :3])
    direction = b_T_a[:3, 3] / np.linalg.norm(b_T_a[:3, 3])
    assert found[:3, 3] @ direction > np.cos(np.radians(0.3))
    assert 0.55 < inlier.mean() < 0.7


def test_no_direction_is_found_in_a_few_matches_or_in_a_rotation_alone() -> None:
    a, b, b_T_a = matches(300, outliers=0.0)
    assert two_view.fit_translation(a[:7], b[:7], b_T_a[:3, :3], 1e-3) is None
    assert two_view.fit_translation(a, a, np.eye(3), 1e-3) is None
