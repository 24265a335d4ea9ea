"""Score models under faults of the sensors, point by point; what an earlier call scored alike is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, visible
from vo3d.evaluation.compare import number
from vo3d.evaluation.task import Task
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.files import make_folder
from vo3d.formats.results import Result
from vo3d.inference.devices import choose_device
from vo3d.inference.loop import memory_ended
from vo3d.pipelines.contestants import (
    Contestant,
    Failures,
    console_of,
    folder_of,
    home_of,
    make_contestants,
    read_contest,
)
from vo3d.pipelines.robustness.faults import FAULTS, Point, make_sweeps
from vo3d.pipelines.robustness.page import FILE, print_tables, write_study
from vo3d.pipelines.robustness.scores import Study, told_of
from vo3d.recording import RecordingDataset, notes_of
from vo3d.settings.build import build

PERTURBED = "vo3d.datasets.perturbed.Perturbed"
SETTINGS = "robustness"  # in the provenance of a result: all that it follows from


def study_robustness(
    run: Path,
    *,
    weights: str = "best",
    data: Mapping[str, Any] | None = None,
    baselines: Sequence[str] = (),
    baseline_data: Mapping[str, Any] | None = None,
    out: Path | None = None,
    split: str = "test",
    faults: Sequence[str] = (),
    sizes: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Score the run's model and `baselines` under each fault, print a table for each, write all to a folder; give it.

    For the options see `vo3d.verbs.learning.robustness`.

    Args:
        sizes: Of the faults, by their names in `FAULTS`.
        options: Arguments of the task odometry.
        console: Where to print.

    Raises:
        Vo3dError: What is wrong with the arguments, the run or the data; where something could not be scored, after
            the tables and the page of all that could. A defect of a model is raised then as it is.
    """
    chosen = choose_device(device)
    sweeps = make_sweeps(faults, sizes or {})
    config, specs = read_contest(run, split, data, baselines)
    console = console_of(console)
    task = Odometry(**(options or {}))
    failures = Failures()
    contestants = make_contestants(config, run, weights, specs, baseline_data, split, failures, console)
    if not contestants:
        raise failures.error()
    for name, one in contestants.items():
        if reason := task.obstacle(one.model, one.dataset) or task.note(one.dataset):
            raise Vo3dError(f"{name}: {reason}")
    folder = out if out is not None else home_of(run, config) / "robustness" / split
    make_folder(folder)
    for note in dict.fromkeys(note for one in contestants.values() for note in notes_of(one.dataset)):
        console.print(visible(note), markup=False, highlight=False)
    work = _Work(task, contestants, folder, split, seed, config.get("seed_everything"), chosen, console, failures)
    study = Study(
        sweeps=sweeps,
        models=list(dict.fromkeys([*contestants, *(name for name, _ in failures.reasons)])),
        fields={name: one.model.needs for name, one in contestants.items()},
        results=work.score(sweeps),
        reasons=failures.reasons,
        lengths=task.lengths,
    )
    if not study.results:
        raise failures.error(list(contestants))
    print_tables(study, console)
    page = write_study(folder, study, f"{config['model']['net']['class_path'].rpartition('.')[2]} under faults")
    console.print(f"{page}: tables and a figure; the numbers in {FILE}", markup=False, highlight=False)
    if failures.reasons:
        raise failures.error(list(contestants))
    return folder


@dataclass(frozen=True)
class _Work:
    """Scores contestants at points, into folders of their own."""

    task: Task
    contestants: Mapping[str, Contestant]
    folder: Path
    split: str
    seed: int
    trained_with: object  # seed of the run
    device: torch.device
    console: Console
    failures: Failures

    def score(self, sweeps: Mapping[str, Sequence[Point]]) -> dict[tuple[str, str], Result]:
        """Score all who read what a fault changes at each of its points, the clean one first; notes who fails."""
        points = [Point(), *(point for points in sweeps.values() for point in points if point.value)]
        planned = [
            (name, point)
            for point in points
            for name, one in self.contestants.items()
            if not point.value or FAULTS[point.fault].field in one.model.needs
        ]
        data = [self._perturbed(name, point) for name, point in planned]  # all, so that a bad size is told at once
        found: dict[tuple[str, str], Result] = {}
        kept = 0
        for (name, point), dataset in zip(planned, data, strict=True):
            asked = self._asked(name, point)
            if (earlier := _earlier(self._place(name, point), asked)) is not None:
                found[name, point.name] = earlier
                kept += 1
                continue
            try:
                found[name, point.name] = self._run(name, point, dataset, asked)
            except (Exception, SystemExit) as error:  # noqa: BLE001 (the others go on; a defect is raised in the end)
                self.failures.add(name, error, point.name)
                if memory_ended(error):
                    self.contestants[name].model.cpu()  # the memory is for the others
        if kept:
            self._say(f"{kept} of {len(planned)} results were there, of the same weights and arguments: kept")
        return found

    def _run(self, name: str, point: Point, dataset: RecordingDataset, asked: Mapping[str, object]) -> Result:
        """Score one contestant at one point, and say what was found."""
        one = self.contestants[name]
        result = self.task.run(
            one.model,
            dataset,
            self._place(name, point),
            device=self.device,
            name=name,
            protocol={
                "dataset": type(one.dataset).__name__,
                "split": self.split,
                "fault": point.fault or "none",
                "size": point.value,
            },
            provenance={"seed": self.trained_with, **one.origin, SETTINGS: asked},
        )
        errors = ", ".join(f"{one.title} {number(result.mean[one.key])} {one.unit}" for one in told_of(result))
        self._say(f"{name}, {point.name}: {errors}")
        return result

    def _place(self, name: str, point: Point) -> Path:
        """Name the folder of a result."""
        return self.folder / point.name / folder_of(name) / self.task.name

    def _perturbed(self, name: str, point: Point) -> RecordingDataset:
        """Wrap the data of a contestant; Vo3dError for a size that cannot be, or data that lack what it changes."""
        arguments = {"dataset": self.contestants[name].dataset, "seed": self.seed, **point.arguments}
        spec = {"class_path": PERTURBED, "init_args": arguments}
        dataset: RecordingDataset = build(Dataset, spec, f"{name}, {point.name}")
        return dataset

    def _asked(self, name: str, point: Point) -> dict[str, object]:
        """Collect all that a result follows from, as JSON gives it back."""
        one = self.contestants[name]
        asked = {
            "model": one.settings,
            "origin": one.origin,
            "task": vars(self.task),
            "fault": point.arguments,
            "seed": self.seed,
        }
        found: dict[str, object] = json.loads(json.dumps(asked, default=str))
        return found

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _earlier(place: Path, asked: Mapping[str, object]) -> Result | None:
    """Read the result of an earlier call that asked for the same; None where there is none, or not all was scored."""
    try:
        found = Result.load(place)
    except Vo3dError:
        return None
    whole = found.sequences and not found.provenance.get("failed")
    return found if whole and found.provenance.get(SETTINGS) == asked else None
