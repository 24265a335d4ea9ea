"""The data regimes against hand-written loops, and logistic regression on noisy moons."""

import math
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim import regimes

RATE = 0.3
Data = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def data() -> Data:
    """60 samples: features and labels."""
    points, labels = regimes.noisy_moons(60, seed=3)
    return regimes.polynomial_features(points), labels


def descend(data: Data, **settings: object) -> tuple[Tensor, list[float]]:
    """The weights after gradient descent from 0, and the losses."""
    weights = torch.zeros(data[0].shape[1], dtype=torch.float64, requires_grad=True)
    losses = regimes.train(
        lambda x, y: regimes.logistic_loss(weights, x, y),
        data,
        optimizer=torch.optim.SGD([weights], lr=RATE),
        **settings,  # type: ignore[arg-type]
    )
    return weights.detach(), losses


def by_hand(data: Data, batches: list[list[int]]) -> Tensor:
    """Gradient descent by the written-out gradient x (sigmoid(x w) - y), averaged over each batch."""
    x, y = data
    weights = [0.0] * x.shape[1]
    for batch in batches:
        gradient = [0.0] * len(weights)
        for i in batch:
            z = sum(float(x[i, k]) * weights[k] for k in range(len(weights)))
            for k in range(len(weights)):
                gradient[k] += float(x[i, k]) * (1 / (1 + math.exp(-z)) - float(y[i])) / len(batch)
        weights = [w - RATE * g for w, g in zip(weights, gradient, strict=True)]
    return torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"regime": "sample", "updates": 1}, [[0]]),
        ({"regime": "sample", "updates": 62}, [[i % 60] for i in range(62)]),
        ({"regime": "batch", "updates": 1}, [list(range(60))]),
        ({"regime": "batch", "updates": 3}, [list(range(60))] * 3),
        ({"regime": "mini_batch", "batch_size": 25, "shuffle": False, "updates": 1}, [list(range(25))]),
        (
            {"regime": "mini_batch", "batch_size": 25, "shuffle": False, "epochs": 2},
            [list(range(25)), list(range(25, 50)), list(range(50, 60))] * 2,
        ),
    ],
)
def test_updates_equal_a_hand_written_loop(data: Data, settings: dict[str, object], expected: list[list[int]]) -> None:
    weights, losses = descend(data, **settings)

    torch.testing.assert_close(weights, by_hand(data, expected), rtol=1e-12, atol=1e-13)
    assert len(losses) == len(expected)
    assert losses[0] == pytest.approx(math.log(2), rel=1e-12)  # of zero weights


@pytest.mark.parametrize("regime", ["stochastic", "mini_batch"])
def test_random_regimes_do_what_their_batches_say(data: Data, regime: str) -> None:
    seen = [index.tolist() for index in islice(regimes.batches(60, regime, batch_size=7, seed=5), 20)]

    weights, _ = descend(data, regime=regime, batch_size=7, seed=5, updates=20)

    torch.testing.assert_close(weights, by_hand(data, seen), rtol=1e-12, atol=1e-13)


def test_a_stochastic_update_sees_one_sample_drawn_evenly_from_all() -> None:
    drawn = torch.cat(list(islice(regimes.batches(5, "stochastic", seed=1), 5000)))

    counts = drawn.bincount(minlength=5)
    assert len(drawn) == 5000
    assert ((counts - 1000).abs() < 5 * math.sqrt(5000 * 0.2 * 0.8)).all()  # five standard deviations
    assert (drawn[1:] == drawn[:-1]).any()  # with replacement


@pytest.mark.parametrize(("regime", "size"), [("sample", 1), ("mini_batch", 4)])
def test_shuffled_epochs_see_each_sample_once_in_a_new_order(regime: str, size: int) -> None:
    per_epoch = regimes.updates_per_epoch(10, regime, size)
    feed = regimes.batches(10, regime, batch_size=size, shuffle=True)

    first, second = (torch.cat(list(islice(feed, per_epoch))) for _ in range(2))

    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(10))


