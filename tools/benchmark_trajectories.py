"""Time `vo3d trajectory --no-evo` beside evo's own command on one pair of large files, in turns; prints a table.

Example: `python tools/benchmark_trajectories.py --poses 1000000 --runs 3`
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

PROGRAMS = Path(sys.executable).parent


def write_pair(folder: Path, num: int) -> tuple[Path, Path]:
    """Write a reference of `num` poses at 200 Hz in the format of TUM, and one a centimetre off."""
    generator = np.random.default_rng(0)
    angle = np.arange(num) * 1e-4
    position = np.stack([50 * np.sin(angle), 50 * np.cos(1.3 * angle), np.sin(7 * angle)], axis=1)
    zero = np.zeros(num)
    turn = np.stack([zero, zero, np.sin(angle / 2), np.cos(angle / 2)], axis=1)
    paths = folder / "reference.tum", folder / "estimate.tum"
    for path, noise in zip(paths, (0.0, 0.01), strict=True):
        rows = [
            1_403_636_579 + np.arange(num) * 0.005,
            *(position + noise * generator.normal(size=(num, 3))).T,
            *turn.T,
        ]
        np.savetxt(path, np.stack(rows, axis=1), fmt="%.9f")
    return paths


def measure(words: Sequence[object]) -> tuple[float, float, float, str]:
    """Run a command; give seconds, seconds of the processors, the most memory (GiB), and what it printed."""
    start = perf_counter()
    with TemporaryFile("w+") as output, subprocess.Popen([*map(str, words)], stdout=output) as process:
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} failed")
    return perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, text


def main() -> None:
    """Measure both commands, with and without an alignment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poses", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    table = Table("command", "seconds", "of the processors", "memory (GiB)", "APE rmse (m)")
    with TemporaryDirectory() as folder:
        ref, est = write_pair(Path(folder), options.poses)
        for align in ("none", "6dof"):
            commands = {
                f"evo_ape tum{' --align' if align == '6dof' else ''}": [
                    *(PROGRAMS / "evo_ape", "tum", ref, est),
                    *(["--align"] if align == "6dof" else []),
                ],
                f"vo3d trajectory --no-evo --align {align}": [
                    *(PROGRAMS / "vo3d", "trajectory", ref, est, "--no-evo", "--align", align)
                ],
            }
            found: dict[str, list[tuple[float, float, float, str]]] = {name: [] for name in commands}
            for _ in range(options.runs):
                for name, words in commands.items():
                    found[name].append(measure(words))
            middles = []
            for name, runs in found.items():
                middle = [median(run[index] for run in runs) for index in range(3)]  # type: ignore[type-var]
                middles.append(middle)
                line = next(
                    line for line in runs[0][3].splitlines() if line.split()[:1] == ["rmse"] or "│ APE  " in line
                )
                number = next(word for word in line.split() if word[:1].isdigit())
                table.add_row(name, *(f"{value:.2f}" for value in middle), number)
            table.add_row("ratio", *(f"{own / peer:.2f}" for peer, own in zip(*middles, strict=True)))
    console = Console(width=120)
    console.print(f"{options.poses} poses, median of {options.runs} runs in turns")
    console.print(table)


if __name__ == "__main__":
    main()
