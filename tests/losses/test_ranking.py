"""The ranking loss by hand, and what does not violate it."""

import math

import torch
from torch import Tensor

from vo3d.losses.ranking import mean_of_violations, ranking_loss


def _turned(degrees: float) -> Tensor:
    """A unit vector; two of them that are t apart have the squared distance 2 - 2 cos t."""
    return torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], dtype=torch.float64)


# Squared distances from 0 degrees: 60 -> 1, 90 -> 2, 120 -> 3, 180 -> 4
QUERY = _turned(0)
POSITIVES = torch.stack([_turned(90), _turned(60)])
NEGATIVES = torch.stack([_turned(90), _turned(60), _turned(180)])


def test_two_positives_and_three_negatives_by_hand() -> None:
    hinge = ranking_loss(QUERY, POSITIVES, NEGATIVES, margin=1.5)

    torch.testing.assert_close(hinge, torch.tensor([0.5, 1.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(mean_of_violations(hinge), torch.tensor(1.0, dtype=torch.float64))


def test_of_distances_by_hand() -> None:
    hinge = ranking_loss(QUERY, POSITIVES, NEGATIVES, margin=0.5, squared=False)

    torch.testing.assert_close(hinge, torch.tensor([1.5 - math.sqrt(2), 0.5, 0.0], dtype=torch.float64))


def test_the_mean_is_over_the_violations_of_the_whole_batch() -> None:
    hinge = torch.tensor([[0.0, 3.0, 0.0], [1.0, 2.0, 0.0]])

    assert mean_of_violations(hinge) == 2.0


def test_without_a_violation_there_is_no_gradient() -> None:
    query, near, far = (one.clone().requires_grad_() for one in (QUERY, POSITIVES, NEGATIVES[2:]))

    loss = mean_of_violations(ranking_loss(query, near, far))
    loss.backward()

    assert loss == 0
    assert all(one.grad is not None and not one.grad.any() for one in (query, near, far))


def test_only_the_nearest_positive_is_pulled() -> None:
    positives = POSITIVES.clone().requires_grad_()

    mean_of_violations(ranking_loss(QUERY, positives, NEGATIVES)).backward()

    assert positives.grad is not None
    assert not positives.grad[0].any()
    assert positives.grad[1].any()
