"""The ranking loss by hand, and what does not violate it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

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


@pytest.mark.parametrize("squared", [True, False])
def test_a_batch_is_that_of_a_loop(squared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, positives, negatives = (
        normalize(torch.randn(*shape, 4, generator=generator, dtype=torch.float64), dim=-1)
        for shape in ((5,), (5, 2), (5, 3))
    )
    slow = torch.zeros(5, 3, dtype=torch.float64)
    for row in range(5):
        near = min(float(((query[row] - one) ** 2).sum()) for one in positives[row])
        for column in range(3):
            far = float(((query[row] - negatives[row, column]) ** 2).sum())
            terms = (near, far) if squared else (math.sqrt(near), math.sqrt(far))
            slow[row, column] = max(0.0, terms[0] + 0.3 - terms[1])

    hinge = ranking_loss(query, positives, negatives, margin=0.3, squared=squared)

    torch.testing.assert_close(hinge, slow)
    assert 0 < int((hinge > 0).sum()) < 15
    torch.testing.assert_close(mean_of_violations(hinge), slow.sum() / (slow > 0).sum())


@pytest.mark.parametrize("squared", [True, False])
def test_gradients_are_finite_differences(squared: bool) -> None:
    inputs = [one.clone().requires_grad_() for one in (QUERY, POSITIVES, NEGATIVES)]

    def loss(*vectors: Tensor) -> Tensor:
        return mean_of_violations(ranking_loss(*vectors, margin=0.7, squared=squared))

    assert loss(*inputs) > 0
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("squared", [True, False])
def test_equal_vectors_have_a_finite_gradient(squared: bool) -> None:
    """The same image as a positive, and as a negative: the distance has no slope there."""
    query = QUERY.clone().requires_grad_()

    mean_of_violations(ranking_loss(query, QUERY[None], torch.stack([QUERY, NEGATIVES[0]]), squared=squared)).backward()

    assert query.grad is not None
    assert not query.grad.any()


BATCHES = [  # of two processes: violations in both, in one, in none
    ([[0.5, 0.0], [1.0, 2.0]], [[0.0, 0.0], [4.0, 0.0]]),
    ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [4.0, 0.0]]),
    ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
]
PROCESS = """
import json, sys, torch
from torch import distributed
from vo3d.losses.ranking import mean_of_violations
rank, file, batches = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
found = []
for parts in batches:
    hinge = torch.tensor(parts[rank], requires_grad=True)
    loss = mean_of_violations(hinge)
    loss.backward()
    with torch.no_grad():
        own = mean_of_violations(hinge)
    found.append([loss.item(), hinge.grad.tolist(), own.item()])
print(json.dumps(found))
distributed.destroy_process_group()
"""


def test_two_processes_share_the_number_of_violations(tmp_path: Path) -> None:
    words = [str(tmp_path / "meeting"), json.dumps(BATCHES)]
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), *words], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    told = [json.loads(one.communicate(timeout=120)[0]) for one in running]
    for number, parts in enumerate(BATCHES):
        whole = torch.tensor([*parts[0], *parts[1]], requires_grad=True)
        loss = mean_of_violations(whole)
        loss.backward()
        assert sum(told[rank][number][0] for rank in range(2)) / 2 == pytest.approx(loss.item())
        gradients = torch.tensor([*told[0][number][1], *told[1][number][1]]) / 2  # as DDP averages them
        torch.testing.assert_close(gradients, whole.grad)
        for rank in range(2):  # without gradients, as in validation, each counts its own
            assert told[rank][number][2] == pytest.approx(mean_of_violations(torch.tensor(parts[rank])).item())
