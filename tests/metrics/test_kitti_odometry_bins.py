"""The KITTI metric's bins by length and by speed on segments written out, as the devkit's `saveErrorPlots` has them."""

import math
from itertools import pairwise

import pytest
import torch

from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS, DEVKIT_SPEEDS, Bin, SegmentErrors

# length in metres, speed in m/s, translation error in metres a metre, rotation error in radians a metre
SEGMENTS = [
    (100.0, 4.0, 0.01, 0.001),
    (100.0, 5.0, 0.02, 0.002),
    (100.0, 6.0, 0.06, 0.006),
    (200.0, 5.9, 0.03, 0.001),
    (200.0, 8.0, 0.05, 0.002),
    (300.0, 8.5, 0.10, 0.005),
    (300.0, 9.0, 0.20, 0.006),
    (300.0, 20.0, 0.30, 0.007),
    (300.0, 20.5, 0.40, 0.010),
]


def errors() -> SegmentErrors:
    length, speed, translation, rotation = torch.tensor(SEGMENTS, dtype=torch.float64).unbind(1)
    frames = torch.arange(len(SEGMENTS))
    return SegmentErrors(frames, frames + 1, length, translation, rotation, speed)


def assert_bins(found: list[Bin], expected: list[tuple[float, list[int]]]) -> None:
    assert [part.centre for part in found] == [centre for centre, _ in expected]
    for part, (_, rows) in zip(found, expected, strict=True):
        assert part.num_segments == len(rows)
        translation, rotation = (sum(SEGMENTS[row][column] for row in rows) / len(rows) for column in (2, 3))
        assert part.t_rel_percent == pytest.approx(100 * translation)
        assert part.r_rel_deg_per_100m == pytest.approx(100 * rotation * 180 / math.pi)


def test_bins_by_length_hold_at_least_three_segments_of_that_length() -> None:
    assert_bins(errors().by_length(), [(100.0, [0, 1, 2]), (300.0, [5, 6, 7, 8])])


def test_bins_by_speed_hold_at_least_three_segments_nearer_than_two_metres_a_second() -> None:
    # 4: 4, 5, 5.9, not 6. 6: 5, 6, 5.9, neither 4 nor 8. 8: 8, 8.5, 9, not 6. 10: 8.5 and 9 alone. 20: two alone.
    assert_bins(errors().by_speed(), [(4.0, [0, 1, 3]), (6.0, [1, 2, 3]), (8.0, [4, 5, 6])])


def test_bins_of_other_speeds_reach_as_far() -> None:
    assert_bins(errors().by_speed([7.0, 21.0]), [(7.0, [2, 3, 4, 5])])


def test_the_devkit_s_bins_are_every_100_metres_and_every_2_metres_a_second() -> None:
    assert DEVKIT_LENGTHS == (100, 200, 300, 400, 500, 600, 700, 800)
    assert DEVKIT_SPEEDS == (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24)
    assert all(after - before == 2 for before, after in pairwise(DEVKIT_SPEEDS))
