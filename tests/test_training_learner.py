"""The learner trains any model that keeps the contract, and says in words what does not fit."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from vo3d.cli import main


def fit(out: Path, *more: str) -> int:
    config = Path(__file__).with_name("tiny.yaml")
    return main(["fit", "-c", str(config), "--out", str(out), "--trainer.max_epochs", "1", *more])


def names_in(history: Path) -> set[str]:
    with history.open(newline="") as file:
        return {row["name"] for row in csv.DictReader(file)}


def test_a_run_folder_says_how_it_was_made(tmp_path: Path) -> None:
    assert fit(tmp_path, "-c", "optim_sgd.yaml", "--seed_everything", "5") == 0
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["model"]["optimizer"]["class_path"] == "vo3d.optim.SGD"
    assert config["model"]["net"]["init_args"]["hidden"] == 8
    facts = json.loads((tmp_path / "versions.json").read_text())
    assert facts["seed"] == 5
    assert facts["versions"]["torch"] == torch.__version__
    wanted = {f"{stage}/{term}" for stage in ("train", "val") for term in ("loss", "rotation", "translation")}
    assert names_in(tmp_path / "history.csv") == wanted | {"lr-SGD"}
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert yaml.safe_load(stored["vo3d_config"]) == config


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key:UserWarning")  # of a run that never validates
def test_training_ends_with_the_command_that_scores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(Path(__file__).with_name("tiny.yaml"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["fit", "-c", config, "--out", str(whole), "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", "-c", config, "--out", str(cut), "--trainer.max_steps", "1"]) == 0  # ends before it validates
    lines = capsys.readouterr().out.splitlines()
    assert f"{whole / 'checkpoints'}: best.ckpt, last.ckpt; score it with: vo3d evaluate {whole}" in lines
    assert f"{cut / 'checkpoints'}: last.ckpt; score it with: vo3d evaluate {cut} --weights last" in lines


def test_the_saved_configuration_replays_the_run(tmp_path: Path) -> None:
    assert fit(tmp_path / "a") == 0
    assert main(["fit", "-c", str(tmp_path / "a" / "config.yaml"), "--out", str(tmp_path / "b")]) == 0
    first, second = ((tmp_path / name / "history.csv").read_text() for name in "ab")
    assert first == second


def test_one_cycle_steps_with_the_batches(tmp_path: Path) -> None:
    schedule = "torch.optim.lr_scheduler.OneCycleLR"
    words = ["--model.scheduler", schedule, "--model.scheduler.max_lr", "0.1", "--model.scheduler.total_steps", "9"]
    assert fit(tmp_path, "-c", "optim_momentum.yaml", *words, "--model.interval", "step") == 0
    with (tmp_path / "history.csv").open(newline="") as file:
        rates = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "lr-Momentum"]
    assert len(rates) == 9
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] < rates[0] < max(rates)


def test_mixed_precision_accumulation_and_clipping_train(tmp_path: Path) -> None:
    words = ["--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "0.5"]
    assert fit(tmp_path, *words, "--trainer.accumulate_grad_batches", "2") == 0
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in stored["state_dict"].values())


def test_training_lowers_the_loss_and_stops_early(tmp_path: Path) -> None:
    words = ["--trainer.max_epochs", "60", "--model.net.dropout", "0", "--patience", "2"]
    assert fit(tmp_path, "--model.optimizer", "torch.optim.Adam", "--model.optimizer.lr", "0.01", *words) == 0
    with (tmp_path / "history.csv").open(newline="") as file:
        losses = [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "val/loss"]
    assert min(losses) < 0.8 * losses[0]
    assert len(losses) < 60


def test_only_the_weights_enter_through_init_weights(tmp_path: Path) -> None:
    assert fit(tmp_path / "a") == 0
    source = tmp_path / "a" / "checkpoints" / "last.ckpt"
    words = ["--model.init_weights", str(source), "--trainer.max_steps", "1", "--monitor", "null"]
    assert fit(tmp_path / "b", *words, "-c", "optim_sgd.yaml", "--model.optimizer.lr", "1e-12") == 0
    ours = torch.load(tmp_path / "b" / "checkpoints" / "last.ckpt", weights_only=True)
    theirs = torch.load(source, weights_only=True)
    assert ours["global_step"] == 1
    for name, tensor in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], tensor)


def test_a_model_names_what_the_data_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data.train.bare", "true", "--data.val.bare", "true"]
    assert fit(tmp_path, *words) == 2
    assert "TinyModel needs world_T_cam; TinyClips gives image, K, scene, index" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, "-c", "optim_sgd.yaml", "--model.optimizer.lr", "1e30") == 2
    assert "lower the learning rate" in capsys.readouterr().err
