"""Warps: against a loop over pixels, planes against homographies, and which pixels may be trusted."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry.transform import homography_warp
from torch import Tensor

from checks import assert_same
from vo3d.geometry import (
    depth_from_disparity,
    homography_pixels,
    pixel_grid,
    plane_homography,
    project,
    rays,
    reproject,
    sample_image,
    se3,
    warp_by_depth,
    warp_by_disparity,
    warp_by_flow,
    warp_homography,
)

H, W = 12, 16
K = torch.tensor([[20.0, 0.3, 7.2], [0, 19, 5.6], [0, 0, 1]], dtype=torch.float64)
EYE = torch.eye(4, dtype=torch.float64)
SEEDS = st.integers(0, 2**31 - 1)
BATCHES = st.sampled_from([(), (1,), (3,), (2, 2)])
properties = settings(max_examples=15, deadline=None)


def source_T_target(seed: int, shape: tuple[int, ...] = (), scale: float = 0.1) -> Tensor:
    return se3.exp(scale * torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bilinear(image: Tensor, x: float, y: float) -> Tensor | None:
    """The value of one image at one position, or None outside of the centres of its border pixels."""
    h, w = image.shape[-2:]
    if not (-1e-3 <= x <= w - 1 + 1e-3 and -1e-3 <= y <= h - 1 + 1e-3):
        return None
    x, y = min(max(x, 0.0), w - 1.0), min(max(y, 0.0), h - 1.0)
    left, top = min(int(x), w - 2), min(int(y), h - 2)
    fx, fy = x - left, y - top
    upper = (1 - fx) * image[:, top, left] + fx * image[:, top, left + 1]
    lower = (1 - fx) * image[:, top + 1, left] + fx * image[:, top + 1, left + 1]
    return (1 - fy) * upper + fy * lower


def warp_by_loop(source: Tensor, depth: Tensor, K_target: Tensor, motion: Tensor, K_source: Tensor):
    """`warp_by_depth` of one image, as one would write it with pencil and paper."""
    image = source.new_zeros(source.shape[0], *depth.shape)
    valid = torch.zeros(depth.shape, dtype=torch.bool)
    inverse_K = torch.linalg.inv(K_target)
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            if not depth[v, u] > 0:
                continue
            point = depth[v, u] * (inverse_K @ torch.tensor([u, v, 1.0], dtype=torch.float64))
            point = motion[:3, :3] @ point + motion[:3, 3]
            if point[2] < 1e-6:
                continue
            x, y, _ = (K_source @ (point / point[2])).tolist()
            value = bilinear(source, x, y)
            if value is not None:
                image[:, v, u], valid[v, u] = value, True
    return image, valid


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.sampled_from([0.02, 0.3, 2.0]))
def test_warp_by_depth_is_the_loop_over_pixels(seed, scale):
    """Depths of all kinds, motions that put points outside and behind, images of different size and camera."""
    source, depth = noise(2, 10, 18, seed=seed), 4 * noise(H, W, seed=seed + 1) - 0.5
    K_source = K * torch.tensor([[1.2], [0.9], [1.0]], dtype=torch.float64)
    motion = source_T_target(seed, scale=scale)
    image, valid = warp_by_depth(source, depth, K, motion, K_source)
    expected, expected_valid = warp_by_loop(source, depth, K, motion, K_source)
    assert torch.equal(valid, expected_valid)
    assert_same(image, expected)


@properties
@given(BATCHES, SEEDS)
def test_no_motion_changes_nothing(shape, seed):
    source, depth = noise(*shape, 3, H, W, seed=seed), noise(*shape, H, W, seed=seed) + 0.5
    image, valid = warp_by_depth(source, depth, K, EYE)
    assert valid.all()
    assert_same(image, source)
    image, valid = warp_by_depth(source.float(), depth.float(), K.float(), EYE.float())
    assert valid.all()  # the rounding of float32 does not push the border pixels outside
    torch.testing.assert_close(image, source.float(), rtol=0, atol=1e-4)


def test_batches_are_the_same_as_one_by_one():
    source, depth, motion = noise(2, 3, 3, H, W), noise(2, 3, H, W) + 1, source_T_target(0, (2, 3))
    image, valid = warp_by_depth(source, depth, K.expand(2, 3, 3, 3), motion)
    for i in range(2):
        for j in range(3):
            one, one_valid = warp_by_depth(source[i, j], depth[i, j], K, motion[i, j])
            assert_same(image[i, j], one)
            assert torch.equal(valid[i, j], one_valid)


@pytest.mark.parametrize("fewer", ["source", "depth", "K", "motion", "all but motion", "all but depth"])
def test_batches_broadcast(fewer):
    source, depth, motion, camera = noise(4, 3, H, W), noise(4, H, W) + 1, source_T_target(0, (4,)), K.expand(4, 3, 3)
    first = {
        "source": fewer in ("source", "all but motion", "all but depth"),
        "depth": fewer in ("depth", "all but motion"),
        "K": fewer in ("K", "all but motion", "all but depth"),
        "motion": fewer in ("motion", "all but depth"),
    }
    source = source[0] if first["source"] else source
    depth = depth[0] if first["depth"] else depth
    camera = camera[0] if first["K"] else camera
    motion = motion[0] if first["motion"] else motion
    image, valid = warp_by_depth(source, depth, camera, motion)
    assert image.shape == (4, 3, H, W)
    for i in range(4):
        arguments = (
            source if first["source"] else source[i],
            depth if first["depth"] else depth[i],
            camera if first["K"] else camera[i],
            motion if first["motion"] else motion[i],
        )
        one, one_valid = warp_by_depth(*arguments)
        assert_same(image[i], one)
        assert torch.equal(valid[i], one_valid)


def test_the_pixel_convention_is_that_of_align_corners():
    """Sampling at integer pixels returns the pixels; with align_corners=False it would average neighbours."""
    image = noise(1, H, W)
    values, valid = sample_image(image, pixel_grid(H, W, dtype=torch.float64))
    assert valid.all()
    assert_same(values, image)
    ours = 2 * pixel_grid(H, W, dtype=torch.float64) / torch.tensor([W - 1.0, H - 1.0], dtype=torch.float64) - 1
    other = torch.nn.functional.grid_sample(image[None], ours[None], align_corners=False, padding_mode="border")[0]
    assert (other - image).abs().mean() > 0.05
    # Half a pixel is the mean of two, also next to the border.
    half, _ = sample_image(image, torch.tensor([[[0.5, 0.0], [W - 1.5, H - 1.0]]], dtype=torch.float64))
    assert_same(half[0, 0], torch.stack((image[0, 0, :2].mean(), image[0, -1, -2:].mean())))


def test_sampling_outside_is_told_and_zero():
    image = noise(2, H, W) + 1
    edge = [(0.0, 0.0), (W - 1.0, H - 1.0), (-0.01, 3.0), (W - 0.99, 3.0), (3.0, -0.01), (3.0, H - 0.99)]
    pixels = torch.tensor([[*edge, (math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1e30, 1.0)]]).double()
    values, valid = sample_image(image, pixels.requires_grad_())
    assert valid[0].tolist() == [True, True] + [False] * 8
    assert (values[:, 0, 2:] == 0).all()
    assert (values[:, 0, :2] >= 1).all()
    gradient = torch.autograd.grad(values.sum(), pixels)[0]
    assert (gradient[0, 2:] == 0).all()


def test_nearest_does_not_mix():
    image = (noise(1, H, W) * 10).round()
    pixels = noise(5, 6, 2) * torch.tensor([W - 1.0, H - 1.0])
    values, _ = sample_image(image, pixels, mode="nearest")
    x, y = pixels.round().long().unbind(-1)
    assert torch.equal(values[0], image[0, y, x])


def test_an_image_of_one_pixel_can_be_sampled():
    values, valid = sample_image(torch.full((1, 1, 1), 3.0), torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))
    assert values.tolist() == [[[3.0, 0.0]]]
    assert valid.tolist() == [[True, False]]


def test_no_pixels_have_no_values():
    values, valid = sample_image(noise(2, H, W), torch.zeros(1, 0, 2, dtype=torch.float64))
    assert values.shape == (2, 1, 0)
    assert valid.shape == (1, 0)


@properties
@given(SEEDS, st.floats(0.5, 5))
def test_a_fronto_parallel_plane_is_its_homography(seed, distance):
    source, motion = noise(3, H, W, seed=seed), source_T_target(seed)
    normal, d = torch.tensor([0.0, 0, 1], dtype=torch.float64), torch.tensor(distance, dtype=torch.float64)
    by_plane, valid_plane = warp_homography(source, plane_homography(K, motion, normal, d))
    by_depth, valid_depth = warp_by_depth(source, torch.full((H, W), distance, dtype=torch.float64), K, motion)
    assert torch.equal(valid_plane, valid_depth)
    assert_same(by_plane, by_depth)


@properties
@given(SEEDS)
def test_a_tilted_plane_is_its_homography(seed):
    motion, source = source_T_target(seed), noise(3, H, W, seed=seed)
    K_source = K * torch.tensor([[1.1], [0.8], [1.0]], dtype=torch.float64)
    tilt = torch.tensor([0.3, -0.4, 1.0], dtype=torch.float64) + 0.1 * noise(3, seed=seed)
    normal, d = torch.nn.functional.normalize(tilt, dim=0), torch.tensor(2.0, dtype=torch.float64)
    depth = d / (rays(K, pixel_grid(H, W, dtype=torch.float64)) * normal).sum(-1)  # n . X = d
    assert (depth > 0).all()
    source_H_target = plane_homography(K, motion, normal, d, K_source)
    assert_same(homography_pixels(source_H_target, H, W), reproject(depth, K, motion, K_source)[0])
    assert_same(warp_homography(source, source_H_target)[0], warp_by_depth(source, depth, K, motion, K_source)[0])
    # The third coordinate is the ratio of depths.
    ratio = source_H_target[2] @ torch.tensor([3.0, 4, 1], dtype=torch.float64)
    assert_same(ratio, reproject(depth, K, motion, K_source)[1][4, 3] / depth[4, 3])


def test_kornia_warps_the_same_homography():
    source, motion = noise(1, 3, H, W), source_T_target(3)
    source_H_target = plane_homography(
        K, motion, torch.tensor([0.0, 0, 1]).double(), torch.tensor(3.0, dtype=torch.float64)
    )[None]
    image, valid = warp_homography(source, source_H_target, (9, 14))
    expected = homography_warp(source, source_H_target, (9, 14), align_corners=True, normalized_coordinates=False)
    assert image.shape == (1, 3, 9, 14)
    assert valid.any()
    assert_same(image.movedim(1, -1)[valid], expected.movedim(1, -1)[valid])


def test_a_plane_sweep_is_its_planes_one_by_one():
    source, motion = noise(2, 3, H, W), source_T_target(4, (2,))
    depths = torch.tensor([[1.0, 2, 4], [1.5, 3, 6]], dtype=torch.float64)
    normal = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    source_H_target = plane_homography(K, motion[:, None], normal, depths)
    volume, valid = sample_image(source, homography_pixels(source_H_target, H, W))
    assert volume.shape == (2, 3, 3, H, W)  # b c d h w
    for b in range(2):
        for d in range(3):
            image, one_valid = warp_by_depth(source[b], depths[b, d].expand(H, W), K, motion[b])
            assert_same(volume[b, :, d], image)
            assert torch.equal(valid[b, d], one_valid)


def smooth(camera: Tensor, world_T_cam: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Depth and picture of the plane z = 2 of the world, painted with a smooth pattern."""
    direction = rays(camera, pixel_grid(h, w, dtype=torch.float64)) @ world_T_cam[:3, :3].T
    depth = (2 - world_T_cam[2, 3]) / direction[..., 2]
    x, y = (world_T_cam[:2, 3] + direction[..., :2] * depth[..., None]).unbind(-1)
    return (0.5 + 0.25 * (3 * x).sin() + 0.25 * (2 * y).cos())[None], depth


