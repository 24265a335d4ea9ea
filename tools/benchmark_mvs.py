"""Time and memory of multi-view stereo beside the port whose weights circulate, all in one run.

Example: `python tools/benchmark_mvs.py --port MVSNet_pytorch --weights model_000014.ckpt --threads 1 2`, where
MVSNet_pytorch is a checkout of github.com/xy-guo/MVSNet_pytorch; without `--port` ours alone, without `--weights` with
weights drawn from a seed.

What competes at 640x480, 5 views, 96 depths: the port; our `forward` without gradients, which holds the cost volume;
our `predict`, which does not; `predict` with half precision. All have equal weights and inputs, and their depths are
compared. At the same size, with the weights in a checkout of github.com/FangjinhuaWang/IterMVS (`--authors`): IterMVS
by its authors' program and by our `predict`. Alone: `predict` at 1600x1184 with 256 depths; R-MVSNet with 64 and with
256 depths.

Every measurement has a process of its own. Its first call gives the memory: the highest resident size (on a GPU: the
highest of what torch has allocated) above that after imports, weights and inputs. Its second call gives the time. The
candidates take turns, and medians over the rounds are told. Processor time counts all threads, and suffers less than
wall time from other programs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch

from benchmark_adapool import MIB, aligned, cuda_peak, plural, resident_peak
from mvs_peers import AUTHORS, FORWARD, HALVES, ITERATIVE, PORT, PREDICT, RECURRENT, Case, runner

TIME_TARGET, MEMORY_TARGET = 0.8, 0.4  # of the port's
ITERATIVE_TIME, ITERATIVE_MEMORY = 1.0, 0.8  # of the authors'
LARGE_TARGET = 6e9  # bytes
GROWTH_TARGET = 0.1  # of the peak, from the fewest depths to the most
GROUPS = ("mvsnet", "itermvs", "large", "rmvsnet")
Figures = dict[str, float]  # wall and processor, in seconds; peak, in bytes


def child(task: str) -> None:
    """Measure two calls, or one, as `in_child` asks, and print JSON."""
    given = json.loads(task)
    torch.set_num_threads(given["threads"])
    case = Case(**given["case"] | {"size": tuple(given["case"]["size"])})
    gpu = case.device != "cpu"
    call = runner(case)
    depth = torch.empty(0)

    def timed() -> Figures:
        nonlocal depth
        wall, processor = perf_counter(), process_time()
        depth = call()
        if gpu:
            torch.cuda.synchronize()
        return {"wall": perf_counter() - wall, "processor": process_time() - processor}

    found: Figures = {}
    peak = (cuda_peak if gpu else resident_peak)(lambda: found.update(timed()))
    if given["twice"]:
        found = timed()
    np.save(given["out"], depth.float().cpu().numpy())
    print(json.dumps({**found, "peak": peak}))


def in_child(case: Case, threads: int, out: Path, *, twice: bool) -> Figures:
    """Measure one case in a process of its own; its depths go to `out`."""
    task = json.dumps({"case": asdict(case), "threads": threads, "out": str(out), "twice": twice})
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(
        [sys.executable, __file__, "--child", task], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{case.candidate}, {case.title}: the process failed: {ended.stderr[-2000:]}")
    found: Figures = json.loads(ended.stdout.splitlines()[-1])
    return found


def measured(cases: Sequence[Case], threads: int, rounds: int, folder: Path, *, twice: bool = True) -> list[Figures]:
    """Medians of each case over the rounds, in which the cases take turns; their depths go to `folder` by number."""
    found: list[list[Figures]] = [[] for _ in cases]
    for _ in range(rounds):
        for number, case in enumerate(cases):
            found[number].append(in_child(case, threads, folder / f"{number}.npy", twice=twice))
    return [{key: median(one[key] for one in several) for key in several[0]} for several in found]


def apart(folder: Path, number: int, reference: int) -> Figures:
    """Measure how far the depths of one case are from those of another, relative."""
    depth, truth = (np.load(folder / f"{index}.npy").astype(np.float64) for index in (number, reference))
    difference = np.abs(depth / truth - 1)
    return {"depth_apart_max": float(difference.max()), "depth_apart_median": float(np.median(difference))}


def judged(what: str, value: float, target: float, unit: str = "") -> str:
    """One line on a target."""
    return f"Target: {what} at most {target:g}{unit}: {value:.3g}{unit}, {'met' if value <= target else 'MISSED'}."


def table(title: str, rows: Sequence[dict[str, str | float]], first: int = 0) -> list[str]:
    """Markdown: figures, and in brackets their ratio to row `first`."""
    lines = [["candidate", "wall s", "processor s", "peak MiB", "largest depth difference", "median"]]
    for row in rows:
        cells = [str(row["candidate"])]
        for key, unit in (("wall", 1), ("processor", 1), ("peak", MIB)):
            value, of = float(row[key]), float(rows[first][key])
            cells.append(f"{value / unit:.4g} ({value / of:.2f})")
        far = (f"{row[key]:.2g}" if key in row else "" for key in ("depth_apart_max", "depth_apart_median"))
        lines.append([*cells, *far])
    return [f"### {title}", "", *aligned(lines)]


def side_by_side(
    base: Case, names: Sequence[str], threads: int, rounds: int
) -> tuple[list[Figures], list[dict[str, str | float]]]:
    """Measure candidates in turn, and how far their depths are from those of the first."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured([replace(base, candidate=name) for name in names], threads, rounds, Path(folder))
        rows: list[dict[str, str | float]] = [
            {"candidate": name, **figures, **(apart(Path(folder), number, 0) if number else {})}
            for number, (name, figures) in enumerate(zip(names, found, strict=True))
        ]
    return found, rows


