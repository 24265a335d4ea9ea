"""Whatever ends a training, what was done stays, one line says what happened, and to resume is to go on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import kill_training
from checks import complaint
from places import SUPPORT, TINY
from stop_callback import Stopped
from vo3d.cli import main

STEPS = 9  # batches in an epoch of the tiny data
PLATEAU = ["--model.scheduler", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.scheduler.patience", "0"]
DECAY = ["--model.scheduler", "vo3d.optim.ThresholdDecay", "--model.scheduler.threshold", "0.5"]
WATCHES = ["--model.scheduler.monitor", "val/loss"]


def command(folder: Path, *more: str) -> list[str]:
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    return ["fit", "-c", str(TINY), "--out", str(folder), *quiet, *more]


def at(hook: str, step: int, act: str) -> list[str]:
    options = {"hook": hook, "step": step, "act": act}
    words = [f"--trainer.callbacks.{name}={value}" for name, value in options.items()]
    return ["--trainer.callbacks+=stop_callback.At", *words]


def resume(folder: Path, *more: str) -> int:
    return main(command(folder, *more, "--ckpt_path", "last"))


def stored(folder: Path, name: str = "last") -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)
    return found


def store(folder: Path, content: dict[str, Any]) -> None:
    torch.save(content, folder / "checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("schedule", "every"),
    [
        ([*PLATEAU, *WATCHES, "--model.scheduler.threshold", "0.5"], STEPS),
        ([*DECAY, *WATCHES], 3),
        ([*DECAY, *WATCHES], STEPS),
        ([*DECAY, "--model.interval", "step"], 3),
    ],
    ids=["plateau", "threshold", "threshold at a border", "threshold of steps"],
)
def test_a_schedule_that_watches_a_value_misses_no_step(schedule: list[str], every: int, tmp_path: Path) -> None:
    words = [*schedule, "--trainer.max_epochs", "3", "--checkpoint_every", str(every)]
    assert main(command(tmp_path / "whole", *words)) == 0
    with pytest.raises(Stopped):
        main(command(tmp_path / "cut", *words, *at("on_train_batch_end", STEPS + 1, "stop")))
    assert resume(tmp_path / "cut", *words) == 0
    assert kill_training.differences(tmp_path / "cut", tmp_path / "whole") == []
    rates = {group["lr"] for state in stored(tmp_path / "whole")["optimizer_states"] for group in state["param_groups"]}
    assert rates != {1e-3}  # the schedule did something


@pytest.mark.parametrize(
    "part",
    [
        ["--trainer.max_steps", "13"],
        ["--trainer.max_steps", str(STEPS)],
        at("on_train_batch_end", 13, "stop_early"),
        ["--trainer.val_check_interval", "4", "--patience", "1", "--min_delta", "9"],
    ],
    ids=["max_steps", "max_steps at a border", "max_time", "patience"],
)
def test_a_run_that_ended_goes_on_as_if_it_had_not(part: list[str], tmp_path: Path) -> None:
    words = ["--trainer.max_steps", "22"]
    if "--patience" in part:
        words += ["--trainer.val_check_interval", "4", "--patience", "99", "--min_delta", "9"]
    assert main(command(tmp_path / "whole", *words)) == 0
    assert main(command(tmp_path / "part", *words, *part)) == 0
    assert 0 < stored(tmp_path / "part")["global_step"] < 22
    assert resume(tmp_path / "part", *words) == 0
    assert kill_training.differences(tmp_path / "part", tmp_path / "whole") == []


@pytest.mark.parametrize("hook", ["on_validation_batch_end", "on_validation_end", "on_train_epoch_end"])
def test_a_validation_that_was_cut_off_is_done_again(hook: str, tmp_path: Path) -> None:
    words = ["--checkpoint_every", "3", "--trainer.max_epochs", "2"]
    assert main(command(tmp_path / "whole", *words)) == 0
    with pytest.raises(Stopped):
        main(command(tmp_path / "cut", *words, *at(hook, STEPS, "stop")))
    assert stored(tmp_path / "cut")["global_step"] == 6
    assert resume(tmp_path / "cut", *words) == 0
    assert kill_training.differences(tmp_path / "cut", tmp_path / "whole") == []


@pytest.mark.parametrize("place", [-1, 3])
def test_a_row_of_the_curves_that_a_kill_cut_off_is_left_out_and_no_other(
    place: int, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    rows = (run / "history.csv").read_text().splitlines()
    rows[place] = "zz,0,z"
    (run / "history.csv").write_text("\n".join(rows))
    words = command(run, "--trainer.max_epochs", "2", "--ckpt_path", "last")
    if place > 0:
        assert f"history.csv:{place + 1}: found 'zz,0,z': expected step, epoch, name, value" in complaint(
            capsys, *words
        )
    else:
        assert main(words) == 0
        assert "zz" not in (run / "history.csv").read_text()


def test_the_best_weights_can_be_resumed_too(tmp_path: Path) -> None:
    words = ["--trainer.max_epochs", "2"]
    assert main(command(tmp_path / "whole", *words)) == 0
    assert main(command(tmp_path / "other", "--trainer.max_epochs", "1")) == 0
    assert stored(tmp_path / "other", "best")["global_step"] == STEPS
    assert main(command(tmp_path / "other", *words, "--ckpt_path", "best")) == 0
    assert kill_training.differences(tmp_path / "other", tmp_path / "whole") == []


@pytest.mark.parametrize("every", [4, STEPS])
def test_what_lightnings_own_callback_writes_can_be_resumed_too(every: int, tmp_path: Path) -> None:
    words = ["--trainer.max_epochs", "2"]
    own = ["--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint", "--trainer.callbacks.filename=own"]
    own += [f"--trainer.callbacks.dirpath={tmp_path}", f"--trainer.callbacks.every_n_train_steps={every}"]
    own += ["--trainer.callbacks.enable_version_counter=false", "--trainer.callbacks.save_top_k=1"]
    assert main(command(tmp_path / "whole", *words, *own, "--trainer.max_epochs", "1")) == 0
    assert main(command(tmp_path / "whole", *words, "--overwrite", "true")) == 0
    loops = torch.load(tmp_path / "own.ckpt", weights_only=True)["loops"]["fit_loop"]
    counts = loops["epoch_loop.batch_progress"]["current"]
    assert counts["completed"] == counts["processed"] - 1  # it is of the midst of a step
    assert main(command(tmp_path / "other", *words, "--ckpt_path", str(tmp_path / "own.ckpt"))) == 0
    found = kill_training.differences(tmp_path / "other", tmp_path / "whole")
    assert found == ["history.csv"]  # which begins with the resume in another folder


@pytest.mark.parametrize("batches", ["1", "3"])
def test_sigterm_ends_a_run_with_its_status_and_a_line(
    batches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.max_epochs", "2", "--trainer.accumulate_grad_batches", batches, "--checkpoint_every", "1"]
    assert main(command(tmp_path / "whole", *words)) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path / "cut", *words, *at("on_train_batch_end", 3, "terminate")))
    assert ended.value.code == 143
    assert capsys.readouterr().err == "vo3d: ended by SIGTERM after step 3; resume with --ckpt_path last\n"
    assert resume(tmp_path / "cut", *words) == 0
    assert kill_training.differences(tmp_path / "cut", tmp_path / "whole") == []


HOLD = """
import sys
from pathlib import Path
from vo3d.formats.files import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_never_train_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        line = complaint(capsys, *command(tmp_path, "--trainer.max_steps", "1"))
        assert f"process {other.pid} writes there: wait for its end, or choose another folder" in line
        other.kill()
    assert main(command(tmp_path, "--trainer.max_steps", "1")) == 0  # the lock died with it


