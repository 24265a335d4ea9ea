"""The KITTI metric against a loop over the devkit's rules, published values, and what must not change it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.trajectory import align, chain, start_at_identity
from vo3d.metrics.kitti_odometry import (
    DEVKIT_LENGTHS,
    DEVKIT_SPEEDS,
    SegmentErrors,
    pool,
    position_errors,
    segment_errors,
    step_errors,
)


def random_walk(generator: torch.Generator, num: int, metres: float = 1.0, turn: float = 0.02) -> Tensor:
    """A drive of `num` poses: mostly forward, gently turning."""
    xi = torch.randn(num - 1, 6, generator=generator, dtype=torch.float64) * torch.tensor(
        [0.05, 0.02, 0.3, turn, turn, turn], dtype=torch.float64
    )
    xi[:, 2] = (xi[:, 2] + 1).abs() * metres
    return chain(se3.exp(xi))


def disturbed(reference: Tensor, generator: torch.Generator, size: float = 0.01) -> Tensor:
    """An estimate whose steps are each a little wrong."""
    noise = torch.randn(len(reference) - 1, 6, generator=generator, dtype=torch.float64) * size
    return chain(se3.compose(se3.relative(reference[:-1], reference[1:]), se3.exp(noise)), reference[0])


def loop_over_the_rules(
    reference: Tensor, estimate: Tensor, lengths: tuple[float, ...] = DEVKIT_LENGTHS, known: Tensor | None = None
) -> list[tuple[int, float, float, float, float]]:
    """The devkit's rules one segment at a time: first frame, r_err, t_err, length, speed."""
    gt, est = reference.numpy(), estimate.numpy()
    distance = [0.0]
    for before, after in pairwise(gt):
        distance.append(distance[-1] + math.dist(before[:3, 3], after[:3, 3]))
    rows = []
    for first in range(0, len(gt), 10):
        for length in lengths:
            last = next((i for i in range(first, len(gt)) if distance[i] > distance[first] + length), -1)
            if last == -1 or (known is not None and not (known[first] and known[last])):
                continue
            delta_gt = np.linalg.inv(gt[first]) @ gt[last]
            delta_est = np.linalg.inv(est[first]) @ est[last]
            error = np.linalg.inv(delta_est) @ delta_gt
            angle = math.acos(max(min(0.5 * (error[0, 0] + error[1, 1] + error[2, 2] - 1), 1), -1))
            speed = length / (0.1 * (last - first + 1))
            rows.append((first, angle / length, float(np.linalg.norm(error[:3, 3])) / length, length, speed))
    return rows


def assert_equal_to_loop(found: SegmentErrors, expected: list[tuple[int, float, float, float, float]]) -> None:
    ours = torch.stack([found.first.double(), found.rotation, found.translation, found.length, found.speed], dim=1)
    theirs = torch.tensor(expected, dtype=torch.float64).reshape(-1, 5)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num", [2, 11, 101, 118, 700, 1501])
def test_segments_equal_a_loop_over_the_devkit_rules(num: int, generator: torch.Generator) -> None:
    reference = random_walk(generator, num)
    estimate = disturbed(reference, generator)
    expected = loop_over_the_rules(reference, estimate)
    found = segment_errors(reference, estimate)
    assert_equal_to_loop(found, expected)
    if expected:
        assert found.t_rel_percent == pytest.approx(100 * np.mean([row[2] for row in expected]), rel=1e-12)
        degrees = math.degrees(100 * np.mean([row[1] for row in expected]))
        assert found.r_rel_deg_per_100m == pytest.approx(degrees, rel=1e-9)


def test_frames_without_an_estimate_take_their_segments_with_them(generator: torch.Generator) -> None:
    reference = random_walk(generator, 600)
    estimate = disturbed(reference, generator)
    known = torch.rand(600, generator=generator) > 0.3
    found = segment_errors(reference, estimate.where(known[:, None, None], torch.eye(4).double()), known=known)
    assert_equal_to_loop(found, loop_over_the_rules(reference, estimate, known=known))
    assert 0 < len(found) < len(segment_errors(reference, estimate))


def test_other_lengths_give_indoor_recordings_their_segments(generator: torch.Generator) -> None:
    reference = random_walk(generator, 300, metres=0.02)  # about 6 m
    estimate = disturbed(reference, generator, 1e-3)
    none = segment_errors(reference, estimate)
    assert (len(none), none.t_rel_percent, none.r_rel_deg_per_100m) == (0, None, None)
    assert (none.by_length(), none.by_speed()) == ([], [])
    assert_equal_to_loop(
        segment_errors(reference, estimate, lengths=(2.0, 1.0)), loop_over_the_rules(reference, estimate, (1.0, 2.0))
    )


def test_a_segment_ends_beyond_its_length_not_at_it() -> None:
    steps = torch.eye(4, dtype=torch.float64).repeat(120, 1, 1)
    steps[:, 2, 3] = 1.0  # exactly 1 m a frame: frame 100 is exactly 100 m away
    reference = chain(steps)
    found = segment_errors(reference, reference)
    assert found.first.tolist() == [0, 10]
    assert found.last.tolist() == [101, 111]
    assert found.speed.tolist() == pytest.approx([100 / 10.2] * 2)


