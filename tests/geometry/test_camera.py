"""Pinhole cameras: there and back, what resizing, cropping and flipping do to K, and points that have no pixel."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from checks import assert_same
from vo3d.geometry import (
    backproject,
    crop_intrinsics,
    flip_intrinsics,
    pixel_grid,
    project,
    rays,
    scale_intrinsics,
    se3,
)

SHAPES = st.sampled_from([(), (1,), (3,), (2, 3), (0,)])
SEEDS = st.integers(0, 2**31 - 1)
properties = settings(max_examples=20, deadline=None)


def intrinsics(shape: tuple[int, ...], seed: int) -> Tensor:
    """Different pinholes with a little skew."""
    values = torch.rand(*shape, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    K = torch.zeros(*shape, 3, 3, dtype=torch.float64)
    K[..., 0, 0], K[..., 1, 1] = 50 + 20 * values[..., 0], 50 + 20 * values[..., 1]
    K[..., 0, 2], K[..., 1, 2] = 10 + 5 * values[..., 2], 8 + 5 * values[..., 3]
    K[..., 0, 1], K[..., 2, 2] = values[..., 4], 1
    return K


def test_pixel_grid_is_x_then_y_with_integer_centres():
    grid = pixel_grid(2, 3)
    expected = torch.tensor([[[0.0, 0], [1, 0], [2, 0]], [[0, 1], [1, 1], [2, 1]]])
    assert torch.equal(grid, expected)
    assert pixel_grid(2, 3, dtype=torch.float64).dtype == torch.float64


@properties
@given(SHAPES, SEEDS)
def test_project_is_the_product_with_K(shape, seed):
    K = intrinsics(shape, seed)
    points = torch.rand(*shape, 4, 5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    homogeneous = (K[..., None, None, :, :] @ points[..., None])[..., 0]
    pixels, z = project(K, points)
    assert_same(pixels, homogeneous[..., :2] / homogeneous[..., 2:])
    assert_same(z, points[..., 2])


@properties
@given(SHAPES, SEEDS)
def test_backproject_then_project_returns_the_pixels(shape, seed):
    K = intrinsics(shape, seed)
    depth = torch.rand(*shape, 6, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    pixels, z = project(K, backproject(K, depth))
    assert_same(pixels, pixel_grid(6, 7, dtype=torch.float64).expand(*shape, 6, 7, 2))
    assert_same(z, depth)


def test_backproject_broadcasts_both_ways():
    K, depth = intrinsics((), 0), torch.rand(4, 6, 7, dtype=torch.float64) + 1
    assert_same(backproject(K, depth), torch.stack([backproject(K, one) for one in depth]))
    K = intrinsics((4,), 0)
    assert_same(backproject(K, depth[0]), torch.stack([backproject(one, depth[0]) for one in K]))


def test_points_without_a_pixel_are_flagged():
    K = intrinsics((), 0)
    z = torch.tensor([1.0, 1e-3, 1e-7, 0.0, -1e-7, -1.0, -math.inf, math.nan], dtype=torch.float64)
    points = torch.stack((torch.ones_like(z), torch.ones_like(z), z), dim=-1).requires_grad_()
    pixels, depth = project(K, points)
    assert pixels.isnan().all(-1).tolist() == [False, False, True, True, True, True, True, True]
    torch.testing.assert_close(depth, z, equal_nan=True)
    seen = torch.where(pixels.isnan(), 0, pixels)
    gradient = torch.autograd.grad(seen.sum(), points)[0]
    assert gradient[:2].abs().min() > 0
    assert (gradient[2:-1] == 0).all()
    assert not (pixels[2:] < 1e9).any()  # no comparison takes such a pixel for one inside an image


def test_measured_nothing_projects_nowhere():
    K, depth = intrinsics((), 0), torch.zeros(3, 4, dtype=torch.float64)
    assert (backproject(K, depth) == 0).all()
    assert project(K, backproject(K, depth))[0].isnan().all()


def test_gradients():
    K = intrinsics((2,), 0).requires_grad_()
    points = (torch.rand(2, 3, 3, dtype=torch.float64) + 0.5).requires_grad_()
    depth = (torch.rand(2, 2, 3, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(project, (K, points))
    assert torch.autograd.gradcheck(backproject, (K, depth))
    # K has a last row that nothing depends on; gradcheck moved it as well.
    assert (torch.autograd.grad(project(K, points)[0].sum(), K)[0][:, 2] == 0).all()


def image_of(function, K: Tensor, h: int, w: int) -> Tensor:
    """What a camera sees of a smooth pattern far away: `function` of the ray of each pixel."""
    return function(rays(K, pixel_grid(h, w, dtype=torch.float64)))


def pattern(ray: Tensor) -> Tensor:
    return 3 * ray[..., 0] - 2 * ray[..., 1] + 0.5


@pytest.mark.parametrize("scale", [(0.5, 0.5), (2.0, 2.0), (0.25, 0.5)])
def test_scaled_K_belongs_to_the_resized_image(scale):
    """The pattern is linear, so that averaging boxes of pixels, as resizing does, gives its value at their centre."""
    K, (sx, sy) = intrinsics((), 1), scale
    image = image_of(pattern, K, 24, 32)
    h, w = int(24 * sy), int(32 * sx)
    resized = torch.nn.functional.interpolate(image[None, None], (h, w), mode="bilinear", align_corners=False)[0, 0]
    inner = slice(2, -2), slice(2, -2)  # bilinear enlargement repeats the border
    assert_same(image_of(pattern, scale_intrinsics(K, sx, sy), h, w)[inner], resized[inner])


def test_scaled_K_reprojects_a_known_point():
    K = torch.tensor([[100.0, 0, 49.5], [0, 100, 39.5], [0, 0, 1]])
    half = scale_intrinsics(K, 0.5, 0.5)
    assert torch.equal(half, torch.tensor([[50.0, 0, 24.5], [0, 50, 19.5], [0, 0, 1]]))
    # The upper left corner of the image, (-0.5, -0.5), stays the upper left corner.
    corner = rays(K, torch.tensor([-0.5, -0.5]))
    assert_same(project(half, corner)[0], torch.tensor([-0.5, -0.5]))


def test_cropped_K_belongs_to_the_cropped_image():
    K = intrinsics((), 2)
    image = image_of(pattern, K, 24, 32)
    assert_same(image_of(pattern, crop_intrinsics(K, 5, 3), 10, 12), image[3:13, 5:17])


def test_flipped_K_and_mirrored_pose_belong_to_the_flipped_image():
    K, points = intrinsics((), 3), torch.rand(10, 3, dtype=torch.float64) + torch.tensor([0, 0, 2.0])
    b_T_a = se3.exp(torch.tensor([0.1, -0.2, 0.3, 0.05, -0.1, 0.2], dtype=torch.float64))
    width, flip = 40, torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    in_b = project(K, se3.transform(b_T_a, points))[0]
    flipped = project(flip_intrinsics(K, width), se3.transform(se3.mirror(b_T_a), points * flip))[0]
    assert_same(flipped, torch.stack((width - 1 - in_b[:, 0], in_b[:, 1]), dim=-1))
    assert_same(flip_intrinsics(flip_intrinsics(K, width), width), K)


@properties
@given(SHAPES, SEEDS)
def test_operations_on_K_take_batches(shape, seed):
    K = intrinsics(shape, seed)
    pixels = torch.rand(*shape, 5, 2, dtype=torch.float64) * 20
    points = rays(K, pixels)
    half = torch.tensor(0.5, dtype=torch.float64)
    assert_same(project(scale_intrinsics(K, 3.0, 0.5), points)[0], (pixels + half) * torch.tensor([3.0, 0.5]) - half)
    assert_same(project(crop_intrinsics(K, 4, -2), points)[0], pixels - torch.tensor([4.0, -2.0]))


def test_autocast_does_not_round_pixels():
    K, depth = intrinsics((), 0).float(), torch.rand(5, 6) + 1
    expected = project(K, backproject(K, depth))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(project(K, backproject(K, depth))[0], expected)
    assert backproject(K, depth.bfloat16()).dtype == torch.float32
