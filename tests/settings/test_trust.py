"""A file from a stranger: nothing that it names is imported or called, unless the user has named the module."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from checks import complaint
from places import TINY
from tiny import TinyModel
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.formats.weights import SETTINGS_KEY, save_weights
from vo3d.inference.cards import read_card
from vo3d.model import Model
from vo3d.recording import RecordingDataset
from vo3d.settings.build import build
from vo3d.settings.trust import allowing, modules_in, strangers

MODULE = '''
from pathlib import Path

from tiny import TinyClips, TinyModel
from vo3d.evaluation.tasks.odometry import Odometry

Path("IMPORTED").touch()


class Net(TinyModel):
    """A method."""


class Clips(TinyClips):
    """A source."""


class Drift(Odometry):
    """A task."""

    name = "drift"


def act(*_):
    Path("CALLED").touch()


class Act:
    __call__ = act


instance = Act()
'''
NET = {"class_path": "stranger.Net", "init_args": {"hidden": 8, "dropout": 0.5}}
CLIPS = {"class_path": "stranger.Clips", "init_args": {"seeds": [1], "frames": 6}}
STILL = {"class_path": "vo3d.models.constant_motion.ConstantMotion"}
STREET = {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": {"seeds": [0], "frames": 4, "size": [32, 64]}}
REFUSED = "is not of vo3d, torch or Lightning, and was not imported: if you trust that module, add --allow stranger"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Iterator[Path]:
    """A working folder with a module, files that name it, and a run whose weights are for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("stranger.py").write_text(MODULE)
    config = yaml.safe_load(TINY.read_text())
    config["model"]["net"] = NET
    for name, content in {
        "own.yaml": config,
        "net.yaml": NET,
        "task.yaml": {"class_path": "stranger.Drift"},
        "clips.yaml": {"model": {"net": STILL}, "data": {"train": CLIPS, "test": CLIPS}},
    }.items():
        Path(name).write_text(yaml.safe_dump(content))
    stored = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    stored[SETTINGS_KEY] = yaml.safe_dump(config)
    Path("run/checkpoints").mkdir(parents=True)
    torch.save(stored, "run/checkpoints/best.ckpt")
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    save_weights(Path("card.safetensors"), TinyModel(), {"class_path": "stranger.Net", "init_args": "{}"})
    yield tmp_path
    sys.modules.pop("stranger", None)