def test_one_view_becomes_another_and_comes_back():
    h, w = 96, 128
    camera = torch.tensor([[120.0, 0, 63.5], [0, 120, 47.5], [0, 0, 1]], dtype=torch.float64)
    world_T_a, world_T_b = source_T_target(5, scale=0.05), source_T_target(6, scale=0.05)
    image_a, depth_a = smooth(camera, world_T_a, h, w)
    image_b, depth_b = smooth(camera, world_T_b, h, w)
    a_T_b = se3.relative(world_T_a, world_T_b)
    b_from_a, valid_b = warp_by_depth(image_a, depth_b, camera, a_T_b)
    assert valid_b.float().mean() > 0.8
    assert (b_from_a - image_b).abs()[:, valid_b].max() < 1e-3
    back, valid_a = warp_by_depth(b_from_a, depth_a, camera, se3.inverse(a_T_b))
    source_valid, _ = warp_by_depth(valid_b.double()[None], depth_a, camera, se3.inverse(a_T_b))
    both = valid_a & (source_valid[0] > 0.999)
    assert both.float().mean() > 0.7
    assert (back - image_a).abs()[:, both].max() < 1e-3
    # The depth that `reproject` tells is that of the other view.
    _, z = reproject(depth_b, camera, a_T_b)
    sampled, _ = warp_by_depth(depth_a[None], depth_b, camera, a_T_b)
    assert (z - sampled[0]).abs()[valid_b].max() < 1e-3


