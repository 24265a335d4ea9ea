"""DeepVO trained on rendered streets with each first-order optimiser, at one budget, each at a rate of its own.

The rates of a small grid around each optimiser's default are tried with every seed; chosen is the rate whose final
validation loss is the smallest in the mean over the seeds. Everything else is equal: steps, batches, their order and
the first weights for equal seeds, network and clips (those of deepvo_rendered.yaml at the sizes of the budget), the
cosine along which rates fall to 0. No weight decay, and no clipping of gradients, which would hide that a rate is too
large.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from vo3d import optim
from vo3d.errors import Vo3dError, shown
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.files import write_whole
from vo3d.formats.results import FILE_NAME, Result
from vo3d.formats.text import read_json
from vo3d.inference.loop import evaluating
from vo3d.metrics.kitti_odometry import DEVKIT_LENGTHS
from vo3d.model import Model
from vo3d.optim.regimes import train, updates_per_epoch
from vo3d.recording import RecordingDataset
from vo3d.sample import Sample
from vo3d.settings.build import build
from vo3d.settings.discovery import known_baselines
from vo3d.settings.files import find_config, read_settings

# Of each optimiser in the survey: the rate about which its grid lies. All but the first three are its default; those
# have none, and theirs were looked for in a few runs of some dozen steps.
OPTIMIZERS: Mapping[str, float] = {
    "SGD": 0.1,
    "Momentum": 0.01,
    "NAG": 0.01,
    "Adagrad": 0.01,
    "Adadelta": 1.0,
    "RMSprop": 0.001,
    "Adam": 0.001,
    "AdaMax": 0.002,
    "Nadam": 0.002,
}
RUNGS = (-1, 0, 1, 2)  # of the ladder ..., 0.1, 0.3, 1, 3, 10, ... times that rate; 1 is rung 0
MOST_MORE = 4  # rungs that a grid may grow by while its best rate lies at an end
EXPERIMENT = "deepvo_rendered.yaml"
FINISHED = "run.json"  # written last
ERRORS = {"t_rel_percent": "t_rel %", "r_rel_deg_per_100m": "r_rel deg/100 m", "ape_rmse_m": "APE m"}


@dataclass(frozen=True)
class Budget:
    """The settings that are equal in all runs.

    Args:
        size: rows and columns of the frames.
        width: multiplier of the encoder's channels.
        hidden: size of the recurrent state.
        steps: of the optimiser; its rate falls to 0 along a cosine.
        validate_every: steps between two looks at the validation loss.
        batch_size: clips in a batch.
        clip_length: frames of a clip.
        frames: of each street to learn from or to choose the rate by.
        test_frames: of each street to test on.
        train_seeds: of the streets to learn from.
        val_seeds: of the streets to choose the rate by.
        test_seeds: of the streets to test on.
        lengths: metres of the segments of the KITTI metric.
    """

    size: tuple[int, int] = (32, 104)
    width: float = 0.25
    hidden: int = 128
    steps: int = 600
    validate_every: int = 50
    batch_size: int = 16
    clip_length: int = 5
    frames: int = 250
    test_frames: int = 400
    train_seeds: tuple[int, ...] = tuple(range(24))
    val_seeds: tuple[int, ...] = (1000, 1001)
    test_seeds: tuple[int, ...] = (2000, 2001, 2002)
    lengths: tuple[float, ...] = DEVKIT_LENGTHS


@dataclass(frozen=True)
class Run:
    """The course and the end of one training."""

    optimizer: str
    rate: float
    seed: int
    losses: list[float]  # of each step's batch, as long as they are finite
    validated: list[int]  # steps at which the validation loss was looked at, from 0 on
    validation: list[float]
    diverged: int | None = None  # the step whose loss was not finite
    errors: dict[str, float | None] = field(default_factory=dict)  # as named in ERRORS; empty where it diverged

    @property
    def val_loss(self) -> float:
        """Return the validation loss in the end; infinite where training diverged."""
        return math.inf if self.diverged is not None else self.validation[-1]

    @property
    def train_loss(self) -> float:
        """Return the mean of the last fifty batches (all, where there are fewer)."""
        last = self.losses[-50:]
        return math.inf if self.diverged is not None else sum(last) / len(last)


class Streets:
    """The rendered streets of a budget; each is rendered when its first frame is asked for, and kept in memory."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        clips = experiment(budget)["data"]
        self.train, self.val, self.test = (
            build(RecordingDataset, clips[split], f"{EXPERIMENT}: data.{split}") for split in ("train", "val", "test")
        )

    @cached_property
    def validation(self) -> list[Sample]:
        """Collect all clips to choose the rate by, in batches of at most 64."""
        samples = [self.val[number] for number in range(len(self.val))]
        return [Sample.collate(samples[first : first + 64]) for first in range(0, len(samples), 64)]


