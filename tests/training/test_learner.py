"""The learner trains any model that keeps the contract, and says in words what does not fit."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from places import TINY
from vo3d.cli import main


def fit(out: Path, *more: str) -> int:
    config = TINY
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
    config = str(TINY)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["fit", "-c", config, "--out", str(whole), "--trainer.max_epochs", "1"]) == 0
    assert main(["fit", "-c", config, "--out", str(cut), "--trainer.max_steps", "1"]) == 0  # ends before it validates
    lines = capsys.readouterr().out.splitlines()
    assert f"{whole / 'checkpoints'}: best.ckpt, last.ckpt; score it with: vo3d evaluate {whole} --allow tiny" in lines
    assert f"{cut / 'checkpoints'}: last.ckpt; score it with: vo3d evaluate {cut} --weights last --allow tiny" in lines


def test_a_log_says_what_is_trained_and_nothing_of_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "-c", str(TINY), "--trainer.max_steps", "1"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "choose an optimiser: -c optim_adam.yaml" in said
    assert "TinyModel: 110 parameters, all trained, 0.00044 MB" in said
    assert "Total" not in said
    assert re.search(r"loss:\s+0\.0*[1-9]\d{3}\b", said)  # four digits that count
    groups = "[{match: layers.0.*, freeze: true}]"
    assert main([*words, "-c", "optim_adam.yaml", "--model.groups", groups, "--out", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "choose an optimiser" not in said
    assert "TinyModel: 110 parameters, 56 of them frozen" in said


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


STILL = ["-c", "optim_sgd.yaml", "--model.optimizer.lr", "0"]  # weights stay as they begin


def weights(folder: Path) -> dict[str, torch.Tensor]:
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name.removeprefix("net."): tensor for name, tensor in stored.items()}


def test_the_penalty_is_on_weights_in_training_alone(tmp_path: Path) -> None:
    assert fit(tmp_path / "bare", *STILL) == 0
    assert fit(tmp_path / "l1", *STILL, "--model.l1", "0.5") == 0

    def values(folder: Path, name: str) -> list[float]:
        with (folder / "history.csv").open(newline="") as file:
            return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]

    start = weights(tmp_path / "l1")
    penalty = 0.5 * sum(float(start[name].abs().sum()) for name in ("layers.0.weight", "layers.3.weight"))
    assert values(tmp_path / "l1", "train/l1") == pytest.approx([penalty] * 9, rel=1e-6)
    before = values(tmp_path / "bare", "train/loss")
    assert values(tmp_path / "l1", "train/loss") == pytest.approx([loss + penalty for loss in before], rel=1e-6)
    assert values(tmp_path / "l1", "val/loss") == values(tmp_path / "bare", "val/loss")


def test_weights_begin_as_the_scheme_says(tmp_path: Path) -> None:
    assert fit(tmp_path, *STILL, "--model.init", "orthogonal") == 0
    start = weights(tmp_path)
    first = start["layers.0.weight"]  # 8 6
    torch.testing.assert_close(first.mT @ first, torch.eye(6))
    assert start["layers.0.bias"].count_nonzero() == 0


def test_a_part_of_a_file_is_taken_and_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = trained / "checkpoints" / "last.ckpt"
    words = [*STILL, "--model.net.hidden", "7", "--model.init_weights", str(source)]
    assert fit(tmp_path / "whole", *words) == 2
    assert fit(tmp_path / "part", *words, "--model.partial", "true") == 0
    said = capsys.readouterr().out
    assert f"{source}: 1 tensors loaded; dropped: layers.0.weight, layers.0.bias, layers.3.weight" in said
    assert "layers.3.weight (6, 8) where layers.3.weight is (6, 7)" in said
    assert torch.equal(weights(tmp_path / "part")["layers.3.bias"], weights(trained)["layers.3.bias"])


def test_frozen_normalisation_keeps_its_statistics_in_training(tmp_path: Path) -> None:
    rules = ["--model.net", "trial_steps.NormedModel", "--model.groups", '[{"kind": "norm", "freeze": true}]']
    assert fit(tmp_path / "frozen", *rules) == 0
    assert weights(tmp_path / "frozen")["normed.num_batches_tracked"] == 0
    assert torch.equal(weights(tmp_path / "frozen")["normed.running_mean"], torch.zeros(3))
    assert fit(tmp_path / "free", *rules[:2]) == 0
    assert weights(tmp_path / "free")["normed.num_batches_tracked"] == 9


def test_a_run_folder_and_a_name_stand_for_their_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(tmp_path / "a") == 0
    best = torch.load(tmp_path / "a" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    (tmp_path / "named").mkdir()
    save_file(
        {name.removeprefix("net."): value for name, value in best.items()}, tmp_path / "named" / "mine.safetensors"
    )
    monkeypatch.setenv("VO3D_WEIGHTS", str(tmp_path / "named"))
    still = ["--trainer.max_steps", "1", "--monitor", "null", "-c", "optim_sgd.yaml", "--model.optimizer.lr", "1e-12"]

    for number, source in enumerate((str(tmp_path / "a"), "mine")):
        out = tmp_path / str(number)
        assert fit(out, "--model.init_weights", source, *still) == 0
        state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert all(torch.allclose(state[name], best[name], atol=1e-6) for name in best)
