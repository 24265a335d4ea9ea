"""When nothing is left, the message names what was wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ball_scene import ball_maps, changed
from vo3d.depth_map import PosedDepthMap
from vo3d.errors import Vo3dError
from vo3d.fusion.diagnosis import diagnose
from vo3d.fusion.filtering import FusionRules
from vo3d.fusion.fuse import fuse
from vo3d.geometry import se3, so3_exp

Maps = list[PosedDepthMap]
NUM = 6


def too_near(maps: Maps) -> Maps:
    return changed(maps, depth=[view.depth.clamp(max=1.8) for view in maps], depth_range=[(1.0, 1.8)] * NUM)


def too_far(maps: Maps) -> Maps:
    return changed(maps, depth=[view.depth.clamp(min=10.0) for view in maps], depth_range=[(10.0, 20.0)] * NUM)


def turned(maps: Maps) -> Maps:
    generator = torch.Generator().manual_seed(0)
    poses = []
    for view in maps:
        error = torch.eye(4, dtype=torch.float64)
        error[:3, :3] = so3_exp(0.15 * torch.randn(3, generator=generator, dtype=torch.float64))
        poses.append(view.world_T_cam @ error)
    return changed(maps, world_T_cam=poses)


def in_another_unit(maps: Maps) -> Maps:
    return changed(maps, depth=[3 * view.depth for view in maps], depth_range=[(1.0, 80.0)] * NUM)


def guessed(maps: Maps) -> Maps:
    # What a network without a clue gives: the middle of the range everywhere, and no confidence.
    flat = [torch.full_like(view.depth, 10.5) for view in maps]
    return changed(maps, depth=flat, confidence=[0.1 * view.confidence for view in maps])


def far_apart(maps: Maps) -> Maps:
    poses = [view.world_T_cam.clone() for view in maps]
    for index, pose in enumerate(poses):
        pose[:3, 3] += 100.0 * index
    return changed(maps, world_T_cam=poses)


def unsure(maps: Maps) -> Maps:
    ramp = torch.linspace(0, 0.5, maps[0].depth.numel(), dtype=torch.float64).reshape(maps[0].depth.shape)
    return changed(maps, confidence=[ramp] * NUM)


def one_partner(maps: Maps) -> Maps:
    # Of three sources one sees the same; the others look away.
    away = torch.diag(torch.tensor((-1.0, 1.0, -1.0, 1.0), dtype=torch.float64))
    blind = [replace(view, name=f"9{view.name}", sources=(), world_T_cam=view.world_T_cam @ away) for view in maps]
    return [replace(view, sources=(index ^ 1, NUM, NUM + 1)) for index, view in enumerate(maps)] + blind


def empty(maps: Maps) -> Maps:
    return [view.with_depth(torch.zeros_like(view.depth)) for view in maps]


def alone(maps: Maps) -> Maps:
    return [replace(view, sources=()) for view in maps]


@pytest.mark.parametrize(
    ("spoil", "cause", "advice"),
    [
        (
            too_near,
            "depth range",
            "100% lie at the ends of the depth range.* far end: .* raise the second number of --depth-range",
        ),
        (
            too_far,
            "depth range",
            "the depth range misses the scene: .* near end: .* lower the first number of --depth-range",
        ),
        (turned, "poses", "check the poses"),
        (in_another_unit, "poses", "one unit for poses and depths"),
        (guessed, "poses", "that the depth range holds the scene"),
        (far_apart, "overlap", "[0-4]% fall into a source's image.* do not see the same surface"),
        (
            unsure,
            "confidence",
            r"0.0% have the confidence 0.8 \(0.45 would keep 10 %\).*--min-confidence 0.45",
        ),
        (one_partner, "views", r"lower the number of views that must agree \(--min-consistent 2\)"),
        (empty, "no depth", "depth maps are empty, as where no source sees the depths"),
        (alone, "no sources", "name the pairs of views"),
    ],
)
def test_each_cause_is_recognised(spoil: Callable[[Maps], Maps], cause: str, advice: str) -> None:
    maps = spoil(ball_maps(NUM, 24, 32, num_sources=5))
    assert diagnose(maps, FusionRules()).cause == cause
    with pytest.raises(Vo3dError, match=advice) as caught:
        fuse(maps)
    assert "\n" not in str(caught.value)


def test_poses_the_wrong_way_round_are_recognised_though_some_points_agree_by_chance() -> None:
    maps = ball_maps(NUM, 24, 32, num_sources=5)
    wrong = changed(maps, world_T_cam=[se3.inverse(view.world_T_cam) for view in maps])
    assert diagnose(wrong, FusionRules()).cause == "poses"
    assert sum(count.fused for count in fuse(wrong).views) < 0.01 * NUM * 24 * 32


def test_confidence_that_nothing_has_is_told_beside_another_cause() -> None:
    maps = ball_maps(NUM, 24, 32, num_sources=5)
    assert "lower it too" not in str(diagnose(turned(maps), FusionRules()))
    assert str(diagnose(unsure(turned(maps)), FusionRules())).endswith(
        "no depth has the least confidence: lower it too"
    )


def test_points_refused_for_free_space_are_told() -> None:
    """Half of the views measure what is farther away, so that they look through what the others agree on."""
    maps = ball_maps(NUM, 24, 32, num_sources=5)
    maps = changed(maps, depth=[view.depth * (1.5 if index > 2 else 1.0) for index, view in enumerate(maps)])
    rules = FusionRules(min_consistent=2, max_violations=0.5)
    assert diagnose(maps, rules).cause == "free space"
    assert diagnose(maps, replace(rules, max_violations=None)).cause != "free space"


def test_shares_of_good_maps_are_as_they_should_be() -> None:
    found = diagnose(ball_maps(), FusionRules())
    assert found.known == found.confident == 1.0
    assert found.at_ends < 0.01
    assert found.overlap > 0.6
    assert 0.6 < found.agreement <= min(found.reprojection, found.depth_difference)
    assert found.agree_enough > 0.6
    assert found.num_pairs == 72


def test_no_share_is_more_than_the_whole() -> None:
    """Cameras at one place: pixels of the border come back to it, but for rounding."""
    maps = ball_maps(NUM, 24, 32, num_sources=5)
    found = diagnose(changed(maps, world_T_cam=[maps[0].world_T_cam] * NUM, depth=[maps[0].depth] * NUM), FusionRules())
    assert found.overlap > 0.99
    assert found.agreement <= max(found.reprojection, found.depth_difference) <= 1.0


def test_nothing_to_fuse_is_an_error() -> None:
    with pytest.raises(Vo3dError, match="no depth maps to fuse: expected at least two views"):
        fuse([])
