"""GoogLeNet: the sizes of Caffe's, its normalisation, and the names under which others keep its weights."""

import pickle
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap, import_weights, load_weights, published_map, read_weights
from vo3d.layers.googlenet import BVLC, INCEPTIONS, POSELSTM, TORCHVISION, GoogLeNet, LocalResponseNorm

# of the six convolutions of an inception module: input, output (places in its row) and window, without and with norms
SIX = ((0, 1, 1, 1), (0, 2, 1, 1), (2, 3, 3, 3), (0, 4, 1, 1), (4, 5, 5, 3), (0, 6, 1, 1))
BVLC_NAMES = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
POSELSTM_NAMES = ("branch_x1.0", "branch_x3.0", "branch_x3.2", "branch_x5.0", "branch_x5.2", "branch_proj.1")
TORCHVISION_NAMES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
OUR_NAMES = ("conv_1x1", "reduce_3x3", "conv_3x3", "reduce_5x5", "conv_5x5", "pool_project")
STEM = ((3, 64, 7), (64, 64, 1), (64, 192, 3))


def _convolutions(stem: tuple[str, ...], pattern: str, six: tuple[str, ...], form: int) -> Iterator[tuple[str, Tensor]]:
    """Names as somebody has them, and weights of their shapes."""
    for name, (inputs, outputs, window) in zip(stem, STEM, strict=True):
        yield name, torch.randn(outputs, inputs, window, window)
    for module, row in INCEPTIONS.items():
        for part, (i, o, *windows) in zip(six, SIX, strict=True):
            yield pattern.format(module, part), torch.randn(row[o], row[i], windows[form], windows[form])


def _bvlc() -> dict[str, Tensor]:
    stem = ("conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3")
    found = {"loss1/conv_0": torch.randn(128, 512, 1, 1), "loss3/classifier_1": torch.randn(365)}
    for name, weight in _convolutions(stem, "inception_{}/{}", BVLC_NAMES, 0):
        found |= {f"{name}_0": weight, f"{name}_1": torch.randn(len(weight))}
    return found


def _poselstm() -> dict[str, Tensor]:
    stem = ("before_inception.0", "before_inception.4", "before_inception.6")
    found = {"cls1_fc.projection.1.weight": torch.randn(128, 512, 1, 1), "cls3_fc.cls_fc_xy.bias": torch.randn(3)}
    for name, weight in _convolutions(stem, "inception_{}.{}", POSELSTM_NAMES, 0):
        found |= {f"{name}.weight": weight, f"{name}.bias": torch.randn(len(weight))}
    copies = {f"model.0.{name.removeprefix('inception_3a.')}" for name in found if name.startswith("inception_3a.")}
    return found | {name: torch.zeros(1) for name in copies}


def _torchvision() -> dict[str, Tensor]:
    found = {"fc.weight": torch.randn(1000, 1024), "aux1.conv.conv.weight": torch.randn(128, 512, 1, 1)}
    for name, weight in _convolutions(("conv1", "conv2", "conv3"), "inception{}.{}", TORCHVISION_NAMES, 1):
        norm = {part: torch.rand(len(weight)) for part in ("weight", "bias", "running_mean", "running_var")}
        found |= {f"{name}.conv.weight": weight, **{f"{name}.bn.{part}": value for part, value in norm.items()}}
        found |= {f"{name}.bn.num_batches_tracked": torch.tensor(7)}
    return found