def against_port(base: Case, threads: int, rounds: int) -> tuple[list[str], list[dict[str, str | float]]]:
    """MVSNet, all candidates; ratios are to the port, or to `forward` where there is no port."""
    names = [*([PORT] if base.port else []), FORWARD, PREDICT, *HALVES]
    found, rows = side_by_side(base, names, threads, rounds)
    lines = table(f"MVSNet, {base.title}, {plural(threads)}", rows)
    if base.port:
        port, ours = found[0], found[names.index(PREDICT)]
        lines += ["", judged("wall time of predict / port", ours["wall"] / port["wall"], TIME_TARGET)]
        lines += [judged("peak of predict / port", ours["peak"] / port["peak"], MEMORY_TARGET)]
    return lines, rows


def against_authors(base: Case, threads: int, rounds: int) -> tuple[list[str], list[dict[str, str | float]]]:
    """IterMVS beside its authors' program; ours alone where that is not there."""
    names = [AUTHORS, ITERATIVE] if base.authors else [ITERATIVE]
    found, rows = side_by_side(base, names, threads, rounds)
    lines = table(f"IterMVS, {base.title.replace(f', {base.depths} depths', '')}, {plural(threads)}", rows)
    if base.authors:
        lines += ["", judged("processor time / authors", found[1]["processor"] / found[0]["processor"], ITERATIVE_TIME)]
        lines += [judged("peak / authors", found[1]["peak"] / found[0]["peak"], ITERATIVE_MEMORY)]
    return lines, rows


def alone(base: Case, threads: int) -> tuple[list[str], list[dict[str, str | float]]]:
    """`predict` where the volume is largest, once."""
    with tempfile.TemporaryDirectory() as folder:
        (found,) = measured([replace(base, candidate=PREDICT)], threads, 1, Path(folder), twice=False)
    rows: list[dict[str, str | float]] = [{"candidate": PREDICT, **found}]
    lines = table(f"MVSNet, {base.title}, {plural(threads)}, one call", rows)
    return [*lines, "", judged("peak", found["peak"] / 1e9, LARGE_TARGET / 1e9, " GB")], rows


def growth(
    base: Case, depths: Sequence[int], threads: int, rounds: int
) -> tuple[list[str], list[dict[str, str | float]]]:
    """R-MVSNet with few and with many depths."""
    cases = [replace(base, candidate=RECURRENT, depths=number) for number in depths]
    with tempfile.TemporaryDirectory() as folder:
        found = measured(cases, threads, rounds, Path(folder))
    rows: list[dict[str, str | float]] = [
        {"candidate": f"{RECURRENT}, {number} depths", **figures} for number, figures in zip(depths, found, strict=True)
    ]
    lines = table(f"R-MVSNet, {base.title.replace(f', {base.depths} depths', '')}, {plural(threads)}", rows)
    grown = found[-1]["peak"] / found[0]["peak"] - 1
    return [
        *lines,
        "",
        judged(f"growth of the peak from {depths[0]} to {depths[-1]} depths", grown, GROWTH_TARGET),
    ], rows


def main() -> None:
    """Measure; print each table when it is ready."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--port", type=Path, metavar="FOLDER", help="a checkout of xy-guo/MVSNet_pytorch (default: none)"
    )
    parser.add_argument("--authors", type=Path, metavar="FOLDER", help="a checkout of FangjinhuaWang/IterMVS")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of MVSNet, published or ours (default: a seed's)")
    parser.add_argument("--only", nargs="+", default=GROUPS, choices=GROUPS, help="(default: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="each of these numbers")
    parser.add_argument("--rounds", type=int, default=5, help="processes for each candidate")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="tiny problems, one round: does it run?")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    if min(options.rounds, *options.threads) < 1:
        parser.error("--rounds and --threads: expected whole numbers of at least 1")
    if options.weights and not options.weights.is_file():
        parser.error(f"--weights: {options.weights}: no such file")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    rounds = 1 if options.quick else options.rounds
    given = (options.weights, options.port, options.authors)
    weights, port, authors = (str(path.resolve()) if path else "" for path in given)
    base = Case(PREDICT, device=device, weights=weights, port=port, authors=authors)
    large, depths = replace(base, size=(1184, 1600), depths=256), (64, 256)
    if options.quick:
        base, large, depths = (replace(base, size=(64, 96), views=3, depths=8), replace(base, size=(96, 128)), (8, 16))
    lines = [
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores; medians of {rounds} processes; "
        f"weights: {Path(weights).name or 'of a seed'}; in brackets the ratio to the first row"
    ]
    print(lines[0])
    figures = []
    measures: dict[str, Callable[[int], tuple[list[str], list[dict[str, str | float]]]]] = {
        "mvsnet": lambda threads: against_port(base, threads, rounds),
        "itermvs": lambda threads: against_authors(base, threads, rounds),
        "large": lambda threads: alone(large, threads),
        "rmvsnet": lambda threads: growth(base, depths, threads, rounds),
    }
    for group in options.only:
        for threads in options.threads:
            told, rows = measures[group](threads)
            if options.quick:  # targets are for the sizes that they name
                told = [line for line in told if not line.startswith("Target")]
            print("", *told, sep="\n", flush=True)
            lines += ["", *told]
            figures.append({"group": group, "threads": threads, "device": device, "rows": rows})
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.json:
        told_json = json.dumps({"about": lines[0], "measured": figures}, indent=1)
        options.json.write_text(told_json + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