def test_what_a_dead_process_left_half_written_is_cleared(tmp_path: Path) -> None:
    left = [tmp_path / ".config.123.part.yaml", tmp_path / "checkpoints" / ".last.123.part.ckpt"]
    others = [tmp_path / ".film.part", tmp_path / "far" / "below" / ".last.123.part.ckpt"]  # of other programs and runs
    for path in left + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert main(command(tmp_path, "--trainer.max_steps", "1")) == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_a_checkpoint_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("sync") or sync(file))
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append(Path(to).name) or replace(path, to))
    assert main(command(tmp_path, "--trainer.max_steps", "1")) == 0
    places = [place for place, name in enumerate(done) if name.endswith(".ckpt")]
    assert places
    assert all(done[place - 1] == "sync" for place in places)


def _without(*names: str) -> Callable[[dict[str, Any]], None]:
    def spoil(content: dict[str, Any]) -> None:
        for name in names:
            del content[name]

    return spoil


def _in_the_midst(content: dict[str, Any]) -> None:
    content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] -= 1


def _nonsense(content: dict[str, Any]) -> None:
    content["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"] = "many"


def _another_optimiser(content: dict[str, Any]) -> None:
    content["optimizer_states"][0]["param_groups"] = []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("optimizer_states"), "holds no state of a run (optimizer_states absent"),
        (_without("loops", "callbacks"), "holds no state of a run (callbacks, loops absent"),
        (lambda content: content.update(lr_schedulers=3), "lr_schedulers absent or of another kind"),
        (lambda content: content.update(optimizer_states=[]), "holds no state of a run (optimizer_states absent"),
        (_in_the_midst, "was made in the midst of a step"),
        (_nonsense, "was made in the midst of a step"),
        (_another_optimiser, "its state does not fit this run"),
    ],
)
def test_a_checkpoint_that_cannot_be_resumed_exactly_is_refused(
    spoil: Callable[[dict[str, Any]], None],
    words: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = stored(trained)
    spoil(content)
    (tmp_path / "checkpoints").mkdir()
    store(tmp_path, content)
    line = complaint(capsys, *command(tmp_path, "--ckpt_path", "last"))
    assert words in line
    assert "--model.init_weights" in line
    assert not (tmp_path / "history.csv").exists()  # nothing was trained


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.train", "tiny.DyingClips", "--data.num_workers", "1"], "a process that reads data died after step"),
        (at("on_train_batch_end", 2, "lose_worker"), "a process that reads data died after step 2"),
        (at("on_train_batch_end", 2, "lose_connection"), "a process that reads data died after step 2"),
        (at("on_train_batch_end", 2, "exhaust"), "memory ran out after step 2"),
    ],
)
def test_what_dies_beside_the_training_is_said(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, *command(tmp_path, *options))
    assert words in line
    assert line.endswith("resume with --ckpt_path last")


def test_a_partner_that_dies_is_said(tmp_path: Path) -> None:
    words = [*command(tmp_path, *at("on_train_batch_end", 3, "die")), "--trainer.strategy", "ddp"]
    run = subprocess.run(
        [sys.executable, "-m", "vo3d.cli", *words, "--trainer.devices", "2"],
        env=os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode != 0
    assert "a partner process died after step" in run.stderr, run.stderr
    assert "resume with --ckpt_path last" in run.stderr
    assert "Traceback" not in run.stderr
