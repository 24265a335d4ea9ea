"""Trunks by name: networks from an image to its last maps, of which methods for single images are built."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap, import_weights
from vo3d.layers.alexnet import AlexNet
from vo3d.layers.downsampling import Pool
from vo3d.layers.efficientnet import PYTORCH_MODEL, EfficientNetLite0
from vo3d.layers.googlenet import GoogLeNet
from vo3d.layers.image_trunk import Trunk
from vo3d.layers.imagenet import efficientnet_lite0_weights
from vo3d.layers.resnet import ResNet
from vo3d.layers.vgg import VGG16

TrunkName = Literal[
    "googlenet", "googlenet_bn", "googlenet_poselstm", "resnet18", "resnet34", "efficientnet_lite0", "vgg16", "alexnet"
]
_TRUNKS: dict[TrunkName, Callable[[Pool | None], Trunk]] = {
    "googlenet": partial(GoogLeNet, False),
    "googlenet_bn": partial(GoogLeNet, True),
    "googlenet_poselstm": partial(GoogLeNet, False, pool_padding=1),
    "resnet18": partial(ResNet, 18),
    "resnet34": partial(ResNet, 34),
    "efficientnet_lite0": EfficientNetLite0,
    "vgg16": VGG16,
    "alexnet": AlexNet,
}
PRETRAINED: tuple[TrunkName, ...] = ("efficientnet_lite0",)  # whose weights from ImageNet a package brings
__all__ = ["PRETRAINED", "Trunk", "TrunkName", "check_pretrained", "check_trunk", "make_trunk", "of_trunk"]


def make_trunk(name: TrunkName, *, pool: Pool | None = None, pretrained: bool = False, cut: int | None = None) -> Trunk:
    """Make a trunk with random weights, or with those from ImageNet.

    Args:
        name: "googlenet" as in Caffe, "googlenet_bn" as in torchvision, "googlenet_poselstm" as in poselstm-pytorch,
            with padded pooling; "resnet18", "resnet34", "efficientnet_lite0"; "vgg16" and "alexnet", which end before
            their last rectifier.
        pool: what halves the maps after the first convolution, see `vo3d.layers.downsampling`; None: as published.
        pretrained: load weights from ImageNet out of the package that the extra `imagenet` brings; there are some of
            efficientnet_lite0 alone.
        cut: keep so many parts of it alone, see `Trunk.cut`: stages of a ResNet, blocks of EfficientNet-Lite0.

    Raises:
        Vo3dError: the name or the pool is unknown, there are no such weights, or no such parts.
    """
    check_trunk(name)
    if pretrained:
        check_pretrained(name)
    trunk = _TRUNKS[name](pool)
    if pretrained:
        import_weights(trunk, efficientnet_lite0_weights(), PYTORCH_MODEL)
    if cut is not None:
        trunk.cut(cut)
    return trunk


def check_pretrained(name: TrunkName) -> None:
    """Raise Vo3dError unless a package brings weights from ImageNet for a trunk."""
    if name not in PRETRAINED:
        raise Vo3dError(
            f"no package brings weights from ImageNet for the trunk {name}: choose {' or '.join(PRETRAINED)}, or load "
            "a checkpoint of your own (`init_weights`)"
        )


def check_trunk(name: str) -> None:
    """Raise Vo3dError unless `name` is one of `TrunkName`."""
    if name not in get_args(TrunkName):
        raise Vo3dError(f"trunk {name!r} is unknown: expected one of {', '.join(get_args(TrunkName))}")


def of_trunk(key_map: KeyMap, rename: Mapping[str, str] | None = None, **changes: object) -> KeyMap:
    """Extend the map of a checkpoint of a trunk to a model that holds one by the name `trunk`.

    Args:
        key_map: of the trunk alone.
        rename: of other keys of the checkpoint; without it, the rest of the model keeps its values.
        changes: fields of the map that are others; `keep` and `values` come to those of the trunk.
    """
    keep, values = changes.pop("keep", ()), changes.pop("values", {})
    if rename is None:
        keep = (r"(?!trunk\.).*",)
    return replace(
        key_map,
        rename={**{theirs: f"trunk.{ours}" for theirs, ours in key_map.rename.items()}, **(rename or {})},
        keep=(*(f"trunk\\.{pattern}" for pattern in key_map.keep), *keep),  # type: ignore[misc]
        convert={f"trunk.{ours}": change for ours, change in key_map.convert.items()},
        values={**{f"trunk.{ours}": numbers for ours, numbers in key_map.values.items()}, **values},  # type: ignore[dict-item]
        **changes,  # type: ignore[arg-type]
    )


TRUNKS_ALONE: Mapping[str, KeyMap] = {
    f"{kind.__name__.lower()}-{name}": of_trunk(key_map)
    for kind in (GoogLeNet, ResNet, EfficientNetLite0, VGG16, AlexNet)
    for name, key_map in kind.published.items()
}
