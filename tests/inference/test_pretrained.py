"""Weights by name: found, fetched once, refused where they are others; cards that come back; models built from them."""

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from checks import complaint
from tiny import TinyModel
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.formats.weights import SETTINGS_KEY, read_weights, save_weights
from vo3d.inference import cards
from vo3d.inference.cards import best_present, fetch_weights, find_pretrained, read_card, save_pretrained, weights_names
from vo3d.inference.pretrained import load_into, load_pretrained
from vo3d.models.deepvo import DeepVO
from vo3d.models.mvsnet import MVSNet
from vo3d.models.rmvsnet import RMVSNet
from vo3d.settings.trust import allowing

TINY = "tiny.TinyModel"
PORT = "checkpoints/mvsnet_pytorch"


@pytest.fixture(autouse=True)
def no_weights_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither folders of the user nor a cache."""
    monkeypatch.delenv("VO3D_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def trusted() -> Iterator[None]:
    """Trust the module of the model of these tests."""
    with allowing(["tiny"]):
        yield


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that someone published as `tiny_published`, under an address that is a file."""
    source = tmp_path / "there" / "model_7.ckpt"
    source.parent.mkdir()
    torch.save({"epoch": 7, "model": TinyModel(hidden=4).state_dict()}, source)
    card = tmp_path / "tiny_published.yaml"
    content = {
        "class_path": TINY,
        "init_args": {"hidden": 4},
        "file": source.name,
        "size": source.stat().st_size,
        "licence": "MIT",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "url": source.as_uri(),
        "page": "https://example.org",
    }
    card.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(cards, "_brought", lambda: {"tiny_published": card})
    return source


def _save(path: Path, model: TinyModel, **changed: Any) -> None:
    facts: dict[str, Any] = {
        "class_path": TINY,
        "init_args": {"hidden": 4},
        "recipe": {"steps": 10},
        "figures": {"loss": 0.5},
    }
    save_pretrained(path, model, **(facts | changed))


