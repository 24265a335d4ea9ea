"""Recall in validation: what is logged is what evaluation measures, and it chooses the best weights."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from checks import complaint
from places import SUPPORT
from stop_callback import Stopped
from vo3d.cli import main

STOP = [
    "--trainer.callbacks+=stop_callback.Stop",
    "--trainer.callbacks.step=3",
    "--trainer.callbacks.kill=false",
]  # in the second epoch
PLACES = {"class_path": "tiny_places.SwatchPlaces"}


def command(folder: Path, *more: str, verb: str = "fit", epochs: int = 3) -> list[str]:
    """Projections of spots of light, at a rate so large that recall goes up and down."""
    tuples = {
        "class_path": "vo3d.datasets.place_tuples.PlaceTuples",
        "init_args": {"dataset": PLACES, "near": 3.0, "far": 6.0, "num_negatives": 3},
    }
    config = {
        "model": {
            "net": {"class_path": "tiny_places.Projected"},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 3.0}},
        },
        "data": {"train": tuples, "val": tuples, "test": PLACES, "batch_size": 4},
        "monitor": "val/recall_at_1",
        "monitor_mode": "max",
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            "callbacks": [{"class_path": "vo3d.training.place_recall.PlaceRecall"}],
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    return [verb, "-c", str(folder / "own.yaml"), "--out", str(folder / "run"), *more]


def logged(folder: Path, name: str) -> list[float]:
    with (folder / "run/history.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def best(folder: Path) -> dict[str, object]:
    stored = torch.load(folder / "run/checkpoints/best.ckpt", weights_only=True)
    (state,) = (one for name, one in stored["callbacks"].items() if name.startswith("BestCheckpoint"))
    return {"step": stored["global_step"], "score": float(state["best_model_score"])}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recall")
    assert main(command(folder)) == 0
    return folder


def test_best_weights_are_those_of_the_highest_recall(whole: Path) -> None:
    found = logged(whole, "val/recall_at_1")
    assert len(found) == 3
    assert len(set(found)) > 1, found
    assert best(whole)["score"] == pytest.approx(max(found))
    assert best(whole)["step"] == 2 * (1 + found.index(max(found)))
    assert [len(logged(whole, f"val/recall_at_{depth}")) for depth in (5, 10)] == [3, 3]


def test_recall_is_that_of_evaluate(whole: Path) -> None:
    words = ["evaluate", str(whole / "run"), "--out", str(whole / "result"), "--allow", "tiny_places"]
    assert main(words) == 0
    (content,) = [json.loads(path.read_text()) for path in (whole / "result").rglob("metrics*.json")]
    number = logged(whole, "val/recall_at_1").index(max(logged(whole, "val/recall_at_1")))
    for depth in (1, 5, 10):
        found = content["mean"][f"recall_at_{depth}_percent"]
        assert logged(whole, f"val/recall_at_{depth}")[number] == pytest.approx(found)


def test_a_resumed_run_keeps_the_best(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        main(command(tmp_path, "--checkpoint_every", "1", *STOP))
    assert main(command(tmp_path, "--checkpoint_every", "1", "--ckpt_path", "last")) == 0
    assert logged(tmp_path, "val/recall_at_1") == logged(whole, "val/recall_at_1")
    assert best(tmp_path) == best(whole)


def test_one_of_two_processes_measures_for_both(tmp_path: Path) -> None:
    parallel = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--data.batch_size", "2"]
    run = subprocess.run(
        [sys.executable, "-m", "vo3d.cli", *command(tmp_path, *parallel)],
        env=os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert best(tmp_path)["score"] == pytest.approx(max(logged(tmp_path, "val/recall_at_1")))


def test_what_has_no_sets_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = ["--data.val", "tiny.TinyClips"]
    assert "PlaceRecall: data.val is TinyClips: expected sets" in complaint(capsys, *command(tmp_path, *clips))
    assert "data.val is null" in complaint(capsys, *command(tmp_path, "--data.val", "null"))
    mode = ["--monitor_mode", "min"]
    assert "keeps the worst weights: give --monitor_mode max" in complaint(capsys, *command(tmp_path, *mode))
    deep = ["--trainer.callbacks.depths", "[30]"]
    assert "depths [30]: of the smallest database 24 places" in complaint(capsys, *command(tmp_path, *deep))
