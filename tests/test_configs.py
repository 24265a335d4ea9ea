"""Every configuration parses, optimisers stay out of the bases and do not leak into each other, smokes train."""

from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml

from vo3d.cli import main

FOLDER = Path(str(resources.files("vo3d.configs")))
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
OPTIMISERS = [name for name in NAMES if name.startswith("optim_")]
TRAINERS = [name for name in NAMES if name.startswith("trainer_")]
BASES = [name for name in NAMES if name not in OPTIMISERS + TRAINERS]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words, "--print_config"])
    assert ended.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_there_are_configurations_of_each_kind() -> None:
    assert {"optim_adam.yaml", "optim_adagrad.yaml", "optim_sgd.yaml"} <= set(OPTIMISERS)
    assert {"trainer_cpu.yaml", "trainer_gpu.yaml", "trainer_ddp.yaml"} == set(TRAINERS)
    assert {"deepvo_kitti.yaml", "deepvo_7scenes.yaml", "deepvo_rendered.yaml", "smoke_deepvo.yaml"} <= set(BASES)


@pytest.mark.parametrize("name", BASES)
def test_a_base_parses_and_leaves_the_optimiser_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = yaml.safe_load((FOLDER / name).read_text())
    assert "optimizer" not in own["model"]
    assert isinstance(own["seed_everything"], int)
    assert own["out"].startswith("runs/")
    config = printed(capsys, "-c", name)
    assert config["model"]["optimizer"] is None
    assert config["data"]["test"] is not None


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_parses_over_a_base(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = yaml.safe_load((FOLDER / name).read_text())
    assert "model" not in own
    config = printed(capsys, "-c", "smoke_deepvo.yaml", "-c", name)
    assert config["trainer"].items() >= own["trainer"].items()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_no_argument_leaks_from_one_optimiser_into_another(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = yaml.safe_load((FOLDER / name).read_text())
    assert set(own) == {"model"}
    assert set(own["model"]) == {"optimizer"}
    alone = printed(capsys, "-c", "smoke_deepvo.yaml", "-c", name)["model"]["optimizer"]
    assert alone["class_path"] == own["model"]["optimizer"]["class_path"]
    given = own["model"]["optimizer"]["init_args"]
    optimiser = getattr(torch.optim, alone["class_path"].rpartition(".")[2])
    group = optimiser([torch.zeros(1, requires_grad=True)], **given).param_groups[0]
    for key, value in alone["init_args"].items():  # its own choices, otherwise the defaults of its class
        shown = tuple(value) if isinstance(value, list) else value
        assert shown == (given[key] if key in given else group.get(key, shown)), key


@pytest.mark.parametrize("name", [name for name in BASES if name.startswith("smoke_")])
def test_a_smoke_trains_two_steps(name: str, tmp_path: Path) -> None:
    assert main(["fit", "-c", name, "-c", "optim_adam.yaml", "--out", str(tmp_path)]) == 0
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 2
    assert main(["test", "-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last"]) == 0
