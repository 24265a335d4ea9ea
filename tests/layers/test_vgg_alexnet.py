"""VGG-16 and AlexNet: torchvision's names and sizes, and the statistics that go with each one's weights."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vo3d.formats.weights import KeyMap, import_weights, published_map
from vo3d.layers import alexnet, vgg
from vo3d.layers.image_trunk import Trunk
from vo3d.layers.trunk import TRUNKS_ALONE

# place of each convolution among torchvision's features, its channels, those before, its window
VGG16 = [
    (i, o, c, 3)
    for i, o, c in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
        (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512),
        strict=True,
    )
]
ALEXNET = [(0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)]


def _theirs(rows: list[tuple[int, int, int, int]], prefix: str = "features.") -> dict[str, Tensor]:
    found = {"classifier.6.bias": torch.randn(1000)} if prefix else {}
    for place, outputs, inputs, window in rows:
        found[f"{prefix}{place}.weight"] = torch.randn(outputs, inputs, window, window)
        found[f"{prefix}{place}.bias"] = torch.randn(outputs)
    return found


@pytest.mark.parametrize(
    ("trunk", "rows", "prefix", "key_map", "parameters"),
    [
        (vgg.VGG16(), VGG16, "features.", vgg.TORCHVISION, 14_714_688),
        (vgg.VGG16(), VGG16, "", vgg.MATCONVNET, 14_714_688),
        (alexnet.AlexNet(), ALEXNET, "features.", alexnet.TORCHVISION, 2_469_696),
    ],
)
def test_published_weights_load_with_their_statistics(
    trunk: Trunk, rows: list[tuple[int, int, int, int]], prefix: str, key_map: KeyMap, parameters: int
) -> None:
    theirs = _theirs(rows, prefix)
    assert published_map(trunk, theirs) is key_map

    report = import_weights(trunk, theirs, key_map)

    state = trunk.state_dict()
    assert len(report.matched) == 2 * len(rows)
    for place, *_ in rows:
        assert torch.equal(state[f"features.{place}.weight"], theirs[f"{prefix}{place}.weight"])
    assert (report.kept, set(report.valued)) == ((), {"image_mean", "image_std"})
    expected = (0.485, 0.456, 0.406) if prefix else (123.68 / 255, 116.779 / 255, 103.939 / 255)
    torch.testing.assert_close(state["image_mean"].flatten(), torch.tensor(expected))
    assert sum(parameter.numel() for parameter in trunk.parameters()) == parameters


def test_each_file_of_a_trunk_is_recognised_as_its_own() -> None:
    assert {"vgg16-torchvision", "vgg16-matconvnet", "alexnet-torchvision"} <= set(TRUNKS_ALONE)
    assert published_map(vgg.VGG16(), _theirs(ALEXNET)) is None
    assert published_map(alexnet.AlexNet(), _theirs(VGG16)) is None


def test_vgg_ends_before_its_last_rectifier_at_a_16th_of_the_size(generator: torch.Generator) -> None:
    trunk, image = vgg.VGG16().eval(), torch.rand(1, 3, 480 // 4, 640 // 4, generator=generator)

    with torch.no_grad():
        maps = trunk(image)
        x = (image - trunk.image_mean) / trunk.image_std
        for place in vgg.CONVOLUTIONS:
            if place in {5, 10, 17, 24}:  # the first one after a pooling
                x = functional.max_pool2d(x, 2)
            weight, bias = (trunk.features[place].get_parameter(name) for name in ("weight", "bias"))
            x = functional.conv2d(x if place == 0 else x.relu(), weight, bias, padding=1)

    assert maps.shape == (1, 512, 30 // 4, 40 // 4)
    assert maps.min() < 0
    torch.testing.assert_close(maps, x, rtol=1e-4, atol=1e-5 * x.abs().max().item())
    assert vgg.VGG16().to("meta")(torch.rand(1, 3, 480, 640, device="meta")).shape == (1, 512, 30, 40)
