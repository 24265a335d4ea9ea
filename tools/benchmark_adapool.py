"""Time and memory of the AdaPool family beside torch's own pooling and a naive composition, all in one run.

Example: `python tools/benchmark_adapool.py --full --markdown table.md`; without `--full` only the case that the targets
speak of, in a few minutes.

What competes: average and max pooling of torch; the formula of the paper composed of unfold, softmax and products under
autograd ("naive"), once as it stands and once with detached weights, which gives the published gradient; ours with both
gradients, eager, `native=True` and under torch.compile. Results are ratios to the eager naive composition with the same
gradient, run beside it; average and max pooling are compared with the one with detached weights. Before anything is
timed, outputs and gradients of ours must agree with the naive composition in float32. In the tables "its peer" is the
naive composition with the same gradient.

Time on a CPU: seconds of one call, the least of several rounds after a warm-up; in each round every candidate runs
once. "Forward" runs without autograd. Each case and number of threads has its own process.

Memory on a CPU (Linux): the highest resident size during one call above the one just before it (VmHWM, reset through
/proc/self/clear_refs). Input, beta and upstream gradient are not counted; output, gradients, what autograd keeps and
every temporary are. Each case has its own process, in which freed blocks of 64 KiB and more go back to the system at
once (MALLOC_MMAP_THRESHOLD_) and every candidate is called before. Two expressions with a known peak are measured
first, and must come out within 2 %; each candidate is measured again by the allocations that torch.profiler records,
and the run states how far the two lie apart.

On a CUDA GPU: median milliseconds of the device between two events; before each call a large buffer is cleared, which
empties the cache and lets the launches run ahead, so that they do not count; "back to back" is wall time with them.
Peak from torch.cuda.max_memory_allocated. Bandwidth: bytes that must move (forward: read x, write y; with backward:
read x and dy as well, write dx) over time, as a share of what a copy from device to device reaches in the same run.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate, product
from math import inf
from operator import itemgetter
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

from adapool_peers import GRADIENTS, SHAPES, Case, call, candidates, check_agreement, tensors

MIB = 2**20
TIME_TARGET, MEMORY_TARGET = 0.5, 0.35  # of the naive composition
BANDWIDTH_TARGETS = (0.7, 0.6)  # of a copy, forward and with backward
MODES, MODE_NAMES = (False, True), ("forward", "forward+backward")


def resident(key: str) -> int:
    """Bytes of VmRSS or VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def resident_peak(function: Callable[[], object]) -> int:
    """Bytes by which the resident size rises during one call, at its highest."""
    gc.collect()  # what earlier calls left must neither be freed nor serve again during this one
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM becomes VmRSS
    before = resident("VmRSS")
    kept = function()
    peak = resident("VmHWM")
    del kept
    return peak - before


def allocated_peak(function: Callable[[], object]) -> int:
    """The same by torch's allocations alone, as torch.profiler records them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = function()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    steps = [(event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"]
    return max(accumulate(size for _, size in sorted(steps, key=itemgetter(0))), default=0)


def cuda_peak(function: Callable[[], object]) -> int:
    """Bytes allocated on the GPU during one call, at their highest, above those before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = function()
    peak = torch.cuda.max_memory_allocated()
    del kept
    return peak - before


def cpu_memory(case: Case) -> dict[str, list[tuple[int, int]]]:
    """Resident and allocated peak of each candidate, forward and with backward."""
    given = tensors(case)
    x = torch.randn(2**24)  # much larger than what the allocator rounds up to
    for known, size in ((lambda: x * 2 + 1, 2), (x.exp, 1)):
        known()
        for peak in (resident_peak(known), allocated_peak(known)):
            if abs(peak / (size * x.nbytes) - 1) > 0.02:
                raise SystemExit(f"memory is not measured right here: {peak} bytes found, {size * x.nbytes} expected")
    functions = {
        (name, backward): partial(call, candidate, given, backward=backward)
        for name, candidate in candidates(case).items()
        for backward in MODES
    }
    for function in functions.values():
        function()
    found: dict[str, list[tuple[int, int]]] = {name: [] for name, _ in functions}
    peaks = {key: resident_peak(function) for key, function in functions.items()}
    for (name, backward), function in functions.items():  # afterwards, since the profiler leaves holes in the heap
        found[name].append((peaks[name, backward], allocated_peak(function)))
    return found


def cpu_time(case: Case, rounds: int) -> dict[str, list[float]]:
    """Least seconds of each candidate, forward and with backward."""
    named, given = candidates(case), tensors(case)
    check_agreement(case, named, given)
    found = {name: [inf] * len(MODES) for name in named}
    for _, backward, (name, candidate) in product(range(rounds), MODES, named.items()):
        start = perf_counter()
        kept = call(candidate, given, backward=backward)
        found[name][backward] = min(found[name][backward], perf_counter() - start)
        del kept
    return found


