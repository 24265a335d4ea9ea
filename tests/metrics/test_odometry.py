"""evo's values against ours where both state the same thing."""

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.trajectory import AlignMode, align, chain
from vo3d.metrics.kitti_odometry import position_errors, step_errors
from vo3d.metrics.odometry import ape, rpe


@pytest.fixture
def pair(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A reference and an estimate in another frame, at another scale, with noise."""
    xi = torch.randn(2, 80, 6, generator=generator, dtype=torch.float64) * 0.2
    reference = chain(se3.exp(xi[0]))
    estimate = se3.compose(se3.exp(xi[1, 0] * 5), reference, se3.exp(xi[1] * 0.05).repeat(2, 1, 1)[:81])
    estimate[:, :3, 3] *= 0.7
    return reference, estimate


@pytest.mark.parametrize("mode", ["none", "6dof", "7dof"])
def test_evo_agrees_with_our_errors(pair: tuple[Tensor, Tensor], mode: AlignMode) -> None:
    reference, estimate = pair
    aligned = align(reference, estimate, mode).estimate
    errors = ape(reference, estimate, mode)
    ours = position_errors(reference, aligned)
    assert errors.rmse == pytest.approx(ours.square().mean().sqrt().item(), rel=1e-9)
    assert errors.median == pytest.approx(ours.quantile(0.5).item(), rel=1e-9)
    assert errors.num == len(reference)
    metres, degrees = rpe(reference, estimate, mode), rpe(reference, estimate, mode, "rotation")
    our_metres, our_angles = step_errors(reference, aligned)
    assert metres.mean == pytest.approx(our_metres.mean().item(), rel=1e-9)
    assert degrees.mean == pytest.approx(torch.rad2deg(our_angles).mean().item(), rel=1e-6)
    assert (metres.num, degrees.num) == (len(reference) - 1, len(reference) - 1)


def test_scale_is_that_of_a_similarity_and_leaves_the_pose(pair: tuple[Tensor, Tensor]) -> None:
    reference, estimate = pair
    scaled = estimate.clone()
    scaled[:, :3, 3] *= align(reference, estimate, "7dof").scale
    expected = position_errors(reference, scaled).square().mean().sqrt().item()
    assert ape(reference, estimate, "scale").rmse == pytest.approx(expected, rel=1e-9)


def test_what_is_given_stays_as_it_is(pair: tuple[Tensor, Tensor]) -> None:
    copies = [poses.clone() for poses in pair]
    ape(*pair, "7dof")
    rpe(*pair, "scale")
    assert all(torch.equal(poses, copy) for poses, copy in zip(pair, copies, strict=True))


def test_input_that_evo_cannot_take_is_refused(pair: tuple[Tensor, Tensor]) -> None:
    reference, estimate = pair
    with pytest.raises(Vo3dError, match="evo cannot align"):
        ape(reference, reference[:1].expand(81, 4, 4), "6dof")
    with pytest.raises(Vo3dError, match="81 reference and 80 estimated"):
        ape(reference, estimate[1:], "none")
    with pytest.raises(Vo3dError, match="1 poses have no step"):
        rpe(reference[:1], estimate[:1], "none")


def test_rotations_of_few_digits_have_no_angle_but_metres(pair: tuple[Tensor, Tensor]) -> None:
    reference, estimate = ((poses * 1e4).round() / 1e4 for poses in pair)
    assert rpe(reference, estimate, "none").mean > 0
    with pytest.raises(Vo3dError, match="evo cannot compare the rotations"):
        rpe(reference, estimate, "none", "rotation")
