"""Descriptors of whole images: unit length, any size, what they ignore; trunks that never learn."""

import pytest
import torch
from torch.nn.functional import interpolate

from samples import make_sample
from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.layers.image_descriptor import SIDE, Features, FrozenTrunk, ImageDescriptor
from vo3d.layers.trunk import make_trunk

BOTH = pytest.mark.parametrize("features", ["thumbnail", "efficientnet_lite0"])


def views(size: tuple[int, int] = (60, 80)) -> torch.Tensor:
    return make_sample(b=3, s=1, size=size).image[:, 0]


@BOTH
def test_descriptors_have_unit_length_whatever_the_size(features: Features) -> None:
    describe = ImageDescriptor(features, pretrained=False)
    small, large = describe(views()), describe(interpolate(views(), scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(small.norm(dim=-1), torch.ones(3))
    assert torch.equal((large @ small.mT).argmax(-1), torch.arange(3))
    assert describe(views((67, 131))).shape == small.shape


def test_a_thumbnail_ignores_brightness_and_contrast() -> None:
    describe = ImageDescriptor("thumbnail")
    image = views()
    torch.testing.assert_close(describe(0.5 * image + 0.2), describe(image), rtol=0, atol=1e-5)
    assert describe(image).shape == (3, 24 * 32)
    assert (describe(torch.full((1, 3, 60, 80), 0.3)).abs() < 1e-2).all()  # of one colour: nothing to tell


def test_a_frozen_trunk_is_the_trunk() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = make_trunk("efficientnet_lite0").eval()
    frozen = FrozenTrunk("efficientnet_lite0", pretrained=False).train()
    image = torch.rand(1, 3, SIDE, 300)
    with torch.no_grad():
        assert torch.equal(frozen(image), trunk(image))  # no resizing, statistics of inference although in training
    assert list(frozen.parameters()) == []
    assert not frozen(image).requires_grad
    before = torch.random.get_rng_state()
    FrozenTrunk("efficientnet_lite0", pretrained=False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_all_views_of_all_recordings_are_described() -> None:
    recordings = [TinyRecording(0, frames=3), TinyRecording(1, frames=2)]
    found = ImageDescriptor("thumbnail").of_all(recordings)
    assert found.shape == (5, 24 * 32)
    assert torch.equal(found[3:4], ImageDescriptor("thumbnail")(recordings[1].clip([0]).image))


def test_a_trunk_without_published_weights_is_told() -> None:
    with pytest.raises(Vo3dError, match="weights from ImageNet for the trunk resnet18"):
        ImageDescriptor("resnet18")
