"""After a training, deviations hold as many validation errors as they should; the training itself knows of nothing."""

from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch

import kill_training
from places import TINY
from stubs import Doubtful
from tiny import TinyClips, TinyRecording, Whole
from vo3d.cli import main
from vo3d.evaluation.tasks.relocalisation import Relocalisation
from vo3d.formats.weights import load_weights
from vo3d.training.calibration import calibrate
from vo3d.training.datamodule import DataModule

KEY = "net.variance_scale"


def fit(folder: Path, *more: str, net: str = "stubs.Doubtful") -> int:
    words = ["--model.net", net, "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2", *more]
    return main(["fit", "-c", str(TINY), "--out", str(folder), *words])


def stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert fit(folder) == 0
    return folder


def test_each_checkpoint_holds_68_percent_of_the_validation_errors(whole: Path, tmp_path: Path) -> None:
    validation = Whole([TinyRecording(2)])
    for name in ("best", "last"):
        path = whole / f"checkpoints/{name}.ckpt"
        net = Doubtful()
        load_weights(net, path)
        result = Relocalisation().run(net.eval(), validation, tmp_path / name, protocol={}, progress=False)
        for quantity in ("position", "rotation"):
            share = result.mean[f"{quantity}_within_1sigma_percent_pooled"]
            assert share == pytest.approx(100 * ceil(0.6827 * 20) / 20, abs=5.01)  # a frame more or less by rounding
        assert (stored(path)["state_dict"][KEY] != 1).all()


def test_a_run_that_goes_on_is_the_run_that_never_ended(whole: Path, tmp_path: Path) -> None:
    assert fit(tmp_path, "--trainer.max_steps", "13") == 0
    part = stored(tmp_path / "checkpoints/last.ckpt")["state_dict"]
    assert (part[KEY] != 1).all()
    assert fit(tmp_path, "--ckpt_path", "last") == 0
    assert kill_training.differences(tmp_path, whole) == []
    assert not torch.equal(part[KEY], stored(whole / "checkpoints/last.ckpt")["state_dict"][KEY])


def test_training_and_losses_do_not_know_of_it(whole: Path, tmp_path: Path) -> None:
    assert fit(tmp_path, net="stubs.Places") == 0
    assert (tmp_path / "history.csv").read_text() == (whole / "history.csv").read_text()
    bare, ours = (stored(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (tmp_path, whole))
    assert bare.keys() == ours.keys() - {KEY}
    assert all(torch.equal(bare[key], ours[key]) for key in bare)


def test_lines_say_what_was_done(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = ["--model.init_weights", str(whole / "checkpoints/last.ckpt")]  # its factors are not those of what follows
    blind = ["--data.val", "null", "--monitor", "null", "--trainer.max_epochs", "1", *begin]
    assert fit(tmp_path / "blind", *blind) == 0
    assert "deviations are not calibrated: there is no data.val\n" in capsys.readouterr().out
    path = tmp_path / "blind/checkpoints/last.ckpt"
    assert (stored(path)["state_dict"][KEY] == 1).all()
    net = Doubtful()

    def lines(data: DataModule) -> list[str]:
        return list(calibrate(net, [path], data, device="cpu"))

    (line,) = lines(DataModule(train=TinyClips([0]), val=TinyClips([1, 2, 3])))
    metres, degrees = stored(path)["state_dict"][KEY].sqrt().tolist()
    assert line == (
        "last.ckpt: calibrated on 3 recordings, 60 frames of data.val: "
        f"deviations x {metres:.3g} in metres, x {degrees:.3g} in degrees"
    )
    learnt, _ = lines(DataModule(train=TinyClips([0]), val=TinyClips([0, 1])))
    assert learnt.startswith("20 of 40 frames of data.val are training views")
    monkeypatch.setattr(TinyRecording, "poses", lambda self: None)
    assert lines(DataModule(val=TinyClips([1]))) == [
        "deviations are not calibrated: data.val has no recordings with poses"
    ]
    monkeypatch.undo()
    monkeypatch.setattr("vo3d.training.calibration.pose_errors", lambda truth, estimate: torch.zeros(20, 2).double())
    (line,) = lines(DataModule(val=TinyClips([1])))
    assert line.startswith("last.ckpt: deviations are not calibrated: factors of 0 in metres")
    assert (stored(path)["state_dict"][KEY] == 1).all()