def test_weights_come_back_with_their_card_and_build_their_model(tmp_path: Path) -> None:
    model = TinyModel(hidden=4)
    path = tmp_path / "mine.safetensors"
    _save(path, model, about="a test")

    found = load_pretrained(str(path), arguments={"dropout": 0.25})

    assert isinstance(found.model, TinyModel)
    assert not found.model.training
    assert found.model.layers[2].p == 0.25  # type: ignore[union-attr]
    assert all(torch.equal(value, found.model.state_dict()[name]) for name, value in model.state_dict().items())
    card = read_card(path)
    assert card is not None
    assert (card.name, card.class_path, card.init_args) == ("mine", TINY, {"hidden": 4})
    assert (card.recipe, card.figures, card.about, card.licence) == (
        {"steps": 10},
        {"loss": 0.5},
        "a test",
        "Apache-2.0",
    )
    assert found.origin["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.origin["arguments"] == {"hidden": 4, "dropout": 0.25}


def test_a_card_says_what_is_true_of_its_model(tmp_path: Path) -> None:
    for path, changed, words in (
        (tmp_path / "a.ckpt", {}, "suffix .safetensors"),
        (tmp_path / "a.safetensors", {"class_path": "vo3d.models.deepvo.DeepVO"}, "the model is a tiny.TinyModel"),
        (tmp_path / "a.safetensors", {"figures": {"loss": torch.zeros(1)}}, "cannot be written"),
    ):
        with pytest.raises(Vo3dError, match=words):
            _save(path, TinyModel(hidden=4), **changed)
        assert not path.exists()


def test_a_name_is_found_in_the_folders_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "second" / "my_tiny.safetensors", TinyModel(hidden=4))
    monkeypatch.setenv("VO3D_WEIGHTS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    (tmp_path / "second" / "._my_tiny.safetensors").write_bytes(b"left behind by a file manager")
    assert "my_tiny" in weights_names()
    assert "._my_tiny" not in weights_names()
    assert find_pretrained("my_tiny")[0] == tmp_path / "second" / "my_tiny.safetensors"
    with pytest.raises(Vo3dError, match="did you mean my_tiny"):
        find_pretrained("my_tyni")


def test_published_weights_are_fetched_once_and_when_asked_for(published: Path, tmp_path: Path) -> None:
    assert find_pretrained("tiny_published", required=False)[0] is None
    with pytest.raises(Vo3dError, match=r"vo3d weights fetch tiny_published brings them \(.* MB, licence: MIT\)"):
        load_pretrained("tiny_published")
    assert not (tmp_path / "cache").exists()

    path, came = fetch_weights("tiny_published")

    assert (path, came) == (tmp_path / "cache" / "vo3d" / "weights" / "tiny_published.ckpt", True)
    assert path.read_bytes() == published.read_bytes()
    published.unlink()
    assert fetch_weights("tiny_published") == (path, False)
    found = load_pretrained("tiny_published")
    assert (found.path, found.name) == (path, "tiny_published")
    assert [file.name for file in path.parent.iterdir()] == ["tiny_published.ckpt"]


def test_published_weights_that_cannot_be_had_say_where_to_put_them(published: Path, tmp_path: Path) -> None:
    content = published.read_bytes()
    published.unlink()
    with pytest.raises(
        Vo3dError, match=r"put the file model_7\.ckpt into .*cache/vo3d/weights or into .* VO3D_WEIGHTS"
    ):
        fetch_weights("tiny_published")
    published.write_bytes(content + b"more")
    with pytest.raises(Vo3dError, match="what came has SHA-256"):
        fetch_weights("tiny_published")
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_names_that_cannot_be_fetched_are_told(published: Path) -> None:
    with pytest.raises(Vo3dError, match="did you mean tiny_published"):
        fetch_weights("tiny_publisht")
    with pytest.raises(Vo3dError, match=r"no published weights 'other': expected one of tiny_published$"):
        fetch_weights("other")
    with pytest.raises(Vo3dError, match=r"there/model_7\.ckpt is a file, .* give the file itself to --weights"):
        fetch_weights(str(published))


def test_what_comes_with_the_package_is_not_fetched() -> None:
    with pytest.raises(Vo3dError, match="comes with vo3d: there is nothing to fetch"):
        fetch_weights("mvsnet_tabletop")


def test_the_best_method_that_is_here_is_taken_and_a_better_one_is_named(published: Path) -> None:
    plain = published.parent / "plain.yaml"
    plain.write_text(yaml.safe_dump({"class_path": TINY}))
    both = {"tiny_published": cards._brought()["tiny_published"], "plain": plain}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cards, "_brought", lambda: both)
        name, why = best_present(("tiny_published", "plain"))
        assert name == "plain"
        assert "not here, and does better: tiny_published (vo3d weights fetch tiny_published:" in why
        fetch_weights("tiny_published")
        assert best_present(("tiny_published", "plain")) == ("tiny_published", "tiny_published, the best that is here")


