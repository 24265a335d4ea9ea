"""Distances of vectors that a network regresses, against sums written out, and weights that are learnt."""

import math

import pytest
import torch

from vo3d.losses import vector_error, weighted_by_uncertainty
from vo3d.losses.regression import Norm

APART = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])


def test_each_norm_is_its_formula() -> None:
    zero = torch.zeros(2, 3)
    assert vector_error(APART, zero, "l1").tolist() == [7.0, 0.0]
    assert vector_error(APART, zero, "l2").tolist() == [5.0, 0.0]
    assert vector_error(APART, zero, "squared").tolist() == [12.5, 0.0]  # half of 25, as Caffe has it


@pytest.mark.parametrize("norm", ["l1", "l2", "squared"])
def test_gradients_are_finite_where_nothing_is_apart(norm: Norm) -> None:
    estimate = torch.zeros(2, 3, requires_grad=True)
    vector_error(estimate, torch.zeros(2, 3), norm).sum().backward()
    assert estimate.grad is not None
    assert bool(estimate.grad.isfinite().all())


def test_the_learnt_weight_is_least_at_the_logarithm_of_the_loss() -> None:
    loss = torch.tensor(0.2)
    values = [weighted_by_uncertainty(loss, torch.tensor(math.log(0.2) + off)).item() for off in (-0.1, 0.0, 0.1)]
    assert values[1] == pytest.approx(1 + math.log(0.2))
    assert min(values) == values[1]