def test_bins_average_their_segments(generator: torch.Generator) -> None:
    reference = random_walk(generator, 900)
    found = segment_errors(reference, disturbed(reference, generator))
    rows = loop_over_the_rules(reference, disturbed(reference, generator, 0.0))
    by_length = found.by_length()
    assert sum(part.num_segments for part in by_length) == len(found)
    pooled = sum(part.t_rel_percent * part.num_segments for part in by_length) / len(found)
    assert pooled == pytest.approx(found.t_rel_percent)
    for part in found.by_speed():
        inside = [row for row in rows if abs(row[4] - part.centre) < 2]
        assert part.num_segments == len(inside)
        assert part.centre in DEVKIT_SPEEDS
    assert found.by_speed()


def test_pooling_weighs_segments_not_recordings(generator: torch.Generator) -> None:
    parts = []
    for num in (300, 900):
        reference = random_walk(generator, num)
        parts.append(segment_errors(reference, disturbed(reference, generator, 0.02)))
    both = pool(parts)
    expected = sum(len(part) * part.t_rel_percent for part in parts) / sum(map(len, parts))
    assert both.t_rel_percent == pytest.approx(expected)
    with pytest.raises(Vo3dError, match="no recordings"):
        pool([])


def test_a_perfect_estimate_has_no_error(generator: torch.Generator) -> None:
    reference = random_walk(generator, 700)
    moved = se3.compose(se3.exp(torch.randn(6, generator=generator, dtype=torch.float64)), reference)
    found = segment_errors(reference, moved)
    metres, angles = step_errors(reference, moved)
    assert found.t_rel_percent == pytest.approx(0, abs=1e-10)
    assert found.r_rel_deg_per_100m == pytest.approx(0, abs=1e-4)  # the arc cosine leaves 1e-8 rad of a rounding error
    assert metres.max() < 1e-10
    assert angles.max() < 1e-7


def test_rigid_motions_of_both_change_nothing(generator: torch.Generator) -> None:
    reference = random_walk(generator, 500)
    estimate = disturbed(reference, generator)
    move_a, move_b = se3.exp(torch.randn(2, 6, generator=generator, dtype=torch.float64))
    before = segment_errors(reference, estimate)
    after = segment_errors(se3.compose(move_a, reference), se3.compose(move_b, estimate))
    torch.testing.assert_close(after.translation, before.translation, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(after.rotation, before.rotation, rtol=1e-6, atol=1e-10)
    steps_before, steps_after = (
        torch.stack(step_errors(*pair))
        for pair in ((reference, estimate), (se3.compose(move_a, reference), se3.compose(move_b, estimate)))
    )
    torch.testing.assert_close(steps_after, steps_before, rtol=1e-5, atol=1e-9)


def test_scale_alignment_undoes_a_scale(generator: torch.Generator) -> None:
    reference = random_walk(generator, 500)
    estimate = start_at_identity(disturbed(reference, generator))
    smaller = estimate.clone()
    smaller[:, :3, 3] *= 0.1
    first, second = (align(reference, one, "scale") for one in (estimate, smaller))
    assert second.scale == pytest.approx(10 * first.scale)
    torch.testing.assert_close(second.estimate, first.estimate)
    assert position_errors(reference, second.estimate).sum() > 0


def test_the_order_of_poses_gives_the_side_of_the_error() -> None:
    reference, estimate = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    estimate[1, 0, 3] = 0.5  # out and back: an error of 0.5 m in both steps and one position
    metres, _ = step_errors(reference, estimate)
    assert metres.tolist() == [0.5, 0.5]
    assert position_errors(reference, estimate).tolist() == [0, 0.5, 0]
    assert len(step_errors(reference, estimate, torch.tensor([True, False, True]))[0]) == 0
    assert position_errors(reference, estimate, torch.tensor([True, False, True])).tolist() == [0, 0]


def test_wrong_input_is_refused(generator: torch.Generator) -> None:
    reference = random_walk(generator, 30)
    broken = reference.clone()
    broken[7, 0, 3] = math.nan
    with pytest.raises(Vo3dError, match="30 reference and 29 estimated"):
        segment_errors(reference, reference[:-1])
    with pytest.raises(Vo3dError, match="estimate holds NaN or infinity in pose 7"):
        segment_errors(reference, broken)
    with pytest.raises(Vo3dError, match="none of 30 frames"):
        step_errors(reference, reference, torch.zeros(30, dtype=torch.bool))
    for lengths in ((), (0.0,), (100.0, 100.0), (math.inf,)):
        with pytest.raises(Vo3dError, match="segment lengths"):
            segment_errors(reference, reference, lengths=lengths)
    with pytest.raises(Vo3dError, match="start every 0"):
        segment_errors(reference, reference, start_every=0)