def test_another_file_of_the_same_name_is_not_taken(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = published.read_bytes()
    monkeypatch.setenv("VO3D_WEIGHTS", str(published.parent))
    published.write_bytes(b"other")
    with pytest.raises(Vo3dError, match="not the file that tiny_published stands for"):
        find_pretrained("tiny_published")
    published.write_bytes(content)
    assert find_pretrained("tiny_published")[0] == published
    renamed = published.rename(published.with_name("another_name.ckpt"))
    assert find_pretrained("tiny_published")[0] == renamed
    renamed.rename(published.with_name("tiny_published.ckpt")).write_bytes(b"cut off")
    with pytest.raises(Vo3dError, match=r"tiny_published\.ckpt: not the file that"):
        find_pretrained("tiny_published", required=False)


def test_a_published_file_is_recognised_under_any_name(published: Path, tmp_path: Path) -> None:
    renamed = published.rename(tmp_path / "renamed.pth")
    found = load_pretrained(str(renamed))
    assert (found.name, found.class_path, found.init_args) == ("tiny_published", TINY, {"hidden": 4})


def test_a_run_of_fit_says_what_its_weights_are_for(trained: Path) -> None:
    folder, file = load_pretrained(str(trained)), load_pretrained(str(trained / "checkpoints" / "best.ckpt"))
    assert folder.class_path == file.class_path == TINY
    assert folder.sha256 == file.sha256 is not None
    assert folder.init_args["hidden"] == 8


@pytest.mark.parametrize(
    "settings", ["model: 5", "model: {net: [1]}", "[1]", "model: {}", "a: " + 900 * "[" + 900 * "]"]
)
def test_a_checkpoint_with_settings_of_another_shape_is_told(settings: str, trained: Path, tmp_path: Path) -> None:
    stored = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**stored, SETTINGS_KEY: settings}, tmp_path / "odd.ckpt")
    with pytest.raises(Vo3dError, match=r"odd\.ckpt.*: (.* )?expected"):
        load_pretrained(str(tmp_path / "odd.ckpt"))