def test_samples_come_in_order_and_mini_batches_shuffled_unless_told_otherwise() -> None:
    assert next(regimes.batches(100, "mini_batch", batch_size=100)).tolist() != list(range(100))
    in_order = torch.cat(list(islice(regimes.batches(100, "sample"), 100)))
    assert in_order.tolist() == list(range(100))


def test_a_batch_does_not_depend_on_the_order_and_a_sample_does(data: Data, generator: torch.Generator) -> None:
    order = torch.randperm(60, generator=generator)
    mixed = (data[0][order], data[1][order])

    torch.testing.assert_close(
        descend(mixed, regime="batch", updates=30)[0],
        descend(data, regime="batch", updates=30)[0],
        rtol=1e-11,
        atol=1e-12,
    )
    one, other = (descend(which, regime="sample", epochs=1)[0] for which in (data, mixed))
    assert (one - other).abs().max() > 1e-3


def test_mini_batches_of_all_samples_are_a_batch(data: Data) -> None:
    whole, _ = descend(data, regime="mini_batch", batch_size=60, updates=30)

    torch.testing.assert_close(whole, descend(data, regime="batch", updates=30)[0], rtol=1e-11, atol=1e-12)


def test_seeds_reproduce_and_the_global_generator_is_left_alone(data: Data) -> None:
    before = torch.random.get_rng_state()
    runs = [descend(data, regime="mini_batch", batch_size=8, epochs=2, seed=seed) for seed in (0, 0, 1)]

    assert torch.equal(torch.random.get_rng_state(), before)
    assert runs[0][1] == runs[1][1]
    assert torch.equal(runs[0][0], runs[1][0])
    assert not torch.equal(runs[0][0], runs[2][0])


def test_the_mean_of_single_gradients_is_that_of_the_batch(data: Data) -> None:
    """What makes SGD work: an update from a random sample is, in the mean, that of all data."""
    weights = torch.linspace(-1, 1, data[0].shape[1], dtype=torch.float64, requires_grad=True)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.grad(regimes.logistic_loss(weights, x, y), weights)[0]

    single = torch.stack([gradient(x[None], y[None]) for x, y in zip(*data, strict=True)])
    torch.testing.assert_close(single.mean(0), gradient(*data), rtol=1e-12, atol=1e-14)
    assert single.std(0).max() > 0.1


def test_the_gradient_of_logistic_regression(data: Data, generator: torch.Generator) -> None:
    x, y = data
    weights = torch.randn(x.shape[1], generator=generator, dtype=torch.float64, requires_grad=True)

    (gradient,) = torch.autograd.grad(regimes.logistic_loss(weights, x, y), weights)

    expected = (x * (torch.sigmoid(x @ weights) - y)[:, None]).mean(0)
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda w: regimes.logistic_loss(w, x, y), weights)


