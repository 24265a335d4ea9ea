"""DepthRangeJitter: both ends move on their own, by even factors of their intervals, alike in all views."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from samples import make_sample
from vo3d.datasets.transforms import DepthRangeJitter
from vo3d.errors import Vo3dError
from vo3d.sample import Sample

NEAR, FAR = (0.5, 0.9), (1.2, 2.0)


def clip_with(*ranges: tuple[float, float]) -> Sample:
    """A clip with a depth range for each of its views."""
    sample = make_sample(b=1, s=len(ranges)).map(lambda tensor: tensor[0])
    return replace(sample, depth_range=torch.tensor(ranges), scene="x")


def ranges_of(jitter: DepthRangeJitter, sample: Sample, draws: int) -> Tensor:
    """Ranges (draws, views, 2) that so many draws give."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([ranged(jitter(sample, generator)) for _ in range(draws)])


def ranged(sample: Sample) -> Tensor:
    assert sample.depth_range is not None
    return sample.depth_range


def test_each_end_is_multiplied_by_a_factor_drawn_evenly_from_its_interval() -> None:
    found = ranges_of(DepthRangeJitter(NEAR, FAR), clip_with((2.0, 10.0)), 4000)[:, 0]
    for factors, (low, high) in zip((found[:, 0] / 2, found[:, 1] / 10), (NEAR, FAR), strict=True):
        assert low - 1e-6 <= float(factors.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(factors.max()) <= high + 1e-6
        in_quarters = ((factors - low) / (high - low)).histc(4, 0, 1)
        assert bool(((in_quarters - 1000).abs() < 150).all())  # five standard deviations


def test_the_two_ends_are_drawn_apart() -> None:
    found = ranges_of(DepthRangeJitter(NEAR, FAR), clip_with((2.0, 10.0)), 4000)[:, 0]
    assert abs(float(torch.corrcoef(found.T)[0, 1])) < 0.08


def test_all_views_get_the_same_factors() -> None:
    found = ranges_of(DepthRangeJitter(NEAR, FAR), clip_with((2.0, 10.0), (3.0, 30.0), (1.0, 5.0)), 20)
    factors = found / torch.tensor([[2.0, 10.0], [3.0, 30.0], [1.0, 5.0]])
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert float(factors[:, 0].std(0).min()) > 0.01  # another pair in each draw


def test_intervals_without_width_give_exact_numbers_and_leave_all_else_alone(generator: torch.Generator) -> None:
    sample = clip_with((2.0, 10.0), (4.0, 8.0))
    found = DepthRangeJitter((0.5, 0.5), (1.5, 1.5))(sample, generator)
    assert ranged(found).tolist() == [[1.0, 15.0], [2.0, 12.0]]
    assert ranged(sample).tolist() == [[2.0, 10.0], [4.0, 8.0]]
    for name in ("image", "K", "world_T_cam", "depth", "index"):
        assert getattr(found, name) is getattr(sample, name)


def test_by_default_the_near_end_moves_by_0_8_to_1_1_and_the_far_end_by_0_9_to_1_3() -> None:
    found = ranges_of(DepthRangeJitter(), clip_with((1.0, 100.0)), 3000)[:, 0]
    assert found.amin(0).tolist() == pytest.approx([0.8, 90.0], rel=2e-3)
    assert found.amax(0).tolist() == pytest.approx([1.1, 130.0], rel=2e-3)


@pytest.mark.parametrize("ranges", [[(5.0, 10.0), (8.0, 10.0)], [(8.0, 10.0), (5.0, 10.0)], [(5.0, 10.0)]])
def test_a_draw_that_leaves_no_range_in_some_view_is_not_made(
    ranges: list[tuple[float, float]], generator: torch.Generator
) -> None:
    """The near end times 1.6: beyond the far end in the view of 8 to 10, times 2 on the far end in that of 5 to 10."""
    sample = clip_with(*ranges)
    factor = 1.6 if len(ranges) == 2 else 2.0
    assert DepthRangeJitter((factor, factor), (1.0, 1.0))(sample, generator).depth_range is sample.depth_range
    alone = clip_with((4.0, 10.0))
    assert ranged(DepthRangeJitter((factor, factor), (1.0, 1.0))(alone, generator))[0, 0] == pytest.approx(4 * factor)


def test_a_clip_without_a_range_and_intervals_without_sense_are_told(generator: torch.Generator) -> None:
    with pytest.raises(Vo3dError, match="'x' has no depth_range: leave DepthRangeJitter out"):
        DepthRangeJitter()(replace(clip_with((1.0, 2.0)), depth_range=None), generator)
    with pytest.raises(Vo3dError, match=r"near is \(0.0, 1.0\)"):
        DepthRangeJitter(near=(0.0, 1.0))
    with pytest.raises(Vo3dError, match=r"far is \(1.2, 1.1\)"):
        DepthRangeJitter(far=(1.2, 1.1))
