"""Recall in validation: what is logged is what evaluation measures, and it chooses the best weights."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from checks import complaint
from runs import run_outside, weights
from stop_callback import Stopped
from tiny_places import Projected, SwatchPlaces
from vo3d.cli import main
from vo3d.datasets.place_tuples import PlaceTuples
from vo3d.losses.ranking import ranking_loss
from vo3d.sample import Sample

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


def test_two_processes_learn_what_one_learns_and_one_of_them_measures(tmp_path: Path) -> None:
    one, two, rate = tmp_path / "one", tmp_path / "two", ["--model.optimizer.lr", "0.3"]  # rounding does not grow
    assert main(command(one, *rate)) == 0
    parallel = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--data.batch_size", "2"]
    run_outside(command(two, *rate, *parallel), tmp_path)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=1e-5, atol=1e-6)
    assert logged(two, "val/recall_at_1") == logged(one, "val/recall_at_1")
    assert best(two) == best(one)


def test_accumulated_parts_are_averaged_whatever_violates_in_them(tmp_path: Path) -> None:
    """Each is divided by its own count: not what one batch of all learns."""
    torch.manual_seed(0)
    net = Projected()
    torch.save(net.state_dict(), tmp_path / "start.pt")
    words = ["--data.batch_size", "2", "--data.shuffle", "false", "--trainer.max_steps", "1", "--data.val", "null"]
    words += ["--trainer.accumulate_grad_batches", "2", "--model.init_weights", str(tmp_path / "start.pt")]
    assert main([*command(tmp_path, *words), "--trainer.callbacks", "[]"]) == 0

    tuples = PlaceTuples(SwatchPlaces(), near=3.0, far=6.0, num_negatives=3)
    samples = Sample.collate([tuples[index] for index in range(4)])
    query, positive, negatives = net(samples)["descriptor"].tensor_split((1, 2), dim=1)
    hinge = ranking_loss(query[:, 0], positive, negatives)
    parts = [part.sum() / (part > 0).sum() for part in hinge.split(2)]
    assert (hinge[:2] > 0).sum() != (hinge[2:] > 0).sum()
    (sum(parts) / 2).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(weights(tmp_path)[f"net.{name}"], parameter - 3.0 * parameter.grad)


def test_what_has_no_sets_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = ["--data.val", "tiny.TinyClips"]
    assert "PlaceRecall: data.val is TinyClips: expected sets" in complaint(capsys, *command(tmp_path, *clips))
    assert "data.val is null" in complaint(capsys, *command(tmp_path, "--data.val", "null"))
    mode = ["--monitor_mode", "min"]
    assert "keeps the worst weights: give --monitor_mode max" in complaint(capsys, *command(tmp_path, *mode))
    deep = ["--trainer.callbacks.depths", "[30]"]
    assert "depths [30]: of the smallest database 24 places" in complaint(capsys, *command(tmp_path, *deep))
