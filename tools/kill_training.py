"""Kill small trainings at random moments, resume them, and compare what comes out with runs that nobody disturbed.

Half of the kills come at a random time, half at a random call of a random hook: in a validation, at its end, at the
border of an epoch, after a batch. Each case is another schedule, or another end of the run before it goes on. Equal
means: the weights, the state of the optimiser and the schedule in last.ckpt and in best.ckpt to the last bit (one
thread), and every row of history.csv.

    python tools/kill_training.py --kills 200
"""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jsonargparse import auto_cli
from lightning.pytorch import Callback

from vo3d.cli import main as vo3d

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
HOOKS = ("on_validation_batch_end", "on_validation_end", "on_train_epoch_end", "on_train_batch_end")
STATE = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")
COSINE = ("--model.scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR")
PLATEAU = ("--model.scheduler", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.patience", "0")
DECAY = ("--model.scheduler", "vo3d.optim.ThresholdDecay", "--model.scheduler.threshold", "0.02")
EPOCHS = ("--trainer.max_epochs", "5")


@dataclass(frozen=True)
class Case:
    """A training, as the options of whole runs, of a part that ends early, and of what goes on from there."""

    options: tuple[str, ...]
    whole: tuple[str, ...] = EPOCHS
    part: tuple[str, ...] | None = None


CASES: Mapping[str, Case] = {
    "no schedule": Case(()),
    "cosine over steps": Case((*COSINE, "--model.scheduler.T_max", "45", "--model.interval", "step")),
    "steps over epochs": Case(
        ("--model.scheduler", "torch.optim.lr_scheduler.StepLR", "--model.scheduler.step_size", "2")
    ),
    "plateau of val/loss": Case(
        (*PLATEAU, "--model.scheduler.monitor", "val/loss", "--model.scheduler.threshold", "0.1")
    ),
    "threshold of val/loss": Case((*DECAY, "--model.scheduler.monitor", "val/loss")),
    "threshold of train/loss, each step": Case((*DECAY, "--model.interval", "step")),
    "plateau, validation every second epoch": Case(
        (*PLATEAU, "--model.scheduler.monitor", "train/loss", "--trainer.check_val_every_n_epoch", "2")
    ),
    "ended by max_steps in an epoch": Case((), ("--trainer.max_steps", "40"), ("--trainer.max_steps", "23")),
    "ended by max_steps at a border": Case((), ("--trainer.max_steps", "40"), ("--trainer.max_steps", "18")),
    "ended by patience in an epoch": Case(
        ("--trainer.val_check_interval", "4", "--patience", "50", "--min_delta", "10"),
        part=("--patience", "2"),
    ),
    "ended by max_time": Case((), ("--trainer.max_epochs", "40"), ("--trainer.max_time", "00:00:00:01")),
    "accumulated gradients": Case(("--trainer.accumulate_grad_batches", "2")),
}


class Kill(Callback):
    """Ends its process at the `count`-th call of a hook."""

    def __init__(self, hook: str, count: int) -> None:
        self.left = count

        def call(*_: Any, **__: Any) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(self, hook, call)


@dataclass
class Tally:
    """The runs of a case, their kills and faults."""

    kills: Counter[str] = field(default_factory=Counter)  # by where
    runs: int = 0
    faults: list[str] = field(default_factory=list)


def fit(folder: Path, words: Sequence[str], kill_after: float | None = None) -> bool:
    """Train in a process of its own; tell whether it was killed, by itself or after so many seconds.

    Raises RuntimeError where it ends otherwise.
    """
    log = folder.with_suffix(".log")
    if (child := os.fork()) == 0:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        status = 1
        try:
            status = vo3d(["fit", "-c", str(SUPPORT / "tiny.yaml"), "--out", str(folder), *words])
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return True
    if os.WEXITSTATUS(ended):
        raise RuntimeError(f"{log}: vo3d fit ended with {os.WEXITSTATUS(ended)}: {log.read_text()[-300:]}")
    return False


def differences(ours: Path, theirs: Path) -> list[str]:
    """Name what differs between two runs."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        if not (ours / "checkpoints" / name).is_file():
            found.append(f"no {name}")
            continue
        mine, other = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (ours, theirs))
        found += [f"{name}: {key}" for key in STATE if not equal(mine[key], other[key])]
    if (ours / "history.csv").read_text() != (theirs / "history.csv").read_text():
        found.append("history.csv")
    return found


def equal(ours: Any, theirs: Any) -> bool:
    """Compare nested states, tensors to the last bit."""
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, Mapping):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return bool(ours == theirs)


def disturb(case: Case, folder: Path, seconds: float, source: random.Random, tally: Tally) -> None:
    """Train as `case` says, killed once or twice in each part, and resumed each time."""
    base = [*case.options, *QUIET, "--checkpoint_every", str(source.choice([1, 3, 4, 9, 200]))]
    if source.random() < 0.3:
        base += ["--data.num_workers", "1"]
    parts = [case.whole] if case.part is None else [(*case.whole, *case.part), case.whole]
    for options in parts:
        for attempt in range(source.choice([2, 3])):
            resume = ["--ckpt_path", "last"] if (folder / "checkpoints" / "last.ckpt").is_file() else OVER
            kill: list[str] = []
            after = None
            if attempt < 1 + (len(parts) == 1):
                if source.random() < 0.5:
                    after = source.uniform(0.1, seconds)
                else:
                    kill = [
                        "--trainer.callbacks+=kill_training.Kill",
                        f"--trainer.callbacks.hook={source.choice(HOOKS)}",
                    ]
                    kill += [f"--trainer.callbacks.count={source.randint(1, 9)}"]
            where = "random time" if after else kill[1].rpartition("=")[2] if kill else "none"
            if fit(folder, [*base, *options, *resume, *kill], after):
                tally.kills[where] += 1
            elif not kill and after is None:
                break
        else:
            resume = ["--ckpt_path", "last"] if (folder / "checkpoints" / "last.ckpt").is_file() else OVER
            fit(folder, [*base, *options, *resume])


QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false")
OVER = ["--overwrite", "true"]


def compare(kills: int = 200, seed: int = 0, cases: list[str] = list(CASES)) -> int:  # noqa: B006 (read only)
    """Kill and resume until there were so many kills; print a table, and tell the number of runs that differ.

    Args:
        kills: In all.
        seed: Of the moments.
        cases: Some of CASES.
    """
    source = random.Random(seed)  # noqa: S311
    tallies = {name: Tally() for name in cases}
    with TemporaryDirectory() as temporary:
        wholes, seconds = {}, {}
        for number, name in enumerate(cases):
            wholes[name], start = Path(temporary) / f"whole{number}", time.perf_counter()
            fit(wholes[name], [*CASES[name].options, *CASES[name].whole, *QUIET])
            seconds[name] = time.perf_counter() - start
        while sum(tally.kills.total() for tally in tallies.values()) < kills:
            name = min(cases, key=lambda name: tallies[name].kills.total())
            tally, folder = tallies[name], Path(temporary) / "run"
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".log").unlink(missing_ok=True)
            tally.runs += 1
            try:
                disturb(CASES[name], folder, seconds[name], source, tally)
                faults = differences(folder, wholes[name])
            except RuntimeError as error:
                faults = [" ".join(str(error).split())]
            if faults:
                tally.faults.append(", ".join(faults))
                print(f"{name}, run {tally.runs}: {tally.faults[-1]}", flush=True)
    print(table(tallies))
    return sum(len(tally.faults) for tally in tallies.values())


def table(tallies: Mapping[str, Tally]) -> str:
    """Give the tallies as Markdown."""
    places = ("random time", *HOOKS)
    rows = [["schedule or end", "runs", *(place.removeprefix("on_").replace("_", " ") for place in places), "unequal"]]
    rows.append(["---"] * len(rows[0]))
    count: Callable[[Tally], list[str]] = lambda tally: [str(tally.kills[place]) for place in places]  # noqa: E731
    rows += [[name, str(one.runs), *count(one), str(len(one.faults))] for name, one in tallies.items()]
    whole = Tally(sum((one.kills for one in tallies.values()), Counter()), sum(one.runs for one in tallies.values()))
    rows.append(["all", str(whole.runs), *count(whole), str(sum(len(one.faults) for one in tallies.values()))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path[:0] = [str(SUPPORT), str(Path(__file__).parent)]
    sys.exit(bool(auto_cli(compare, as_positional=False)))
