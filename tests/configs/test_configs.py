"""Every configuration parses, every optimiser goes with every base and leaks nothing into the next, and they train."""

import csv
import inspect
import re
import shlex
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vo3d.optim
from checks import complaint
from places import TINY
from vo3d.cli import find_configs, main
from vo3d.formats.images import read_image
from vo3d.model import Model
from vo3d.settings.build import build, read_spec
from vo3d.training.command import TrainingCLI

FOLDER = Path(str(resources.files("vo3d.configs")))
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
OPTIMISERS = [name for name in NAMES if name.startswith("optim_")]
TRAINERS = [name for name in NAMES if name.startswith("trainer_")]
OVERLAYS = [name for name in NAMES if name.startswith("pool_")]
BASELINES = [name for name in NAMES if name.startswith("baseline_")]
BASES = [name for name in NAMES if name not in OPTIMISERS + TRAINERS + OVERLAYS + BASELINES]
FULL_MATRIX = ("bfgs", "dfp", "sr1", "newton")

# What a file chooses for itself; everything else in it is the default of its class, which is the survey's.
CHOICES = {
    "sgd": {"lr": 0.01},
    "momentum": {"lr": 0.01},
    "momentum_averaged": {"lr": 0.1, "form": "averaged"},
    "nag": {"lr": 0.01},
    "noise": {"optimizer": {"class_path": "vo3d.optim.SGD", "init_args": {"lr": 0.01, "weight_decay": 0}}, "eta": 0.01},
    "newton_cg": {"solve": "cg"},
}
# Each small model with an optimiser of some families; `tiny` sees them all, and those of a matrix it alone.
SMOKES = {
    "smoke_deepvo": ("nag", "lbfgs"),
    "smoke_vinet": ("nadam", "adadelta"),
    "smoke_itermvs": ("rmsprop", "lbfgs"),
    "smoke_mvsnet": ("noise", "cg"),
    "smoke_undeepvo": ("adamax", "lbfgs"),
    "smoke_sfmnet": ("adagrad", "rmsprop"),
    "smoke_posenet": ("nadam", "momentum"),
    "smoke_vidloc": ("adamax", "rmsprop"),
    "smoke_netvlad": ("adagrad", "nadam"),
    "smoke_rmvsnet": ("adadelta", "newton_cg"),
}
# On 110 parameters and 38 clips, other rates and batches than for large networks: options, epochs.
BATCHES = ["--data.batch_size", "4"]
WHOLE = ["--data.batch_size", "38"]
FASTER = [*BATCHES, "--model.optimizer.lr", "0.01"]
TRAINING: dict[str, tuple[list[str], int]] = {
    "sgd": ([*BATCHES, "--model.optimizer.lr", "0.1"], 3),
    "noise": ([*BATCHES, "--model.optimizer.optimizer.lr", "0.1"], 3),
    **dict.fromkeys(("momentum", "momentum_averaged", "nag", "adadelta"), (BATCHES, 3)),
    **dict.fromkeys(("rmsprop", "adam", "adamax", "nadam"), (FASTER, 3)),
    "adagrad": (BATCHES, 4),
    **dict.fromkeys(("bfgs", "dfp", "sr1", "lbfgs", "cg", "newton_cg"), (WHOLE, 3)),
    "newton": (WHOLE, 1),
}
LEARNT = 0.25  # of the validation loss of the untrained network


def own(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def fit(out: Path, *words: str) -> int:
    return main(["fit", *words, "--out", str(out), "--trainer.enable_progress_bar", "false"])


@pytest.fixture(scope="module")
def parser() -> Any:
    """The parser of the command line, built once."""
    found: list[Any] = []

    def keep(_: TrainingCLI, parser: Any, __: Any) -> None:
        found.append(parser)
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingCLI, "parse_arguments", keep)
        with pytest.raises(SystemExit):
            main(["fit"])
    return found[0]


