"""Data regimes: which samples each update of an optimiser sees; and logistic regression, on which they differ visibly.

The survey's first text tells four apart: gradient descent with one update for each sample, visited in order ("sample");
batch gradient descent, one update from the mean gradient of all data ("batch"); stochastic gradient descent, one update
from one random sample ("stochastic"); and mini-batches of m samples, m typically 50 to 256 ("mini_batch"). They are
settings of what feeds an optimiser, not optimisers: `train` takes any.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.optim import Optimizer

from vo3d.errors import Vo3dError

REGIMES = ("sample", "batch", "stochastic", "mini_batch")


def train(
    loss: Callable[..., Tensor],
    data: Sequence[Tensor],
    *,
    optimizer: Optimizer,
    regime: str = "mini_batch",
    batch_size: int = 50,
    shuffle: bool | None = None,
    epochs: int | None = None,
    updates: int | None = None,
    seed: int = 0,
    watch: Callable[[int], None] | None = None,
) -> list[float]:
    """Let `optimizer` minimise the mean of `loss` over `data`, and give the loss that each update began with.

    Training ends early with the first loss that is not finite, which is then the last of the list.

    Args:
        loss: Of the samples that it is handed (rows of each tensor of `data`, as separate arguments): their mean, as a
            scalar that depends on the parameters of `optimizer`.
        data: Tensors whose first axis counts the samples, such as inputs and targets.
        optimizer: Made with the parameters, and its own rate; those that call their closure repeatedly will do.
        regime: One of `REGIMES`, see `batches`.
        batch_size: Samples in a mini-batch; the other regimes have their own.
        shuffle: See `batches`.
        epochs: Passes over the data, each as many updates as `updates_per_epoch` says; or
        updates: their number. Exactly one of both.
        seed: Of the order of the samples.
        watch: Called after each update with the number of updates so far.

    Raises:
        Vo3dError: No samples, tensors of unequal length, an unknown regime, a batch size below 1 or above the number of
            samples, or neither or both of epochs and updates, or one below 1; a loss that is no scalar with a gradient.

    Example: `train(loss, (x, y), optimizer=torch.optim.SGD([w], 0.1), regime="batch", epochs=100)`
    """
    lengths = [len(tensor) for tensor in data]
    if len(set(lengths)) > 1:
        raise Vo3dError(f"data of {', '.join(map(str, lengths))} rows: expected equally many in each tensor")
    count = lengths[0] if lengths else 0
    given = [number for number in (epochs, updates) if number is not None]
    if len(given) != 1 or given[0] < 1:
        raise Vo3dError(f"epochs {epochs}, updates {updates}: expected one of both, at least 1")
    steps = updates or updates_per_epoch(count, regime, batch_size) * given[0]
    losses: list[float] = []
    for index in islice(batches(count, regime, batch_size=batch_size, shuffle=shuffle, seed=seed), steps):
        rows = [tensor[index.to(tensor.device)] for tensor in data]
        seen: list[float] = []

        def closure(rows: Sequence[Tensor] = rows, seen: list[float] = seen) -> Tensor:
            optimizer.zero_grad()
            value = loss(*rows)
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise Vo3dError(f"the loss returned {found}: expected one number that depends on parameters by torch")
            value.backward()  # type: ignore[no-untyped-call]
            seen.append(value.item())
            return value

        optimizer.step(closure)  # type: ignore[arg-type]  # torch declares a float but hands on what it is given
        losses.append(seen[0])
        if not math.isfinite(losses[-1]):
            break
        if watch is not None:
            watch(len(losses))
    return losses


def batches(
    count: int, regime: str, *, batch_size: int = 50, shuffle: bool | None = None, seed: int = 0
) -> Iterator[Int64[Tensor, " m"]]:
    """Yield the numbers of the samples that each update sees, of `count`, without end.

    "sample": one after the other in order, again and again; "batch": all; "stochastic": one, drawn from all each time;
    "mini_batch": the next `batch_size`, the last of an epoch being smaller where they do not divide `count`.
    With `shuffle` the samples come in a new order each epoch; None shuffles mini-batches and leaves "sample" in order;
    the other two have no order. Drawn from a generator of its own. Raises Vo3dError as `train`.
    """
    size = _size(count, regime, batch_size)
    shuffled = regime != "batch" and (regime == "mini_batch" if shuffle is None else shuffle)
    return _draw(count, regime, size, shuffled, torch.Generator().manual_seed(seed))


def updates_per_epoch(count: int, regime: str, batch_size: int = 50) -> int:
    """Count the updates in which a regime sees as many samples as there are; raises Vo3dError as `train`."""
    return math.ceil(count / _size(count, regime, batch_size))


def noisy_moons(
    count: int = 500, noise: float = 0.2, seed: int = 0
) -> tuple[Float64[Tensor, "n 2"], Float64[Tensor, " n"]]:
    """Draw points on two interlocked half circles of radius 1, symmetric about the origin, and their labels 0 and 1.

    The arc of label 0 bulges up from (-0.5, -0.25), the other one down from (0.5, 0.25); each point lies evenly
    distributed along its arc, moved by normal noise of deviation `noise` on both axes. As many have one label as the
    other (one fewer for an odd `count`), in random order. Raises Vo3dError for fewer than 2 points or negative noise.
    """
    if count < 2 or not 0 <= noise < math.inf:
        raise Vo3dError(f"{count} points with noise {noise}: expected at least 2 points, and noise of at least 0")
    generator = torch.Generator().manual_seed(seed)
    label = (torch.arange(count) % 2)[torch.randperm(count, generator=generator)].double()
    angle = math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    side = 1 - 2 * label  # 1 for label 0, -1 for label 1: the two arcs are each other's image under p -> -p
    arc = torch.stack((angle.cos() - 0.5, angle.sin() - 0.25), dim=1)  # n 2
    return side[:, None] * arc + noise * torch.randn(count, 2, generator=generator, dtype=torch.float64), label


def polynomial_features(points: Float[Tensor, "n 2"], degree: int = 3) -> Float[Tensor, "n k"]:
    """Compute all products x^i y^j with i + j <= `degree`, from the constant 1 on: (degree + 1) (degree + 2) / 2.

    Moons are not separable by a straight line; by the zeros of a cubic they nearly are.
    """
    x, y = points.unbind(dim=1)
    return torch.stack([x**i * y ** (total - i) for total in range(degree + 1) for i in range(total, -1, -1)], dim=1)


def logistic_loss(
    weights: Float[Tensor, " k"], features: Float[Tensor, "n k"], labels: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Compute logistic regression's mean negative log-likelihood, mean_i log(1 + exp(z_i)) - y_i z_i with z = x w.

    Its gradient is mean_i x_i (sigmoid(x_i w) - y_i).
    """
    return F.binary_cross_entropy_with_logits(features @ weights, labels)


def _draw(count: int, regime: str, size: int, shuffle: bool, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        if regime == "stochastic":
            yield torch.randint(count, (1,), generator=generator)
        else:
            order = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
            yield from torch.split(order, size)


def _size(count: int, regime: str, batch_size: int) -> int:
    """Count the samples of one update."""
    if count < 1:
        raise Vo3dError("no samples to train on: expected at least one")
    if regime not in REGIMES:
        raise Vo3dError(f"data regime {regime!r} is unknown: expected one of {', '.join(REGIMES)}")
    if regime == "mini_batch" and not 1 <= batch_size <= count:
        raise Vo3dError(f"batch_size {batch_size}: expected 1 to {count}, the number of samples")
    return {"sample": 1, "stochastic": 1, "batch": count, "mini_batch": batch_size}[regime]