def test_a_closure_optimiser_trains_too(data: Data) -> None:
    weights = torch.zeros(data[0].shape[1], dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return regimes.logistic_loss(weights, x, y) + 0.01 * weights.square().sum()

    optimizer = torch.optim.LBFGS([weights], line_search_fn="strong_wolfe")
    losses = regimes.train(loss, data, optimizer=optimizer, regime="batch", updates=5)

    assert losses == sorted(losses, reverse=True)
    loss(*data).backward()
    assert weights.grad is not None
    assert weights.grad.abs().max() < 1e-5


def test_training_ends_with_the_first_loss_that_is_not_finite() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    seen: list[int] = []

    losses = regimes.train(
        lambda a: (a * x).square().mean(),
        [torch.full((2, 1), 1e3)],
        optimizer=torch.optim.SGD([x], lr=1.0),
        regime="batch",
        updates=100,
        watch=seen.append,
    )

    assert 2 < len(losses) < 20
    assert all(map(math.isfinite, losses[:-1]))
    assert not math.isfinite(losses[-1])
    assert seen == list(range(1, len(losses)))


def test_moons_are_two_noisy_half_circles() -> None:
    points, labels = regimes.noisy_moons(401, noise=0.0, seed=1)

    side = 1 - 2 * labels
    arc = side[:, None] * points + torch.tensor([0.5, 0.25], dtype=torch.float64)
    torch.testing.assert_close(arc.norm(dim=1), torch.ones_like(labels))
    assert (arc[:, 1] >= 0).all()
    assert labels.sum() == 200
    assert 0 < labels[:50].mean() < 1  # mixed
    noisy, same = regimes.noisy_moons(401, noise=0.2, seed=1)
    assert torch.equal(labels, same)
    assert (noisy - points).std().item() == pytest.approx(0.2, rel=0.1)
    assert not torch.equal(regimes.noisy_moons(401, seed=2)[0], noisy)


def test_features_are_the_monomials() -> None:
    points = torch.tensor([[2.0, 3.0]])

    assert regimes.polynomial_features(points, 2).tolist() == [[1, 2, 3, 4, 6, 9]]
    assert regimes.polynomial_features(points, 3).shape == (1, 10)


def test_a_cubic_separates_moons_where_a_line_does_not(data: Data) -> None:
    x, y = data
    accuracy = []
    for features in (x[:, :3], x):
        weights, _ = descend((features, y), regime="batch", updates=600)
        accuracy.append(((features @ weights > 0) == (y > 0)).double().mean().item())
    assert accuracy[0] < 0.93
    assert accuracy[1] > 0.95


ONE = [torch.ones(4)]
LINE: Callable[..., dict[str, object]] = lambda **changes: {"regime": "batch", "updates": 1, **changes}  # noqa: E731


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (ONE, LINE(regime="mini_batch", batch_size=0), "batch_size 0: expected 1 to 4, the number of samples"),
        (ONE, LINE(regime="mini_batch", batch_size=5), "batch_size 5: expected 1 to 4"),
        (ONE, LINE(regime="online"), "data regime 'online' is unknown: expected one of sample, batch, stochastic"),
        ([], LINE(), "no samples to train on"),
        ([torch.ones(0)], LINE(), "no samples to train on"),
        ([torch.ones(4), torch.ones(3)], LINE(), "data of 4, 3 rows: expected equally many"),
        (ONE, {"epochs": -1}, "epochs -1, updates None: expected one of both, at least 1"),
        (ONE, LINE(updates=0), "epochs None, updates 0: expected one of both"),
        (ONE, LINE(epochs=1), "epochs 1, updates 1: expected one of both"),
        (ONE, {}, "epochs None, updates None: expected one of both"),
    ],
)
def test_bad_arguments_are_refused(data: list[Tensor], settings: dict[str, object], message: str) -> None:
    w = torch.ones((), requires_grad=True)
    with pytest.raises(Vo3dError, match=message) as caught:
        regimes.train(
            lambda a: (a * w).mean(),
            data,
            optimizer=torch.optim.SGD([w], lr=0.1),
            **settings,  # type: ignore[arg-type]
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "found"), [(lambda a, w: a * w, r"\(4,\)"), (lambda a, w: a.mean(), r"\(\)"), (lambda a, w: 1.0, "float")]
)
def test_losses_that_are_none_are_refused(loss: Callable[[Tensor, Tensor], Tensor], found: str) -> None:
    w = torch.ones((), requires_grad=True)
    with pytest.raises(Vo3dError, match=f"the loss returned {found}: expected one number that depends"):
        regimes.train(lambda a: loss(a, w), ONE, optimizer=torch.optim.SGD([w], lr=0.1), regime="batch", epochs=1)


@pytest.mark.parametrize(("count", "noise"), [(1, 0.1), (10, -0.1), (10, math.nan)])
def test_moons_that_cannot_be_are_refused(count: int, noise: float) -> None:
    with pytest.raises(Vo3dError, match="expected at least 2 points, and noise of at least 0"):
        regimes.noisy_moons(count, noise)