def test_weights_without_a_class_need_one(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_weights(path, TinyModel(hidden=4), {})
    with pytest.raises(Vo3dError, match="does not say which model it is for"):
        load_pretrained(str(path))
    with pytest.raises(Vo3dError, match="does not fit TinyModel: other shapes"):
        load_pretrained(str(path), model=TINY)
    table = f'{{"class_path": "{TINY}", "init_args": {{"hidden": 4}}}}'
    assert load_pretrained(str(path), model=table).path == path


def test_a_card_s_class_is_not_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    _save(path, TinyModel(hidden=4))
    with pytest.raises(Vo3dError, match=r"are for .*TinyModel, and --model says vo3d\.models\.mvsnet\.MVSNet"):
        load_pretrained(str(path), model="vo3d.models.mvsnet.MVSNet")


def test_models_and_weights_that_do_not_go_together(tmp_path: Path) -> None:
    still = load_pretrained(model="vo3d.models.constant_motion.ConstantMotion")
    assert (still.path, still.name) == (None, "ConstantMotion")
    assert "weights" not in still.origin
    with pytest.raises(Vo3dError, match="has parameters, and there are no weights"):
        load_pretrained(model=TINY)
    with pytest.raises(Vo3dError, match=r"no weights: expected a file, or one of .*mvsnet_dtu_port"):
        load_pretrained()
    path = tmp_path / "mine.safetensors"
    _save(path, TinyModel(hidden=4))
    with pytest.raises(Vo3dError, match=r"'slab' is not accepted by tiny\.TinyModel"):
        load_pretrained(str(path), arguments={"slab": 8})


def test_weights_that_are_no_numbers_are_refused_by_every_verb(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    name = next(iter(stored["state_dict"]))
    stored["state_dict"][name].flatten()[0] = float("nan")
    torch.save(stored, tmp_path / "nan.ckpt")
    config = ("-c", trained / "config.yaml", "--out", tmp_path / "out")
    for words in (
        ("fit", *config, "--ckpt_path", tmp_path / "nan.ckpt"),
        ("fit", *config, "--model.init_weights", tmp_path / "nan.ckpt"),
        ("test", *config, "--ckpt_path", tmp_path / "nan.ckpt"),
        ("evaluate", trained, "--weights", tmp_path / "nan.ckpt", "--allow", "tiny"),
    ):
        line = complaint(capsys, *words)
        assert f"nan.ckpt: {name.removeprefix('net.')} has 1 of " in line
        assert "NaN or infinite" in line


SMALL = {"size": (32, 64), "width": 0.0625, "hidden": 4}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"leaky_slope": 0.2}, "leaky_slope 0.2 instead of 0.1"),
        ({"leaky_slope": 0.1, "conv6_activation": True}, "conv6_activation True instead of False"),
        ({"leaky_slope": 0.1, "pool": "max"}, "pool max instead of stride"),
        ({"leaky_slope": 0.1, "grid": (2, 1)}, r"grid \(2, 1\) instead of \[1, 2\]"),
    ],
)
def test_weights_of_vo3d_do_not_enter_a_network_that_computes_otherwise(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    path, deepvo = tmp_path / "mine.safetensors", "vo3d.models.deepvo.DeepVO"
    then: dict[str, Any] = {**SMALL, "leaky_slope": 0.1, "grid": (1, 2)}
    wrong = {"grid": (1, 2), **wrong}
    save_pretrained(path, DeepVO(**then), deepvo, then, "", {})
    settings = {
        "model": {"net": {"class_path": deepvo, "init_args": {**then, "grid": [1, 2], "size": [32, 64]}}},
        "data": {},
    }
    weights = {f"net.{name}": value for name, value in DeepVO(**then).state_dict().items()}
    content = {"state_dict": weights, SETTINGS_KEY: yaml.safe_dump(settings), "pytorch-lightning_version": "2"}
    torch.save(content, tmp_path / "mine.ckpt")

    for file in (path, tmp_path / "mine.ckpt"):
        assert load_into(DeepVO(**then), file).differs == ()
        with pytest.raises(Vo3dError, match=rf"computes otherwise than the one of these weights \({words}\)"):
            load_into(DeepVO(**{**SMALL, **wrong}), file)
        assert load_into(DeepVO(**{**SMALL, **wrong}), file, partial=True).differs == (words.replace("\\", ""),)
    with pytest.raises(Vo3dError, match=words):
        load_pretrained(str(path), arguments=wrong)


def test_every_setting_that_no_shape_shows_is_kept() -> None:
    for kind in (DeepVO, MVSNet, RMVSNet):
        model = kind(**SMALL) if kind is DeepVO else kind()
        defaults = inspect.signature(kind).parameters
        assert kind.fixed
        assert all(getattr(model, name) == defaults[name].default for name in kind.fixed)


@pytest.fixture
def flownets(tmp_path: Path) -> Path:
    """The convolutions of the DeepVO of smoke_deepvo.yaml under published names, as a parallel training leaves them."""
    encoder = DeepVO(**SMALL, batch_norm=True).encoder.state_dict()
    names = {name: name.replace("conv.", "0.").replace("norm.", "1.") for name in encoder}
    weights = {f"module.{names[name]}": value for name, value in encoder.items()}
    torch.save({"state_dict": {**weights, "module.predict_flow6.weight": torch.ones(1)}}, tmp_path / "flownets.pth")
    return tmp_path / "flownets.pth"


def test_a_training_says_what_published_weights_need(
    flownets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "-c", "smoke_deepvo.yaml", "--trainer.enable_progress_bar", "false"]
    words += ["--model.init_weights", str(flownets), "--model.net.leaky_slope", "0.2"]
    assert main([*words, "--out", str(tmp_path / "run"), "--trainer.max_steps", "1"]) == 0
    text = capsys.readouterr().out
    assert "FlowNetS (ClementPinard/FlowNetPytorch): 54 tensors loaded" in text
    assert "other settings: leaky_slope 0.2 instead of 0.1" in text
    assert "It needs width 1, leaky_slope 0.1" in text


@pytest.mark.real
def test_a_reconstruction_says_what_published_weights_need(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", "tabletop", "--frames", "4", "--size", "64x80", "--out", str(tmp_path / "tables")]) == 0
    words = ["reconstruct", tmp_path / "tables/scan0", "--weights", shared_data / PORT / "model_000014.ckpt"]
    words += ["--out", tmp_path / "a.ply", "--num-depths", "8", "--min-confidence", "0", "--min-consistent", "1"]
    main([str(word) for word in words])
    text = capsys.readouterr().out
    assert "MVSNet (xy-guo/MVSNet_pytorch): 106 tensors loaded; dropped: none; left as they were: none" in text
    assert 'It needs topology "port", refine false, pool "stride".' in text


@pytest.mark.real
def test_the_published_mvsnet_loads_without_its_wrapping(shared_data: Path, tmp_path: Path) -> None:
    stored, _ = read_weights(shared_data / PORT / "model_000014.ckpt")
    torch.save({name.removeprefix("module."): value for name, value in stored.items()}, tmp_path / "port.pth")
    found = load_pretrained(str(tmp_path / "port.pth"))
    assert found.class_path == "vo3d.models.mvsnet.MVSNet"
    assert found.report is not None
    assert len(found.report.matched) == 106
    table = '{"class_path": "vo3d.models.mvsnet.MVSNet", "init_args": {"pool": "max"}}'
    with pytest.raises(Vo3dError, match="other settings: pool max instead of stride; build the model with topology"):
        load_pretrained(str(tmp_path / "port.pth"), model=table)


def test_every_name_that_vo3d_brings_has_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VO3D_WEIGHTS", "")
    assert {"mvsnet_dtu_port", "plane_sweep"} <= set(weights_names())
    for name in weights_names():
        card = find_pretrained(name, required=False)[1]
        assert card is not None
        assert card.class_path.startswith("vo3d.models.")
        assert card.about
        assert card.licence
        assert (card.file == "") == (card.sha256 == "") == (not card.url.startswith("https://"))


def test_a_damaged_card_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("class_path: tiny.TinyModel\ncolour: red\n")
    with pytest.raises(Vo3dError, match="unknown keys colour"):
        read_card(path)
    for content, words in (
        ("class_path: 5", "class_path is 5: expected text in the card"),
        ("class_path: ''", "class_path is '': expected text in the card"),
        ("class_path: a b.c", r"class_path: found 'a b\.c', expected the path of a class"),
        ("class_path: tiny.TinyModel\nfigures: [1]", r"figures is \[1\]: expected a table in the card"),
    ):
        path.write_text(content + "\n")
        with pytest.raises(Vo3dError, match=words):
            read_card(path)
    for arguments, words in (
        ("[1]", r"init_args is \[1\]: expected a table"),
        ("9" * 5000, "no JSON"),
        ("[" * 9999, "no"),
    ):
        save_weights(tmp_path / "x.safetensors", TinyModel(), {"class_path": TINY, "init_args": arguments})
        with pytest.raises(Vo3dError, match=words):
            read_card(tmp_path / "x.safetensors")
    save_weights(tmp_path / "x.safetensors", TinyModel(), {"class_path": TINY, "init_args": "{"})
    with pytest.raises(Vo3dError, match="init_args in the metadata is no JSON"):
        read_card(tmp_path / "x.safetensors")


def test_info_prints_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--weights", "mvsnet_dtu_port"]) == 0
    text = capsys.readouterr().out
    assert "vo3d.models.mvsnet.MVSNet" in text
    assert "not here" in text
    assert "did you mean mvsnet_dtu_port" in complaint(capsys, "info", "--weights", "mvsnet_dtu")
    save_weights(tmp_path / "bare.safetensors", TinyModel(), {})
    assert "has no card" in complaint(capsys, "info", "--weights", tmp_path / "bare.safetensors")


@pytest.mark.real
def test_the_published_mvsnet_loads_by_name_and_by_path(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VO3D_WEIGHTS", str(shared_data / PORT))
    by_name = load_pretrained("mvsnet_dtu_port", arguments={"num_depths": 96})
    monkeypatch.delenv("VO3D_WEIGHTS")
    by_path = load_pretrained(str(shared_data / PORT / "model_000014.ckpt"))
    assert by_name.sha256 == by_path.sha256
    assert by_name.name == by_path.name == "mvsnet_dtu_port"
    assert sum(parameter.numel() for parameter in by_name.model.parameters()) == 338_129
    assert vars(by_name.model)["num_depths"] == 96
