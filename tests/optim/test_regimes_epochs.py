"""How many updates an epoch has in each regime, and which samples they see."""

import pytest
import torch
from torch import Tensor

from vo3d.optim import regimes

COUNT = 10
UPDATES = {"sample": 10, "batch": 1, "stochastic": 10, "mini_batch": 3}  # mini-batches of 4, 4 and 2
SIZES = {"sample": [1] * 10, "batch": [10], "stochastic": [1] * 10, "mini_batch": [4, 4, 2]}


def seen_in(regime: str, epochs: int, seed: int = 0) -> tuple[list[list[int]], list[float], list[int]]:
    """The samples of each update, its loss, and what `watch` was told."""
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    rows: list[list[int]] = []
    told: list[int] = []

    def loss(number: Tensor) -> Tensor:
        rows.append(number.long().tolist())
        return (weight - number).square().mean()

    losses = regimes.train(
        loss,
        [torch.arange(COUNT, dtype=torch.float64)],
        optimizer=torch.optim.SGD([weight], lr=0.0),
        regime=regime,
        batch_size=4,
        epochs=epochs,
        seed=seed,
        watch=told.append,
    )
    return rows, losses, told


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("regime", UPDATES)
def test_an_epoch_has_as_many_updates_as_see_all_samples(regime: str, epochs: int) -> None:
    rows, losses, told = seen_in(regime, epochs)
    assert regimes.updates_per_epoch(COUNT, regime, 4) == UPDATES[regime]
    assert [len(row) for row in rows] == SIZES[regime] * epochs
    assert losses == pytest.approx([sum(number**2 for number in row) / len(row) for row in rows])
    assert told == list(range(1, epochs * UPDATES[regime] + 1))


def test_stochastic_epochs_draw_with_replacement_and_go_on_drawing() -> None:
    rows, _, _ = seen_in("stochastic", 40)
    drawn = [row[0] for row in rows]
    epochs = [drawn[start : start + COUNT] for start in range(0, len(drawn), COUNT)]
    assert any(len(set(epoch)) < COUNT for epoch in epochs)  # a shuffle would have each sample once
    assert all(epoch != epochs[0] for epoch in epochs[1:])
    assert set(drawn) == set(range(COUNT))
    assert drawn != [row[0] for row in seen_in("stochastic", 40, seed=1)[0]]
