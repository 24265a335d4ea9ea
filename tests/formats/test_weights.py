"""Weights in files: ours come back bit for bit, other people's are accounted for key by key, code never runs."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.formats.weights import (
    KeyMap,
    import_weights,
    load_matching,
    load_weights,
    read_weights,
    save_weights,
    sha256_of,
)

PUBLISHED = KeyMap(
    source="a port",
    signature=("fc.weight", "decoder.weight"),
    rename={r"fc\.(weight|bias)": r"0.\1"},
    drop=(r"decoder\..*",),
    keep=(r"1\..*",),
    convert={"0.bias": lambda bias: bias.flip(0)},
    needs="two outputs",
)


def _port() -> dict[str, Tensor]:
    return {"fc.weight": torch.rand(2, 3), "fc.bias": torch.tensor([1.0, 2.0]), "decoder.weight": torch.rand(5)}


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))


def test_weights_come_back_bit_for_bit_with_their_metadata(tmp_path: Path) -> None:
    model, other = nn.LSTM(3, 4, 2), nn.LSTM(3, 4, 2)
    path = tmp_path / "new folder" / "weights.safetensors"

    save_weights(path, model, {"seed": "7"})
    report = load_weights(other, path)

    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert set(report.matched) == set(model.state_dict())
    assert (report.dropped, report.kept) == ((), ())
    assert read_weights(path)[1]["seed"] == "7"
    assert os.listdir(path.parent) == ["weights.safetensors"]


def test_tensors_that_share_memory_or_are_strided_are_written(tmp_path: Path) -> None:
    flat = torch.rand(8)
    save_weights(tmp_path / "w.safetensors", {"a": flat[:4], "b": flat, "c": torch.rand(2, 3).T}, {})

    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), flat[:4])
        assert file.get_tensor("c").shape == (3, 2)


def test_no_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no weights to write"):
        save_weights(tmp_path / "w.safetensors", nn.ReLU(), {})
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
def test_pytorch_checkpoints_are_read(tmp_path: Path, zipped: bool, wrapped: bool) -> None:
    content = {"state_dict": _port(), "epoch": 3, "arch": "port", "best": 1.5} if wrapped else _port()
    torch.save(content, tmp_path / "port.pth.tar", _use_new_zipfile_serialization=zipped)

    state_dict, metadata = read_weights(tmp_path / "port.pth.tar")

    assert list(state_dict) == ["fc.weight", "fc.bias", "decoder.weight"]
    assert metadata == {}


def test_a_lightning_checkpoint_loses_its_prefix(tmp_path: Path) -> None:
    model, other = _model(), _model()
    state_dict = {f"net.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state_dict, "pytorch-lightning_version": "2.6.0", "epoch": 1}, tmp_path / "last.ckpt")

    load_weights(other, tmp_path / "last.ckpt")

    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_every_key_of_a_published_checkpoint_is_accounted_for() -> None:
    model, port = _model(), _port()
    before = model[1].weight.clone()

    report = import_weights(model, port, PUBLISHED)

    assert report.matched == {"fc.weight": "0.weight", "fc.bias": "0.bias"}
    assert report.dropped == ("decoder.weight",)
    assert report.kept == ("1.weight", "1.bias")
    assert torch.equal(model[0].weight, port["fc.weight"])
    assert model[0].bias.tolist() == [2.0, 1.0]  # converted
    assert torch.equal(model[1].weight, before)
    assert str(report) == "a port: 2 tensors loaded; dropped: decoder.weight; left as they were: 1.weight, 1.bias"


def test_a_published_checkpoint_is_recognised_by_its_keys(tmp_path: Path) -> None:
    class Method(nn.Sequential):
        published = {"port": PUBLISHED}  # noqa: RUF012  (as a Model declares it)

    torch.save(_port(), tmp_path / "port.pth")

    assert load_weights(Method(*_model()), tmp_path / "port.pth").source == "a port"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra.weight": torch.rand(1)}, r"no place for: extra\.weight; build the model with two outputs"),
        ({"fc.bias": None}, r"no value for: 0\.bias"),
        ({"fc.weight": torch.rand(2, 4)}, r"other shapes: fc\.weight \(2, 4\) where 0\.weight is \(2, 3\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_whole(change: dict[str, Tensor | None], message: str) -> None:
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    port = {name: value for name, value in {**_port(), **change}.items() if value is not None}

    with pytest.raises(Vo3dError, match=message):
        import_weights(model, port, PUBLISHED)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_that_no_model_can_take_is_refused_with_the_reason() -> None:
    key_map = replace(PUBLISHED, refused="there is no such model here; take another")

    with pytest.raises(Vo3dError, match=r"^a port cannot be loaded: there is no such model here; take another$"):
        import_weights(_model(), _port(), key_map)


def test_two_keys_for_one_place_are_refused() -> None:
    twice = KeyMap(source="a port", signature=(), rename={r".*\.weight": "weight", r"bias": "bias"})
    port = {"a.weight": torch.rand(1, 1), "b.weight": torch.rand(1, 1), "bias": torch.rand(1)}

    with pytest.raises(Vo3dError, match=r"no place for: b\.weight"):
        import_weights(nn.Linear(1, 1), port, twice)


def test_a_long_list_of_keys_is_cut_short() -> None:
    with pytest.raises(Vo3dError, match=r"6, 7 and 12 more"):
        import_weights(nn.ReLU(), {str(i): torch.zeros(1) for i in range(20)}, PUBLISHED)


class _Runs:
    """An object whose unpickling makes a folder: what a hostile checkpoint would do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "lightning.ckpt", "plain.pkl", "old.pkl"])
