"""Descriptors of whole images: unit length, any size, what they ignore; trunks that never learn."""

import pytest
import torch
from torch.nn.functional import interpolate

from samples import make_sample
from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.layers.frozen import SIDE, FrozenTrunk
from vo3d.layers.image_descriptor import NOISE, THUMBNAIL, Features, ImageDescriptor, pooled
from vo3d.layers.trunk import make_trunk

ALL = pytest.mark.parametrize("features", ["thumbnail", "patch_thumbnail", "efficientnet_lite0"])


def views(size: tuple[int, int] = (60, 80)) -> torch.Tensor:
    return make_sample(b=3, s=1, size=size).image[:, 0]


@ALL
def test_descriptors_have_unit_length_whatever_the_size(features: Features) -> None:
    describe = ImageDescriptor(features, pretrained=False)
    small, large = describe(views()), describe(interpolate(views(), scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(small.norm(dim=-1), torch.ones(3))
    assert torch.equal((large @ small.mT).argmax(-1), torch.arange(3))
    assert describe(views((67, 131))).shape == small.shape


def test_a_thumbnail_ignores_brightness_and_contrast() -> None:
    describe = ImageDescriptor("thumbnail")
    image = views()
    torch.testing.assert_close(describe(0.5 * image + 0.2), describe(image), rtol=0, atol=1e-3)
    assert describe(image).shape == (3, 24 * 32 + 1)


@pytest.mark.parametrize("features", ["thumbnail", "patch_thumbnail"])
def test_an_image_of_one_colour_looks_like_its_kind_alone(features: Features) -> None:
    describe = ImageDescriptor(features)
    blank = torch.cat([describe(torch.full((1, 3, 60, 80), grey)) for grey in (0.0, 0.3)])
    torch.testing.assert_close(blank @ blank.mT, torch.ones(2, 2), rtol=0, atol=0.05)  # rounding
    assert (describe(views()) @ blank.mT < 0.05).all()


def test_a_thumbnail_of_patches_is_that_of_a_loop_over_pixels() -> None:
    image = views()
    found = ImageDescriptor("patch_thumbnail")(image)[:, :-1].reshape(3, *THUMBNAIL)
    grey = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    small = interpolate(grey[:, None], size=THUMBNAIL, mode="area")[:, 0].double()
    rows, columns = (list(range(size)) for size in THUMBNAIL)
    rows, columns = ([*axis[3:0:-1], *axis, *axis[-2:-5:-1]] for axis in (rows, columns))  # mirrored at borders
    expected = torch.empty_like(small)
    for y in range(THUMBNAIL[0]):
        for x in range(THUMBNAIL[1]):
            patch = small[:, rows[y : y + 7]][:, :, columns[x : x + 7]].flatten(1)
            expected[:, y, x] = (small[:, y, x] - patch.mean(1)) / (patch.std(1, correction=0) + NOISE)
    expected /= expected.flatten(1).norm(dim=-1)[:, None, None]
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_shade_over_half_of_an_image_changes_a_thumbnail_of_patches_less() -> None:
    image = views((96, 128))
    shaded = image.clone()
    shaded[..., 64:] *= 0.5
    kept = {}
    for features in ("thumbnail", "patch_thumbnail"):
        describe = ImageDescriptor(features)
        kept[features] = (describe(shaded) * describe(image)).sum(-1).mean().item()
    assert kept["patch_thumbnail"] > kept["thumbnail"]


def test_maps_are_pooled_to_a_mean_a_maximum_or_a_grid() -> None:
    maps = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)
    assert torch.equal(pooled(maps, "mean", (1, 1)), maps.flatten(2).mean(-1))
    assert torch.equal(pooled(maps, "max", (1, 1)), maps[..., -1, -1])
    grid = pooled(maps, "grid", (2, 3)).reshape(2, 3, 2, 3)
    assert torch.equal(grid[:, :, 1, 2], maps[:, :, 2:, 4:].mean((-2, -1)))
    describe = ImageDescriptor("efficientnet_lite0", pretrained=False, cut=8, pooling="grid", grid=(6, 8))
    assert describe(views((67, 131))).shape == (3, 80 * 6 * 8)
    for arguments, words in (
        ({"grid": (0, 4)}, r"grid \(0, 4\): expected at least 1 row"),
        ({"cut": 17}, "cut=17: expected 1 to 16 parts"),
    ):
        with pytest.raises(Vo3dError, match=words):
            ImageDescriptor("efficientnet_lite0", pretrained=False, **arguments)


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
    assert found.shape == (5, 24 * 32 + 1)
    assert torch.equal(found[3:4], ImageDescriptor("thumbnail")(recordings[1].clip([0]).image))


def test_a_trunk_without_published_weights_is_told() -> None:
    with pytest.raises(Vo3dError, match="weights from ImageNet for the trunk resnet18"):
        ImageDescriptor("resnet18")
