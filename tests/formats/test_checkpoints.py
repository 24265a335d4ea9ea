"""Checkpoints as they are downloaded: wrapped, with other things beside the weights, or no weights at all."""

import argparse
import gzip
import pickle
import re
import shlex
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.formats.checkpoints import CONVERTED, NESTED
from vo3d.formats.weights import load_matching, load_weights, read_weights, save_weights


def _weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(nn.Linear(3, 2).state_dict())


def _loaded(path: Path) -> dict[str, Tensor]:
    model = nn.Linear(3, 2)
    load_weights(model, path)
    return dict(model.state_dict())


def _same(found: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, found[name]) for name, value in _weights().items())


@pytest.mark.parametrize("name", NESTED)
def test_weights_are_found_under_the_names_that_people_give_them(tmp_path: Path, name: str) -> None:
    torch.save({"epoch": 3, name: _weights(), "optimizer": {"state": {}}}, tmp_path / "w.pth")
    torch.save({"checkpoint": 1, name: {"state_dict": _weights(), "step": 3}}, tmp_path / "twice.pth")

    assert _same(_loaded(tmp_path / "w.pth"))
    assert _same(_loaded(tmp_path / "twice.pth"))


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "model.module.", "net.model.", ""]
)
@pytest.mark.parametrize("load", [load_weights, load_matching])
def test_what_a_training_wraps_a_network_in_is_taken_off(
    tmp_path: Path, prefix: str, load: Callable[[nn.Module, Path], object]
) -> None:
    torch.save({f"{prefix}{name}": value for name, value in _weights().items()}, tmp_path / "w.pth")
    model = nn.Linear(3, 2)

    load(model, tmp_path / "w.pth")

    assert _same(dict(model.state_dict()))


def test_a_part_that_runs_in_parallel_is_the_same_part(tmp_path: Path) -> None:
    model = nn.ModuleDict({"net": nn.Linear(3, 2), "head": nn.Linear(2, 1)})
    wrapped = {name.replace("net.", "net.module."): value for name, value in model.state_dict().items()}
    torch.save(wrapped, tmp_path / "w.pth")
    other = nn.ModuleDict({"net": nn.Linear(3, 2), "head": nn.Linear(2, 1)})

    assert load_weights(other, tmp_path / "w.pth").matched["net.module.weight"] == "net.weight"
    assert torch.equal(other["net"].weight, model["net"].weight)


def test_names_of_a_model_itself_stay(tmp_path: Path) -> None:
    model, other = (nn.ModuleDict({"net": nn.ModuleDict({"module": nn.Linear(3, 2)})}) for _ in range(2))
    save_weights(tmp_path / "w.safetensors", model, {})

    load_weights(other, tmp_path / "w.safetensors")

    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "beside",
    [
        {"epoch": np.float64(3), "step": np.int64(7), "done": np.bool_(True), "loss": np.float32(0.5)},
        {"args": argparse.Namespace(lr=0.1, name="port"), "best": float("inf"), "phases": [1, (2, None)]},
    ],
    ids=["numpy", "namespace"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_numbers_and_settings_beside_weights_do_no_harm(
    tmp_path: Path, beside: dict[str, object], zipped: bool
) -> None:
    content = {**beside, "model_state_dict": _weights()}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)

    assert _same(_loaded(tmp_path / "w.pth"))


def test_numbers_among_the_weights_are_left_out(tmp_path: Path) -> None:
    torch.save({**_weights(), "epoch": 3, "loss": np.float64(0.5), "name": "port"}, tmp_path / "w.pth")

    assert set(read_weights(tmp_path / "w.pth")[0]) == {"weight", "bias"}


