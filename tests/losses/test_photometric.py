"""Photometric errors against a loop over pixels, kornia, and images whose depths and cameras are known exactly."""

import math
from itertools import product

import pytest
import torch
from kornia.metrics import ssim
from torch import Tensor

from stereo_scenes import StereoScene, street_scene, wall_scene
from vo3d.errors import Vo3dError
from vo3d.geometry import se3, warp_by_depth
from vo3d.losses import halved, masked_mean, photometric_error, structural_error


def _images(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    """Two images that have something in common."""
    first = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return first, 0.6 * first + 0.4 * torch.rand(*shape, generator=generator, dtype=torch.float64)


def _structural_loop(image: Tensor, other: Tensor, window: int) -> Tensor:
    """(1 - SSIM) / 2 of images c h w by the definitions of mean, variance and covariance of every window."""
    c, h, w = image.shape
    half = window // 2
    weights = [math.exp(-((k - half) ** 2) / (2 * 1.5**2)) for k in range(window)]
    total = sum(weights)

    def mirrored(index: int, length: int) -> int:
        index = abs(index)
        return index if index < length else 2 * (length - 1) - index

    errors = torch.zeros(h, w, dtype=torch.float64)
    for y, x, channel in product(range(h), range(w), range(c)):
        seen = [
            (
                weights[i] * weights[j] / total**2,
                float(image[channel, mirrored(y + i - half, h), mirrored(x + j - half, w)]),
                float(other[channel, mirrored(y + i - half, h), mirrored(x + j - half, w)]),
            )
            for i, j in product(range(window), repeat=2)
        ]
        mean_a, mean_b = sum(k * a for k, a, _ in seen), sum(k * b for k, _, b in seen)
        variance_a = sum(k * (a - mean_a) ** 2 for k, a, _ in seen)
        variance_b = sum(k * (b - mean_b) ** 2 for k, _, b in seen)
        covariance = sum(k * (a - mean_a) * (b - mean_b) for k, a, b in seen)
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        structure = (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4)
        errors[y, x] += (1 - luminance * structure) / 2 / c
    return errors


@pytest.mark.parametrize(("window", "h", "w"), [(1, 1, 1), (3, 7, 5), (5, 3, 9), (11, 7, 6)])
def test_structural_error_equals_a_loop_over_windows(window: int, h: int, w: int, generator: torch.Generator) -> None:
    image, other = _images(generator, 3, h, w)

    torch.testing.assert_close(structural_error(image, other, window), _structural_loop(image, other, window))


@pytest.mark.parametrize("window", [3, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_structural_error_is_that_of_kornia(window: int, dtype: torch.dtype, generator: torch.Generator) -> None:
    image, other = (x.to(dtype) for x in _images(generator, 2, 3, 33, 47))

    expected = ((1 - ssim(image, other, window, eps=0.0)) / 2).mean(1)

    tolerance = 1e-5 if dtype == torch.float32 else 1e-12  # variances are differences of squares, either way
    torch.testing.assert_close(structural_error(image, other, window), expected, rtol=0, atol=tolerance)


def test_structural_error_of_flat_images_is_that_of_their_means() -> None:
    for a, b in ((0.0, 1.0), (0.2, 0.7), (0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        image, other = (torch.full((3, 6, 8), value, dtype=torch.float64) for value in (a, b))
        expected = (1 - (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)) / 2
        torch.testing.assert_close(
            structural_error(image, other), torch.full((6, 8), expected, dtype=torch.float64), rtol=0, atol=1e-12
        )


def test_structural_error_lies_between_0_and_1(generator: torch.Generator) -> None:
    image = torch.rand(3, 20, 30, generator=generator)
    assert structural_error(image, image).max() < 1e-6
    for other in (1 - image, image.flip(-1), torch.zeros_like(image), image.round()):
        error = structural_error(image, other)
        assert 0 <= error.min() < error.max() <= 1
    assert structural_error(image, 1 - image).mean() > 0.7  # what rises here falls there


@pytest.mark.parametrize("ssim_weight", [0.0, 0.3, 0.85, 1.0])
def test_the_mix_equals_a_loop_over_pixels(ssim_weight: float, generator: torch.Generator) -> None:
    image, other = _images(generator, 3, 6, 7)
    valid = torch.rand(6, 7, generator=generator) > 0.3
    filled = torch.stack([torch.where(valid, other[k], image[k]) for k in range(3)])
    structure = _structural_loop(image, filled, 3)

    for mask, seen in ((None, other), (valid, filled)):
        error = photometric_error(image, other, mask, ssim_weight)
        inside = _structural_loop(image, other, 3) if mask is None else structure
        for y, x in product(range(6), range(7)):
            apart = sum(abs(float(image[k, y, x]) - float(seen[k, y, x])) for k in range(3)) / 3
            expected = ssim_weight * float(inside[y, x]) + (1 - ssim_weight) * apart
            if mask is not None and not mask[y, x]:
                expected = 0.0
            assert float(error[y, x]) == pytest.approx(expected, abs=1e-12)


def test_what_is_not_valid_has_no_influence(generator: torch.Generator) -> None:
    image, other = _images(generator, 3, 9, 11)
    valid = torch.rand(9, 11, generator=generator) > 0.4
    spoilt = torch.where(valid, other, torch.nan).requires_grad_()

    error = photometric_error(image, spoilt, valid, window=5)
    error.sum().backward()

    assert torch.equal(error, photometric_error(image, torch.where(valid, other, 7.0), valid, window=5))
    assert (error[~valid] == 0).all()
    assert (error[valid] > 0).all()
    assert spoilt.grad.isfinite().all()
    assert (spoilt.grad[:, ~valid] == 0).all()
    assert (spoilt.grad[:, valid] != 0).all()


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_batch_axes_and_channels(batch: tuple[int, ...], channels: int, generator: torch.Generator) -> None:
    image, other = _images(generator, *batch, channels, 5, 7)
    valid = torch.rand(*batch, 5, 7, generator=generator) > 0.3

    error, structure = photometric_error(image, other, valid), structural_error(image, other)

    assert error.shape == structure.shape == (*batch, 5, 7)
    for index in product(*map(range, batch)):
        torch.testing.assert_close(error[index], photometric_error(image[index], other[index], valid[index]))
        torch.testing.assert_close(structure[index], structural_error(image[index], other[index]))


def test_half_precision_is_lifted(generator: torch.Generator) -> None:
    image, other = (x.bfloat16() for x in _images(generator, 3, 8, 8))

    error = photometric_error(image, other)

    assert error.dtype == torch.float32
    assert torch.equal(error, photometric_error(image.float(), other.float()))


FLAT = {"black": (0.0, 0.0), "white": (1.0, 1.0), "black and white": (0.0, 1.0), "dark": (1e-8, 0.0)}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("window", [3, 11])
def test_gradients_of_flat_images_are_finite(name: str, window: int) -> None:
    image, other = (torch.full((2, 3, 16, 20), value, requires_grad=True) for value in FLAT[name])

    error = photometric_error(image, other, window=window)
    error.sum().backward()

    assert error.isfinite().all()
    assert image.grad.isfinite().all()
    assert other.grad.isfinite().all()


def test_a_mask_without_a_pixel_gives_zero_and_gradients_of_zero(generator: torch.Generator) -> None:
    image, other = _images(generator, 3, 8, 8)
    other.requires_grad_()
    nowhere = torch.zeros(8, 8, dtype=torch.bool)

    mean = masked_mean(photometric_error(image, other, nowhere), nowhere)
    mean.backward()

    assert mean.item() == 0
    assert (other.grad == 0).all()


def test_gradients_equal_finite_differences(generator: torch.Generator) -> None:
    image, other = _images(generator, 2, 5, 4)
    valid = torch.rand(5, 4, generator=generator) > 0.3

    assert torch.autograd.gradcheck(
        lambda a, b: photometric_error(a, b, valid), (image.requires_grad_(), other.requires_grad_())
    )


def test_the_masked_mean_is_that_of_a_loop(generator: torch.Generator) -> None:
    values = torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)
    valid = torch.rand(2, 3, 5, generator=generator) > 0.5
    inside = [float(v) for v, is_valid in zip(values.flatten(), valid.flatten(), strict=True) if is_valid]

    assert masked_mean(values, valid).item() == pytest.approx(sum(inside) / len(inside))
    assert masked_mean(torch.where(valid, values, torch.nan), valid) == masked_mean(values, valid)
    assert masked_mean(values, torch.zeros_like(valid)).item() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 4}, "window of 4 pixels: expected an odd number"),
        ({"window": -1}, "window of -1 pixels"),
        ({"window": 13}, "13 pixels on images of 6 rows and 9 columns: expected more than 6"),
        ({"ssim_weight": 1.1}, "ssim_weight is 1.1: expected a share"),
        ({"ssim_weight": math.nan}, "ssim_weight is nan"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, float], words: str) -> None:
    image = torch.zeros(3, 6, 9)

    with pytest.raises(Vo3dError, match=words) as caught:
        photometric_error(image, image, **arguments)

    assert "\n" not in str(caught.value)


def test_a_window_as_large_as_images_allow() -> None:
    image = torch.zeros(3, 6, 9)
    assert structural_error(image, image, 11).max() == 0
    assert photometric_error(image[..., :1, :], image[..., :1, :], ssim_weight=0.0).max() == 0  # no window at all


def test_halved_maps_are_means_of_four_pixels(generator: torch.Generator) -> None:
    maps = torch.rand(2, 3, 2, 5, 7, generator=generator)

    small = halved(maps)

    assert small.shape == (2, 3, 2, 2, 3)
    for y, x in product(range(2), range(3)):
        torch.testing.assert_close(small[..., y, x], maps[..., 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((-2, -1)))


def _stereo(scene: StereoScene, *, scale: float = 1.0, baseline: float = 1.0) -> float:
    """The mean error of the left view made from the right one, with depths or the baseline times a factor."""
    sample = scene.sample
    left_T_right = sample.left_T_right[:, None]
    left_T_right = se3.from_rotation_translation(left_T_right[..., :3, :3], baseline * left_T_right[..., :3, 3])
    made, valid = warp_by_depth(sample.right, scale * sample.depth, sample.K, se3.inverse(left_T_right))
    assert valid.float().mean() > 0.5
    return masked_mean(photometric_error(sample.image, made, valid), valid).item()


def _temporal(scene: StereoScene, next_T_cam: Tensor, *, scale: float = 1.0) -> float:
    """The mean error of frames made from those after them."""
    image, depth, K = scene.sample.image, scale * scene.sample.depth, scene.sample.K
    made, valid = warp_by_depth(image[:, 1:], depth[:, :-1], K[:, :-1], next_T_cam, K[:, 1:])
    assert valid.float().mean() > 0.4
    return masked_mean(photometric_error(image[:, :-1], made, valid), valid).item()


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_error_of_a_wall_is_near_zero_for_the_truth_alone(slope: float) -> None:
    scene = wall_scene(slope=slope, views=3)
    next_T_cam = se3.inverse(scene.prev_T_cam)
    sideways = se3.exp(torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0, 0.0]))
    turned = se3.exp(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.01, 0.0]))

    assert _stereo(scene) < 5e-4
    for wrong in ({"scale": 2.0}, {"scale": 0.5}, {"scale": 1.1}, {"baseline": 1.1}, {"baseline": -1.0}):
        assert _stereo(scene, **wrong) > 5e-3, wrong
    assert _temporal(scene, next_T_cam) < 2e-3
    assert _temporal(scene, next_T_cam, scale=2.0) > 0.04
    for wrong in (scene.prev_T_cam, torch.eye(4).expand_as(next_T_cam), sideways @ next_T_cam, turned @ next_T_cam):
        assert _temporal(scene, wrong) > 0.02


def test_the_error_of_a_street_is_least_for_the_truth() -> None:
    scene = street_scene(views=3)
    next_T_cam = se3.inverse(scene.prev_T_cam)

    best = _stereo(scene)
    assert best < 0.04  # what hides and edges between pixels are left
    for wrong in ({"scale": 2.0}, {"scale": 0.5}, {"scale": 1.2}, {"baseline": 1.2}, {"baseline": -1.0}):
        assert _stereo(scene, **wrong) > 2 * best, wrong
    best = _temporal(scene, next_T_cam)
    assert best < 0.06
    assert _temporal(scene, next_T_cam, scale=2.0) > 2 * best
    for wrong in (scene.prev_T_cam, torch.eye(4).expand_as(next_T_cam)):
        assert _temporal(scene, wrong) > 2 * best