def test_points_behind_the_camera_are_masked():
    """Turned round, the source looks away from everything that the target sees, yet it would project into the image."""
    source, depth = noise(3, H, W), torch.full((H, W), 2.0, dtype=torch.float64)
    turned = se3.exp(torch.tensor([0, 0, 0, 0, math.pi, 0], dtype=torch.float64))
    image, valid = warp_by_depth(source, depth, K, turned)
    assert not valid.any()
    assert (image == 0).all()
    normal, d = torch.tensor([0.0, 0, 1], dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    _, valid = warp_homography(source, plane_homography(K, turned, normal, d))
    assert not valid.any()
    # Five metres ahead of the target, the source has passed the points at two metres, not those at eight.
    forward = se3.exp(torch.tensor([0, 0, -5.0, 0, 0, 0], dtype=torch.float64))
    depth[:, : W // 2] = 8
    pixels, z = reproject(depth, K, forward)
    assert (z[:, : W // 2] == 3).all()
    assert (z[:, W // 2 :] == 0).all()
    assert pixels[:, W // 2 :].isnan().all()


def test_unknown_depth_is_masked_and_does_not_spoil_gradients():
    depth = noise(H, W) + 1
    depth[0, :5] = torch.tensor([0.0, -1.0, math.nan, math.inf, -math.inf], dtype=torch.float64)
    depth.requires_grad_()
    # backwards, so that the source sees the camera's centre, which a depth of 0 would be
    xi = torch.tensor([0.0, 0.0, 0.02, 0.01, 0.01, 0.01], dtype=torch.float64, requires_grad=True)
    assert sample_image(noise(3, H, W), project(K, se3.exp(xi)[None, None, :3, 3])[0])[1].all()
    image, valid = warp_by_depth(noise(3, H, W), depth, K, se3.exp(xi))
    assert not valid[0, :5].any()
    assert valid.float().mean() > 0.5
    for gradient in torch.autograd.grad((image * valid).sum(), (depth, xi)):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_gradients_reach_image_depth_motion_and_camera():
    source, depth, camera = noise(1, 4, 5), noise(3, 4) + 2, K.clone()
    camera[:2, 2] = torch.tensor([1.4, 1.2])
    source, depth, camera = (tensor.requires_grad_() for tensor in (source, depth, camera))
    xi = torch.tensor([0.01, -0.02, 0.03, 0.002, -0.003, 0.004], dtype=torch.float64, requires_grad=True)

    def warped(source: Tensor, depth: Tensor, camera: Tensor, xi: Tensor) -> Tensor:
        return warp_by_depth(source, depth, camera, se3.exp(xi))[0]

    assert torch.autograd.gradcheck(warped, (source, depth, camera, xi))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_whatever_the_depth_and_the_motion(dtype):
    """Unknown depths, points in the plane of the source camera, just before and behind it, far outside."""
    depth = (noise(H, W) + 1).to(dtype)
    depth[0, :6] = torch.tensor([0.0, -0.0, -1.0, math.nan, math.inf, -math.inf], dtype=dtype)
    depth[1, :4] = torch.tensor([2.0, 2.0 + 1e-6, 2.0 + 3e-6, 2.0 - 1e-6], dtype=dtype)  # z: 0, two tiny ones, behind
    depth[2, :3] = torch.tensor([1e-30, 1e-6, 1e10], dtype=dtype)
    ahead, turned = torch.tensor([0, 0, -2.0, 0, 0, 0]), torch.tensor([0, 0, 0, 0, math.pi, 0])
    for xi in (torch.zeros(6), ahead, turned, torch.tensor([1e6, 0, 0, 0, 0, 0]), torch.tensor([0, 0, 0.5, 0, 0, 0])):
        leaves = noise(3, H, W).to(dtype), depth.clone(), K.to(dtype), se3.exp(xi.to(dtype)), K.to(dtype)
        leaves = tuple(leaf.clone().requires_grad_() for leaf in leaves)
        image, valid = warp_by_depth(*leaves)
        pixels, z = reproject(*leaves[1:])
        assert image.isfinite().all()
        assert not valid[0, :6].any()
        assert torch.equal(z == 0, pixels.isnan().any(-1))
        sampled, inside = sample_image(leaves[0], pixels)
        for total in (image.sum(), sampled.sum(), pixels[inside].sum() + z.sum()):
            gradients = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
            assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_a_warp_by_depth_samples_where_reprojection_says():
    """Two ways to the same image: the one goes through pixels, the other through the coordinates of the sampler."""
    source, depth, motion = noise(2, 3, 10, 18), 4 * noise(2, H, W) - 0.5, source_T_target(9, (2,), scale=0.3)
    K_source = K * torch.tensor([[1.2], [0.9], [1.0]], dtype=torch.float64)
    image, valid = warp_by_depth(source, depth, K, motion, K_source)
    expected, inside = sample_image(source, reproject(depth, K, motion, K_source)[0])
    assert 0.1 < valid.double().mean() < 0.9
    assert torch.equal(valid, inside)
    assert_same(image, expected)


def test_constants_of_a_camera_have_no_gradient():
    camera, source_camera = K.clone().requires_grad_(), K.clone().requires_grad_()
    pixels, z = reproject(noise(H, W) + 1, camera, source_T_target(2), source_camera)
    for gradient in torch.autograd.grad(pixels.nansum() + z.sum(), (camera, source_camera)):
        assert (gradient[[1, 2, 2, 2], [0, 0, 1, 2]] == 0).all()
        assert (gradient[[0, 0, 0, 1, 1], [0, 1, 2, 1, 2]] != 0).all()


def test_float32_keeps_a_thousandth_of_a_pixel_of_large_images():
    h, w = 750, 4000
    camera = torch.tensor([[2400.0, 0.2, 2001.3], [0, 2410, 370.6], [0, 0, 1]], dtype=torch.float64)
    depth, motion = 38 * noise(h, w) + 2, source_T_target(3, scale=0.05)
    exact, _ = reproject(depth.float().double(), camera.float().double(), motion.float().double())
    pixels, _ = reproject(depth.float(), camera.float(), motion.float())
    inside = ((exact >= 0) & (exact <= torch.tensor([w - 1.0, h - 1.0], dtype=torch.float64))).all(-1)
    assert inside.double().mean() > 0.5
    assert (pixels.double() - exact)[inside].abs().max() < 1e-3


def test_shapes_are_known_without_values():
    source, depth, camera, motion = (
        tensor.to("meta") for tensor in (noise(2, 3, 10, 18), noise(2, H, W), K.expand(2, 3, 3), EYE)
    )
    image, valid = warp_by_depth(source, depth, camera, motion)
    assert image.shape == (2, 3, H, W)
    assert valid.shape == (2, H, W)
    assert image.device.type == "meta"


@properties
@given(SEEDS)
def test_a_rectified_pair_by_depth_and_by_disparity(seed):
    camera = torch.tensor([[20.0, 0, 7.2], [0, 19, 5.6], [0, 0, 1]], dtype=torch.float64)
    left_T_right = se3.exp(torch.tensor([0.5, 0, 0, 0, 0, 0], dtype=torch.float64))
    right, depth = noise(3, H, W, seed=seed), 5 * noise(H, W, seed=seed + 1) + 1
    disparity = depth_from_disparity(depth, camera, left_T_right)  # the formula is its own inverse
    assert_same(disparity, 20 * 0.5 / depth)
    assert_same(depth_from_disparity(disparity, camera, left_T_right), depth)
    by_depth, valid = warp_by_depth(right, depth, camera, se3.inverse(left_T_right))
    by_disparity, valid_disparity = warp_by_disparity(right, disparity)
    assert torch.equal(valid, valid_disparity)
    assert_same(by_depth, by_disparity)
    # The other way round: the right view, from the left image.
    by_depth, valid = warp_by_depth(right, depth, camera, left_T_right)
    by_disparity, valid_disparity = warp_by_disparity(right, -disparity)
    assert torch.equal(valid, valid_disparity)
    assert_same(by_depth, by_disparity)


@properties
@given(SEEDS)
def test_a_static_scene_by_depth_and_by_its_flow(seed):
    motion = se3.exp(torch.tensor([0.3, -0.1, 0.2, 0.03, -0.05, 0.04], dtype=torch.float64))
    source, depth = noise(2, 3, H, W, seed=seed), 5 * noise(2, H, W, seed=seed + 1) + 1
    depth[0, 3, 4] = 0.0  # unknown, so is its flow
    pixels, _ = reproject(depth, K.expand(2, 3, 3), motion.expand(2, 4, 4))
    flow = (pixels - pixel_grid(H, W, dtype=torch.float64)).movedim(-1, -3)
    by_depth, valid = warp_by_depth(source, depth, K.expand(2, 3, 3), motion.expand(2, 4, 4))
    by_flow, valid_flow = warp_by_flow(source, flow)
    assert torch.equal(valid, valid_flow)
    assert not valid[0, 3, 4]
    assert_same(by_depth, by_flow)
    assert_same(warp_by_flow(source, torch.zeros_like(flow))[0], source)


def test_stereo_finds_the_shifted_image():
    """What the left camera sees at x, the right one sees at x - disparity."""
    left = noise(3, H, W)
    right = torch.zeros_like(left)
    right[..., : W - 3] = left[..., 3:]
    image, valid = warp_by_disparity(right, torch.full((H, W), 3.0, dtype=torch.float64))
    assert valid[:, 3:].all()
    assert not valid[:, :3].any()
    assert_same(image[..., 3:], left[..., 3:])


def test_disparity_that_is_not_positive_has_no_depth():
    disparity = torch.tensor([[0.0, -1.0, math.nan, 2.0]], requires_grad=True)
    depth = depth_from_disparity(disparity, K.float(), se3.exp(torch.tensor([0.5, 0, 0, 0, 0, 0])))
    assert depth.tolist() == [[0.0, 0.0, 0.0, 5.0]]
    assert torch.autograd.grad(depth.sum(), disparity)[0].isfinite().all()


def test_flow_is_the_difference_of_projections():
    depth, motion = noise(H, W) + 2, source_T_target(8)
    pixels, _ = reproject(depth, K, motion)
    point = depth[4, 6] * rays(K, torch.tensor([6.0, 4.0], dtype=torch.float64))
    assert_same(pixels[4, 6], project(K, se3.transform(motion, point))[0])


def test_autocast_does_not_round_warps():
    source, depth = noise(1, 3, 64, 256).float(), noise(1, 64, 256).float() + 1
    camera, motion = K.float(), source_T_target(1).float()
    expected, expected_valid = warp_by_depth(source, depth, camera, motion)
    normal, d = torch.tensor([0.0, 0, 1]), torch.tensor(2.0)
    homography = plane_homography(camera, motion, normal, d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image, valid = warp_by_depth(source, depth, camera, motion)
        assert torch.equal(plane_homography(camera, motion, normal, d), homography)
    assert torch.equal(image, expected)
    assert torch.equal(valid, expected_valid)
    # A network under autocast hands over half precision; the arithmetic behind it stays full.
    image, _ = warp_by_depth(source.bfloat16(), depth, camera, motion)
    assert image.dtype == torch.float32


@pytest.mark.real
@pytest.mark.parametrize("first", [100, 300, 500])
def test_real_depth_and_poses_make_the_other_real_view(shared_data: Path, first: int):
    """7-Scenes, 20 frames apart: the published pose explains the picture; no motion and its inverse do not."""
    stems = [shared_data / "7scenes/redkitchen/seq-01" / f"frame-{number:06d}" for number in (first, first + 20)]
    now, later = (torch.from_numpy(cv2.imread(f"{stem}.color.jpg")).movedim(-1, 0).double() / 255 for stem in stems)
    millimetres = torch.from_numpy(cv2.imread(f"{stems[0]}.depth.png", cv2.IMREAD_UNCHANGED)).double()
    depth = torch.where(millimetres < 65535, millimetres / 1000, 0.0)
    world_T_now, world_T_later = (torch.from_numpy(np.loadtxt(f"{stem}.pose.txt")) for stem in stems)
    colour, depth_camera = (
        torch.tensor([[focal, 0, 320], [0, focal, 240], [0, 0, 1]], dtype=torch.float64) for focal in (525.0, 585.0)
    )
    later_T_now = se3.relative(world_T_later, world_T_now)
    target, seen = warp_by_depth(now, depth, depth_camera, EYE, colour)  # the colour image, as the depth camera sees it

    def difference(motion: Tensor) -> float:
        image, valid = warp_by_depth(later, depth, depth_camera, motion, colour)
        both = valid & seen
        assert both.double().mean() > 0.6
        return (image - target).abs()[:, both].mean().item()

    assert difference(later_T_now) < 0.5 * difference(EYE)
    assert difference(later_T_now) < 0.4 * difference(se3.inverse(later_T_now))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [(8, 12), (96, 128)])
def test_a_motion_that_is_not_finite_shows_nothing(value: float, size: tuple[int, int]) -> None:
    """A network that has diverged must not have `grid_sample` read beyond the image, which ends the process."""
    motion = torch.eye(4).repeat(2, 1, 1)
    motion[0, 0, 3] = value
    K = torch.tensor([[100.0, 0, size[1] / 2], [0, 100, size[0] / 2], [0, 0, 1]]).repeat(2, 1, 1)
    depth = torch.full((2, *size), 4.0).requires_grad_()

    image, valid = warp_by_depth(torch.rand(2, 3, *size), depth, K, motion)
    image.sum().backward()

    assert not valid[0].any()
    assert (image[0] == 0).all()
    assert valid[1].all()
