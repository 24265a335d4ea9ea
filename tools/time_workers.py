"""Time how fast a training set is read with several numbers of worker processes, and name the best number.

Example: `python tools/time_workers.py --config deepvo_kitti.yaml --data '{"root": "data/kitti"}' --workers "[0,2,4,8]"`

Nothing is trained meanwhile. Where the processors that read also train, fewer workers than this names may be better;
workers are worth their memory only where training waits for data, which the profiler shows as `train_dataloader_next`.
"""

import os
import platform
import sys
from argparse import ArgumentError
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError
from vo3d.settings.build import build
from vo3d.settings.complaints import is_mistake, one_line
from vo3d.settings.files import find_config, read_settings
from vo3d.settings.trust import allowing, strangers
from vo3d.training.datamodule import Batch, ClipLoader, DataModule

NEAR = 0.95  # of the fastest: as good, for times differ from run to run


def batches_of(loader: ClipLoader) -> Iterator[Batch]:
    """Batches without end, epoch after epoch."""
    for epoch in count():
        loader.clips.set_epoch(epoch)
        yield from loader


def read_batches(loader: ClipLoader, batches: int) -> tuple[float, float]:
    """Seconds until the first batch, and batches a second after as many as there are workers, which come together."""
    start = perf_counter()
    stream = batches_of(loader)
    next(stream)
    first = perf_counter() - start
    for _ in islice(stream, max(loader.num_workers, 1)):
        pass
    start = perf_counter()
    for _ in islice(stream, batches):
        pass
    return first, batches / (perf_counter() - start)


def best_of(speeds: dict[int, float]) -> int:
    """The smallest number of workers that is nearly as fast as the fastest."""
    return min(workers for workers, speed in speeds.items() if speed >= NEAR * max(speeds.values()))


def machine(threads: int) -> str:
    """Write where the times were taken, in a line."""
    accelerator = torch.accelerator.current_accelerator()
    device = f"accelerator {accelerator}" if accelerator is not None else "no accelerator"
    return (
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} processors, {threads} threads of torch "
        f"(1 in each worker), {device}"
    )


def time_workers(
    config: str,
    workers: list[int] = [0, 1, 2, 4],  # noqa: B006 (read only)
    batches: int = 50,
    batch_size: int | None = None,
    pin_memory: bool = False,
    data: dict[str, Any] | None = None,
    threads: int | None = None,
) -> None:
    """Print a table: batches a second with each number of workers.

    Args:
        config: a YAML file with `data.train`, or the name of one that vo3d brings.
        workers: the numbers to try; 0 reads in the process that trains.
        batches: how many are timed with each number.
        batch_size: clips in a batch; without it, what the file says.
        pin_memory: also copy batches into page-locked memory.
        data: arguments of the training set that are other than in the file.
        threads: of torch; without it, as torch chooses.
    """
    if not workers or min(workers) < 0 or len(set(workers)) < len(workers):
        raise Vo3dError(f"workers are {workers}: expected different numbers, none below 0")
    if batches < 1 or (threads is not None and threads < 1):
        raise Vo3dError(f"batches is {batches}, threads {threads}: expected at least 1")
    if threads is not None:
        torch.set_num_threads(threads)
    settings = read_settings(Path(find_config(config))).get("data", {})
    spec = settings.get("train")
    if not isinstance(spec, dict) or "class_path" not in spec:
        raise Vo3dError(f"{config}: there is no data.train with a class_path: name a dataset to read")
    spec = {**spec, "init_args": {**spec.get("init_args", {}), **(data or {})}}
    size = batch_size if batch_size is not None else settings.get("batch_size", 8)

    def timed(number: int) -> tuple[float, float]:
        # a dataset of its own: what one keeps in memory would also serve the next
        with allowing(strangers(spec)):  # the file was named by the user
            train = build(Dataset, spec, f"{config}: data.train")
        module = DataModule(train, batch_size=size, num_workers=number, pin_memory=pin_memory)
        return read_batches(module.train_dataloader(), batches)

    timed(workers[0])  # unseen, because it brings the files into the memory of the system
    times = {number: timed(number) for number in workers}
    speeds = {number: speed for number, (_, speed) in times.items()}
    base = workers[0]
    table = Table("workers", "first batch after, s", "batches/s", f"ratio to {base} workers", box=None)
    for number, (first, speed) in times.items():
        table.add_row(str(number), f"{first:.2f}", f"{speed:.1f}", f"{speed / speeds[base]:.2f}")
    print(f"{machine(torch.get_num_threads())}; {config}, {batches} batches of {size} clips")
    Console(soft_wrap=True).print(table)
    print(f"best: --data.num_workers {best_of(speeds)} (the fewest that reach {NEAR:.0%} of the fastest)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False, exit_on_error=False)
    parser.add_function_arguments(time_workers, as_group=False, as_positional=False)
    try:
        time_workers(**parser.parse_args(arguments).as_dict())
    except (ArgumentError, OSError, ValueError) as error:
        if not is_mistake(error):
            raise
        print(f"time_workers: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
