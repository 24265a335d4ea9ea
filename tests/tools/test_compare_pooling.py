"""The tool that trains DeepVO with each way of halving maps, on a budget of two steps."""

import csv
import json
from pathlib import Path

import pytest

import compare_pooling
from vo3d.formats.results import Result

LITTLE = {
    "size": "[32,64]",
    "width": "0.0625",
    "hidden": "8",
    "steps": "2",
    "validate_every": "1",
    "batch_size": "2",
    "frames": "8",
    "test_frames": "12",
    "train_seeds": "[0]",
    "val_seeds": "[1]",
    "test_seeds": "[2]",
    "lengths": "[1.0]",
}
BUDGET = [word for name, value in LITTLE.items() for word in (f"--budget.{name}", value)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of two ways."""
    folder = tmp_path_factory.mktemp("comparison")
    assert compare_pooling.main(["--pools", "[stride,ada]", "--seeds", "[0]", "--out", str(folder), *BUDGET]) == 0
    return folder


def test_the_table_holds_what_the_runs_found(out: Path) -> None:
    with (out / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert [(row["pool"], row["seed"]) for row in rows] == [("stride", "0"), ("ada", "0")]
    for row in rows:
        result = Result.load(out / f"{row['pool']}_0" / "test" / "DeepVO")
        assert float(row["t_rel_percent"]) == pytest.approx(result.mean["t_rel_percent"])
        assert result.protocol["segment_lengths_m"] == [1.0]
        assert float(row["processor_seconds"]) > 0
    assert rows[0]["beta_conv1"] == ""
    assert 0 < float(rows[1]["beta_conv6"]) < 1
    lines = (out / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:5]] == ["stride", "ada", "constant motion"]
    assert sum("conv" in line for line in lines) == 6


def test_runs_differ_in_nothing_but_the_way(out: Path) -> None:
    one, other = ((out / f"{pool}_0" / "config.yaml").read_text() for pool in ("stride", "ada"))

    differences = [pair for pair in zip(one.splitlines(), other.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(differences) == 2
    assert {tuple(line.split(": ")[0].strip() for line in pair) for pair in differences} == {
        ("out", "out"),
        ("pool", "pool"),
    }


def test_a_finished_run_is_not_repeated(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []
    monkeypatch.setattr(compare_pooling, "vo3d", lambda words: trained.append(words) or 2)
    words = ["--out", str(out), "--seeds", "[0]"]

    assert compare_pooling.main([*words, "--pools", "[stride,ada]", *BUDGET]) == 0
    assert trained == []
    assert compare_pooling.main([*words, "--pools", "[ada,max]", *BUDGET]) == 2
    assert len(trained) == 1
    assert "max_0: training failed" in capsys.readouterr().err


def test_a_report_needs_no_training(out: Path) -> None:
    before = (out / "table.md").read_text()
    (out / "table.md").unlink()

    assert compare_pooling.main(["--out", str(out), "--report", "true", "--pools", "[stride,ada]"]) == 0

    assert (out / "table.md").read_text() == before


def test_runs_of_two_budgets_are_not_mixed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_pooling.main(["--out", str(out), "--pools", "[stride]", *BUDGET, "--budget.steps", "3"]) == 2

    assert "the runs there have another budget" in capsys.readouterr().err
    assert json.loads((out / "budget.json").read_text())["steps"] == 2


def test_a_report_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_pooling.main(["--out", str(tmp_path), "--report", "true"]) == 2

    assert "no finished run" in capsys.readouterr().err
    assert compare_pooling.main(["--seeds", "[]", "--out", str(tmp_path)]) == 2
    assert "no seeds" in capsys.readouterr().err


@pytest.mark.parametrize("nothing", ["--pools", "--seeds"])
def test_a_comparison_of_nothing_is_refused(nothing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_pooling.main(["--out", str(tmp_path), nothing, "[]"]) == 2

    assert "give at least one of each" in capsys.readouterr().err


def test_the_spread_names_the_mean_and_both_ends() -> None:
    assert compare_pooling.spread([1.0, 2.0, 6.0]) == "3 (1 to 6)"
    assert compare_pooling.spread([None, 2.0]) == "2 (2 to 2)"
    assert compare_pooling.spread([None]) == "none"
