"""DeepVO trained with each optimiser, on a budget of three steps."""

import csv
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.results import Result
from vo3d.models.deepvo import DeepVO
from vo3d.optim import NAG
from vo3d.pipelines.optimizers import optimizer_runs
from vo3d.pipelines.optimizers.optimizer_runs import (
    Budget,
    Found,
    Run,
    Streets,
    experiment,
    rate_at,
    train_and_test,
    try_rates,
)
from vo3d.pipelines.optimizers.training import band_of, run_training
from vo3d.sample import Sample
from vo3d.settings.build import build

LITTLE = Budget(
    size=(32, 64),
    width=0.0625,
    hidden=8,
    steps=3,
    validate_every=1,
    batch_size=2,
    clip_length=3,
    frames=8,
    test_frames=12,
    train_seeds=(0,),
    val_seeds=(1,),
    test_seeds=(2,),
    lengths=(1.0,),
)
TWO = {"SGD": 0.01, "Adam": 0.001}


def a_run(rate: float, *losses: float, diverged: int | None = None) -> Run:
    return Run("SGD", rate, 0, [1.0], list(range(len(losses))), list(losses), diverged)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over two optimisers with two seeds."""
    folder = tmp_path_factory.mktemp("survey")
    paths = run_training(folder, optimizers=TWO, seeds=(0, 1), budget=LITTLE)
    assert [path.relative_to(folder).as_posix() for path in paths] == [
        "training/curves.png",
        "training/rates.png",
        "training/runs.csv",
        "training/curves.csv",
        "training/table.md",
    ]
    assert all(path.stat().st_size > 0 for path in paths)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_what_the_runs_found(out: Path) -> None:
    rows = read(out / "training" / "runs.csv")

    for name in TWO:
        ours = [row for row in rows if row["optimizer"] == name]
        losses: dict[str, list[float]] = {}
        for row in ours:
            losses.setdefault(row["rate"], []).append(float(row["val_loss"]))
        assert 4 <= len(losses) <= 8
        assert all(len(of_rate) == 2 for of_rate in losses.values())
        chosen = [row for row in ours if row["chosen"] == "True"]
        assert [row["seed"] for row in chosen] == ["0", "1"]
        assert {row["rate"] for row in chosen} == {min(losses, key=lambda rate: sum(losses[rate]))}
        for row in ours:
            place = out / "training" / "runs" / f"{name}_{float(row['rate']):g}_{row['seed']}"
            result = Result.load(place / "test")
            assert float(row["t_rel_percent"]) == pytest.approx(result.mean["t_rel_percent"])
            assert result.protocol["segment_lengths_m"] == [1.0]
            assert len(json.loads((place / "run.json").read_text())["losses"]) == 3
    looks = read(out / "training" / "curves.csv")
    assert [row["step"] for row in looks] == ["0", "1", "2", "3"] * 4
    lines = (out / "training" / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["SGD", "Adam", "constant motion"]


def test_equal_seeds_start_from_equal_weights_and_see_equal_batches(out: Path) -> None:
    """The loss before any step, and of the first batch, tells nothing of the optimiser."""
    runs = [json.loads(path.read_text()) for path in sorted((out / "training" / "runs").glob("*/run.json"))]
    for seed in (0, 1):
        ours = [run for run in runs if run["seed"] == seed]
        assert {run["optimizer"] for run in ours} == set(TWO)
        assert len({(run["losses"][0], run["validation"][0]) for run in ours}) == 1
    assert len({run["losses"][0] for run in runs}) == 2


def test_a_run_is_what_a_hand_written_loop_gives(out: Path) -> None:
    streets = Streets(LITTLE)
    torch.manual_seed(0)
    net = build(DeepVO, experiment(LITTLE)["model"]["net"])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    generator = torch.Generator().manual_seed(0)
    order = [torch.randperm(3, generator=generator).tolist() for _ in range(2)]  # three clips: two batches an epoch
    losses = []
    for step, batch in enumerate((order[0][:2], order[0][2:], order[1][:2])):
        optimizer.param_groups[0]["lr"] = 0.001 * (1 + math.cos(math.pi * step / 3)) / 2
        streets.train.set_epoch(step // 2)
        sample = Sample.collate([streets.train[number] for number in batch])
        loss = sum(net.loss(net(sample), sample).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    run = json.loads((out / "training" / "runs" / "Adam_0.001_0" / "run.json").read_text())

    assert run["losses"] == pytest.approx(losses, rel=1e-5)
    net.eval()
    (batch,) = streets.validation
    with torch.no_grad():
        val = sum(net.loss(net(batch), batch).values(), torch.zeros(()))
    assert run["validation"][-1] == pytest.approx(val.item(), rel=1e-5)


def test_a_finished_run_is_not_repeated(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (out / "training" / "table.md").read_text()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(optimizer_runs, "train", refuse)
    monkeypatch.setattr(optimizer_runs.Odometry, "run", refuse)
    run_training(out, optimizers=TWO, seeds=(0, 1), budget=LITTLE)

    assert (out / "training" / "table.md").read_text() == before
    with pytest.raises(AssertionError, match="trained again"):
        run_training(out, optimizers=TWO, seeds=(0, 2), budget=LITTLE)


@pytest.mark.parametrize(
    ("text", "words"), [("[" * 100_000, "not JSON"), ("{", "not JSON"), ('{"x": 1}', "not the numbers of a run")]
)
def test_a_damaged_run_is_one_line(out: Path, text: str, words: str) -> None:
    path = out / "training" / "runs" / "Adam_0.001_0" / "run.json"
    before = path.read_text()
    path.write_text(text)
    with pytest.raises(Vo3dError, match=rf"run\.json: {words}"):
        run_training(out, optimizers=TWO, seeds=(0, 1), budget=LITTLE)
    path.write_text(before)


def test_runs_of_two_budgets_are_not_mixed(out: Path) -> None:
    with pytest.raises(Vo3dError, match="the runs there have another budget"):
        run_training(out, optimizers=TWO, budget=replace(LITTLE, steps=4))


@pytest.mark.parametrize(
    ("optimizers", "seeds", "message"),
    [
        ({"Sgd": 0.1}, (0,), "optimiser 'Sgd' is unknown: expected one of SGD, Momentum, NAG, Adagrad"),
        ({"annotations": 0.1}, (0,), "is unknown"),
        ({}, (0,), "no optimisers or no seeds"),
        (TWO, (), "no optimisers or no seeds"),
    ],
)
def test_a_sweep_of_nothing_is_refused(
    optimizers: dict[str, float], seeds: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Vo3dError, match=message):
        run_training(tmp_path, optimizers=optimizers, seeds=seeds, budget=LITTLE)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_is_recorded(tmp_path: Path) -> None:
    budget = replace(LITTLE, steps=30, validate_every=40)
    streets = Streets(budget)
    run = train_and_test("SGD", torch.optim.SGD, 1e9, seed=0, streets=streets, folder=tmp_path)

    assert run.diverged is not None
    assert run.diverged <= 30
    assert run.val_loss == run.train_loss == math.inf
    assert run.errors == {}
    again = train_and_test("SGD", torch.optim.SGD, 1e9, seed=0, streets=streets, folder=tmp_path)
    assert again == run


def test_nesterov_is_validated_at_its_iterate_not_ahead_of_it(tmp_path: Path) -> None:
    """Both forms have the same iterates; only one of them keeps these in the parameters."""
    streets = Streets(LITTLE)
    runs = [
        train_and_test("NAG", partial(NAG, form=form), 0.05, seed=0, streets=streets, folder=tmp_path / form)
        for form in ("look_ahead", "closure")
    ]

    assert runs[0].losses == pytest.approx(runs[1].losses, rel=1e-5)
    assert runs[0].validation == pytest.approx(runs[1].validation, rel=1e-5)
    assert runs[0].errors["ape_rmse_m"] == pytest.approx(runs[1].errors["ape_rmse_m"], rel=1e-3)


def test_a_grid_grows_until_its_best_rate_lies_inside() -> None:
    asked = []

    def valley(rate: float) -> list[Run]:
        asked.append(rate)
        loss = abs(math.log10(rate) - 1.5)  # best at 30
        return [a_run(rate, loss), a_run(rate, loss + 0.1)]

    grid = try_rates(1.0, valley)

    assert asked == [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
    assert [runs[0].rate for runs in grid] == asked
    downhill = try_rates(0.002, lambda rate: [a_run(rate, 1.0, diverged=1 if rate > 1e-5 else None)])
    assert [runs[0].rate for runs in downhill] == [6e-6, 2e-5, 6e-5, 2e-4, 6e-4, 2e-3, 6e-3, 2e-2]


def test_a_rate_is_chosen_by_all_seeds_and_never_where_one_diverged() -> None:
    safe = [a_run(0.1, 0.5), a_run(0.1, 0.6)]
    lucky = [a_run(1.0, 0.1), a_run(1.0, 1.1)]
    broken = [a_run(3.0, 0.01), a_run(3.0, 0.2, diverged=4)]
    result = Result(model="", protocol={}, sequences={}, mean={"t_rel_percent": 1.0}, provenance={})

    assert Found({"SGD": [safe, lucky, broken]}, result).chosen == {"SGD": safe}


def test_rungs_are_half_a_decade_apart() -> None:
    assert [rate_at(0.001, rung) for rung in range(-3, 4)] == [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]


def test_bands_leave_out_runs_that_diverged() -> None:
    band = band_of([a_run(1.0, 4.0, 2.0), a_run(1.0, 8.0, 3.0), a_run(1.0, 9.0, diverged=2)])

    assert band is not None
    assert (band.steps, band.mean, band.least, band.largest) == ([0, 1], [6.0, 2.5], [4.0, 2.0], [8.0, 3.0])
    assert band_of([a_run(1.0, 9.0, diverged=2)]) is None
