"""Time and memory of the correlation of FlowNetC beside its composition of unfold and products, in one run.

Example: `python tools/benchmark_correlation.py`; it takes a minute and 20 GB of memory, most of them by the composition
(`--batch 1` takes a quarter).

Maps (4, 256, 48, 64), 441 displacements (at most 20 pixels, every second), float32, one thread; forward and backward.
First the outputs are compared. Then both take turns, after one round for warming up; told are medians of seconds on the
clock, and the median over the rounds of one's time by the other's. Memory: the highest sum of torch's allocations
during one call, as torch.profiler records them, output and gradients included, the maps not.
"""

import argparse
import os
import platform
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold

from benchmark_adapool import MIB, aligned, allocated_peak
from benchmark_losses import judged
from benchmark_netvlad import timed
from vo3d.layers.correlation import correlation

CHANNELS, HEIGHT, WIDTH = 256, 48, 64
REACH, STRIDE = 10, 2
TIME_TARGET, MEMORY_TARGET, VALUE_TARGET = 0.5, 0.3, 1e-5


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Compute the same from copies of all neighbourhoods: unfold, multiply, and take the mean over channels."""
    b, c, h, w = first.shape
    side, margin = 2 * REACH + 1, REACH * STRIDE
    neighbours = unfold(pad(second, (margin,) * 4), side, dilation=STRIDE).view(b, c, side * side, h, w)
    return (first[:, :, None] * neighbours).mean(1)


def with_gradients(function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Compute the output's gradients by both maps."""
    found = function(first, second)
    return torch.autograd.grad(found, (first, second), torch.ones_like(found))


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of each, after one for warming up")
    options = parser.parse_args()
    if min(options.rounds, options.batch) < 1:
        parser.error(f"--rounds {options.rounds} and --batch {options.batch}: expected at least 1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (options.batch, CHANNELS, HEIGHT, WIDTH)
    first, second = (torch.randn(shape, requires_grad=True) for _ in range(2))
    functions = {"ours": correlation, "unfold": composed}
    print(f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, 1 thread; maps {shape}, float32")
    with torch.no_grad():
        apart = float((correlation(first, second) - composed(first, second)).abs().max())
    print(judged("largest difference", apart, VALUE_TARGET))
    calls: dict[str, Callable[[], object]] = {
        name: lambda function=function: with_gradients(function, first, second)  # type: ignore[misc]
        for name, function in functions.items()
    }
    seconds = timed(calls, options.rounds)
    bytes_ = {name: allocated_peak(function) for name, function in calls.items()}
    rows = [["correlation", "seconds", "least", "MiB"]]
    rows += [
        [name, f"{median(seconds[name]):.3f}", f"{min(seconds[name]):.3f}", f"{bytes_[name] / MIB:.0f}"]
        for name in functions
    ]
    ratio = median(a / b for a, b in zip(seconds["ours"], seconds["unfold"], strict=True))
    print("", *aligned(rows), "", sep="\n")
    print(judged("time / unfold", ratio, TIME_TARGET))
    print(judged("memory / unfold", bytes_["ours"] / bytes_["unfold"], MEMORY_TARGET))


if __name__ == "__main__":
    main()
