"""Trajectories: chaining, resampling, association, alignment."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.trajectory import (
    AlignMode,
    align,
    associate,
    chain,
    path_lengths,
    resample,
    start_at_identity,
    steps,
)


def random_poses(generator: torch.Generator, num: int, size: float = 1.0) -> Tensor:
    return se3.exp(torch.randn(num, 6, generator=generator, dtype=torch.float64) * size)


@pytest.mark.parametrize("num", [0, 1, 2, 7, 8, 9, 100])
def test_chain_is_a_product_from_left_to_right(num: int, generator: torch.Generator) -> None:
    prev_T_cam, start = random_poses(generator, num), random_poses(generator, 1)[0]
    expected = [start]
    for step in prev_T_cam:
        expected.append(expected[-1] @ step)
    torch.testing.assert_close(chain(prev_T_cam, start), torch.stack(expected), rtol=1e-9, atol=1e-9)
    assert torch.equal(chain(prev_T_cam)[0], torch.eye(4, dtype=torch.float64))


def test_steps_undo_chain_also_where_text_rounded_the_rotations(generator: torch.Generator) -> None:
    world_T_cam = chain(random_poses(generator, 500, 0.1))
    rounded = (world_T_cam * 1e4).round() / 1e4
    torch.testing.assert_close(chain(steps(rounded), rounded[0]), rounded, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(steps(world_T_cam), se3.relative(world_T_cam[:-1], world_T_cam[1:]))


def test_chain_has_gradients(generator: torch.Generator) -> None:
    xi = (torch.randn(5, 6, generator=generator, dtype=torch.float64) * 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda xi: chain(se3.exp(xi)), xi)


def test_start_at_identity_keeps_the_steps(generator: torch.Generator) -> None:
    world_T_cam = random_poses(generator, 30)
    moved = start_at_identity(world_T_cam)
    torch.testing.assert_close(moved[0], torch.eye(4).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(steps(moved), steps(world_T_cam))
    moved = start_at_identity(world_T_cam, 7)
    torch.testing.assert_close(moved[7], torch.eye(4).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(steps(moved), steps(world_T_cam))


def test_path_lengths_add_up() -> None:
    poses = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    poses[:, :3, 3] = torch.tensor([[0.0, 0, 0], [3, 4, 0], [3, 4, 0], [3, 4, 2]])
    assert path_lengths(poses).tolist() == [0, 5, 5, 7]
    assert path_lengths(poses[:1]).tolist() == [0]
    assert path_lengths(poses[:0]).tolist() == []


def test_resampling_a_constant_twist_is_exact(generator: torch.Generator) -> None:
    xi = torch.randn(6, generator=generator, dtype=torch.float64)
    time = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.2], dtype=torch.float64)
    new_time = torch.tensor([0.0, 0.05, 0.1, 0.9, 1.2], dtype=torch.float64)
    found = resample(time, se3.exp(xi * time[:, None]), new_time)
    torch.testing.assert_close(found, se3.exp(xi * new_time[:, None]), rtol=1e-9, atol=1e-12)


def test_resampling_at_the_stamps_changes_nothing(generator: torch.Generator) -> None:
    poses = random_poses(generator, 50, 0.5)
    time = torch.rand(50, generator=generator, dtype=torch.float64).cumsum(0) + 1.4e9
    torch.testing.assert_close(resample(time, poses, time), poses, rtol=0, atol=1e-12)


def test_resampling_does_not_extrapolate(generator: torch.Generator) -> None:
    time = torch.arange(3, dtype=torch.float64)
    poses = random_poses(generator, 3)
    with pytest.raises(Vo3dError, match=r"2\.5 s lies outside the trajectory \(0\.0 to 2\.0 s\)"):
        resample(time, poses, torch.tensor([1.0, 2.5], dtype=torch.float64))
    for wrong in (time.flip(0), time[[0, 1, 1]]):
        with pytest.raises(Vo3dError, match="expected two or more that increase"):
            resample(wrong, poses, time)
    with pytest.raises(Vo3dError, match="1 time stamps"):
        resample(time[:1], poses[:1], time[:1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=30, unique=True),
    st.lists(st.integers(0, 300), min_size=1, max_size=30, unique=True),
)
def test_associated_stamps_are_each_others_nearest(first: list[int], second: list[int]) -> None:
    time_a, time_b = (torch.tensor(sorted(stamps), dtype=torch.float64) for stamps in (first, second))
    gap = (time_a[:, None] - time_b).abs()
    possible = bool((gap <= 5).any())
    if not possible:
        with pytest.raises(Vo3dError, match="no stamps within 5"):
            associate(time_a, time_b, 5.0)
        return
    index_a, index_b = associate(time_a, time_b, 5.0)
    pairs = gap[index_a, index_b]
    assert len(index_a) > 0
    assert bool((index_a.diff() > 0).all())
    assert bool((index_b.diff() > 0).all())
    assert bool((pairs <= 5).all())
    assert torch.equal(pairs, gap[index_a].amin(1))
    assert torch.equal(pairs, gap[:, index_b].amin(0))


def test_association_needs_stamps() -> None:
    some, none = torch.zeros(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    with pytest.raises(Vo3dError, match="1 and 0 stamps"):
        associate(some, none)
    with pytest.raises(Vo3dError, match="a largest difference of -1 s: expected 0 or more"):
        associate(some, some, -1.0)


def similarity(generator: torch.Generator, poses: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """`poses` seen from another frame and at another scale, and that frame's pose."""
    frame = random_poses(generator, 1)[0]
    moved = se3.compose(frame, poses)
    moved[:, :3, 3] *= scale
    return moved, frame


