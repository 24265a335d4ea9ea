"""Following points of known inverse depths: the motion comes out, strays and wrong depths do not count."""

import cv2
import numpy as np
import pytest

from vo3d.geometry.two_view import project, rigid
from vo3d.mapping.following import follow_points


def test_the_motion_of_known_points_comes_out_beside_strays() -> None:
    random = np.random.default_rng(0)
    a, inverse = random.uniform(-0.5, 0.5, (300, 2)), random.uniform(0.1, 1.0, 300)
    truth = rigid(cv2.Rodrigues(np.array([0.02, -0.05, 0.03]))[0], np.array([0.1, -0.05, 0.2]))
    b, _ = project(a, inverse, truth)
    strays = np.arange(300) < 60
    b[strays] += random.uniform(0.05, 0.2, (60, 2))
    found, agree = follow_points(a, b, inverse, np.full(300, 1e-8), np.eye(4), threshold=2e-3)
    assert found == pytest.approx(truth, abs=1e-5)
    assert (agree == ~strays).all()


def test_points_on_one_spot_give_a_finite_motion() -> None:
    one = np.tile([[0.1, 0.2]], (20, 1))
    found, _ = follow_points(one, one + 0.01, np.full(20, 0.5), np.full(20, 1e-6), np.eye(4), threshold=2e-3)
    assert np.isfinite(found).all()