@pytest.fixture
def printed(parser: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """What --print_config shows of some configurations, one given after the other, and of options behind them."""

    def show(*names: str, options: Sequence[str] = ()) -> dict[str, Any]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(
                ["fit", *find_configs([word for name in names for word in ("-c", name)]), *options, "--print_config"]
            )
        assert ended.value.code == 0
        content: dict[str, Any] = yaml.load(capsys.readouterr().out, yaml.CSafeLoader)
        return content

    return show


def test_there_are_configurations_of_each_kind() -> None:
    assert set(OPTIMISERS) == {f"optim_{name}.yaml" for name in TRAINING}
    assert set(TRAINING) > {*FULL_MATRIX, *(name for names in SMOKES.values() for name in names)}
    assert {"trainer_cpu.yaml", "trainer_gpu.yaml", "trainer_ddp.yaml"} == set(TRAINERS)
    assert {"deepvo_kitti.yaml", "deepvo_7scenes.yaml", "deepvo_rendered.yaml", "smoke_deepvo.yaml"} <= set(BASES)


@pytest.mark.parametrize("name", BASES)
def test_the_head_says_what_it_costs_and_gives_and_how_to_run_it(name: str) -> None:
    head = [line for line in (FOLDER / name).read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("# Costs: ") for line in head)
    assert any("ives: " in line or "Should give: " in line for line in head)
    assert any(line.startswith("#   vo3d ") and name in line for line in head)


def commands(name: str) -> list[list[str]]:
    """The words behind `vo3d fit` in each command of a head."""
    head = re.sub(r"\\\n#", "", (FOLDER / name).read_text())
    return [shlex.split(line) for line in re.findall(r"^# +vo3d fit (.*)", head, re.MULTILINE)]


@pytest.mark.parametrize("name", [name for name in BASES if commands(name)])
def test_the_commands_of_a_head_parse(name: str, printed: Callable[..., dict[str, Any]]) -> None:
    for words in commands(name):
        assert printed(options=find_configs(words))["model"]["net"]["class_path"].startswith("vo3d.models.")


def test_deepvo_on_kitti_subtracts_the_mean_of_the_paper_s_sequences() -> None:
    mean = own("deepvo_kitti.yaml")["model"]["net"]["init_args"]["image_mean"]
    counted = (89.87475578450945, 94.48404712783562, 92.50648653696369)  # DeepVO-pytorch, of 00, 02, 08, 09
    assert mean == pytest.approx([value / 255 for value in counted], abs=5e-5)


@pytest.mark.real
def test_the_mean_of_kitti_is_one_of_its_frames(shared_data: Path) -> None:
    files = sorted((shared_data / "kitti_odometry/sequences/06/image_2").glob("*.png"))
    seen = torch.stack([read_image(file).mean((-2, -1)) for file in files]).mean(0)
    assert len(files) >= 3
    mean = torch.tensor(own("deepvo_kitti.yaml")["model"]["net"]["init_args"]["image_mean"])
    assert (mean - seen).abs().max() < 0.05


def test_every_deepvo_subtracts_a_mean_of_its_own_data() -> None:
    bases = [name for name in BASES if name.startswith("deepvo")]
    means = [own(name)["model"]["net"]["init_args"]["image_mean"] for name in bases]
    assert len({tuple(mean) for mean in means}) == len(bases) >= 3


def test_rmvsnet_on_dtu_learns_by_the_rmsprop_of_its_authors(printed: Callable[..., dict[str, Any]]) -> None:
    (words,) = commands("rmvsnet_dtu.yaml")
    model = printed(options=find_configs(words))["model"]
    assert model["optimizer"]["class_path"] == "vo3d.optim.RMSprop"
    # TensorFlow's RMSPropOptimizer(learning_rate=1e-3): decay 0.9, epsilon 1e-10 inside of the root, no momentum
    assert model["optimizer"]["init_args"] == {
        "lr": 1e-3,
        "alpha": 0.9,
        "eps": 1e-10,
        "eps_inside": True,
        "weight_decay": 0.0,
    }
    assert model["scheduler"]["init_args"].items() >= {"step_size": 10_000, "gamma": 0.9}.items()
    assert model["interval"] == "step"


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_models_that_need_no_weights(name: str) -> None:
    model = build(Model, read_spec(name, "--baselines"))
    assert next(model.parameters(), None) is None


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_parses_over_a_base(name: str, printed: Callable[..., dict[str, Any]]) -> None:
    assert "model" not in own(name)
    assert printed("smoke_deepvo.yaml", name)["trainer"].items() >= own(name)["trainer"].items()


@pytest.mark.parametrize("base", [base for base in BASES if not base.startswith(("classic", "image_features"))])
def test_an_overlay_changes_its_own_line_alone(base: str, printed: Callable[..., dict[str, Any]]) -> None:
    before, after = printed(base), printed(base, "pool_ada.yaml")
    assert before["model"]["net"]["init_args"].pop("pool") in {"stride", None}  # None: as the trunk was published
    assert after["model"]["net"]["init_args"].pop("pool") == "ada"
    assert before == after


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_states_every_argument_of_its_class(name: str) -> None:
    assert set(own(name)) == {"model"}
    assert set(own(name)["model"]) == {"optimizer"}
    optimizer = own(name)["model"]["optimizer"]
    room, _, kind = optimizer["class_path"].rpartition(".")
    assert room == "vo3d.optim"
    signature = inspect.signature(getattr(vo3d.optim, kind)).parameters.values()
    defaults = {each.name: each.default for each in signature if each.name != "params"}
    expected = defaults | CHOICES.get(name.removeprefix("optim_").removesuffix(".yaml"), {})
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in optimizer["init_args"].items()}
    assert given == expected


