"""Plane sweeps: against a loop over pixels, homographies, OpenCV, and the variance of warped volumes held whole."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from checks import assert_same
from vo3d.errors import Vo3dError
from vo3d.geometry import (
    depth_hypotheses,
    pixel_grid,
    reproject,
    se3,
    subsample_intrinsics,
    sweep_pixels,
    variance_cost,
    variance_slabs,
    warp_to_planes,
)

C, H, W = 3, 7, 9
NEAR, FAR = 1.0, 4.0
EYE = torch.eye(4, dtype=torch.float64)
SEEDS = st.integers(0, 2**31 - 1)
properties = settings(max_examples=15, deadline=None)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cameras(*shape: int, seed: int = 0) -> Tensor:
    """Intrinsics of maps of H x W pixels, each another, with skew."""
    K = torch.tensor([[10.0, 0.2, (W - 1) / 2], [0, 11, (H - 1) / 2], [0, 0, 1]], dtype=torch.float64)
    return K * (1 + 0.05 * normal(*shape, 3, 3, seed=seed) * (K != 0) * (K != 1))


def poses(*shape: int, seed: int = 1, scale: float = 0.15) -> Tensor:
    """`world_T_cam` of cameras that look roughly the same way, the world's frame being another."""
    return se3.exp(normal(6, seed=seed + 100)) @ se3.exp(scale * normal(*shape, 6, seed=seed))


def maps(b: int, s: int, seed: int = 2) -> list[Tensor]:
    return list(normal(s, b, C, H, W, seed=seed))


def hypotheses(b: int, d: int) -> Tensor:
    return depth_hypotheses(torch.tensor([[NEAR, FAR]], dtype=torch.float64).expand(b, 2), d)


