"""Pair scores, depth ranges and depth numbers against loops that spell out their rules, and against a real pair.txt."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from checks import assert_same
from vo3d.errors import Vo3dError
from vo3d.formats.mvsnet import read_scene
from vo3d.geometry import se3
from vo3d.geometry.view_selection import best_sources, depth_ranges, frustum_scores, pair_scores

Scene = tuple[Tensor, Tensor, Tensor, Tensor]


def random_scene(generator: torch.Generator, num_views: int = 7, num_points: int = 60) -> Scene:
    """Cameras around the origin, points near it, each seen by some; two observations come twice."""
    xi = torch.randn(num_views, 6, generator=generator, dtype=torch.float64) * 0.3
    away = torch.eye(4, dtype=torch.float64)
    away[2, 3] = 8
    points = torch.randn(num_points, 3, generator=generator, dtype=torch.float64)
    point, view = (torch.rand(num_points, num_views, generator=generator) < 0.5).nonzero().T.contiguous()
    point, view = (torch.cat([column, column[:1], column[-1:]]) for column in (point, view))
    return away @ se3.exp(xi), points, point, view


def literal_scores(cam_T_world: Tensor, points: Tensor, point: Tensor, view: Tensor) -> Tensor:
    """The rule of the authors' program, pair by pair and point by point."""
    num_views = len(cam_T_world)
    seen = [{int(p) for p, v in zip(point, view, strict=True) if v == i} for i in range(num_views)]
    centres = [(-T[:3, :3].T @ T[:3, 3]) for T in cam_T_world]
    scores = torch.zeros(num_views, num_views, dtype=torch.float64)
    for i in range(num_views):
        for j in range(num_views):
            for p in (seen[i] & seen[j]) if i != j else ():
                a, b = (centres[k] - points[p] for k in (i, j))
                theta = math.degrees(math.acos(float(a @ b / a.norm() / b.norm())))
                scores[i, j] += math.exp(-((theta - 5) ** 2) / (2 * (1 if theta <= 5 else 10) ** 2))
    return scores


def test_scores_equal_the_rule_spelled_out(generator: torch.Generator) -> None:
    scene = random_scene(generator)
    expected = literal_scores(*scene)
    scores = pair_scores(*scene)
    assert_same(scores, expected, 1e-10)
    assert torch.equal(scores, scores.mT)
    assert int((expected > 1e-3).sum()) > 20  # the angles are such that something is compared


@pytest.mark.parametrize(("angle", "score"), [(5, 1), (4, math.exp(-0.5)), (15, math.exp(-0.5)), (0, math.exp(-12.5))])
def test_the_angle_between_the_rays_decides(angle: int, score: float) -> None:
    """Cameras on a circle about the one point that both see, 2 units away."""
    half = math.radians(angle / 2)
    cam_T_world = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    for T, side in zip(cam_T_world, (-1, 1), strict=True):
        T[:3, 3] = torch.tensor([-2 * math.sin(side * half), 0, 2 * math.cos(half)])
    one = torch.zeros(2, dtype=torch.int64)
    scores = pair_scores(cam_T_world, torch.zeros(1, 3, dtype=torch.float64), one, torch.arange(2))
    assert float(scores[0, 1]) == pytest.approx(score, abs=1e-6)


def test_neither_order_nor_the_frame_nor_the_unit_matters(generator: torch.Generator) -> None:
    cam_T_world, points, point, view = random_scene(generator)
    scores, ranges = pair_scores(cam_T_world, points, point, view), depth_ranges(cam_T_world, points, point, view)
    order = torch.randperm(len(point), generator=generator)
    assert_same(pair_scores(cam_T_world, points, point[order], view[order]), scores, 1e-12)
    assert_same(depth_ranges(cam_T_world, points, point[order], view[order]), ranges, 0)

    other_T_world = se3.exp(torch.randn(6, generator=generator, dtype=torch.float64))
    turned = points @ other_T_world[:3, :3].T + other_T_world[:3, 3]
    cam_T_other = cam_T_world @ se3.inverse(other_T_world)
    assert_same(pair_scores(cam_T_other, turned, point, view), scores, 1e-9)
    assert_same(depth_ranges(cam_T_other, turned, point, view), ranges, 1e-12)

    scaled = cam_T_world.clone()
    scaled[:, :3, 3] *= 1000
    assert_same(pair_scores(scaled, points * 1000, point, view), scores, 1e-9)
    assert_same(depth_ranges(scaled, points * 1000, point, view), ranges * 1000, 1e-12)


def test_float32_is_enough(generator: torch.Generator) -> None:
    scene = random_scene(generator)
    narrow = (scene[0].float(), scene[1].float(), *scene[2:])
    assert_same(pair_scores(*narrow), pair_scores(*scene), 1e-4)
    assert pair_scores(*narrow).dtype == torch.float64


def test_the_best_sources_come_first_and_strangers_not_at_all() -> None:
    scores = torch.tensor([[0.0, 2, 5, 0], [2, 0, 2, 0], [5, 2, 0, 0], [0, 0, 0, 0]])
    assert best_sources(scores) == [([2, 1], [5, 2]), ([0, 2], [2, 2]), ([0, 1], [5, 2]), ([], [])]
    assert best_sources(scores, 1) == [([2], [5]), ([0], [2]), ([0], [5]), ([], [])]


