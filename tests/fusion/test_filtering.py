"""Which pixels pass: against a loop over pixels, and where depths have holes, edges, noise and outliers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from ball_scene import ball_maps, changed, distance_to_surface, maps_of, truth
from checks import assert_same
from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.fusion.filtering import FusionRules, filter_map, filter_view, sample_depth
from vo3d.geometry import pixel_grid, project, rays, se3


def slow_sample(depth: np.ndarray, x: float, y: float, max_step: float) -> float:
    h, w = depth.shape
    if not (0 <= x <= w - 1 and 0 <= y <= h - 1):
        return 0.0
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    corners = [depth[top, left], depth[top, right], depth[bottom, left], depth[bottom, right]]
    if min(corners) <= 0 or max(corners) - min(corners) > max_step * min(corners):
        return float(depth[round(y), round(x)])
    u, v = x - left, y - top
    upper, lower = corners[0] * (1 - u) + corners[1] * u, corners[2] * (1 - u) + corners[3] * u
    return float(upper * (1 - v) + lower * v)


def slow_filter(
    maps: Sequence[PosedDepthMap], index: int, rules: FusionRules
) -> dict[tuple[int, int], tuple[float, int]]:
    """Mean depth and number of agreeing views of each pixel that passes, one pixel and one source at a time."""
    view, passed = maps[index], {}
    K, world_T_cam = view.K.numpy(), view.world_T_cam.numpy()
    for row, column in np.ndindex(*view.depth.shape):
        d = float(view.depth[row, column])
        if d <= 0 or float(view.confidence[row, column]) < rules.min_confidence:
            continue
        agreed = [d]
        point = world_T_cam @ np.append(np.linalg.inv(K) @ (column, row, 1) * d, 1)
        for source in (maps[number] for number in view.sources):
            x, y, z = source.K.numpy() @ (np.linalg.inv(source.world_T_cam.numpy()) @ point)[:3]
            if z <= 0:
                continue
            x, y = x / z, y / z
            found = slow_sample(source.depth.numpy(), x, y, rules.max_depth_step)
            if found <= 0:
                continue
            surface = source.world_T_cam.numpy() @ np.append(np.linalg.inv(source.K.numpy()) @ (x, y, 1) * found, 1)
            u, v, back = K @ (np.linalg.inv(world_T_cam) @ surface)[:3]
            near = math.hypot(u / back - column, v / back - row) < rules.max_pixels
            if back > 0 and near and abs(back - d) / d < rules.max_relative:
                agreed.append(back)
        if view.sources and len(agreed) - 1 >= min(rules.min_consistent, len(view.sources)):
            passed[column, row] = (float(np.mean(agreed)), len(agreed))
    return passed


def disturbed(maps: Sequence[PosedDepthMap], noise: float, generator: torch.Generator) -> list[PosedDepthMap]:
    """Depths with noise, holes, and confidences from 0 to 1."""
    depths, confidences = [], []
    for view in maps:
        shape = view.depth.shape
        depth = view.depth * (1 + noise * torch.randn(shape, generator=generator, dtype=torch.float64))
        depths.append(torch.where(torch.rand(shape, generator=generator) < 0.1, 0.0, depth))
        confidences.append(torch.rand(shape, generator=generator, dtype=torch.float64))
    return changed(maps, depth=depths, confidence=confidences)


@pytest.mark.parametrize(
    "rules",
    [
        FusionRules(min_confidence=0.3),
        FusionRules(min_confidence=0.0, min_consistent=2, max_depth_step=0.5, max_pixels=2.0),
    ],
)
def test_filter_equals_a_loop_over_pixels(rules: FusionRules, generator: torch.Generator) -> None:
    maps = disturbed(ball_maps(6, 15, 20, num_sources=5), 0.002, generator)
    for index in range(2):
        expected = slow_filter(maps, index, rules)
        found = filter_view(maps, index, rules)
        assert [tuple(pixel) for pixel in found.pixels.tolist()] == list(expected)
        assert 10 < len(expected) < 200
        assert_same(found.depth, torch.tensor([depth for depth, _ in expected.values()], dtype=torch.float64))
        assert found.views.tolist() == [views for _, views in expected.values()]


def test_points_that_enough_sources_see_are_kept() -> None:
    maps, rules = ball_maps(), FusionRules()
    for index in (0, 4):
        view = maps[index]
        pixels = pixel_grid(*view.depth.shape, dtype=torch.float64)
        points = se3.transform(view.world_T_cam, rays(view.K, pixels) * view.depth[..., None])
        _, what = truth(view.world_T_cam, view.K, pixels)
        seen = torch.zeros_like(what)
        for source in (maps[number] for number in view.sources):
            there, z = project(source.K, se3.transform(se3.inverse(source.world_T_cam), points))
            clear = there.isfinite().all(-1) & (what > 0)
            for offset in ((0.0, 0.0), (1.5, 1.5), (1.5, -1.5), (-1.5, 1.5), (-1.5, -1.5)):
                around = there.nan_to_num(0.0) + there.new_tensor(offset)
                depth, surface = truth(source.world_T_cam, source.K, around)
                inside = ((around >= 0) & (around <= around.new_tensor((63.0, 47.0)))).all(-1)
                clear &= inside & (surface == what) & ((depth - z).abs() < (1e-6 if offset == (0.0, 0.0) else 0.1))
            seen += clear
        kept = filter_map(maps, index, rules).depth > 0
        assert (seen >= 3).float().mean() > 0.3
        assert bool(kept[seen >= 3].all())


def test_noise_is_averaged_and_outliers_are_removed(generator: torch.Generator) -> None:
    maps = ball_maps()
    noise, spoilt = [], []
    for view in maps:
        shape = view.depth.shape
        spoilt.append(torch.rand(shape, generator=generator) < 0.1)
        wrong = 1 + 5 * torch.rand(shape, generator=generator, dtype=torch.float64)
        noisy = view.depth * (1 + 0.002 * torch.randn(shape, generator=generator, dtype=torch.float64))
        noise.append(torch.where(spoilt[-1], wrong, noisy))
    for index in (0, 5):
        exact = maps[index].depth
        found = filter_map(changed(maps, depth=noise), index, FusionRules()).depth
        kept = found > 0
        # A wrong depth may hit the plane behind the ball, which other views do see: that is a point of the surface.
        pixels = rays(maps[index].K, pixel_grid(48, 64, dtype=torch.float64))
        points = se3.transform(maps[index].world_T_cam, pixels * noise[index][..., None]).reshape(-1, 3)
        off = torch.from_numpy(distance_to_surface(points.numpy()).reshape(48, 64)) > 0.05
        assert (spoilt[index] & off).sum() > 100
        assert not bool((kept & off).any())
        kept &= ~spoilt[index]
        assert kept.float().mean() > 0.25
        error = ((found - exact).abs() / exact)[kept]
        alone = ((noise[index] - exact).abs() / exact)[kept]
        assert error.max() < 0.012
        assert error.mean() < 0.9 * alone.mean()


def test_depths_are_not_interpolated_over_holes_and_edges() -> None:
    depth = torch.tensor([[2.0, 2.02, 4.0, 0.0], [2.0, 2.02, 4.0, 4.0]], dtype=torch.float64)
    pixels = [(0.5, 0.5), (1.4, 0.5), (1.6, 0.0), (2.6, 0.2), (2.6, 0.8), (3.0, 1.0), (-0.5, 0.0), (math.nan, 0.0)]
    found = sample_depth(depth, torch.tensor(pixels, dtype=torch.float64), 0.05)
    assert_same(found, torch.tensor([2.01, 2.02, 4.0, 0.0, 4.0, 4.0, 0.0, 0.0], dtype=torch.float64))
    mixed = sample_depth(depth, torch.tensor([(1.5, 0.5)], dtype=torch.float64), math.inf)
    assert_same(mixed, torch.tensor([3.01], dtype=torch.float64))


def test_a_depth_between_two_surfaces_is_not_confirmed() -> None:
    # A reference depth in mid-air beside the ball, just what bilinear interpolation over its edge would give.
    maps = ball_maps(3, num_sources=2)
    rows, columns = torch.where(truth(maps[0].world_T_cam, maps[0].K, pixel_grid(48, 64, dtype=torch.float64))[1] == 2)
    edge = (int(rows[len(rows) // 2]), int(columns[rows == rows[len(rows) // 2]].max()))
    depth = maps[0].depth.clone()
    between = (depth[edge] + depth[edge[0], edge[1] + 1]) / 2
    depth[edge[0] - 1 : edge[0] + 2, edge[1] - 1 : edge[1] + 2] = between
    spoilt = [maps[0].with_depth(depth), *maps[1:]]
    kept = filter_map(spoilt, 0, FusionRules(min_consistent=1)).depth[
        edge[0] - 1 : edge[0] + 2, edge[1] - 1 : edge[1] + 2
    ]
    assert abs(float(between - depth[edge[0], edge[1] + 3])) > 0.1
    assert not bool(((kept - between).abs() < 0.02).any())


def test_unknown_depths_neither_pass_nor_confirm() -> None:
    maps = ball_maps(4, num_sources=3)
    clean = filter_map(maps, 0, FusionRules(min_consistent=3)).depth
    row, column = (clean > 0).nonzero()[200].tolist()
    for wrong in (math.nan, math.inf, -1.0, 0.0):
        depth = maps[0].depth.clone()
        depth[row, column] = wrong
        there = filter_map([maps[0].with_depth(depth), *maps[1:]], 0, FusionRules(min_consistent=3)).depth
        assert there[row, column] == 0
        assert bool(there.isfinite().all())
        spoilt = maps[1].with_depth(torch.full_like(maps[1].depth, wrong))
        assert not bool(filter_map([maps[0], spoilt, *maps[2:]], 0, FusionRules(min_consistent=3)).depth.any())


def test_views_with_few_sources_need_all_of_them() -> None:
    maps = ball_maps(3, num_sources=2)
    both = filter_map(maps, 0, FusionRules(min_consistent=3)).depth > 0
    assert bool((both == (filter_map(maps, 0, FusionRules(min_consistent=2)).depth > 0)).all())
    one = filter_map(maps, 0, FusionRules(min_consistent=1)).depth > 0
    assert one.sum() > both.sum() > 100
    assert not bool(filter_map([replace(maps[0], sources=()), *maps[1:]], 0, FusionRules(min_consistent=1)).depth.any())


def test_points_that_other_views_look_through_can_be_refused() -> None:
    maps = ball_maps()
    # Three neighbours agree on a small ball that floats beside the other one; the rest do not see it.
    pixels, depths = pixel_grid(48, 64, dtype=torch.float64), [view.depth for view in maps]
    for index in (0, 1, 8):
        floating, what = truth(maps[index].world_T_cam, maps[index].K, pixels, (0.8, 0.0, 0.9), 0.2)
        depths[index] = torch.where(what == 2, floating, depths[index])
    spoilt = changed(maps, depth=depths)
    ghost = depths[0] != maps[0].depth
    kept = filter_map(spoilt, 0, FusionRules(min_consistent=1, max_violations=None)).depth > 0
    refused = filter_map(spoilt, 0, FusionRules(min_consistent=1)).depth > 0
    assert ghost.sum() > 20
    assert kept[ghost].float().mean() > 0.5
    assert not bool(refused[ghost].any())
    assert refused[~ghost].sum() > 0.9 * kept[~ghost].sum()


def test_sources_that_do_not_exist_and_rules_without_sense_are_told() -> None:
    maps = ball_maps(3, 8, 10, num_sources=2)
    for sources in ((1, 3), (-1,), (0,)):
        with pytest.raises(
            Vo3dError, match=r"00000000: source -?\d of view 0: expected positions of other views, 0 to 2"
        ):
            filter_view([replace(maps[0], sources=sources), *maps[1:]], 0, FusionRules())
    with pytest.raises(Vo3dError, match="0 sources confirm"):
        FusionRules(min_consistent=0)


def test_far_worlds_do_not_disturb_single_precision_depths() -> None:
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor((5e5, -3e5, 80.0))
    maps = ball_maps(5)
    single = [
        replace(view, depth=view.depth.float(), confidence=view.confidence.float(), image=view.image.float(),
                K=view.K.float())
        for view in maps
    ]  # fmt: skip
    far = changed(single, world_T_cam=[shift @ view.world_T_cam for view in single])
    here, there = filter_map(single, 0, FusionRules()).depth, filter_map(far, 0, FusionRules()).depth
    assert ((here > 0) == (there > 0)).float().mean() > 0.998
    both = (here > 0) & (there > 0)
    assert_same(here[both], there[both], 1e-5)


def test_fields_of_a_map_may_differ_in_precision() -> None:
    maps = ball_maps(4, 24, 32, num_sources=3)
    exact = filter_map(maps, 0, FusionRules()).depth > 0
    for fields in (("depth",), ("image", "confidence"), ("K",), ("depth", "image", "K")):
        mixed = changed(maps, **{name: [getattr(view, name).float() for view in maps] for name in fields})
        found = filter_map(mixed, 0, FusionRules()).depth > 0
        assert (found == exact).float().mean() > 0.99


def test_the_view_itself_must_look_the_right_way() -> None:
    # Sources turned round see the points behind them: nothing agrees, and nothing is invented.
    maps = ball_maps(4, num_sources=3)
    round_about = torch.diag(torch.tensor((-1.0, 1.0, -1.0, 1.0), dtype=torch.float64))
    turned = [maps[0], *maps_of([view.world_T_cam @ round_about for view in maps[1:]], maps[0].K, 48, 64, 3)]
    assert not bool(filter_map(turned, 0, FusionRules(min_consistent=1)).depth.any())