@pytest.mark.parametrize("base", BASES)
def test_a_base_leaves_the_optimiser_open(base: str, printed: Callable[..., dict[str, Any]]) -> None:
    assert "optimizer" not in own(base)["model"]
    assert isinstance(own(base)["seed_everything"], int)
    assert own(base)["out"].startswith("runs/")
    alone = printed(base)
    assert alone["model"]["optimizer"] is None
    assert alone["data"]["test"] is not None


@pytest.mark.parametrize(("base", "shift"), [("smoke_deepvo.yaml", 1), ("mvsnet_dtu.yaml", 5)])
def test_every_optimiser_goes_with_a_base_and_nothing_leaks(
    base: str, shift: int, printed: Callable[..., dict[str, Any]]
) -> None:
    alone = printed(base)
    for place, name in enumerate(OPTIMISERS):
        before = OPTIMISERS[(place + shift) % len(OPTIMISERS)]
        both = printed(base, before, name)
        assert both["model"].pop("optimizer") == own(name)["model"]["optimizer"], f"{name} after {before}"
        assert both == {**alone, "model": {key: value for key, value in alone["model"].items() if key != "optimizer"}}


@pytest.mark.parametrize("base", SMOKES)
def test_a_smoke_trains_and_tests(base: str, tmp_path: Path) -> None:
    assert fit(tmp_path, "-c", f"{base}.yaml", "-c", "optim_adam.yaml") == 0
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 2
    assert main(["test", "-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last"]) == 0


@pytest.fixture(scope="module", params=SMOKES)
def began(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, torch.Tensor]]:
    """A small configuration, and the weights that its model begins with."""
    base = str(request.param)
    still = ["-c", "optim_sgd.yaml", "--model.optimizer.lr", "0"]
    return base, weights_after_a_step(tmp_path_factory.mktemp(base), base, *still)


def weights_after_a_step(out: Path, base: str, *words: str) -> dict[str, torch.Tensor]:
    short = ["--data.val", "null", "--trainer.max_steps", "1"]
    assert fit(out, "-c", f"{base}.yaml", *words, *short) == 0
    stored = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    return {name: tensor for name, tensor in stored["state_dict"].items() if "running" not in name}


def test_small_models_step_with_optimisers_of_each_family(
    began: tuple[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    base, start = began
    for name in SMOKES[base]:
        moved = weights_after_a_step(tmp_path / name, base, "-c", f"optim_{name}.yaml")
        assert all(tensor.isfinite().all() for tensor in moved.values()), name
        assert any(not torch.equal(tensor, start[key]) for key, tensor in moved.items()), name


@pytest.mark.parametrize("name", FULL_MATRIX)
def test_a_matrix_of_all_parameters_is_refused_where_it_is_large(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, "fit", "-c", "smoke_mvsnet.yaml", "-c", f"optim_{name}.yaml", "--out", tmp_path)
    assert "most_parameters" in line
    assert "LBFGS" in line


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The validation loss of the tiny network at its start."""
    still = ["--model.optimizer", "vo3d.optim.SGD", "--model.optimizer.lr", "0"]
    return validation_losses(tmp_path_factory.mktemp("untrained"), 1, *still)[0]


def validation_losses(out: Path, epochs: int, *words: str) -> list[float]:
    tiny = str(TINY)
    assert fit(out, "-c", tiny, "--model.net.dropout", "0", *words, "--trainer.max_epochs", str(epochs)) == 0
    with (out / "history.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "val/loss"]


@pytest.mark.parametrize("name", TRAINING)
def test_a_small_network_learns_with_each_optimiser(name: str, tmp_path: Path, untrained: float) -> None:
    words, epochs = TRAINING[name]
    losses = validation_losses(tmp_path, epochs, "-c", f"optim_{name}.yaml", *words)
    assert len(losses) == epochs
    assert losses[-1] < LEARNT * untrained, losses
