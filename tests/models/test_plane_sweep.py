"""Winner takes all over a plane sweep: known planes are found, and each step equals its slow twin."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from textured_plane import textured_plane
from vo3d.errors import Vo3dError
from vo3d.model import check_gives, check_needs
from vo3d.models.plane_sweep import NOISE, PlaneSweep, _Best, _box, _Correlation, _mean_of_best, _smoothed
from vo3d.sample import Sample

SIZE = (48, 64)


def plane(seed: int = 0, views: int = 5) -> Sample:
    """A tilted plane seen by `views` cameras."""
    return textured_plane(views=views, size=SIZE, cells=16, seed=seed)


def errors(depth: Tensor, sample: Sample, num_depths: int) -> Tensor:
    """Of a map at every fourth pixel, in the distance of two planes."""
    assert sample.depth is not None
    assert sample.depth_range is not None
    near, far = sample.depth_range[0, 0].tolist()
    return (depth - sample.depth[:, :1, ::4, ::4]).abs() / (far - near) * (num_depths - 1)


@pytest.mark.parametrize(
    ("cost", "smoothing", "match_stride"),
    [
        ("zncc", "guided", 1),
        ("zncc", "box", 2),
        ("zncc", "none", 1),
        ("zncc", "guided", 4),
        ("variance", "guided", 1),
        ("variance", "box", 1),
        ("variance", "none", 2),
    ],
)
def test_a_plane_is_found_between_the_hypotheses(cost: Any, smoothing: Any, match_stride: int) -> None:
    sample, num = plane(), 17
    model = PlaneSweep(num, match_stride=match_stride, cost=cost, smoothing=smoothing, window=5, smoothing_window=3)
    check_needs(model, sample, "the test")
    found = model(sample)
    check_gives(model, found)
    assert found["depth"].shape == found["confidence"].shape == (1, 1, 12, 16)
    error = errors(found["depth"], sample, num)
    inner = error[..., 2:-2, 2:-2]  # at the borders windows are cut and sources see less
    assert (inner < 0.5).float().mean() > 0.8
    whole = PlaneSweep(
        num, match_stride=match_stride, cost=cost, smoothing=smoothing, window=5, smoothing_window=3, subpixel=False
    )
    assert error.median() < 0.9 * errors(whole(sample)["depth"], sample, num).median()  # the parabola helps
    assert found["confidence"].median() > 0.7


def test_planes_at_equal_steps_of_inverse_depth() -> None:
    sample = plane()
    even = errors(PlaneSweep(17, window=5)(sample)["depth"], sample, 17)
    inverse = errors(PlaneSweep(17, window=5, inverse=True)(sample)["depth"], sample, 17)
    assert inverse.median() < 0.2
    assert not torch.equal(even, inverse)


@pytest.mark.parametrize("cost", ["zncc", "variance"])
def test_slabs_and_the_order_of_sources_change_nothing(cost: Any) -> None:
    sample = plane()
    whole = PlaneSweep(12, cost=cost, slab=12)(sample)
    found = PlaneSweep(12, cost=cost, slab=5)(sample)
    torch.testing.assert_close(found["depth"], whole["depth"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["confidence"], whole["confidence"], rtol=1e-4, atol=1e-4)
    turned = sample.map(lambda tensor: tensor[:, [0, 3, 1, 4, 2]])
    found = PlaneSweep(12, cost=cost)(turned)
    torch.testing.assert_close(found["depth"], whole["depth"], rtol=1e-4, atol=1e-4)


def test_a_batch_is_its_samples_each_with_its_own_range() -> None:
    samples = [replace(plane(seed), scene="plane") for seed in (0, 1)]
    samples[1] = replace(samples[1], depth_range=torch.tensor([0.5, 2.5]).expand(1, 5, 2))
    batch = Sample.collate([sample.map(lambda tensor: tensor[0]) for sample in samples])
    found = PlaneSweep(12)(batch)
    for index, sample in enumerate(samples):
        alone = PlaneSweep(12)(sample)
        torch.testing.assert_close(found["depth"][index : index + 1], alone["depth"], rtol=1e-4, atol=1e-4)


def test_what_no_source_sees_has_no_depth() -> None:
    sample = plane(views=2)
    assert sample.world_T_cam is not None
    away, aside = sample.world_T_cam.clone(), sample.world_T_cam.clone()
    away[:, 1, :3, :3] = torch.diag(torch.tensor([-1.0, 1, -1]))  # the source looks back
    found = PlaneSweep(8)(replace(sample, world_T_cam=away))
    assert (found["depth"] == 0).all()
    assert (found["confidence"] == 0).all()
    aside[:, 1] = torch.eye(4)
    aside[:, 1, 0, 3] = 0.6  # it sees the right half
    found = PlaneSweep(8)(replace(sample, world_T_cam=aside))
    assert (found["depth"][..., :4] == 0).all()
    assert (found["depth"][..., -4:] > 0).all()


def test_the_correlation_is_that_of_a_loop_over_windows(generator: torch.Generator) -> None:
    reference = torch.rand(1, 1, 3, 5, 6, generator=generator)
    warped = torch.rand(1, 2, 3, 5, 6, generator=generator)
    found = _Correlation(reference, 3).cost(warped)
    for d, y, x in torch.ones(2, 5, 6).nonzero().tolist():
        window = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
        r = reference[0, 0, :, *window].flatten(1).double()  # c n
        s = warped[0, d, :, *window].flatten(1).double()
        r, s = r - r.mean(1, keepdim=True), s - s.mean(1, keepdim=True)
        noise = r.shape[1] * 3 * NOISE**2
        expected = 1 - (r * s).sum() / ((r.square().sum() + noise) * (s.square().sum() + noise)).sqrt()
        assert found[0, d, y, x].item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_variance_is_that_of_the_views_that_see_a_pixel(generator: torch.Generator) -> None:
    model = PlaneSweep(2, window=1, stride=1, cost="variance")
    reference = torch.rand(1, 1, 3, 4, 5, generator=generator)
    warped = [torch.rand(1, 2, 3, 4, 5, generator=generator) for _ in range(3)]
    seen = [torch.rand(1, 2, 4, 5, generator=generator) < 0.6 for _ in range(3)]
    found = model._variance(reference, list(zip(warped, seen, strict=True)))
    for place in torch.ones(2, 4, 5).nonzero().tolist():
        d, y, x = place
        views = [reference[0, 0, :, y, x]]
        views += [w[0, d, :, y, x] for w, m in zip(warped, seen, strict=True) if m[0, d, y, x]]
        expected = torch.stack(views).var(0, correction=0).mean().item() if len(views) > 1 else math.inf
        assert found[0, d, y, x].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_the_better_half_of_the_sources_is_taken_of_those_that_see(half: bool, generator: torch.Generator) -> None:
    costs = torch.rand(5, 1, 2, 3, 4, generator=generator)
    costs = torch.where(torch.rand(costs.shape, generator=generator) < 0.5, costs, torch.inf)
    found = _mean_of_best(list(costs), half)
    for place, value in zip(torch.ones(2, 3, 4).nonzero().tolist(), found.flatten().tolist(), strict=True):
        d, y, x = place
        known = sorted(c for c in costs[:, 0, d, y, x].tolist() if c < math.inf)
        kept = known[: max(2, (len(known) + 1) // 2)] if half else known
        assert value == pytest.approx(sum(kept) / len(kept) if kept else math.inf, abs=1e-6)


def test_the_best_plane_is_kept_with_its_parabola() -> None:
    depths = torch.tensor([[1.0, 2.0, 3.0, 4.0, 6.0]])
    costs = torch.tensor(
        [
            [(k - 1.75) ** 2 + 1 for k in range(5)],  # a parabola, lowest 0.25 before plane 2
            [(k - 3.25) ** 2 for k in range(5)],  # after plane 3, where planes are 2 m apart
            [5.0, 4.0, 3.0, 2.0, 1.0],  # the last plane has no neighbour above
            [1.0, 2.0, 3.0, 4.0, 5.0],
            [math.inf, math.inf, 3.0, 2.0, math.inf],  # seen on two planes
            [math.inf] * 5,
            [1.0, 1.0, 1.0, 1.0, 1.0],  # the first of equals, without confidence
        ]
    )
    best = _Best()
    for cost in costs.T:
        best.add(cost.reshape(1, 1, -1))
    depth, confidence = best.result(depths, subpixel=True)
    torch.testing.assert_close(depth.flatten(), torch.tensor([2.75, 4.5, 6.0, 1.0, 4.0, 0.0, 1.0]))
    mean = costs.mean(1)
    expected = [1 - 1.0625 / mean[0], 1 - 0.0625 / mean[1], 1 - 1 / 3, 1 - 1 / 3, 1 - 2 / 2.5, 0, 0]
    torch.testing.assert_close(confidence.flatten(), torch.tensor(expected))
    plain, _ = best.result(depths, subpixel=False)
    assert plain.flatten().tolist() == [3, 4, 6, 1, 4, 0, 1]


def test_guided_smoothing_is_a_fit_of_lines_in_windows(generator: torch.Generator) -> None:
    model = PlaneSweep(2, smoothing_window=3, stride=1)
    guide = torch.rand(1, 1, 5, 6, generator=generator, dtype=torch.float64)
    cost = torch.rand(1, 2, 5, 6, generator=generator, dtype=torch.float64)
    found = model._smooth(cost, guide)

    def window(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)

    lines = {}
    for d in range(2):
        for y in range(5):
            for x in range(6):
                g, c = guide[0, 0][window(y, x)].flatten(), cost[0, d][window(y, x)].flatten()
                slope = ((g - g.mean()) * (c - c.mean())).mean() / (g.var(correction=0) + 0.03**2)
                lines[d, y, x] = slope, c.mean() - slope * g.mean()
    for d in range(2):
        for y in range(5):
            for x in range(6):
                near = [lines[d, j, i] for j in range(5) for i in range(6) if abs(j - y) <= 1 and abs(i - x) <= 1]
                slope, offset = (sum(part) / len(near) for part in zip(*near, strict=True))
                assert found[0, d, y, x].item() == pytest.approx(float(slope * guide[0, 0, y, x] + offset), abs=1e-9)


def test_smoothing_keeps_equal_costs_and_a_box_is_a_mean(generator: torch.Generator) -> None:
    guide = torch.rand(1, 1, 7, 9, generator=generator)
    equal = torch.full((1, 1, 7, 9), 0.7)
    for smoothing in ("guided", "box", "none"):
        found = PlaneSweep(2, smoothing=smoothing, smoothing_window=5)._smooth(equal, guide)
        torch.testing.assert_close(found, equal)
    torch.testing.assert_close(_box(guide, 3)[0, 0, 3, 4], guide[0, 0, 2:5, 3:6].sum())


def test_each_pixel_counts_equally_in_those_that_are_taken(generator: torch.Generator) -> None:
    image = torch.rand(2, 2, 3, 9, 13, generator=generator)
    assert torch.equal(_smoothed(image, 1), image)
    for stride in (2, 4):
        one = torch.zeros(4, 4, 1, 12, 12)
        for y in range(4):
            for x in range(4):
                one[y, x, 0, 4 + y, 4 + x] = 1
        taken = _smoothed(one, stride)[..., ::stride, ::stride].sum((-3, -2, -1))
        torch.testing.assert_close(taken, torch.full((4, 4), 1 / stride**2))
        torch.testing.assert_close(_smoothed(torch.full_like(image, 0.3), stride), torch.full_like(image, 0.3))


def test_pixels_between_those_compared_lessen_noise(generator: torch.Generator) -> None:
    sample = plane()
    noisy = replace(sample, image=sample.image + 0.1 * torch.randn(sample.image.shape, generator=generator))
    model = PlaneSweep(33, match_stride=2, window=5)
    found = errors(model(noisy)["depth"], sample, 33)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vo3d.models.plane_sweep._smoothed", lambda image, _: image)
        rough = errors(model(noisy)["depth"], sample, 33)
    assert (found < 1).float().mean() > (rough < 1).float().mean() + 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_depths": 1}, "num_depths 1"),
        ({"slab": 0}, "slab 0"),
        ({"stride": 4, "match_stride": 3}, "match_stride 3: expected a positive divisor"),
        ({"stride": 0}, "stride 0"),
        ({"window": 4}, "window 4: expected an odd number"),
        ({"smoothing_window": 0}, "smoothing_window 0: expected an odd number"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Vo3dError, match=message):
        PlaneSweep(**arguments)


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    sample = plane()
    with pytest.raises(Vo3dError, match="one view: PlaneSweep needs at least 2"):
        PlaneSweep(8)(sample.map(lambda tensor: tensor[:, :1]))
    with pytest.raises(Vo3dError, match="needs K, world_T_cam and depth_range"):
        PlaneSweep(8)(Sample(image=sample.image, K=sample.K))
    with pytest.raises(Vo3dError, match="no parameters to train"):
        PlaneSweep(8).loss({}, sample)