def test_a_pickle_that_would_run_code_does_not_run(tmp_path: Path, name: str) -> None:
    trap, path = tmp_path / "it-ran", tmp_path / name
    content = {"state_dict": _port(), "pytorch-lightning_version": "2.6.0", "extra": _Runs(trap)}
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content["extra"], protocol=2 if name == "old.pkl" else None))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=name != "legacy.pth")

    with pytest.raises(Vo3dError, match=f"{name}: ") as caught:
        read_weights(path)

    assert not trap.exists()
    assert "\n" not in str(caught.value)
    if name != "plain.pkl":  # whose dialect torch does not speak far enough to see the call
        assert "mkdir" in str(caught.value)


def _broken(path: Path) -> bytes:
    """A truncated or foreign file for each name."""
    if path.name == "half.safetensors":
        save_weights(path, {"a": torch.rand(100)}, {})
    elif path.name in ("half.pth", "half_legacy.pth"):
        torch.save({"a": torch.rand(1000)}, path, _use_new_zipfile_serialization=path.name == "half.pth")
    else:
        return {
            "empty.pth": b"",
            "empty.safetensors": b"",
            "text.pth": b"hello world\nthis is text",
            "zeros.ckpt": bytes(400),
            "picture.pth": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
            "list.pth": pickle.dumps([1, 2], protocol=2),
        }[path.name]
    whole = path.read_bytes()
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    "name",
    [
        "half.safetensors",
        "half.pth",
        "half_legacy.pth",
        "empty.pth",
        "empty.safetensors",
        "text.pth",
        "zeros.ckpt",
        "picture.pth",
        "list.pth",
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(_broken(path))

    with pytest.raises(Vo3dError, match=r"not a whole safetensors file|no PyTorch checkpoint, or a damaged") as caught:
        read_weights(path)

    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {}}, {}, {"a": 1.0}])
def test_a_checkpoint_without_tensors_is_one_clear_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pth")

    with pytest.raises(Vo3dError, match=r"c\.pth: holds no state dict"):
        read_weights(tmp_path / "c.pth")