def experiment(budget: Budget) -> dict[str, Any]:
    """Read deepvo_rendered.yaml, and set what the budget decides: the sizes of network and frames, and the streets."""
    config = read_settings(Path(find_config(EXPERIMENT)))
    config["model"]["net"]["init_args"] |= {"size": budget.size, "width": budget.width, "hidden": budget.hidden}
    for split, seeds, frames in (
        ("train", budget.train_seeds, budget.frames),
        ("val", budget.val_seeds, budget.frames),
        ("test", budget.test_seeds, budget.test_frames),
    ):
        config["data"][split]["init_args"] |= {
            "seeds": seeds,
            "frames": frames,
            "size": budget.size,
            "cache": True,
            "clip_length": budget.clip_length,
        }
    return config


@dataclass(frozen=True)
class Found:
    """The runs of a whole sweep."""

    tried: dict[str, list[list[Run]]]  # by optimiser: of each rate, in ascending order, the runs of all seeds
    constant: Result  # of constant motion

    @property
    def chosen(self) -> dict[str, list[Run]]:
        """Give, by optimiser, the runs of all seeds at its best rate."""
        return {name: min(runs, key=mean_loss) for name, runs in self.tried.items()}


def sweep(folder: Path, optimizers: Mapping[str, float], seeds: Sequence[int], budget: Budget) -> Found:
    """Try the rates of each optimiser: its name, and the rate about which they lie.

    Runs that `folder` holds are read, not repeated. Raises Vo3dError for an optimiser that is not one of
    `vo3d.optim`, no optimiser or seed, or a folder with runs of another budget.
    """
    if not optimizers or not seeds:
        raise Vo3dError("found no optimisers or no seeds: give at least one of each")
    makers = {name: optimizer_of(name) for name in optimizers}
    keep_budget(folder / "budget.json", budget)
    streets = Streets(budget)
    constant = constant_motion(streets, folder / "constant_motion")
    tried = {
        name: try_rates(optimizers[name], partial(train_each, name, make, seeds=seeds, streets=streets, folder=folder))
        for name, make in makers.items()
    }
    return Found(tried, constant)


def optimizer_of(name: str) -> Callable[..., Optimizer]:
    """Find the class of `vo3d.optim`; raises Vo3dError where it has none of this name."""
    found = getattr(optim, name, None)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise Vo3dError(f"optimiser {name!r} is unknown: expected one of {', '.join(OPTIMIZERS)}")
    return found


def try_rates(middle: float, run: Callable[[float], list[Run]]) -> list[list[Run]]:
    """Make the runs of the grid about `middle`, in the order of rates; it grows while its best rate is at an end."""
    found = {rung: run(rate_at(middle, rung)) for rung in RUNGS}
    for _ in range(MOST_MORE):
        best = min(sorted(found), key=lambda rung: mean_loss(found[rung]))
        if min(found) < best < max(found):
            break
        rung = best - 1 if best == min(found) else best + 1
        found[rung] = run(rate_at(middle, rung))
    return [found[rung] for rung in sorted(found)]


def mean_loss(runs: Sequence[Run]) -> float:
    """Average their final validation losses; infinite where one diverged."""
    return sum(run.val_loss for run in runs) / len(runs)


def rate_at(middle: float, rung: int) -> float:
    """Return `middle` times 1 at rung 0, 3 at 1, 10 at 2, 30 at 3, and so on; times 0.3 at -1, 0.1 at -2."""
    return float(f"{middle * (1, 3)[rung % 2] * 10.0 ** (rung // 2):.6g}")


def train_each(
    name: str, make: Callable[..., Optimizer], rate: float, *, seeds: Sequence[int], streets: Streets, folder: Path
) -> list[Run]:
    """Make the runs of all seeds at one rate."""
    return [train_and_test(name, make, rate, seed=seed, streets=streets, folder=folder) for seed in seeds]


