"""What every trunk must be: sizes, gradients, images of any size, a state dict that carries its normalisation."""

import re
from typing import get_args

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.layers.downsampling import Pool
from vo3d.layers.trunk import Trunk, TrunkName, check_trunk, make_trunk

CHANNELS: dict[TrunkName, int] = {
    **{"googlenet": 1024, "googlenet_bn": 1024, "resnet18": 512, "resnet34": 512},
    **{"efficientnet_lite0": 1280, "vgg16": 512, "alexnet": 256},
}
every_trunk = pytest.mark.parametrize("name", CHANNELS)
every_pool = pytest.mark.parametrize("pool", [None, "ada", "avg"])


def _trunk(name: TrunkName, pool: Pool | None = None) -> Trunk:
    torch.manual_seed(0)
    return make_trunk(name, pool=pool)


def _last(name: TrunkName, rows: int) -> int:
    """Rows of the last maps of an image of `rows`: half five times, rounded up, but down by Caffe's windows of 3.

    VGG halves four times, down; AlexNet's windows of 11 at every fourth pixel are followed by two of 3 at every second.
    """
    if name == "vgg16":
        return rows // 16
    if name == "alexnet":
        return (((rows - 7) // 4 + 1 - 1) // 2 - 1) // 2
    rows = -(-rows // 2)
    for step in range(4):
        down = name == "googlenet" or (name == "googlenet_bn" and step < 3)
        rows = max(rows // 2, 1) if down else -(-rows // 2)
    return rows


@every_trunk
@every_pool
@pytest.mark.parametrize("size", [(160, 128), (97, 131), (33, 64)])
def test_the_size_of_the_last_maps_is_the_same_whatever_pools(
    name: TrunkName, pool: Pool | None, size: tuple[int, int]
) -> None:
    trunk = _trunk(name, pool).eval()

    with torch.no_grad():
        maps = trunk(torch.rand(1, 3, *size))

    assert trunk.out_channels == CHANNELS[name]
    assert maps.shape == (1, CHANNELS[name], *(_last(name, n) for n in size))
    assert maps.isfinite().all()


@every_trunk
@every_pool
def test_every_parameter_gets_a_gradient(name: TrunkName, pool: Pool | None, generator: torch.Generator) -> None:
    trunk = _trunk(name, pool)

    trunk(torch.rand(2, 3, 97, 131, generator=generator)).square().sum().backward()

    without = [key for key, p in trunk.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad.isfinite().all() for p in trunk.parameters() if p.grad is not None)


@every_trunk
def test_an_image_is_seen_alike_alone_and_among_others(name: TrunkName, generator: torch.Generator) -> None:
    trunk, images = _trunk(name).eval(), torch.rand(3, 3, 64, 97, generator=generator)

    with torch.no_grad():
        together = trunk(images)
        alone = torch.cat([trunk(image[None]) for image in images])

    assert together.std(0).max() > 0
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5 * together.abs().max().item())


@every_trunk
def test_the_state_dict_carries_how_images_are_normalised(name: TrunkName) -> None:
    trunk = _trunk(name).eval()
    state = trunk.state_dict()
    assert state["image_mean"].shape == state["image_std"].shape == (3, 1, 1)
    image = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        before = trunk(image)
        trunk.load_state_dict({**state, "image_mean": state["image_mean"] + 0.25})
        shifted = trunk(image + 0.25)

    torch.testing.assert_close(shifted, before, rtol=1e-3, atol=1e-4 * before.abs().max().item())


@every_trunk
def test_an_image_is_left_as_it_was(name: TrunkName) -> None:
    image = torch.rand(2, 3, 64, 64)
    kept = image.clone()

    _trunk(name)(image)

    assert torch.equal(image, kept)


@every_trunk
def test_starting_weights_come_from_the_seed(name: TrunkName) -> None:
    first, second = _trunk(name).state_dict(), _trunk(name).state_dict()

    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("name", "cut", "channels", "stride"),
    [("resnet18", 2, 128, 8), ("resnet34", 3, 256, 16), ("efficientnet_lite0", 11, 112, 16)],
)
def test_the_first_parts_of_a_trunk_compute_what_they_do_in_the_whole(
    name: TrunkName, cut: int, channels: int, stride: int
) -> None:
    whole = _trunk(name).eval()
    torch.manual_seed(0)
    trunk, image = make_trunk(name, cut=cut).eval(), torch.rand(1, 3, 64, 96)
    last = dict(whole.named_modules())[f"blocks.{cut - 1}" if name == "efficientnet_lite0" else f"layer{cut}"]
    seen: list[torch.Tensor] = []
    last.register_forward_hook(lambda _, __, y: seen.append(y.clone()))

    with torch.no_grad():
        whole(image)
        maps = trunk(image)

    assert trunk.out_channels == channels
    assert maps.shape == (1, channels, 64 // stride, 96 // stride)
    torch.testing.assert_close(maps, seen[0])


@pytest.mark.parametrize(("name", "cut"), [("resnet18", 5), ("efficientnet_lite0", 0), ("vgg16", 3)])
def test_parts_that_a_trunk_has_not_are_refused(name: TrunkName, cut: int) -> None:
    with pytest.raises(Vo3dError, match=rf"^cut={cut}: "):
        make_trunk(name, cut=cut)


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_images_that_leave_nothing_are_refused(name: TrunkName) -> None:
    with pytest.raises(Vo3dError, match=r"^images of 15 rows and 64 columns: .* of each at least"):
        make_trunk(name)(torch.rand(1, 3, 15, 64))


def test_an_unknown_name_is_refused_in_one_line() -> None:
    for name in get_args(TrunkName):
        check_trunk(name)
    with pytest.raises(Vo3dError, match=r"^trunk 'vgg' is unknown: expected one of googlenet, .*alexnet$"):
        check_trunk("vgg")


@pytest.mark.parametrize("name", sorted(set(get_args(TrunkName)) - {"efficientnet_lite0"}))
def test_weights_from_imagenet_are_not_promised_where_there_are_none(name: TrunkName) -> None:
    with pytest.raises(Vo3dError, match=f"no package brings weights .* {re.escape(name)}: choose efficientnet_lite0"):
        make_trunk(name, pretrained=True)