@pytest.mark.parametrize(
    "words",
    [
        "fit -c {tiny} --model.net=net.yaml --out new",
        "evaluate run",
        "evaluate own.yaml",
        "evaluate clips.yaml",
        "evaluate run --weights run/checkpoints/best.ckpt",
        "evaluate street.yaml --baselines net.yaml",
        "evaluate street.yaml --tasks task.yaml",
        "info own.yaml",
        "info net.yaml",
        "reconstruct scene --weights run",
        "reconstruct scene --weights run/checkpoints/best.ckpt",
        "reconstruct scene --weights card.safetensors",
        "reconstruct scene --weights bare.safetensors --model net.yaml",
    ],
)
def test_what_a_file_names_is_not_imported(words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("street.yaml").write_text(yaml.safe_dump({"model": {"net": STILL}, "data": {"train": STREET, "test": STREET}}))
    save_weights(Path("bare.safetensors"), TinyModel(), {})
    if words.startswith("reconstruct"):
        main(["render", "tabletop", "--frames", "2", "--size", "32x40", "--out", "."])
        words = words.replace("scene", "scan0")
    line = complaint(capsys, *words.format(tiny=TINY).split())
    assert REFUSED in line
    assert not Path("IMPORTED").exists()


@pytest.mark.parametrize(
    "words",
    [
        "fit -c own.yaml --out new",  # the file itself was given
        "fit -c {tiny} --model.net=stranger.Net --out new",  # typed
        "fit -c {tiny} --model.net=net.yaml --allow stranger --out new",
        "test -c own.yaml --ckpt_path run/checkpoints/best.ckpt",
        "evaluate run --lengths 1 --allow stranger tiny",
        "evaluate clips.yaml --lengths 1 --allow stranger --out new",
        "evaluate street.yaml --lengths 1 --baselines stranger.Net --out new",
        "evaluate street.yaml --lengths 1 --tasks stranger.Drift --out new",
        "info stranger.Net",
        "info own.yaml --allow stranger",
    ],
)
def test_what_the_user_names_is_imported(words: str, here: Path) -> None:
    Path("street.yaml").write_text(yaml.safe_dump({"model": {"net": STILL}, "data": {"train": STREET, "test": STREET}}))
    assert main(words.format(tiny=TINY).split()) == 0
    assert Path("IMPORTED").exists()


def test_the_line_that_fit_prints_works_when_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-c", "own.yaml", "--out", "a new run"]) == 0
    line = capsys.readouterr().out.rpartition("score it with: ")[2].strip()
    assert line == "vo3d evaluate 'a new run' --allow stranger tiny"


def test_cards_are_read_and_shown_without_an_import(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = read_card(Path("card.safetensors"))
    assert card is not None
    assert card.class_path == "stranger.Net"
    assert main(["info", "--weights", "card.safetensors"]) == 0
    assert "stranger.Net" in capsys.readouterr().out
    assert "has no card" in complaint(capsys, "info", "--weights", "run/checkpoints/best.ckpt")
    assert not Path("IMPORTED").exists()


CALLS: dict[str, dict[str, Any]] = {
    "a pipe of torch around a command": {
        "data": {
            "train": {
                "class_path": "torch.utils.data.datapipes.map.callable.MapperMapDataPipe",
                "init_args": {
                    "datapipe": {
                        "class_path": "torch.utils.data.datapipes.map.SequenceWrapper",
                        "init_args": {"sequence": ["touch CALLED"]},
                    },
                    "fn": "os.system",
                },
            }
        }
    },
    "a pipe of torch around a function of a module": {
        "data": {
            "train": {
                "class_path": "torch.utils.data.datapipes.map.callable.MapperMapDataPipe",
                "init_args": {"datapipe": CLIPS, "fn": "stranger.act"},
            }
        }
    },
    "a command as an optimiser": {"model": {"optimizer": "os.system"}},
    "a process as an optimiser": {
        "model": {"optimizer": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "CALLED"]}}}
    },
    "a partial function": {
        "model": {"scheduler": {"class_path": "functools.partial", "init_args": {"func": "os.system"}}}
    },
    "a function in a callback": {
        "trainer": {
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                    "init_args": {"on_fit_start": "stranger.act"},
                }
            ]
        }
    },
    "an object in a callback": {
        "trainer": {
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                    "init_args": {"on_fit_start": "stranger.instance"},
                }
            ]
        }
    },
    "a function of a schedule": {
        "model": {
            "scheduler": {
                "class_path": "torch.optim.lr_scheduler.LambdaLR",
                "init_args": {"lr_lambda": "stranger.act"},
            }
        }
    },
    "Python by another door": {"model": {"optimizer": "torch.os.system"}},
    "a dataset that is none": {"data": {"train": {"class_path": "torch.utils.data.TensorDataset"}}},
    "a whole training within": {"data": {"train": {"class_path": "vo3d.training.command.TrainingCLI"}}},
}


@pytest.mark.parametrize("what", CALLS)
def test_slots_take_what_they_are_for(what: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(TINY.read_text())
    for section, content in CALLS[what].items():
        config[section] = {**config[section], **content}
    Path("calls.yaml").write_text(yaml.safe_dump(config))
    line = complaint(capsys, "fit", "-c", "calls.yaml", "--out", "new")
    assert len(line) < 400
    assert not Path("CALLED").exists()
    assert not Path("new/checkpoints").exists()


def test_one_s_own_function_is_one_word_away(here: Path) -> None:
    config = yaml.safe_load(TINY.read_text())
    config["trainer"] |= CALLS["a function in a callback"]["trainer"]
    Path("calls.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "calls.yaml", "--out", "new", "--allow", "stranger"]) == 0
    assert Path("CALLED").exists()


def test_in_python_a_module_is_allowed_for_a_while(here: Path) -> None:
    with pytest.raises(Vo3dError, match="--allow stranger"):
        build(Model, NET)
    with allowing(["stranger"]):
        assert type(build(Model, NET)).__name__ == "Net"
    with pytest.raises(Vo3dError, match="--allow stranger"):
        build(Model, NET)
    with pytest.raises(Vo3dError, match="holds no part of a training"):
        build(RecordingDataset, "subprocess.Popen")
    for module in ("os", "a b", ""):
        with pytest.raises(Vo3dError, match="expected the name of a module"), allowing([module]):
            build(Model, NET)


def test_modules_are_found_in_words_and_settings() -> None:
    assert modules_in(["my.Net", '{"class_path": "other.sub.Net"}', "--out", "1.5", "os.system", "plain"]) == {
        "my",
        "other",
    }
    assert strangers({"net": NET, "all": [STILL, {"class_path": "torch.optim.Adam"}]}) == ["stranger"]