def test_views_without_common_points_score_nothing(generator: torch.Generator) -> None:
    cam_T_world, points, _, _ = random_scene(generator, num_views=3)
    point, view = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])
    assert pair_scores(cam_T_world, points, point, view).tolist() == [[0] * 3] * 3
    nobody = torch.empty(0, dtype=torch.int64)
    assert pair_scores(cam_T_world, points[:0], nobody, nobody).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize("num_points", [60, 450])
def test_depth_ranges_equal_the_rule_spelled_out(generator: torch.Generator, num_points: int) -> None:
    cam_T_world, points, point, view = random_scene(generator, num_points=num_points)
    ranges = depth_ranges(cam_T_world, points, point, view)
    for i, T in enumerate(cam_T_world):
        seen = {int(p) for p, v in zip(point, view, strict=True) if v == i}
        z = sorted(float(T[2, :3] @ points[p] + T[2, 3]) for p in seen)
        assert ranges[i].tolist() == pytest.approx([z[int(len(z) * 0.01)], z[int(len(z) * 0.99)]], rel=1e-12)


def test_points_behind_a_camera_do_not_count() -> None:
    points = torch.tensor([[0.0, 0, 1], [0, 0, 2], [0, 0, -5], [0, 0, 0]])
    every, view = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    assert depth_ranges(torch.eye(4)[None], points, every, view).tolist() == [[1, 2]]


def test_a_view_whose_range_is_unknown_is_named() -> None:
    eyes = torch.eye(4).repeat(3, 1, 1)
    points = torch.tensor([[0.0, 0, 1], [0, 0, 2], [0, 0, -5]])
    with pytest.raises(Vo3dError, match=r"view 1 sees no sparse point in front of it"):
        depth_ranges(eyes, points, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 2]))
    point, view = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2])
    with pytest.raises(Vo3dError, match=r"view 'c.jpg' sees its 1 sparse points at one depth"):
        depth_ranges(eyes, points, point, view, names=["a.jpg", "b.jpg", "c.jpg"])


@pytest.mark.real
def test_the_sources_of_a_real_scene(shared_data: Path) -> None:
    """Its pair.txt holds the same score over random points in the same box, all seen by all: equal up to a factor."""
    views = read_scene(shared_data / "mvs" / "templeRing")
    low, high = (-0.023121, -0.038009, -0.091940), (0.078626, 0.121636, -0.017395)
    axes = [torch.linspace(a, b, 12, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    points = torch.cartesian_prod(*axes)
    cam_T_world = torch.stack([view.camera.cam_T_world for view in views.values()])
    point, view = torch.ones(len(points), len(views)).nonzero().T.contiguous()
    scores = pair_scores(cam_T_world, points, point, view)
    for index, (sources, _) in enumerate(best_sources(scores)):
        stated = views[index]
        assert set(sources[:2]) == set(stated.sources[:2])
        found = scores[index, list(stated.sources[:6])]
        expected = torch.tensor(stated.scores[:6], dtype=torch.float64)
        torch.testing.assert_close(found / found[0], expected / expected[0], rtol=0.05, atol=5e-3)


def test_frustum_scores_equal_the_rule_spelled_out(generator: torch.Generator) -> None:
    """Pair by pair and point by point, for cameras that look the same way, askew, and away, with unequal images."""
    world_T_cam = se3.exp(0.25 * torch.randn(6, 6, generator=generator, dtype=torch.float64))
    world_T_cam[5] = world_T_cam[0] @ se3.exp(torch.tensor([0, 0, 0, 0, math.pi, 0], dtype=torch.float64))
    K = torch.tensor([[90.0, 2, 48], [0, 80, 37], [0, 0, 1]], dtype=torch.float64).repeat(6, 1, 1)
    sizes = [(80, 100)] * 5 + [(60, 90)]
    scores = frustum_scores(K, world_T_cam, sizes, 2.0, grid=(2, 3))
    expected = torch.zeros_like(scores)
    for i, (h, w) in enumerate(sizes):
        for row in range(2):
            for column in range(3):
                pixel = torch.tensor([(column + 0.5) / 3 * w - 0.5, (row + 0.5) / 2 * h - 0.5, 1], dtype=torch.float64)
                point = world_T_cam[i] @ torch.cat([2 * torch.linalg.solve(K[i], pixel), pixel[2:]])
                for j, (height, width) in enumerate(sizes):
                    x, y, z = (K[j] @ torch.linalg.solve(world_T_cam[j], point)[:3]).tolist()
                    if j == i or z <= 0 or not (-0.5 <= x / z <= width - 0.5 and -0.5 <= y / z <= height - 0.5):
                        continue
                    a, b = (world_T_cam[k, :3, 3] - point[:3] for k in (i, j))
                    theta = math.degrees(math.acos(float(a @ b / a.norm() / b.norm())))
                    weight = math.exp(-((theta - 5) ** 2) / (2 * (1 if theta <= 5 else 10) ** 2))
                    expected[i, j] += weight
                    expected[j, i] += weight
    assert_same(scores, expected, 1e-10)
    assert int((expected > 1e-3).sum()) > 10
    assert not scores[5].any()
    assert not scores.diagonal().any()
