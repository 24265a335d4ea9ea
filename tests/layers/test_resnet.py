"""ResNet: torchvision's names and sizes, and its block computed by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights, load_weights
from vo3d.layers.resnet import TORCHVISION, BasicBlock, ResNet

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
PARAMETERS = {18: 11_689_512 - 513_000, 34: 21_797_672 - 513_000}  # as torchvision counts them, without fc
every_depth = pytest.mark.parametrize("depth", BLOCKS)


def _torchvision(depth: int, counts: bool = True) -> dict[str, Tensor]:
    """A state dict of the names and shapes that torchvision writes."""
    found: dict[str, Tensor] = {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}

    def add(conv: str, norm: str, inputs: int, outputs: int, window: int) -> None:
        found[f"{conv}.weight"] = torch.randn(outputs, inputs, window, window)
        found.update({f"{norm}.{part}": torch.rand(outputs) for part in ("weight", "bias", "running_mean")})
        found[f"{norm}.running_var"] = torch.rand(outputs)
        if counts:
            found[f"{norm}.num_batches_tracked"] = torch.tensor(5)

    add("conv1", "bn1", 3, 64, 7)
    inputs = 64
    for stage, (channels, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[depth], strict=True), start=1):
        for index in range(count):
            block = f"layer{stage}.{index}"
            add(f"{block}.conv1", f"{block}.bn1", inputs, channels, 3)
            add(f"{block}.conv2", f"{block}.bn2", channels, channels, 3)
            if inputs != channels:
                add(f"{block}.downsample.0", f"{block}.downsample.1", inputs, channels, 1)
            inputs = channels
    return found


@every_depth
def test_weights_of_torchvision_load_unchanged(depth: int, tmp_path: Path) -> None:
    theirs, trunk = _torchvision(depth), ResNet(depth)
    torch.save(theirs, tmp_path / "resnet.pth")

    report = load_weights(trunk, tmp_path / "resnet.pth")

    assert report.source == TORCHVISION.source
    assert set(report.dropped) == {"fc.weight", "fc.bias"}
    assert all(name == ours for name, ours in report.matched.items())
    assert set(report.matched) == set(theirs) - {"fc.weight", "fc.bias"}
    assert (report.kept, set(report.valued)) == ((), {"image_mean", "image_std"})
    state = trunk.state_dict()
    assert all(torch.equal(state[name], theirs[name]) for name in report.matched)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == PARAMETERS[depth]


def test_files_of_before_batches_were_counted_load() -> None:
    report = import_weights(ResNet(18), _torchvision(18, counts=False), TORCHVISION)

    assert len(report.kept) == 20
    assert all(name.endswith("num_batches_tracked") for name in report.kept)


def test_published_weights_are_a_start_for_adapool() -> None:
    theirs, trunk = _torchvision(18), ResNet(18, pool="ada")

    report = import_weights(trunk, theirs, TORCHVISION)

    halving = [f"layer{stage}.0.{name}.beta" for stage in (2, 3, 4) for name in ("pool", "shortcut_pool")]
    assert set(report.kept) == {"pool.beta", *halving}
    assert torch.equal(trunk.state_dict()["layer3.0.downsample.0.weight"], theirs["layer3.0.downsample.0.weight"])


def test_the_other_depth_is_refused() -> None:
    with pytest.raises(
        Vo3dError, match=r"no value for: layer1\.2\.conv1\.weight.*build the model with the trunk resnet18 "
    ):
        import_weights(ResNet(34), _torchvision(18), TORCHVISION)
    with pytest.raises(Vo3dError, match=r"no place for: layer1\.2\.conv1\.weight"):
        import_weights(ResNet(18), _torchvision(34), TORCHVISION)


@every_depth
def test_sizes_at_each_stage(depth: int) -> None:
    trunk = ResNet(depth).eval()
    shapes: dict[str, torch.Size] = {}
    for name, module in trunk.named_children():
        module.register_forward_hook(lambda _, __, y, name=name: shapes.__setitem__(name, y.shape[1:]))

    with torch.no_grad():
        trunk(torch.rand(1, 3, 224, 224))

    assert {name: tuple(shape) for name, shape in shapes.items() if name != "bn1"} == {
        "conv1": (64, 112, 112),
        "pool": (64, 56, 56),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
    }


@pytest.mark.parametrize("pool", ["stride", "avg"])
def test_a_block_computes_what_its_formula_says(pool: str, generator: torch.Generator) -> None:
    block = BasicBlock(4, 6, 2, pool).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for tensor in (*block.parameters(), *block.buffers()):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    x = torch.randn(2, 4, 7, 9, generator=generator, dtype=torch.float64)
    w, kept = block.eval().state_dict(), x.clone()
    stride = 2 if pool == "stride" else 1

    def norm(y: Tensor, name: str) -> Tensor:
        part = {key: w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
        return functional.batch_norm(y, **part, eps=1e-5)

    def halved(y: Tensor) -> Tensor:
        return functional.avg_pool2d(y, 2, ceil_mode=True, count_include_pad=False) if stride == 1 else y

    inner = halved(norm(functional.conv2d(x, w["conv1.weight"], None, stride, 1), "bn1").relu())
    shortcut = norm(functional.conv2d(halved(x), w["downsample.0.weight"], None, stride), "downsample.1")
    expected = (norm(functional.conv2d(inner, w["conv2.weight"], None, 1, 1), "bn2") + shortcut).relu()

    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, kept)
    assert expected.shape == (2, 6, 4, 5)
