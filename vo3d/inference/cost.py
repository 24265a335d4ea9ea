"""What a view costs a model: time and memory, forecast from sweeps of few depths, and measured afterwards."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch

from vo3d.inference.depth import depth_maps
from vo3d.inference.loop import evaluating
from vo3d.model import DepthModel, Frames
from vo3d.recording import Recording

SLAB = 8  # depths that models hold at once, where they do not say it
FIRST = 4  # depths of the sweep that warms up
KEPT = 1.3  # bytes of memory for each byte alive: the heap of glibc is never full; measured, between 1.15 and 1.6
MEMORY_ERROR = 1.3  # factor by which a forecast of memory may be off
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
_STATUS, _RESET, _MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds, and the bytes that a piece of work took on top of those that were in use before it.

    Memory is that of the accelerator, or of the process on a CPU; None where the system does not tell.
    """

    seconds: float
    memory: int | None
    processor: float = 0.0  # seconds of computing, over all threads, without those in the kernel


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Foretell the cost of a view at any number of depths, from two sweeps: both grow along straight lines."""

    depths: tuple[int, int]  # of the sweeps
    costs: tuple[Cost, Cost]
    kept: float = 1.0  # memory for each byte that is used

    def seconds(self, num_depths: int) -> float:
        """Foretell the seconds of one view."""
        few, more = (cost.seconds for cost in self.costs)
        return max(0.0, few + max(0.0, more - few) * self._share(num_depths))

    def memory(self, num_depths: int) -> int | None:
        """Foretell the bytes on top of those in use; None where the system does not tell."""
        few, more = (cost.memory for cost in self.costs)
        if few is None or more is None:
            return None
        return int(self.kept * max(0.0, few + max(0, more - few) * self._share(num_depths)))

    def _share(self, num_depths: int) -> float:
        few, more = self.depths
        return (num_depths - few) / (more - few)


def forecast(model: DepthModel, recording: Recording, window: Frames, device: torch.device) -> Forecast | None:
    """Forecast the cost of one window by sweeps of few depths; None where the number of depths is not free.

    The sweeps have two and four times the depths that the model holds at once (`slab`), 16 and 32 with 8: with fewer a
    chain of slabs is not yet full, and memory grows faster than later. On a CPU the C library is made to return what is
    freed while they run, so that memory is what is alive, not what chance left in its heap. Seconds there are drawn
    from the processor's, which other programs disturb less, at the rate at which time passed meanwhile.
    """
    wanted = model.num_depths
    if wanted is None or not model.free_num_depths:
        return None
    slab = max(getattr(model, "slab", SLAB), SLAB)
    depths = 2 * slab, 4 * slab
    sample = recording.clip(window.views)

    def sweep(num_depths: int) -> Cost:
        model.num_depths = num_depths
        with evaluating(model, device):
            return measured(
                lambda: list(depth_maps(model, recording, [window], device=device, read=lambda _: sample)), device
            )

    try:
        sweep(FIRST)  # what happens only once is not the forecast's business
        with _returning_freed_memory(device) as kept:
            began, before = perf_counter(), os.times()
            few, more = sweep(depths[0]), sweep(depths[1])
            passed, after = perf_counter() - began, os.times()
    finally:
        model.num_depths = wanted
    if device.type == "cpu" and few.processor and more.processor:
        rate = passed / (after.user + after.system - before.user - before.system)
        few, more = (replace(cost, seconds=rate * cost.processor) for cost in (few, more))
    return Forecast(depths=depths, costs=(few, more), kept=kept)


@contextmanager
def _returning_freed_memory(device: torch.device) -> Iterator[float]:
    """Let glibc map each larger block by itself, and unmap it when it is freed; give the memory that it keeps else.

    Afterwards blocks of up to 32 MiB come from its heap again, where it gets by itself as soon as one was freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" and device.type == "cpu" else None
    if mallopt is None:
        yield 1.0
        return
    release_memory()
    mallopt(_MMAP_THRESHOLD, 2**18)
    try:
        yield KEPT
    finally:
        mallopt(_MMAP_THRESHOLD, 2**25)
        mallopt(_TRIM_THRESHOLD, 2**26)


def measured(work: Callable[[], object], device: torch.device) -> Cost:
    """Do some work once, and say what it cost."""
    release_memory()
    known = forget_peak(device)
    before = memory_in_use(device)
    started, busy = perf_counter(), os.times().user
    work()
    seconds, busy = perf_counter() - started, os.times().user - busy
    peak = peak_memory(device)
    memory = peak - before if known and peak and before is not None else None
    return Cost(seconds=seconds, memory=memory, processor=busy)


def release_memory() -> None:
    """Let the C library return what it keeps of freed memory; work that took it again would seem to take nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def peak_memory(device: torch.device) -> int | None:
    """Tell the most bytes in use since `forget_peak`: of the accelerator, or of the process on a CPU.

    None where the system does not tell.
    """
    if device.type != "cpu":
        return int(torch.accelerator.max_memory_allocated(device))
    if (peak := _bytes(_STATUS, "VmHWM")) is not None:
        return peak  # not `ru_maxrss`, which knows of the process that started this one and is never forgotten
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 (Windows has none)

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: torch.device) -> bool:
    """Let `peak_memory` begin anew; False where the system cannot, and it tells of the whole life of the process."""
    if device.type != "cpu":
        torch.accelerator.reset_peak_memory_stats(device)
        return True
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def memory_in_use(device: torch.device) -> int | None:
    """Count the bytes of the accelerator, or of the process on a CPU, in use; None where the system does not tell."""
    if device.type != "cpu":
        return int(torch.accelerator.memory_allocated(device))
    return _bytes(_STATUS, "VmRSS")


def free_memory(device: torch.device) -> int | None:
    """Count the bytes that are still to be had; None where the system does not tell."""
    if device.type != "cpu":
        free, _ = torch.accelerator.get_memory_info(device)
        spare = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
        return int(free) + int(spare)
    return _bytes(_MEMORY, "MemAvailable")


def _bytes(path: Path, name: str) -> int | None:
    """Read a line of a file of the Linux kernel such as `VmRSS:  1234 kB`."""
    if not path.exists():
        return None
    lines = path.read_text(encoding="ascii").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