def _check_places(trunk: GoogLeNet, theirs: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Every value lies where `names` (theirs to ours) says."""
    state = trunk.state_dict()
    assert len(names) > 0
    for name, ours in names.items():
        assert torch.equal(state[ours], theirs[name]), (name, ours)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_sizes_at_each_stage(batch_norm: bool) -> None:
    trunk = GoogLeNet(batch_norm).eval()
    shapes: dict[str, torch.Size] = {}
    for name, module in trunk.named_children():
        module.register_forward_hook(lambda _, __, y, name=name: shapes.__setitem__(name, y.shape[1:]))

    with torch.no_grad():
        taps = trunk.taps(torch.rand(1, 3, 224, 224))

    assert {name: tuple(shape) for name, shape in shapes.items() if "norm" not in name} == {
        "conv1": (64, 112, 112),
        "pool1": (64, 56, 56),
        "reduction2": (64, 56, 56),
        "conv2": (192, 56, 56),
        "pool2": (192, 28, 28),
        "inception_3a": (256, 28, 28),
        "inception_3b": (480, 28, 28),
        "pool3": (480, 14, 14),
        "inception_4a": (512, 14, 14),
        "inception_4b": (512, 14, 14),
        "inception_4c": (512, 14, 14),
        "inception_4d": (528, 14, 14),
        "inception_4e": (832, 14, 14),
        "pool4": (832, 7, 7),
        "inception_5a": (832, 7, 7),
        "inception_5b": (1024, 7, 7),
    }
    assert [tap.shape[1:] for tap in taps] == [(512, 14, 14), (528, 14, 14), (1024, 7, 7)]
    assert (*trunk.tap_channels, trunk.out_channels) == tuple(tap.shape[1] for tap in taps)


def test_caffes_form_has_its_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in GoogLeNet().parameters()) == 5_973_552


def test_neighbouring_channels_normalise_as_in_torch(generator: torch.Generator) -> None:
    x = 100 * torch.randn(2, 7, 5, 6, generator=generator, dtype=torch.float64)
    theirs = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    torch.testing.assert_close(LocalResponseNorm()(x), theirs(x))
    assert (LocalResponseNorm()(x) - x).abs().max() > 10
    large = torch.full((1, 6, 2, 2), 600.0, dtype=torch.float16)  # its square is none of half precision
    torch.testing.assert_close(LocalResponseNorm()(large), theirs(large.float()).half())


def test_the_stem_is_the_one_of_caffe_by_hand(generator: torch.Generator) -> None:
    trunk = GoogLeNet().eval()
    image = torch.rand(1, 3, 63, 70, generator=generator)
    seen: list[Tensor] = []
    trunk.inception_3a.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    theirs = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    w = trunk.state_dict()

    with torch.no_grad():
        trunk(image)
        blue_first = (255 * image - torch.tensor([123.0, 117.0, 104.0]).reshape(3, 1, 1)).flip(1)
        x = functional.conv2d(blue_first, w["conv1.conv.weight"].flip(1), w["conv1.conv.bias"], 2, 3).relu()
        x = theirs(functional.max_pool2d(x, 3, 2, ceil_mode=True))
        x = functional.conv2d(x, w["reduction2.conv.weight"], w["reduction2.conv.bias"]).relu()
        x = theirs(functional.conv2d(x, w["conv2.conv.weight"], w["conv2.conv.bias"], 1, 1).relu())
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)

    torch.testing.assert_close(seen[0], x, rtol=1e-4, atol=1e-4)


def test_pooling_is_counted_up_as_in_caffe_or_padded_as_in_poselstm(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 12, 14, generator=generator)
    counted_up, padded = GoogLeNet(), GoogLeNet(pool_padding=1)

    for name in ("pool1", "pool2", "pool3", "pool4"):
        assert torch.equal(counted_up.get_submodule(name)(x), functional.max_pool2d(x, 3, 2, ceil_mode=True))
        assert torch.equal(padded.get_submodule(name)(x), functional.max_pool2d(x, 3, 2, 1))
    last = GoogLeNet(batch_norm=True).pool4  # torchvision's
    assert torch.equal(last(x), functional.max_pool2d(x, 2, 2))


def test_blobs_of_caffe_load_and_see_blue_first() -> None:
    theirs, trunk = _bvlc(), GoogLeNet()

    report = import_weights(trunk, theirs, BVLC)

    assert set(report.dropped) == {"loss1/conv_0", "loss3/classifier_1"}
    assert (len(report.matched), report.kept) == (2 * 57, ())
    assert torch.equal(trunk.conv1.conv.weight, theirs["conv1/7x7_s2_0"].flip(1))
    names = {
        f"inception_{module}/{name}_{blob}": f"inception_{module}.{ours}.conv.{part}"
        for module in INCEPTIONS
        for name, ours in zip(BVLC_NAMES, OUR_NAMES, strict=True)
        for blob, part in ((0, "weight"), (1, "bias"))
    }
    stem = {"conv1/7x7_s2_1": "conv1.conv.bias", "conv2/3x3_reduce_0": "reduction2.conv.weight"}
    _check_places(trunk, theirs, {**names, **stem, "conv2/3x3_0": "conv2.conv.weight"})


class _Python2(pickle._Pickler):  # type: ignore[misc, name-defined]
    """Write bytes as Python 2 wrote its strings, names and the contents of arrays alike."""

    def save_string(self, text: bytes) -> None:
        short = len(text) < 256
        self.write((b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text))) + text)
        self.memoize(text)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_string}  # type: ignore[attr-defined]


@pytest.mark.parametrize("pickler", [_Python2, pickle.Pickler])
def test_a_pickle_with_names_of_bytes_loads_after_the_conversion_that_the_message_names(
    pickler: type[pickle.Pickler], tmp_path: Path
) -> None:
    theirs, trunk, path = _bvlc(), GoogLeNet(), tmp_path / "places-googlenet.pickle"
    with path.open("wb") as file:
        pickler(file, protocol=2).dump({name.encode(): value.numpy() for name, value in theirs.items()})

    with pytest.raises(Vo3dError, match="no code of a file is run; if you trust it: python -c ") as refusal:
        read_weights(path)
    command = shlex.split(str(refusal.value).partition("if you trust it: python ")[2])
    subprocess.run([sys.executable, *command], check=True)

    report = load_weights(trunk, Path(f"{path}.plain.pth"))
    assert (report.source, len(report.matched), report.kept) == (BVLC.source, 2 * 57, ())
    assert torch.equal(trunk.inception_5b.pool_project.conv.bias, theirs["inception_5b/pool_proj_1"])


def test_a_posenet_of_poselstm_loads_into_the_pooling_that_it_was_trained_with() -> None:
    theirs, trunk = _poselstm(), GoogLeNet(pool_padding=1)
    assert published_map(trunk, theirs) is POSELSTM

    report = import_weights(trunk, theirs, POSELSTM)

    assert len(report.matched) == 2 * 57
    assert len(report.matched) + len(report.dropped) == len(theirs)
    assert {name.partition(".")[0] for name in report.dropped} == {"cls1_fc", "cls3_fc", "model"}
    assert (report.kept, report.valued) == (("image_mean",), ("image_std",))
    names = {
        f"inception_{module}.{name}.{part}": f"inception_{module}.{ours}.conv.{part}"
        for module in INCEPTIONS
        for name, ours in zip(POSELSTM_NAMES, OUR_NAMES, strict=True)
        for part in ("weight", "bias")
    }
    stem = {"0": "conv1", "4": "reduction2", "6": "conv2"}
    names |= {f"before_inception.{number}.weight": f"{name}.conv.weight" for number, name in stem.items()}
    _check_places(trunk, theirs, names)
    with pytest.raises(Vo3dError, match="pool_padding 0 instead of 1; build the model with the trunk googlenet with"):
        import_weights(GoogLeNet(), theirs, POSELSTM)


def test_weights_of_torchvision_load_with_their_normalisation(tmp_path: Path) -> None:
    theirs, trunk = _torchvision(), GoogLeNet(batch_norm=True)
    torch.save(theirs, tmp_path / "googlenet.pth")

    report = load_weights(trunk, tmp_path / "googlenet.pth")

    assert report.source == TORCHVISION.source
    assert set(report.dropped) == {"fc.weight", "aux1.conv.conv.weight"}
    assert (len(report.matched), report.kept) == (6 * 57, ())
    names = {
        f"inception{module}.{name}.{theirs_}": f"inception_{module}.{ours}.{part}"
        for module in INCEPTIONS
        for name, ours in zip(TORCHVISION_NAMES, OUR_NAMES, strict=True)
        for theirs_, part in (("conv.weight", "conv.weight"), ("bn.running_var", "norm.running_var"))
    }
    names |= {"conv2.conv.weight": "reduction2.conv.weight", "conv3.bn.bias": "conv2.norm.bias"}
    _check_places(trunk, theirs, names)
    assert torch.equal(trunk.image_mean.flatten(), torch.full((3,), 0.5))


def test_published_weights_are_a_start_for_adapool() -> None:
    theirs, trunk = _bvlc(), GoogLeNet(pool="ada")

    report = import_weights(trunk, theirs, BVLC)

    assert set(report.kept) == {f"pool{number}.beta" for number in range(1, 5)}
    assert torch.equal(trunk.inception_4d.conv_5x5.conv.weight, theirs["inception_4d/5x5_0"])


@pytest.mark.parametrize(("key_map", "batch_norm"), [(BVLC, True), (POSELSTM, True), (TORCHVISION, False)])
def test_weights_of_the_other_form_are_refused(key_map: KeyMap, batch_norm: bool) -> None:
    makers = {BVLC.source: _bvlc, POSELSTM.source: _poselstm, TORCHVISION.source: _torchvision}
    theirs = makers[key_map.source]()
    trunk = GoogLeNet(batch_norm, pool_padding=int(key_map is POSELSTM))
    before = {name: value.clone() for name, value in trunk.state_dict().items()}

    with pytest.raises(Vo3dError, match=rf"{key_map.source} does not fit GoogLeNet: no place for.*; build the model"):
        import_weights(trunk, theirs, key_map)

    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_an_image_that_is_too_small_is_refused_in_one_line() -> None:
    assert GoogLeNet().eval()(torch.rand(1, 3, 31, 31)).shape == (1, 1024, 1, 1)
    with pytest.raises(Vo3dError, match=r"^images of 30 rows and 64 columns: GoogLeNet needs 31 of each at least"):
        GoogLeNet()(torch.rand(1, 3, 30, 64))
