"""Time one step of every first-order optimiser beside torch's nearest built-in, on a model of ten million parameters.

Each pair runs in turns in one process, many steps at a time; the figure is the ratio of the least times. torch's are
asked for `foreach=True`, and for their loop over tensors beside it.

    python tools/benchmark_optimizers.py --threads 1
"""

import platform
import sys
import time
from collections.abc import Callable

import torch
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.optim import Optimizer

from vo3d import optim
from vo3d.errors import Vo3dError

Maker = Callable[[list[Tensor]], Optimizer]
RATE = 1e-4
MOMENTUM = {"lr": RATE, "momentum": 0.9}
PAIRS: dict[str, tuple[Maker, Callable[[list[Tensor], bool], Optimizer], str]] = {
    "SGD": (lambda p: optim.SGD(p, RATE), lambda p, f: torch.optim.SGD(p, RATE, foreach=f), "SGD"),
    "Momentum": (
        lambda p: optim.Momentum(p, RATE),
        lambda p, f: torch.optim.SGD(p, foreach=f, **MOMENTUM),
        "SGD, momentum",
    ),
    "Momentum, averaged": (
        lambda p: optim.Momentum(p, RATE, form="averaged"),
        lambda p, f: torch.optim.SGD(p, foreach=f, **MOMENTUM),
        "SGD, momentum",
    ),
    "NAG": (
        lambda p: optim.NAG(p, RATE),
        lambda p, f: torch.optim.SGD(p, nesterov=True, foreach=f, **MOMENTUM),
        "SGD, nesterov",
    ),
    "Adagrad": (optim.Adagrad, lambda p, f: torch.optim.Adagrad(p, foreach=f), "Adagrad"),
    "Adadelta": (optim.Adadelta, lambda p, f: torch.optim.Adadelta(p, foreach=f), "Adadelta"),
    "RMSprop": (optim.RMSprop, lambda p, f: torch.optim.RMSprop(p, foreach=f), "RMSprop"),
    "Adam": (optim.Adam, lambda p, f: torch.optim.Adam(p, foreach=f), "Adam"),
    "AdaMax": (optim.AdaMax, lambda p, f: torch.optim.Adamax(p, foreach=f), "Adamax"),
    "Nadam": (optim.Nadam, lambda p, f: torch.optim.NAdam(p, foreach=f), "NAdam"),
}


def make_parameters(millions: float, device: str) -> list[Tensor]:
    """Parameters in the sizes of a convolutional network, with gradients: about `millions` million numbers."""
    torch.manual_seed(0)
    width = max(1, int((millions * 1e6 / 9 / 8) ** 0.5))
    layers = [layer for _ in range(8) for layer in (nn.Conv2d(width, width, 3), nn.BatchNorm2d(width))]
    parameters = list(nn.Sequential(*layers).to(device).parameters())
    for parameter in parameters:
        parameter.grad = 1e-3 * torch.randn_like(parameter)
    return parameters


def seconds(step: Callable[[], object], steps: int, device: str) -> float:
    """Of one step, mean of `steps`."""
    accelerator = torch.device(device).type != "cpu"
    if accelerator:
        torch.accelerator.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if accelerator:
        torch.accelerator.synchronize()
    return (time.perf_counter() - start) / steps


def benchmark(millions: float = 10.0, steps: int = 5, rounds: int = 7, threads: int = 1, device: str = "cpu") -> None:
    """Time the steps, and print a Markdown table.

    Args:
        millions: of parameters.
        steps: between two readings of the clock.
        rounds: of which the fastest counts, for each optimiser.
        threads: of torch.
        device: as torch names it.
    """
    if millions <= 0 or min(steps, rounds, threads) < 1:
        raise Vo3dError(f"millions {millions}, steps {steps}, rounds {rounds}, threads {threads}: expected more than 0")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Vo3dError(
            f"device {device!r}: {str(error).splitlines()[0]}: expected one that is here, such as cpu"
        ) from error
    torch.set_num_threads(threads)
    count = sum(parameter.numel() for parameter in make_parameters(millions, device))
    print(f"{count:,} parameters, {device}, {threads} threads, torch {torch.__version__}, {platform.machine()}\n")
    print("| optimiser | ms a step | torch's nearest | ms, foreach | ratio | ms, loop | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, (ours, theirs, peer) in PAIRS.items():
        made = [ours(make_parameters(millions, device))]
        made += [theirs(make_parameters(millions, device), foreach) for foreach in (True, False)]
        best = [float("inf")] * len(made)
        for optimizer in made:
            optimizer.step()  # makes the buffers
        for _ in range(rounds):
            for place, optimizer in enumerate(made):
                best[place] = min(best[place], seconds(optimizer.step, steps, device))
        mine, fused, loop = (1000 * value for value in best)
        print(f"| {name} | {mine:.2f} | {peer} | {fused:.2f} | {mine / fused:.2f} | {loop:.2f} | {mine / loop:.2f} |")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        auto_cli(benchmark, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"benchmark_optimizers: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
