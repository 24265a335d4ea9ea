"""What becomes of each pixel, and that the sky does not become a wall."""

from dataclasses import replace

import pytest
import torch

from ball_scene import ball_maps, changed
from street_with_sky import swept_street
from vo3d.depth_map import Outcome, Planes, PosedDepthMap, count_outcomes
from vo3d.fusion.diagnosis import diagnose, empty_maps, map_shares
from vo3d.fusion.filtering import FusionRules, filter_view, judge_alone
from vo3d.fusion.fuse import fuse


@pytest.mark.parametrize("inverse", [False, True])
def test_each_pixel_has_the_first_test_that_it_failed(inverse: bool) -> None:
    planes = Planes(near=1.0, far=3.0, num=21, inverse=inverse)
    tried = 1 / torch.linspace(1, 1 / 3, 21) if inverse else torch.linspace(1.0, 3.0, 21)
    view = replace(
        ball_maps(3, 5, 21, num_sources=2)[0],
        depth=tried.expand(5, 21).clone(),
        confidence=torch.ones(5, 21),
        image=torch.full((3, 5, 21), 0.5),
        planes=planes,
        foreground=torch.ones(5, 21, dtype=torch.bool),
    )
    view.foreground[4] = False
    view.depth[3, 5:7] = torch.tensor([0.0, torch.nan])
    view.confidence[2] = 0.1
    view.image[:, 1, 9] = 0.01
    view.image[:2, 1, 10] = 0.01  # blue is no black
    view.image[:, 1, 11] = 0.99
    expected = torch.full((5, 21), Outcome.KEPT, dtype=torch.uint8)
    expected[2] = Outcome.UNSURE
    expected[1, 9] = expected[1, 11] = Outcome.CLIPPED
    expected[:, :2] = expected[:, 19:] = Outcome.END  # within 1.5 steps
    expected[3, 5:7] = Outcome.NO_DEPTH
    expected[4] = Outcome.BACKGROUND
    assert torch.equal(judge_alone(view, FusionRules(drop_ends=1.5)), expected)
    assert map_shares(view, FusionRules(drop_ends=1.5)) == (pytest.approx(16 / 82), pytest.approx(2 / 84))
    left = judge_alone(replace(view, planes=None), FusionRules())
    assert not bool(((left == Outcome.END) | (left == Outcome.CLIPPED)).any())  # a sensor's depths are what they are


def test_an_area_of_black_takes_its_border_along_and_a_speck_does_not() -> None:
    view = ball_maps(3, 12, 20, num_sources=2)[0]
    image = torch.full_like(view.image, 0.5)
    image[:, 2:6, 2:7] = 0.0
    image[:, 9, 15] = 0.0
    view = replace(view, image=image, planes=Planes(near=0.1, far=100.0, num=2, inverse=False))
    expected = torch.zeros(12, 20, dtype=torch.bool)
    expected[1:7, 1:8] = expected[9, 15] = True
    assert torch.equal(judge_alone(view, FusionRules(drop_ends=0.0)) == Outcome.CLIPPED, expected)


def with_masks(maps: list[PosedDepthMap]) -> list[PosedDepthMap]:
    """Masks that leave out the left half of every view but the first."""
    wanted = torch.ones(maps[0].depth.shape, dtype=torch.bool)
    wanted[:, : wanted.shape[1] // 2] = False
    return changed(maps, foreground=[None, *[wanted] * (len(maps) - 1)])


def test_background_is_no_point_and_confirms_none() -> None:
    maps = ball_maps(9, 18, 24)
    masked = with_masks(maps)
    erased = [masked[0], *(view.with_depth(view.depth * view.foreground) for view in masked[1:])]
    rules = FusionRules(max_violations=None, min_consistent=1)
    for index in (0, 4):
        found = filter_view(masked, index, rules)
        counts = count_outcomes(found.outcomes)
        assert counts[Outcome.BACKGROUND] == (18 * 12 if index else 0)
        assert counts[Outcome.KEPT] == len(found.pixels)
        less = filter_view(erased, index, rules)  # as if there were no depth: but for depths between two pixels
        assert abs(len(less.pixels) - len(found.pixels)) <= 0.08 * len(found.pixels)
        assert len(found.pixels) > 50
    assert len(filter_view(masked, 0, rules).pixels) < 0.9 * len(filter_view(maps, 0, rules).pixels)
    nothing = changed(maps, foreground=[torch.zeros(18, 24, dtype=torch.bool)] * 9)
    assert diagnose(nothing, FusionRules()).cause == "masks"


def test_outcomes_add_up_to_the_pixels() -> None:
    fused = fuse(with_masks(ball_maps(9, 18, 24)), FusionRules(min_consistent=1))
    for counts, outcomes in zip(fused.views, fused.outcomes, strict=True):
        assert counts.fused + sum(counts.dropped.values()) == counts.pixels == outcomes.numel()
        assert counts.known == counts.pixels - counts.dropped[Outcome.BACKGROUND.words]
        assert counts.pixels >= counts.known >= counts.confident >= counts.consistent >= counts.fused
    assert fused.warning is None


def test_the_sky_of_a_street_does_not_become_a_wall() -> None:
    maps = swept_street()
    beyond = {}
    for drop_ends in (0.0, 3.0):
        rules = FusionRules(min_confidence=0.4, min_consistent=2, drop_ends=drop_ends)
        found = [(filter_view(maps, index, rules), view) for index, view in enumerate(maps)]
        far = sum(int((one.depth > view.truth.max()).sum()) for one, view in found if view.truth is not None)
        beyond[drop_ends] = far / sum(len(one.pixels) for one, _ in found)
    assert beyond[0.0] > 0.3
    assert beyond[3.0] < 0.005


def test_a_cloud_that_is_hardly_one_comes_with_a_line() -> None:
    maps = ball_maps(6, 24, 32, num_sources=5)
    sure = torch.zeros(24, 32, dtype=torch.float64)
    sure[12, 10:14] = 1.0
    fused = fuse(changed(maps, confidence=[sure] * 6))
    assert 0 < len(fused.cloud) <= 24
    assert fused.warning is not None
    assert fused.warning.startswith("only 0.15% of the pixels survive; of the depths 0.5% have the confidence 0.8")
    assert "lower the least confidence (--min-confidence 0)" in fused.warning


def test_planes_that_are_too_coarse_are_told() -> None:
    maps = ball_maps(6, 24, 32, num_sources=5)
    planes = Planes(near=1.0, far=20.0, num=20, inverse=False)
    rounded = [(view.depth - 1).round() + 1 + torch.rand(24, 32).double() for view in maps]  # as between planes
    coarse = diagnose(changed(maps, planes=[planes] * 6, depth=rounded), FusionRules(drop_ends=0.5))
    assert coarse.cause == "steps"
    assert "space them by --inverse true, or raise --num-depths" in coarse.advice


def test_maps_that_are_mostly_empty_are_named() -> None:
    assert empty_maps([("a", 0.2), ("b", 0.5)]) is None
    line = empty_maps([("a", 0.2), ("b", 0.83)])
    assert line is not None
    assert line.startswith("1 of 2 depth maps have no depth at most of their pixels (b: 83%)")