def train_and_test(
    name: str, make: Callable[..., Optimizer], rate: float, *, seed: int, streets: Streets, folder: Path
) -> Run:
    """Make one run, or read it from its file where it is finished."""
    place = folder / "runs" / f"{name}_{rate:g}_{seed}"
    if (place / FINISHED).is_file():
        try:
            return Run(**read_json(place / FINISHED, "the numbers of a finished run"))
        except TypeError as error:
            raise Vo3dError(f"{place / FINISHED}: not the numbers of a run ({shown(str(error))}): remove it") from error
    budget = streets.budget
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: Model = build(Model, experiment(budget)["model"]["net"], f"{EXPERIMENT}: model.net")
    optimizer = make(net.parameters(), lr=rate)
    schedule = CosineAnnealingLR(optimizer, T_max=budget.steps)
    at_iterate = getattr(optimizer, "at_iterate", nullcontext)  # NAG's parameters are ahead of it
    looks = [(0, validation_loss(net, streets))]
    per_epoch = updates_per_epoch(len(streets.train), "mini_batch", budget.batch_size)
    streets.train.set_epoch(0)

    def watch(step: int) -> None:
        schedule.step()
        streets.train.set_epoch(step // per_epoch)
        if step % budget.validate_every == 0 or step == budget.steps:
            with at_iterate():
                looks.append((step, validation_loss(net, streets)))

    net.train()
    losses = train(
        lambda numbers: total_loss(net, Sample.collate([streets.train[number] for number in numbers.tolist()])),
        [torch.arange(len(streets.train))],
        optimizer=optimizer,
        regime="mini_batch",
        batch_size=budget.batch_size,
        updates=budget.steps,
        seed=seed,
        watch=watch,
    )
    failed = not math.isfinite(losses[-1]) or not math.isfinite(looks[-1][1])
    errors: dict[str, float | None] = {}
    if not failed:
        with at_iterate():
            errors = score(net, streets, place / "test").mean
    found = Run(
        optimizer=name,
        rate=rate,
        seed=seed,
        losses=[loss for loss in losses if math.isfinite(loss)],
        validated=[step for step, loss in looks if math.isfinite(loss)],
        validation=[loss for _, loss in looks if math.isfinite(loss)],
        diverged=len(losses) if failed else None,
        errors={key: errors[key] for key in ERRORS if key in errors},
    )
    write_whole(place / FINISHED, json.dumps(asdict(found)) + "\n")
    Console(stderr=True).print(f"{place}: validation loss {found.val_loss:.4g}", highlight=False, soft_wrap=True)
    return found


def total_loss(net: Model, sample: Sample) -> Tensor:
    """Sum the model's terms."""
    return torch.stack(list(net.loss(net(sample), sample).values())).sum()


def validation_loss(net: Model, streets: Streets) -> float:
    """Compute the loss over all validation clips, in evaluation mode."""
    with evaluating(net, "cpu"):
        losses = [(total_loss(net, sample).item(), len(sample.image)) for sample in streets.validation]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def score(net: Model, streets: Streets, out: Path) -> Result:
    """Measure the errors on the streets that no run learns from."""
    protocol = {"dataset": "rendered streets", "split": "test"}
    return Odometry(lengths=streets.budget.lengths).run(net, streets.test, out, protocol=protocol, progress=False)


def constant_motion(streets: Streets, out: Path) -> Result:
    """Measure the errors of the mean training step on the same streets, read where they are known."""
    if (out / FILE_NAME).is_file() and len((found := Result.load(out)).sequences) == len(streets.test.recordings):
        return found
    constant: Model = build(Model, known_baselines()["constant"])
    constant.fit(streets.train.recordings)
    return score(constant, streets, out)


def keep_budget(path: Path, budget: Any) -> None:
    """Write the budget, a dataclass, to `path`; raises Vo3dError when runs of another one are there already."""
    if path.is_file() and (found := read_json(path, "a budget")) != plain(asdict(budget)):
        raise Vo3dError(
            f"{path}: the runs there have another budget ({shown(str(found))}): choose another --out, or remove them"
        )
    write_whole(path, json.dumps(asdict(budget), indent=2) + "\n")


def plain(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings as they come back out of JSON, with lists for tuples."""
    return dict(json.loads(json.dumps(settings)))
