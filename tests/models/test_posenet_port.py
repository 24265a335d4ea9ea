"""Published checkpoints of PoseNet: every key has its place, and every value lands there."""

from collections.abc import Iterator

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights, published_map
from vo3d.models.posenet import PoseNet

MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
CAFFE_PARTS = {
    "conv_1x1": "out0",
    "reduce_3x3": "reduction1",
    "conv_3x3": "out1",
    "reduce_5x5": "reduction2",
    "conv_5x5": "out2",
    "pool_project": "out3",
}
POSELSTM_PARTS = {
    "conv_1x1": "branch_x1.0",
    "reduce_3x3": "branch_x3.0",
    "conv_3x3": "branch_x3.2",
    "reduce_5x5": "branch_x5.0",
    "conv_5x5": "branch_x5.2",
    "pool_project": "branch_proj.1",
}


def caffe_layers() -> Iterator[tuple[str, str]]:
    """The layers of our network and their names in caffe-posenet."""
    yield from ((f"trunk.{name}.conv", name) for name in ("conv1", "reduction2", "conv2"))
    for number, module in enumerate(MODULES, start=1):
        yield from ((f"trunk.inception_{module}.{ours}.conv", f"icp{number}_{p}") for ours, p in CAFFE_PARTS.items())
    for head, number in (("auxiliary.0", 1), ("auxiliary.1", 2), ("head", 3)):
        yield f"{head}.xyz", f"cls{number}_fc_pose_xyz"
        yield f"{head}.rotation", f"cls{number}_fc_pose_wpqr"
    yield "auxiliary.0.conv", "cls1_reduction_pose"
    yield "auxiliary.1.conv", "cls2_reduction_pose"
    yield "auxiliary.0.fc", "cls1_fc1_pose"
    yield "auxiliary.1.fc", "cls2_fc1"
    yield "head.fc", "cls3_fc1_pose"


def poselstm_layers() -> Iterator[tuple[str, str]]:
    """The layers of our network and their names in poselstm-pytorch."""
    yield from (
        (f"trunk.{ours}.conv", f"before_inception.{place}")
        for ours, place in (("conv1", 0), ("reduction2", 4), ("conv2", 6))
    )
    for module in MODULES:
        yield from (
            (f"trunk.inception_{module}.{ours}.conv", f"inception_{module}.{theirs}")
            for ours, theirs in POSELSTM_PARTS.items()
        )
    for head, number in (("auxiliary.0", 1), ("auxiliary.1", 2), ("head", 3)):
        if number < 3:
            yield f"{head}.conv", f"cls{number}_fc.projection.1"
        yield f"{head}.fc", f"cls{number}_fc.cls_fc_pose.0"
        yield f"{head}.xyz", f"cls{number}_fc.cls_fc_xy"
        yield f"{head}.rotation", f"cls{number}_fc.cls_fc_wpqr"


def geomapnet_keys(model: PoseNet) -> Iterator[tuple[str, str]]:
    """The keys of our network and theirs in geomapnet."""
    heads = {"head.fc": "feature_extractor.fc", "head.xyz": "fc_xyz", "head.rotation": "fc_wpqr"}
    for key in model.state_dict():
        layer, _, part = key.rpartition(".")
        if layer in heads:
            yield key, f"{heads[layer]}.{part}"
        elif key.startswith("trunk.") and not key.startswith("trunk.image"):
            yield key, key.replace("trunk.", "feature_extractor.")


def check_all_arrive(model: PoseNet, theirs: dict[str, torch.Tensor], source: str) -> PoseNet:
    """Import a checkpoint that holds the values of `model` into another one, and compare every parameter."""
    torch.manual_seed(1)
    other = PoseNet(**ARGUMENTS[source])
    key_map = published_map(other, theirs)
    assert key_map is not None
    report = import_weights(other, theirs, key_map)
    assert not report.misfits
    assert len(report.matched) + len(report.dropped) == len(theirs)
    for name, value in model.named_parameters():
        assert torch.equal(other.state_dict()[name], value), name
    return other