def test_alignment_finds_a_known_similarity(generator: torch.Generator) -> None:
    reference = random_poses(generator, 40)
    estimate, _ = similarity(generator, reference, 0.25)
    found = align(reference, estimate, "7dof")
    torch.testing.assert_close(found.estimate, reference, rtol=1e-9, atol=1e-9)
    assert found.scale == pytest.approx(4)
    at_scale = estimate.clone()
    at_scale[:, :3, 3] *= 4
    rigid = align(reference, at_scale, "6dof")
    torch.testing.assert_close(rigid.estimate, reference, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(se3.compose(rigid.reference_T_estimate, at_scale), reference, rtol=1e-9, atol=1e-9)
    assert rigid.scale == 1


@pytest.mark.parametrize("mode", ["scale", "6dof", "7dof"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_alignment_is_a_minimum(mode: AlignMode, mirrored: bool, generator: torch.Generator) -> None:
    reference = random_poses(generator, 30)
    estimate = se3.compose(reference, random_poses(generator, 30, 0.2))
    if mirrored:  # the smallest singular value counts against the scale
        estimate[:, 0, 3] *= -1
    found = align(reference, estimate, mode)

    def cost(poses: Tensor) -> float:
        return (poses - reference)[:, :3, 3].square().sum().item()

    best = cost(found.estimate)
    assert best < cost(estimate)
    for _ in range(40):
        nudge = random_poses(generator, 1, 1e-3)[0] if mode != "scale" else torch.eye(4, dtype=torch.float64)
        other = se3.compose(nudge, found.estimate)
        if mode != "6dof":
            other[:, :3, 3] *= 1 + 1e-3 * torch.randn((), generator=generator, dtype=torch.float64)
        assert cost(other) >= best


def test_alignment_is_never_a_reflection(generator: torch.Generator) -> None:
    reference = random_poses(generator, 30)
    mirrored = reference.clone()
    mirrored[:, 0, 3] *= -1  # the best linear map is a mirror
    for mode in ("6dof", "7dof"):
        found = align(reference, mirrored, mode)
        R = found.reference_T_estimate[:3, :3]
        torch.testing.assert_close(R.T @ R, torch.eye(3).double(), rtol=0, atol=1e-12)
        assert torch.linalg.det(R) == pytest.approx(1)
        assert found.scale > 0


def test_flat_paths_are_enough_for_a_rotation(generator: torch.Generator) -> None:
    reference = random_poses(generator, 30)
    reference[:, 1, 3] = 0.0  # a street without hills
    estimate, _ = similarity(generator, reference, 2.0)
    torch.testing.assert_close(align(reference, estimate, "7dof").estimate, reference, rtol=1e-8, atol=1e-8)


def test_float32_stays_float32(generator: torch.Generator) -> None:
    poses = random_poses(generator, 10).float()
    found = align(poses, poses, "7dof")
    assert found.estimate.dtype == torch.float32
    torch.testing.assert_close(found.estimate, poses, rtol=1e-5, atol=1e-5)


def test_alignments_without_one_answer_are_refused(generator: torch.Generator) -> None:
    reference = random_poses(generator, 20)
    still = reference[:1].repeat(20, 1, 1)
    line = torch.eye(4, dtype=torch.float64).repeat(20, 1, 1)
    line[:, :3, 3] = torch.arange(20.0).double()[:, None] * torch.tensor([0.3, -0.2, 1.0]).double() + 7
    for mode in ("6dof", "7dof"):
        for estimate in (still, line):
            with pytest.raises(Vo3dError, match="lie on a line or do not move"):
                align(reference, estimate, mode)
        with pytest.raises(Vo3dError, match="lie on a line or do not move"):
            align(reference[:2], line[:2], mode)
    straight = align(line, line, "scale")
    assert straight.scale == pytest.approx(1)
    backwards = start_at_identity(line)
    backwards[:, :3, 3] *= -1
    at_rest = torch.eye(4, dtype=torch.float64).repeat(20, 1, 1)
    for estimate, remedy in ((backwards, "none, 6dof or 7dof"), (at_rest, "none to see its errors")):  # what does work
        with pytest.raises(Vo3dError, match=f"no positive scale fits .*; align with {remedy}"):
            align(start_at_identity(line), estimate, "scale")
    with pytest.raises(Vo3dError, match="20 reference and 19 estimated"):
        align(reference, line[1:], "none")
    with pytest.raises(Vo3dError, match="0 reference and 0 estimated"):
        align(reference[:0], line[:0], "none")


def test_none_leaves_the_estimate(generator: torch.Generator) -> None:
    poses = random_poses(generator, 5)
    found = align(random_poses(generator, 5), poses, "none")
    assert torch.equal(found.estimate, poses)
    assert math.isclose(found.scale, 1)