def looped_warp(
    image: np.ndarray, K: np.ndarray, K_source: np.ndarray, source_T_reference: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """One map of a source seen by the reference through one depth for each pixel; zero for each absent neighbour."""
    h, w = depth.shape
    out = np.zeros((len(image), h, w))
    for y in range(h):
        for x in range(w):
            point = depth[y, x] * np.linalg.solve(K, [x, y, 1.0])
            point = source_T_reference[:3, :3] @ point + source_T_reference[:3, 3]
            if point[2] <= 0:
                continue
            u, v, _ = K_source @ point / point[2]
            for row in (math.floor(v), math.floor(v) + 1):
                for column in (math.floor(u), math.floor(u) + 1):
                    if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                        out[:, y, x] += (1 - abs(u - column)) * (1 - abs(v - row)) * image[:, row, column]
    return out


def looped_variance(features: list[Tensor], K: Tensor, world_T_cam: Tensor, depths: Tensor) -> Tensor:
    """`variance_cost` as its definition says."""
    b, d = depths.shape
    out = np.zeros((b, features[0].shape[1], d, H, W))
    for i in range(b):
        for j in range(d):
            views = [features[0][i].numpy()]
            for s in range(1, len(features)):
                source_T_reference = np.linalg.inv(world_T_cam[i, s].numpy()) @ world_T_cam[i, 0].numpy()
                plane = np.full((H, W), depths[i, j].item())
                intrinsics = K[i, 0].numpy(), K[i, s].numpy()
                views.append(looped_warp(features[s][i].numpy(), *intrinsics, source_T_reference, plane))
            out[i, :, j] = np.var(views, axis=0)
    return torch.from_numpy(out)


def whole_variance(features: list[Tensor], K: Tensor, world_T_cam: Tensor, depths: Tensor) -> Tensor:
    """The variance of all volumes at once, by torch and its autograd alone."""
    volumes = [features[0][:, :, None].expand(-1, -1, depths.shape[1], -1, -1)]
    for s in range(1, len(features)):
        motion = se3.relative(world_T_cam[:, s], world_T_cam[:, 0])
        volumes.append(warp_to_planes(features[s], sweep_pixels(K[:, 0], K[:, s], motion, depths, (H, W))))
    return torch.stack(volumes).var(dim=0, unbiased=False)


# --- depths -----------------------------------------------------------------------------------------------------------


@properties
@given(SEEDS, st.sampled_from([(), (1,), (3,), (2, 2)]), st.integers(2, 40), st.sampled_from([32, 64]))
def test_depths_are_even_and_reach_both_ends(seed, batch, num, bits):
    spread = normal(*batch, 2, seed=seed).abs().to(getattr(torch, f"float{bits}"))
    near = 0.1 + 10 * spread[..., 0]
    far = near * (1.01 + 3 * spread[..., 1])
    ends = torch.stack((near, far), dim=-1)
    tolerance = 5e-6 if bits == 32 else 1e-12
    for inverse in (False, True):
        depths = depth_hypotheses(ends, num, inverse=inverse)
        assert depths.shape == (*batch, num)
        assert depths.dtype == near.dtype
        assert torch.equal(depths[..., 0], near)
        assert torch.equal(depths[..., -1], far)
        even = 1 / depths if inverse else depths
        expected = (even[..., -1] - even[..., 0]) / (num - 1)
        errors = (even.diff() - expected[..., None]).abs() / even.abs().amax(-1, keepdim=True)
        assert errors.max() < tolerance


def test_one_depth_is_the_near_end_and_inverse_depths_are_denser_near():
    ends = torch.tensor([2.0, 8.0])
    assert depth_hypotheses(ends, 1).tolist() == [2.0]
    assert depth_hypotheses(ends, 1, inverse=True).tolist() == [2.0]
    assert depth_hypotheses(ends, 4).tolist() == [2.0, 4.0, 6.0, 8.0]
    torch.testing.assert_close(depth_hypotheses(ends, 4, inverse=True), torch.tensor([2.0, 8 / 3, 4.0, 8.0]))


# --- pixels -----------------------------------------------------------------------------------------------------------


@properties
@given(SEEDS, st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_pixels_are_those_of_reprojected_planes(seed, batch):
    K, K_source = cameras(*batch, seed=seed), cameras(*batch, seed=seed + 1)
    motion = se3.exp(0.3 * normal(*batch, 6, seed=seed + 2))
    depths = 0.2 + normal(*batch, 5, seed=seed + 3).abs()
    pixels = sweep_pixels(K, K_source, motion, depths, (H, W))
    assert pixels.shape == (*batch, 5, H, W, 2)
    for d in range(5):
        expected, _ = reproject(depths[..., d, None, None].expand(*batch, H, W), K, motion, K_source)
        torch.testing.assert_close(pixels[..., d, :, :, :], expected, rtol=1e-8, atol=1e-8, equal_nan=True)


def dtu_like(seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Reference and source at the quarter of 640x512, half a metre from their object, in millimetres."""
    K = torch.tensor([[361.541, 0, 82.9006], [0, 360.398, 66.3839], [0, 0, 1]], dtype=torch.float64)
    world_T_cam = se3.exp(normal(2, 6, seed=seed) * torch.tensor([60.0, 60, 60, 0.15, 0.15, 0.15]))
    world_T_cam = se3.exp(torch.tensor([200.0, -300, 500, 0.4, 1.2, -0.7], dtype=torch.float64)) @ world_T_cam
    depths = depth_hypotheses(torch.tensor([425.0, 931.15], dtype=torch.float64), 6)
    return tuple(tensor.to(dtype) for tensor in (K, world_T_cam, depths))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-4)])
def test_pixels_are_those_of_the_homographies_of_the_paper(dtype, tolerance):
    """H_i(d) = K_i R_i (I - (c_1 - c_i) n^T / d) R_1^T K_1^-1 with the signs that hold: c_i - c_1, R and K as here."""
    h, w = 128, 160
    homogeneous = torch.cat((pixel_grid(h, w, dtype=torch.float64), torch.ones(h, w, 1, dtype=torch.float64)), dim=-1)
    for seed in range(5):
        K, world_T_cam, depths = dtu_like(seed, torch.float64)
        R_1, R_i = world_T_cam[:, :3, :3].mT  # world into camera
        c_1, c_i = world_T_cam[:, :3, 3]
        rounded = [tensor.to(dtype) for tensor in (K, world_T_cam, depths)]
        motion = se3.relative(rounded[1][1], rounded[1][0])
        pixels = sweep_pixels(rounded[0], rounded[0], motion, rounded[2], (h, w))
        assert pixels.dtype == dtype
        for d, depth in enumerate(depths):
            shift = torch.eye(3, dtype=torch.float64) - torch.outer(c_i - c_1, R_1[2]) / depth
            homography = K @ R_i @ shift @ R_1.T @ torch.linalg.inv(K)
            x, y, z = (homogeneous @ homography.T).unbind(-1)
            assert (z > 0).all()
            assert (pixels[d] - torch.stack((x / z, y / z), dim=-1)).abs().max() < tolerance


def test_each_pixel_may_have_its_own_depths():
    K, K_source, motion = cameras(2), cameras(2, seed=5), se3.exp(0.2 * normal(2, 6, seed=6))
    planes = hypotheses(2, 4)
    spread = planes[..., None, None].expand(2, 4, H, W)
    assert_same(
        sweep_pixels(K, K_source, motion, spread, (H, W)), sweep_pixels(K, K_source, motion, planes, (H, W)), 1e-12
    )
    uneven = spread * (1 + 0.2 * torch.rand(2, 4, H, W, dtype=torch.float64, generator=torch.Generator()))
    pixels = sweep_pixels(K, K_source, motion, uneven, (H, W))
    for d in range(4):
        expected, _ = reproject(uneven[:, d], K, motion, K_source)
        assert_same(pixels[:, d], expected, 1e-8)


def test_pixels_behind_the_source_are_nan():
    K = cameras()
    forward = se3.exp(torch.tensor([0, 0, -2.5, 0, 0, 0], dtype=torch.float64))  # the source, 2.5 ahead
    pixels = sweep_pixels(K, K, forward, torch.tensor([1.0, 2.5, 3.0], dtype=torch.float64), (H, W))
    assert pixels[:2].isnan().all()
    assert pixels[2].isfinite().all()


# --- warps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_equals_a_loop_over_pixels(seed):
    """Some poses look far enough aside for points to lie outside, and one so far that they lie behind."""
    scale = (0.1, 0.3, 0.6, 1.5)[seed]
    K, K_source = cameras(seed=seed), cameras(seed=seed + 10)
    motion = se3.exp(scale * normal(6, seed=seed + 20))
    source = normal(1, C, H + 2, W - 3, seed=seed + 30)  # maps need not be of one size
    depths = hypotheses(1, 3)
    pixels = sweep_pixels(K[None], K_source[None], motion[None], depths, (H, W))
    volume = warp_to_planes(source, pixels)
    assert volume.shape == (1, C, 3, H, W)
    for d in range(3):
        plane = np.full((H, W), depths[0, d].item())
        expected = looped_warp(source[0].numpy(), K.numpy(), K_source.numpy(), motion.numpy(), plane)
        assert_same(volume[0, :, d], torch.from_numpy(expected))


def test_a_warp_equals_opencv():
    """OpenCV knows positions to 1/32 of a pixel, so the positions are rounded to that."""
    K, world_T_cam, depths = dtu_like(3, torch.float64)
    motion = se3.relative(world_T_cam[1], world_T_cam[0])
    pixels = sweep_pixels(K[None], K[None], motion[None], depths[None], (128, 160)).mul(32).round().div(32).float()
    source = normal(1, 1, 120, 150, seed=4).float()
    volume = warp_to_planes(source, pixels)
    inside = 0
    for d in range(depths.shape[0]):
        x, y = (np.ascontiguousarray(axis) for axis in pixels[0, d].movedim(-1, 0).numpy())
        expected = torch.from_numpy(cv2.remap(source[0, 0].numpy(), x, y, cv2.INTER_LINEAR))  # zeros outside
        assert_same(volume[0, 0, d], expected, 1e-4)
        inside += int((expected != 0).sum())
    assert inside > 10_000


def test_the_corners_of_a_map_are_centres_of_pixels():
    """The other meaning of align_corners would shift a map by up to half a pixel towards its middle."""
    source = normal(1, C, H, W, seed=0)
    grid = pixel_grid(H, W, dtype=torch.float64)[None, None]
    assert_same(warp_to_planes(source, grid)[:, :, 0], source)
    moved = warp_to_planes(source, grid + torch.tensor([1.0, 2.0]))[:, :, 0]
    assert_same(moved[..., : H - 2, : W - 1], source[..., 2:, 1:])
    assert moved[..., H - 2 :, :].abs().max() < 1e-12
    assert moved[..., W - 1].abs().max() < 1e-12
    # Half a pixel outside half of the value is left, for each axis; a whole pixel outside nothing is.
    half = warp_to_planes(
        source, torch.tensor([[-0.5, 0.0], [-0.5, H - 0.5], [W + 0.0, 0.0]]).double()[None, None, None]
    )
    expected = torch.stack((source[..., 0, 0] / 2, source[..., -1, 0] / 4, torch.zeros(1, C)), dim=-1)
    assert_same(half[..., 0, 0, :], expected)


def test_a_feature_lies_on_every_fourth_pixel_of_its_image():
    """Sweeping maps of a quarter with K / 4 finds the pixels that sweeping the image finds, over 4."""
    K, K_source, motion, depths = cameras(), cameras(seed=3), se3.exp(0.1 * normal(6, seed=1)), hypotheses(1, 3)[0]
    of_image = sweep_pixels(K, K_source, motion, depths, (4 * H, 4 * W))
    of_maps = sweep_pixels(subsample_intrinsics(K, 4), subsample_intrinsics(K_source, 4), motion, depths, (H, W))
    assert_same(of_maps, of_image[:, ::4, ::4] / 4)


def test_points_behind_the_source_are_zero_and_do_not_spoil_gradients():
    source = normal(2, C, H, W, seed=0).requires_grad_()
    K = cameras(2)
    # one source in the midst of the planes (one plane in its very centre), one turned round
    xi = torch.tensor([[0, 0, -2.5, 0, 0, 0], [0, 0, 0, 0, math.pi, 0]], dtype=torch.float64, requires_grad=True)
    depths = torch.tensor([[1.0, 2.5, 3.5]] * 2, dtype=torch.float64, requires_grad=True)
    volume = warp_to_planes(source, sweep_pixels(K, K, se3.exp(xi), depths, (H, W)))
    assert (volume[0, :, :2] == 0).all()
    assert (volume[1] == 0).all()
    assert (volume[0, :, 2] != 0).any()
    for gradient in torch.autograd.grad(volume.square().sum(), (source, xi, depths)):
        assert gradient.isfinite().all()
        assert gradient[0].abs().sum() > 0
        assert (gradient[1] == 0).all()


# --- variance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [2, 3, 5])
def test_the_variance_equals_a_loop_over_pixels(views):
    """Two samples of a batch, each with its own range; one source sees nothing but what is behind it."""
    K, world_T_cam = cameras(2, views), poses(2, views, scale=0.3)
    world_T_cam[1, 1] = world_T_cam[1, 0] @ se3.exp(torch.tensor([0, 0, 0, 0, math.pi, 0], dtype=torch.float64))
    depths = depth_hypotheses(torch.tensor([[1.0, 3.0], [2.0, 7.0]], dtype=torch.float64), 3)
    features = maps(2, views)
    cost = variance_cost(features, K, world_T_cam, depths)
    assert cost.shape == (2, C, 3, H, W)
    assert_same(cost, looped_variance(features, K, world_T_cam, depths))


@pytest.mark.parametrize("slab", [1, 2, 3, 100])
def test_slabs_change_neither_values_nor_gradients(slab):
    K, world_T_cam, depths = cameras(2, 3), poses(2, 3), hypotheses(2, 5)
    inputs = [maps(2, 3), K, world_T_cam, depths]
    results = []
    for function, options in ((whole_variance, {}), (variance_cost, {"slab": slab})):
        features = [tensor.clone().requires_grad_() for tensor in inputs[0]]
        others = [tensor.clone().requires_grad_() for tensor in inputs[1:]]
        cost = function(features, *others, **options)
        weight = normal(*cost.shape, seed=9)
        results.append((cost, *torch.autograd.grad((weight * cost).sum(), (*features, *others))))
    for expected, found in zip(*results, strict=True):
        assert found.abs().sum() > 0
        assert_same(found, expected, 1e-8)
    with torch.no_grad():
        assert_same(variance_cost(*inputs, slab=slab), results[0][0].detach())
    parts = list(variance_slabs(*inputs, slab=slab))
    assert [part.shape[2] for part in parts] == [min(slab, 5 - begin) for begin in range(0, 5, slab)]
    assert_same(torch.cat(parts, dim=2), results[0][0].detach())


def test_gradients_of_the_variance_are_its_differences():
    K, depths = cameras(1, 3), hypotheses(1, 2)
    xi = 0.1 * normal(1, 3, 6, seed=1)
    inputs = [tensor.requires_grad_() for tensor in (*normal(3, 1, 1, 3, 4, seed=2), xi, depths)]

    def cost(*inputs: Tensor) -> Tensor:
        *features, xi, depths = inputs
        return variance_cost(features, K, se3.exp(xi), depths, slab=1)

    assert torch.autograd.gradcheck(cost, inputs)
    fixed = [tensor.detach() for tensor in inputs[:-1]]  # depths alone may be what is learnt
    (alone,) = torch.autograd.grad(cost(*fixed, depths.requires_grad_()).sum(), depths)
    (among,) = torch.autograd.grad(cost(*inputs).sum(), inputs[-1])
    assert_same(alone, among)


def test_training_keeps_no_warped_volume():
    """What autograd holds for the way back is less than one volume, whatever the number of views."""
    views, d = 6, 16
    features = [tensor.requires_grad_() for tensor in normal(views, 1, 8, H, W, seed=0)]
    K, world_T_cam, depths = cameras(1, views), poses(1, views), hypotheses(1, d)
    for function, most in ((variance_cost, 0.5), (whole_variance, math.inf)):
        held: dict[int, int] = {}

        def pack(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            cost = function(features, K, world_T_cam, depths)
        share = sum(held.values()) / (cost.numel() * cost.element_size())
        assert share < most
    assert share > 2  # what is counted is what matters: the whole volumes are seen


def test_equal_poses_have_no_variance():
    """Every view shows the same picture from the same place: each depth explains it."""
    views = 4
    picture = 1e3 + normal(2, C, H, W, seed=0).float()
    K = cameras(2, 1).float().expand(2, views, 3, 3)
    world_T_cam = poses(2, 1).float().expand(2, views, 4, 4)
    depths = hypotheses(2, 5).float()
    cost = variance_cost([picture] * views, K, world_T_cam, depths)[..., 1:-1, 1:-1]  # rounding may leave the border
    assert cost.min() >= 0
    assert cost.max() < 1e-5


def painted(K: Tensor, world_T_cam: Tensor, depth: float, h: int, w: int) -> Tensor:
    """A camera's picture of the plane z = `depth` of the world, painted with waves no two places of which are alike."""
    direction = pixel_grid(h, w, dtype=torch.float64)
    direction = torch.cat((direction, torch.ones(h, w, 1, dtype=torch.float64)), dim=-1) @ torch.linalg.inv(K).T
    direction = direction @ world_T_cam[:3, :3].T
    scale = (depth - world_T_cam[2, 3]) / direction[..., 2]
    x, y = (world_T_cam[:2, 3] + direction[..., :2] * scale[..., None]).unbind(-1)
    return torch.stack([(7 * x + 3 * y).sin(), (5 * y - 2 * x).sin(), (4 * x).cos() + (6 * y).sin()])


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_plane_is_found_at_its_depth(at):
    h, w, views = 24, 32, 4
    K = torch.tensor([[40.0, 0, 15.5], [0, 40, 11.5], [0, 0, 1]], dtype=torch.float64)
    motions = torch.tensor(
        [[0, 0, 0, 0, 0, 0], [0.3, 0, 0, 0, -0.1, 0], [-0.3, 0.1, 0, 0, 0.1, 0.1], [0.1, -0.3, 0.1, -0.1, 0, 0]]
    )
    world_T_cam = se3.exp(motions.double())
    depths = depth_hypotheses(torch.tensor([[1.5, 4.5]], dtype=torch.float64), 10)
    features = [painted(K, pose, depths[0, at].item(), h, w)[None] for pose in world_T_cam]
    cost = variance_cost(features, K.expand(1, views, 3, 3), world_T_cam[None], depths)[0].sum(0)  # d h w
    in_all = torch.ones(10, h, w, dtype=torch.bool)
    for pose in world_T_cam[1:]:
        pixels = sweep_pixels(K, K, se3.relative(pose, world_T_cam[0]), depths[0], (h, w))
        in_all &= ((pixels >= 0) & (pixels <= torch.tensor([w - 1, h - 1]))).all(-1)
    in_view = in_all[at]
    assert in_view.float().mean() > 0.3
    assert (cost.argmin(0)[in_view] == at).all()


@properties
@given(SEEDS)
def test_the_order_of_sources_and_a_second_copy_of_all_views_change_nothing(seed):
    features, K, world_T_cam, depths = (
        maps(1, 4, seed),
        cameras(1, 4, seed=seed),
        poses(1, 4, seed=seed),
        hypotheses(1, 3),
    )
    cost = variance_cost(features, K, world_T_cam, depths)
    order = [0, 3, 1, 2]
    shuffled = variance_cost([features[i] for i in order], K[:, order], world_T_cam[:, order], depths)
    assert_same(shuffled, cost)
    twice = variance_cost(features * 2, K.repeat(1, 2, 1, 1), world_T_cam.repeat(1, 2, 1, 1), depths)
    # The copy of the reference is warped as sources are: rounding may put its outermost pixels a hair outside.
    assert_same(twice, cost)


def test_moving_the_world_changes_nothing():
    features, K, world_T_cam, depths = maps(2, 3), cameras(2, 3), poses(2, 3), hypotheses(2, 4)
    elsewhere = se3.exp(5 * normal(6, seed=8)) @ world_T_cam
    assert_same(variance_cost(features, K, elsewhere, depths), variance_cost(features, K, world_T_cam, depths), 1e-7)


def test_samples_of_a_batch_do_not_mix():
    features, K, world_T_cam = maps(3, 3), cameras(3, 3), poses(3, 3)
    depths = depth_hypotheses(torch.tensor([[1.0, 2.0], [3.0, 9.0], [0.5, 5.0]], dtype=torch.float64), 4, inverse=True)
    together = variance_cost(features, K, world_T_cam, depths)
    for i in range(3):
        one = slice(i, i + 1)
        alone = variance_cost([tensor[one] for tensor in features], K[one], world_T_cam[one], depths[one])
        assert_same(together[one], alone)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_have_a_variance_in_float32(dtype):
    """Of features about 50, of which half precision would lose the variance to cancellation, even below zero."""
    features = [(50 + tensor).to(dtype) for tensor in maps(1, 4)]
    K, world_T_cam, depths = cameras(1, 4), poses(1, 4, scale=0.05), hypotheses(1, 4)
    cost = variance_cost(features, K.float(), world_T_cam.float(), depths.float())
    assert cost.dtype == torch.float32
    assert cost.min() >= 0
    expected = looped_variance([tensor.double() for tensor in features], K, world_T_cam, depths)
    assert ((cost - expected).abs() / (expected + 0.1)).max() < 1e-3


def test_autocast_does_not_round_a_sweep():
    features = [tensor.float() for tensor in maps(1, 3)]
    K, world_T_cam, depths = cameras(1, 3).float(), poses(1, 3).float(), hypotheses(1, 4).float()
    expected = variance_cost(features, K, world_T_cam, depths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = variance_cost(features, K, world_T_cam, depths)
        slabs = torch.cat(list(variance_slabs(features, K, world_T_cam, depths, slab=3)), dim=2)
        learnt = variance_cost([tensor.requires_grad_() for tensor in features], K, world_T_cam, depths)
    assert torch.equal(found, expected)
    torch.testing.assert_close(slabs, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(learnt.detach(), expected, rtol=1e-5, atol=1e-6)


def test_float32_variance_does_not_cancel():
    """Large features that differ little: the mean of squares less the square of the mean would be all rounding."""
    features = [1e3 + 1e-2 * tensor for tensor in maps(1, 5)]
    K, world_T_cam, depths = cameras(1, 5), poses(1, 5, scale=0.02), hypotheses(1, 3)
    rounded = [tensor.float() for tensor in features]
    cost = variance_cost(rounded, K.float(), world_T_cam.float(), depths.float())
    expected = looped_variance([tensor.double() for tensor in rounded], K, world_T_cam, depths)
    seen = expected.amax((0, 1)) < 1.0  # where no view misses the point, which counts as 0
    assert seen.float().mean() > 0.3
    assert (cost - expected)[:, :, seen].abs().max() < 0.02 * expected[:, :, seen].max()
    assert cost.min() >= 0


def test_a_single_view_is_refused():
    with pytest.raises(Vo3dError, match=r"1 view.*at least 2"):
        variance_cost(maps(1, 1), cameras(1, 1), poses(1, 1), hypotheses(1, 2))