ARGUMENTS = {
    "caffe": {"hidden": 16, "norm": "squared", "beta": 500.0},
    "poselstm": {"hidden": 16, "trunk": "googlenet_poselstm"},
    "geomapnet": {"hidden": 16, "trunk": "resnet34", "rotation": "log_quaternion", "size": (64, 64)},
}


@pytest.mark.parametrize("parts", [("_0", "_1"), (".weight", ".bias")])
def test_blobs_of_the_release_arrive_with_red_and_blue_exchanged(parts: tuple[str, str]) -> None:
    torch.manual_seed(0)
    model = PoseNet(**ARGUMENTS["caffe"])
    values = model.state_dict()
    theirs = {
        f"{layer}{theirs_part}": values[f"{ours}.{part}"]
        for ours, layer in caffe_layers()
        for part, theirs_part in zip(("weight", "bias"), parts, strict=True)
    }
    assert len(theirs) == 2 * (3 + 9 * 6 + 2 + 3 + 6)
    theirs[f"conv1{parts[0]}"] = values["trunk.conv1.conv.weight"].flip(1)  # Caffe's images are BGR
    check_all_arrive(model, theirs, "caffe")


def test_checkpoints_of_poselstm_arrive_once_though_they_hold_each_tensor_twice() -> None:
    torch.manual_seed(0)
    model = PoseNet(**ARGUMENTS["poselstm"])
    values = model.state_dict()
    theirs = {
        f"{layer}.{part}": values[f"{ours}.{part}"] for ours, layer in poselstm_layers() for part in ("weight", "bias")
    }
    twice = {**theirs, **{f"model.{place}.{key}": value for place, (key, value) in enumerate(theirs.items())}}
    check_all_arrive(model, twice, "poselstm")
    wrong = PoseNet(hidden=16)
    key_map = published_map(wrong, twice)
    assert key_map is not None
    with pytest.raises(Vo3dError, match="pool_padding 0 instead of 1; build the model with trunk googlenet_poselstm"):
        import_weights(wrong, twice, key_map)


@pytest.mark.parametrize("prefix", ["", "mapnet."])
def test_checkpoints_of_geomapnet_arrive(prefix: str) -> None:
    torch.manual_seed(0)
    model = PoseNet(**ARGUMENTS["geomapnet"])
    theirs = {f"{prefix}{key}": model.state_dict()[ours] for ours, key in geomapnet_keys(model)}
    check_all_arrive(model, theirs, "geomapnet")


def test_googlenet_on_places_is_a_start() -> None:
    torch.manual_seed(0)
    model = PoseNet(hidden=16)
    values = model.state_dict()
    names = {"conv_1x1": "1x1", "reduce_3x3": "3x3_reduce", "conv_3x3": "3x3", "reduce_5x5": "5x5_reduce"}
    names |= {"conv_5x5": "5x5", "pool_project": "pool_proj"}
    layers = {"conv1": "conv1/7x7_s2", "reduction2": "conv2/3x3_reduce", "conv2": "conv2/3x3"}
    layers |= {f"inception_{m}.{ours}": f"inception_{m}/{part}" for m in MODULES for ours, part in names.items()}
    theirs = {
        f"{layer}_{blob}": values[f"trunk.{ours}.conv.{part}"]
        for ours, layer in layers.items()
        for blob, part in enumerate(("weight", "bias"))
    }
    theirs |= {"loss1/conv_0": torch.zeros(1), "loss2/fc_1": torch.zeros(1)}
    other = PoseNet(hidden=16)
    before = other.head.fc.weight.clone()
    key_map = published_map(other, theirs)
    assert key_map is not None
    report = import_weights(other, theirs, key_map)
    assert set(report.dropped) == {"loss1/conv_0", "loss2/fc_1"}
    assert torch.equal(other.trunk.inception_5b.conv_3x3.conv.weight, values["trunk.inception_5b.conv_3x3.conv.weight"])
    assert torch.equal(other.trunk.conv1.conv.weight, values["trunk.conv1.conv.weight"].flip(1))
    assert torch.equal(other.head.fc.weight, before)
