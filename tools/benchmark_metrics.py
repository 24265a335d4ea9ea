"""Time the KITTI metric on one pair of trajectories against a loop over the devkit's rules; prints a table.

Example: `python tools/benchmark_metrics.py --frames 4541 --runs 5`
"""

import argparse
import math
import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS, DEVKIT_START_EVERY, segment_errors


def drive(num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A reference of `num` poses, 0.8 m apart and gently turning, and an estimate with wrong steps."""
    xi = torch.randn(2, num - 1, 6, generator=generator, dtype=torch.float64) * 0.01
    xi[0, :, 2] += 0.8
    steps = se3.exp(xi[0])
    return chain(steps), chain(se3.compose(steps, se3.exp(xi[1])))


def loop(reference: Tensor, estimate: Tensor) -> tuple[float, float]:
    """Mean translation (ratio) and rotation errors (rad/m), one segment after the other."""
    truth, guess = reference.numpy(), estimate.numpy()
    distance = [0.0]
    for index in range(1, len(truth)):
        distance.append(distance[-1] + float(np.linalg.norm(truth[index, :3, 3] - truth[index - 1, :3, 3])))
    translation, rotation = [], []
    for first in range(0, len(truth), DEVKIT_START_EVERY):
        for length in DEVKIT_LENGTHS:
            last = first
            while last < len(truth) and distance[last] <= distance[first] + length:
                last += 1
            if last == len(truth):
                continue
            moved = np.linalg.inv(truth[first]) @ truth[last]
            error = np.linalg.inv(np.linalg.inv(guess[first]) @ guess[last]) @ moved
            translation.append(float(np.linalg.norm(error[:3, 3])) / length)
            rotation.append(math.acos(min(1.0, max(-1.0, (float(np.trace(error[:3, :3])) - 1) / 2))) / length)
    return float(np.mean(translation)), float(np.mean(rotation))


def vectorised(reference: Tensor, estimate: Tensor) -> tuple[float, float]:
    """The same two means from `vo3d.metrics.kitti_odometry`."""
    errors = segment_errors(reference, estimate)
    return errors.translation.mean().item(), errors.rotation.mean().item()


def seconds(function: Callable[[], object], runs: int) -> float:
    """Median duration of `runs` calls, after one to warm up."""
    function()
    durations = []
    for _ in range(runs):
        start = perf_counter()
        function()
        durations.append(perf_counter() - start)
    return median(durations)


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=4541, help="poses in each trajectory (KITTI 00 has 4541)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch; by default as many as torch takes")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    pair = drive(options.frames, torch.Generator().manual_seed(options.seed))
    results = np.array([loop(*pair), vectorised(*pair)])
    if not np.allclose(results[0], results[1], rtol=1e-9):
        raise SystemExit(f"the two disagree: {results.tolist()}")
    slow, fast = (seconds(lambda function=function: function(*pair), options.runs) for function in (loop, vectorised))
    table = Table(title=f"KITTI metric, {options.frames} poses, {len(segment_errors(*pair))} segments")
    for title in ("implementation", "seconds (median)", "ratio"):
        table.add_column(title, justify="left" if title == "implementation" else "right")
    table.add_row("loop over the rules", f"{slow:.4f}", "1")
    table.add_row("vo3d, vectorised", f"{fast:.4f}", f"{slow / fast:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"{options.runs} runs, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}"
    )


if __name__ == "__main__":
    main()