def in_child(what: str, case: Case, threads: int, rounds: int) -> dict[str, list[float]]:
    """Run `cpu_time` or `cpu_memory` in a process of its own."""
    task = json.dumps({"what": what, "case": asdict(case), "threads": threads, "rounds": rounds})
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if what == "memory":
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(2**16)}
    ended = subprocess.run(
        [sys.executable, __file__, "--child", task], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{case.title}: the process that measures {what} failed: {ended.stderr[-2000:]}")
    found: dict[str, list[float]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def child(task: str) -> None:
    """Measure one case, as `in_child` asks, and print JSON."""
    given = json.loads(task)
    torch.set_num_threads(given["threads"])
    case = Case(**given["case"] | {"shape": tuple(given["case"]["shape"])})
    print(json.dumps(cpu_memory(case) if given["what"] == "memory" else cpu_time(case, given["rounds"])))


def on_cpu(case: Case, threads: Sequence[int], rounds: int) -> list[str]:
    """Measure a case with each number of threads; its table and remarks."""
    times = {number: in_child("time", case, number, rounds) for number in threads}
    memory = in_child("memory", case, min(threads), rounds)
    columns = [f"{mode} s, {plural(number)}" for number in threads for mode in MODE_NAMES]
    columns += ["forward MiB", "forward+backward MiB", "beyond y, dx MiB"]
    needed = case.bytes_of_y + case.bytes_of_x
    rows = {}
    for name in memory:
        cells = [times[number][name][backward] for number in threads for backward in MODES]
        peaks = [memory[name][backward][0] / MIB for backward in MODES]
        rows[name] = [*cells, *peaks, peaks[1] - needed / MIB]
    apart, worst = max((abs(a - b) / max(b, MIB), name) for name, peaks in memory.items() for a, b in peaks)
    lines = [*table(case, columns, rows), "", f"Resident and allocated peaks: at most {apart:.1%} apart ({worst})."]
    if case == cases("cpu", full=False)[0]:
        for number in threads:
            lines += verdicts(times[number], memory, plural(number))
    return lines


def verdicts(times: dict[str, list[float]], memory: dict[str, list[float]], threads: str) -> list[str]:
    """Write what the targets ask of the first case, forward+backward: ratios to others, and what compiling gains."""
    lines = [
        ["forward+backward", *(f"{what} / {peer}" for what in ("time", "memory") for peer in ("naive", "its peer"))]
    ]
    lines[0] += ["time / its peer, compiled", "eager / this: forward", "with backward"]
    for name in (name for name in times if name.startswith("ours")):
        gradient = name.split(", ")[1]
        peer, eager = GRADIENTS[gradient], f"ours, {gradient}"
        ratios = [times[name][1] / times[other][1] for other in ("naive", peer)]
        ratios += [memory[name][1][0] / memory[other][1][0] for other in ("naive", peer)]
        ratios += [times[name][1] / times[f"{peer}, compiled"][1]]
        ratios += [times[eager][backward] / times[name][backward] for backward in MODES]
        lines.append([name, *(f"{ratio:.2f}" for ratio in ratios)])
    time, _, space = map(float, lines[1][1:4])
    met = "met" if time <= TIME_TARGET and space <= MEMORY_TARGET else "MISSED"
    goal = f"time at most {TIME_TARGET} and extra memory at most {MEMORY_TARGET} of the naive composition's"
    return ["", *aligned(lines), "", f"Target, {threads}: {goal}: {time} and {space}, {met}."]


def on_cuda(case: Case, rounds: int) -> list[str]:
    """Measure a case on the GPU; its table, with the bandwidth reached."""
    named, given = candidates(case), tensors(case)
    check_agreement(case, named, given)
    source = torch.empty_like(given[0], requires_grad=False)
    target, large = torch.empty_like(source), torch.empty(2**30, dtype=torch.uint8, device=case.device)
    functions = {(name, b): partial(call, c, given, backward=b) for name, c in named.items() for b in MODES}
    functions["copy", False] = partial(target.copy_, source)
    durations: dict[tuple[str, bool], list[float]] = {key: [] for key in functions}
    for _, (key, function) in product(range(rounds), functions.items()):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(4):
            large.zero_()
        start.record()
        kept = function()
        end.record()
        torch.cuda.synchronize()
        durations[key].append(start.elapsed_time(end))
        del kept
    speed = 2 * source.nbytes / median(durations["copy", False])  # bytes a millisecond
    del source, target, large
    columns = [f"{mode} ms" for mode in MODE_NAMES] + [f"{mode} ms back to back" for mode in MODE_NAMES]
    columns += ["forward MiB", "forward+backward MiB", "beyond y, dx MiB"]
    rows, shares = {}, {}
    for name in named:
        device = [median(durations[name, backward]) for backward in MODES]
        wall = [back_to_back(functions[name, backward], rounds) for backward in MODES]
        peaks = [cuda_peak(functions[name, backward]) / MIB for backward in MODES]
        rows[name] = [*device, *wall, *peaks, peaks[1] - (case.bytes_of_x + case.bytes_of_y) / MIB]
        shares[name] = [moved / time / speed for moved, time in zip(case.bytes_moved, device, strict=True)]
    goals = " (targets: {:.0%} and {:.0%})".format(*BANDWIDTH_TARGETS) if case == cases("cuda", full=False)[0] else ""
    share_rows = [[name, *(f"{value:.0%}" for value in values)] for name, values in shares.items()]
    return [
        *table(case, columns, rows),
        "",
        f"Bandwidth as a share of a copy's{goals}; the copy: {speed / 1e6:.0f} GB/s on {torch.cuda.get_device_name()}:",
        "",
        *aligned([["candidate", *MODE_NAMES], *share_rows]),
    ]


def back_to_back(function: Callable[[], object], rounds: int) -> float:
    """Wall milliseconds of a call among others, launches included."""
    torch.cuda.synchronize()
    start = perf_counter()
    for _ in range(rounds):
        function()
    torch.cuda.synchronize()
    return (perf_counter() - start) / rounds * 1e3


def plural(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads > 1)}"


def table(case: Case, columns: list[str], rows: dict[str, list[float]]) -> list[str]:
    """Markdown: each figure, and in brackets its ratio to the peer's."""
    lines = [["candidate", *columns]]
    peers = {name: candidate.peer for name, candidate in candidates(case).items()}
    for name, row in rows.items():
        lines.append(
            [name, *(f"{value:.4g} ({value / of:.2f})" for value, of in zip(row, rows[peers[name]], strict=True))]
        )
    return [f"### {case.title}", "", *aligned(lines)]


def aligned(lines: list[list[str]]) -> list[str]:
    """A Markdown table whose columns also line up in a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]


def cases(device: str, *, full: bool) -> list[Case]:
    """List what a run measures on a device, the case of the targets first."""
    if device == "cuda":
        first = Case(shape=SHAPES[1], dtype="float16", device=device)
        if not full:
            return [first]
        kinds = product(SHAPES, (2, 3), (False, True), ("float16", "bfloat16", "float32"))
        rest = [replace(first, shape=s, kernel=k, channels_last=last, dtype=kind) for s, k, last, kind in kinds]
        rest += [replace(first, operator=operator) for operator in ("soft", "edscw", "idw")]
    else:
        first = Case()
        if not full:
            return [first]
        rest = [Case(shape=s, kernel=k, channels_last=last) for s, k, last in product(SHAPES, (2, 3), (False, True))]
        rest += [Case(shape=(2, 16, 20, 20))]  # where the cost of a call itself shows
        rest += [Case(operator=operator, shape=s) for operator, s in product(("soft", "edscw", "idw"), SHAPES)]
    return list(dict.fromkeys([first, *rest]))


def main() -> None:
    """Measure all cases; print each table when it is ready."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--full", action="store_true", help="every shape, kernel, layout and operator: hours on a CPU")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="each of these numbers (CPU)")
    parser.add_argument("--rounds", type=int, default=5, help="on a GPU ten times as many")
    here = ["cpu", "cuda"][: 1 + torch.cuda.is_available()]
    parser.add_argument("--devices", nargs="+", default=here, choices=here, help="(default: those of this machine)")
    parser.add_argument("--only", default="", help="cases whose title holds this, such as 'k=3' or 'idw'")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    if min(options.rounds, *options.threads) < 1:
        parser.error("--rounds and --threads: expected whole numbers of at least 1")
    chosen = [case for device in options.devices for case in cases(device, full=options.full)]
    chosen = [case for case in chosen if options.only in case.title]
    if not chosen:
        parser.error(f"--only: no title of a case holds {options.only!r}")
    lines = [
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores; least of {options.rounds} rounds; "
        "in brackets the ratio to the eager naive composition with the same gradient; MiB: peak above the inputs"
    ]
    print(lines[0])
    for case in chosen:
        measured = (
            on_cuda(case, 10 * options.rounds)
            if case.device == "cuda"
            else on_cpu(case, options.threads, options.rounds)
        )
        print("", *measured, sep="\n", flush=True)
        lines += ["", *measured]
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