def test_a_git_lfs_pointer_says_so(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")

    with pytest.raises(Vo3dError, match="Git LFS pointer"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no such file"):
        read_weights(tmp_path / "absent.safetensors")


def test_the_message_names_the_file_that_does_not_fit(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", nn.Linear(1, 1), {})

    with pytest.raises(
        Vo3dError, match=r"w\.safetensors: a state dict of vo3d does not fit Sequential: no place for: bias, weight"
    ):
        load_weights(_model(), tmp_path / "w.safetensors")


def test_the_fingerprint_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")

    assert sha256_of(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_state_dict_under_model_is_read(tmp_path: Path) -> None:
    state_dict = _model().state_dict()
    torch.save({"epoch": 3, "model": state_dict, "optimizer": {"state": {}}}, tmp_path / "a.ckpt")
    torch.save({"model": torch.zeros(2)}, tmp_path / "b.ckpt")  # a tensor of this name is a weight
    assert read_weights(tmp_path / "a.ckpt")[0].keys() == state_dict.keys()
    assert list(read_weights(tmp_path / "b.ckpt")[0]) == ["model"]


def test_what_matches_is_loaded_and_every_other_key_is_named(tmp_path: Path) -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(3, 2), "head": nn.Linear(2, 4), "norm": nn.BatchNorm1d(2)})
    donor = nn.ModuleDict({"trunk": nn.Linear(3, 2), "head": nn.Linear(2, 5), "extra": nn.Linear(1, 1, bias=False)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_weights(tmp_path / "w.safetensors", donor, {})

    report = load_matching(model, tmp_path / "w.safetensors")

    fresh = donor.state_dict()
    after = model.state_dict()
    assert report.matched == {"trunk.bias": "trunk.bias", "trunk.weight": "trunk.weight"}
    assert set(report.dropped) == {"head.weight", "head.bias", "extra.weight"}
    assert set(report.kept) == set(before) - {"trunk.weight", "trunk.bias"}
    assert set(report.misfits) == {
        "head.weight (5, 2) where head.weight is (4, 2)",
        "head.bias (5,) where head.bias is (4,)",
    }
    assert all(torch.equal(after[name], fresh[name]) for name in ("trunk.weight", "trunk.bias"))
    assert all(torch.equal(after[name], before[name]) for name in report.kept)
    assert "2 tensors loaded" in str(report)
    assert "head.bias (5,) where head.bias is (4,)" in str(report)


def test_keys_are_renamed_on_the_way(tmp_path: Path) -> None:
    model, port = _model(), _port()
    torch.save(port, tmp_path / "port.pth")

    report = load_matching(model, tmp_path / "port.pth", rename={r"fc\.(.*)": r"0.\1"})

    assert report.matched == {"fc.weight": "0.weight", "fc.bias": "0.bias"}
    assert (report.dropped, report.kept) == (("decoder.weight",), ("1.weight", "1.bias"))
    assert torch.equal(model[0].weight, port["fc.weight"])


def test_a_published_checkpoint_matches_through_its_map(tmp_path: Path) -> None:
    class Method(nn.Sequential):
        published = {"port": PUBLISHED}  # noqa: RUF012  (as a Model declares it)

    torch.save({**_port(), "fc.weight": torch.rand(7, 3)}, tmp_path / "port.pth")

    report = load_matching(model := Method(*_model()), tmp_path / "port.pth")

    assert report.matched == {"fc.bias": "0.bias"}
    assert model[0].bias.tolist() == [2.0, 1.0]  # converted
    assert report.misfits == ("fc.weight (7, 3) where 0.weight is (2, 3)",)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"0.weight": torch.rand(9, 9)}, r"0\.weight \(9, 9\) where 0\.weight is \(2, 3\)"),
        ({"other": torch.rand(1)}, r"expects 0\.bias, 0\.weight; found other"),
        ({"1.running_mean": torch.rand(2)}, r"nothing in it fits"),  # a buffer alone is no sign of a like model
    ],
)
def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path, state: dict[str, Tensor], told: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "other.pth")

    with pytest.raises(Vo3dError, match=told) as caught:
        load_matching(model, tmp_path / "other.pth")

    assert str(caught.value).startswith(str(tmp_path / "other.pth"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_buffers_of_a_model_without_parameters_match(tmp_path: Path) -> None:
    model = nn.BatchNorm1d(2, affine=False)
    save_weights(tmp_path / "w.safetensors", {"running_mean": torch.tensor([3.0, 4.0])}, {})
    assert load_matching(model, tmp_path / "w.safetensors").kept == ("running_var", "num_batches_tracked")
    assert model.running_mean.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_saved_on_an_accelerator_loads_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:7")  # where no test machine has one
    torch.save(_port(), tmp_path / "port.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "port.pth", weights_only=True)

    state_dict, _ = read_weights(tmp_path / "port.pth")

    assert {value.device.type for value in state_dict.values()} == {"cpu"}
    assert state_dict["fc.bias"].tolist() == [1.0, 2.0]
