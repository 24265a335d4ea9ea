"""What a view costs a model: time and memory, forecast from sweeps of few depths, and measured afterwards."""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from vo3d.inference.depth import depth_maps
from vo3d.inference.loop import evaluating
from vo3d.model import DepthModel, Frames
from vo3d.recording import Recording

FEW, MORE = 8, 24  # depths of the sweeps that a forecast is drawn from
_STATUS, _RESET, _MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds, and the bytes that a piece of work took on top of those that were in use before it.

    Memory is that of the accelerator, or of the process on a CPU; None where the system does not tell.
    """

    seconds: float
    memory: int | None


def forecast(model: DepthModel, recording: Recording, window: Frames, device: torch.device) -> Cost | None:
    """Forecast the cost of one window by sweeps of 8 and 24 depths; None where the number of depths is not free.

    Time and memory of a plane sweep grow with the number of depths along a straight line.
    """
    wanted = model.num_depths
    if wanted is None or not model.free_num_depths:
        return None
    few, more = min(FEW, wanted), min(MORE, wanted)
    sample = recording.clip(window.views)

    def sweep(num_depths: int) -> Cost:
        model.num_depths = num_depths
        with evaluating(model, device):
            return measured(
                lambda: list(depth_maps(model, recording, [window], device=device, read=lambda _: sample)), device
            )

    try:
        sweep(few)  # what happens only once is not the forecast's business
        costs = [sweep(few), sweep(more)]
    finally:
        model.num_depths = wanted
    share = (wanted - few) / max(more - few, 1)
    seconds = [cost.seconds for cost in costs]
    memory = [cost.memory for cost in costs if cost.memory is not None]
    return Cost(
        seconds=seconds[0] + max(0.0, seconds[1] - seconds[0]) * share,
        memory=int(memory[0] + max(0, memory[1] - memory[0]) * share) if len(memory) == len(costs) else None,
    )


def measured(work: Callable[[], object], device: torch.device) -> Cost:
    """Do some work once, and say what it cost."""
    release_memory()
    known = forget_peak(device)
    before = memory_in_use(device)
    started = perf_counter()
    work()
    seconds = perf_counter() - started
    peak = peak_memory(device)
    return Cost(seconds=seconds, memory=peak - before if known and peak and before is not None else None)


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