def test_half_precision_is_read(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({name: value.to(dtype) for name, value in _weights().items()}, tmp_path / "w.pth")
        found = _loaded(tmp_path / "w.pth")
        assert found["weight"].dtype == torch.float32
        torch.testing.assert_close(found["weight"], _weights()["weight"], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("value", "dtype"), [(float("nan"), torch.float32), (float("inf"), torch.float16), (1e300, torch.float64)]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float, dtype: torch.dtype, suffix: str) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in _weights().items()}
    weights["weight"][1, 2] = value
    path = tmp_path / f"w{suffix}"
    save_weights(path, weights, {}) if suffix == ".safetensors" else torch.save(weights, path)
    for load in (load_weights, load_matching):
        model = nn.Linear(3, 2)
        before = model.bias.clone()
        with pytest.raises(Vo3dError, match=rf"w\{suffix}: weight has 1 of 6 values that are NaN or infinite"):
            load(model, path)
        assert torch.equal(model.bias, before)


def test_values_of_another_kind_are_refused(tmp_path: Path) -> None:
    torch.save({name: (value * 100).to(torch.int8) for name, value in _weights().items()}, tmp_path / "w.pth")

    with pytest.raises(Vo3dError, match=r"other shapes: weight of torch\.int8 where weight is of torch\.float32"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pth")


def _converted(line: str, path: Path) -> dict[str, Tensor]:
    """Run the command that a message ends with, in this process, and load what it made."""
    python, option, program = shlex.split(line[line.index("python -c") :])
    assert (python, option) == ("python", "-c")
    exec(program, {})  # noqa: S102 (the message's own words)
    return _loaded(path.with_name(f"{path.name}{CONVERTED}"))


def _scripted(path: Path) -> None:
    model = nn.Linear(3, 2)
    model.load_state_dict(_weights())
    torch.jit.script(model).save(path)  # type: ignore[no-untyped-call]


def _whole(path: Path, network: nn.Module | None = None) -> None:
    model = network or nn.Linear(3, 2)
    model.load_state_dict({name: _weights()[name.removeprefix("net.")] for name in model.state_dict()})
    torch.save(model, path)


def _within(path: Path) -> None:
    model = nn.Linear(3, 2)
    model.load_state_dict(_weights())
    torch.save({"epoch": 3, "model": model}, path)


COMMANDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "whole network": (_whole, r"holds a whole network, torch\.nn\.modules\.linear\.Linear"),
    "network within": (_within, r"a whole network"),
    "network with a part called net": (
        lambda path: _whole(path, nn.Sequential(OrderedDict(net=nn.Linear(3, 2)))),
        "holds a whole network",
    ),
    "protocol 4": (
        lambda path: torch.save({"model_state_dict": _weights(), "epoch": 3}, path, pickle_protocol=4),
        "another pickle protocol",
    ),
    "protocol 3": (
        lambda path: torch.save({"model": _weights(), "loss": np.float64(1)}, path, pickle_protocol=3),
        "another pickle protocol",
    ),
    "protocol 5, legacy": (
        lambda path: torch.save(_weights(), path, pickle_protocol=5, _use_new_zipfile_serialization=False),
        "another pickle protocol",
    ),
    "protocol 1, legacy": (
        lambda path: torch.save(_weights(), path, pickle_protocol=1, _use_new_zipfile_serialization=False),
        "another pickle protocol",
    ),
    "array beside": (
        lambda path: torch.save({"state_dict": _weights(), "curve": np.ones(3)}, path),
        r"calls numpy\._core\.multiarray\._reconstruct",
    ),
    "plain pickle": (
        lambda path: (
            path.write_bytes(pickle.dumps({name: value.numpy() for name, value in _weights().items()})) and None
        ),
        "a plain pickle that you trust becomes one by: python",
    ),
    "old plain pickle": (
        lambda path: (
            path.write_bytes(pickle.dumps({name: value.numpy() for name, value in _weights().items()}, protocol=2))
            and None
        ),
        r"calls numpy\._core\.multiarray\._reconstruct",
    ),
    "program": (_scripted, "a TorchScript program, not its weights alone"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", COMMANDS)
def test_what_cannot_be_read_safely_is_refused_with_a_command_that_converts_it(tmp_path: Path, what: str) -> None:
    write, words = COMMANDS[what]
    write(path := tmp_path / "the author's.pth")

    with pytest.raises(Vo3dError, match=words) as caught:
        read_weights(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert "trust" in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) <= 320
    assert _same(_converted(str(caught.value), path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a page that a server sent"),
        (b"\n  <html><head>", "a page that a server sent"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a page that a server sent"),
        (b'{"message": "Not Found"}', "a page that a server sent"),
        (b"", "it is empty: copy or download it again"),
    ],
)
def test_a_file_that_stands_for_another_says_so(tmp_path: Path, content: bytes, words: str, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)

    with pytest.raises(Vo3dError, match=rf"w\{suffix}: .*{words}") as caught:
        read_weights(path)

    assert "\n" not in str(caught.value)


def test_safetensors_under_another_name_say_so(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", _weights(), {})
    (tmp_path / "w.safetensors").rename(tmp_path / "w.ckpt")

    with pytest.raises(Vo3dError, match=r"a safetensors file under another name: rename it to end in \.safetensors"):
        read_weights(tmp_path / "w.ckpt")


def test_a_checkpoint_under_the_name_of_safetensors_says_so(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "w.safetensors")

    with pytest.raises(Vo3dError, match=r"not a whole safetensors file.*PyTorch checkpoint.*rename it to end in \.pth"):
        read_weights(tmp_path / "w.safetensors")


def test_an_old_checkpoint_of_any_protocol_under_the_name_of_safetensors_says_so(tmp_path: Path) -> None:
    for protocol in (2, 4):
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
        torch.save(_weights(), tmp_path / "w.safetensors", **options)  # type: ignore[arg-type]
        with pytest.raises(Vo3dError, match=r"a PyTorch checkpoint: rename it to end in \.pth"):
            read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("w.zip", r"an archive of best\.ckpt, no PyTorch"),
        ("w.npz", r"an archive of weight\.npy, bias\.npy"),
        ("w.pth.gz", "an archive, no PyT"),
        ("w.tar", "an archive, no PyTorch"),
    ],
)
def test_an_archive_around_a_checkpoint_is_to_be_unpacked(tmp_path: Path, name: str, words: str) -> None:
    torch.save(_weights(), tmp_path / "best.ckpt")
    path = tmp_path / name
    if name == "w.npz":
        np.savez(path, **{key: value.numpy() for key, value in _weights().items()})
    elif name == "w.pth.gz":
        path.write_bytes(gzip.compress((tmp_path / "best.ckpt").read_bytes()))
    else:
        shutil.make_archive(str(path.with_suffix("")), path.suffix[1:], tmp_path, "best.ckpt")

    with pytest.raises(Vo3dError, match=rf"{name}: {words}.*: unpack it, and give the checkpoint out of it"):
        read_weights(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [(Tensor.to_sparse, r"stored as torch\.sparse_coo"), (lambda value: value.to("meta"), "without values")],
)
def test_tensors_without_plain_values_are_refused(
    tmp_path: Path, change: Callable[[Tensor], Tensor], words: str
) -> None:
    torch.save({name: change(value) for name, value in _weights().items()}, tmp_path / "w.pth")

    with pytest.raises(Vo3dError, match=rf"w\.pth: weight is a tensor {words}"):
        _loaded(tmp_path / "w.pth")


def test_what_is_there_instead_of_weights_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "encoder": {"weight": torch.ones(1)}}, tmp_path / "w.pth")

    with pytest.raises(Vo3dError, match=re.escape("'model_state_dict'")) as caught:
        read_weights(tmp_path / "w.pth")

    assert str(caught.value).endswith("found epoch, encoder")


def test_tables_without_tensors_are_no_weights(tmp_path: Path) -> None:
    torch.save({"model": {"name": "port"}, "weights": _weights()}, tmp_path / "w.pth")
    assert _same(_loaded(tmp_path / "w.pth"))
    within: dict[str, object] = {"epoch": 3}
    within["model"] = within
    torch.save(within, tmp_path / "w.pth")
    with pytest.raises(Vo3dError, match=r"holds no state dict: .* found epoch, model"):
        read_weights(tmp_path / "w.pth")
