"""Eigen's protocol against a plain program that does it image by image, values by hand, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vo3d.errors import Vo3dError
from vo3d.metrics.single_view import EigenRules, crop_mask, single_view_metrics, under_rules

KEYS = {
    "depth_abs_rel": "abs_rel",
    "depth_sq_rel_m": "sq_rel",
    "depth_rmse_m": "rmse",
    "depth_rmse_log": "rmse_log",
    "depth_delta1_percent": "a1",
    "depth_delta2_percent": "a2",
    "depth_delta3_percent": "a3",
    "depth_scale": "scale",
}


def plainly(depth: NDArray[Any], truth: NDArray[Any], rules: EigenRules) -> dict[str, float]:
    """One image, as the published programs go about it: mask, crop, scale by medians, clamp, formulas."""
    near, far = rules.cap
    h, w = truth.shape
    pairs = []
    shares = {"none": (0, 1, 0, 1), "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229)}
    top, bottom, left, right = shares.get(rules.crop, (0.3324324, 0.91351351, 0.0359477, 0.96405229))
    for y in range(h):
        for x in range(w):
            there = int(top * h) <= y < int(bottom * h) and int(left * w) <= x < int(right * w)
            if there and near < truth[y, x] < far and depth[y, x] != 0:
                pairs.append((depth[y, x], truth[y, x]))
    d, t = (np.array(values) for values in zip(*pairs, strict=True))
    scale = np.median(t) / np.median(d) if rules.scaling == "median" else 1.0
    d = np.clip(d * scale, near, far)
    ratio = np.maximum(d / t, t / d)
    return {
        "abs_rel": np.mean(np.abs(d - t) / t),
        "sq_rel": np.mean((d - t) ** 2 / t),
        "rmse": np.sqrt(np.mean((d - t) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(d) - np.log(t)) ** 2)),
        "a1": 100 * (ratio < 1.25).mean(),
        "a2": 100 * (ratio < 1.25**2).mean(),
        "a3": 100 * (ratio < 1.25**3).mean(),
        "scale": scale,
    }


@pytest.mark.parametrize("scaling", ["none", "median"])
@pytest.mark.parametrize("crop", ["none", "garg", "eigen"])
@pytest.mark.parametrize("cap", [(1e-3, 80.0), (1.0, 50.0)])
def test_every_number_equals_a_plain_program(
    cap: tuple[float, float], crop: Any, scaling: Any, generator: torch.Generator
) -> None:
    rules = EigenRules(cap=cap, crop=crop, scaling=scaling)
    truth = 120 * torch.rand(2, 3, 37, 53, generator=generator, dtype=torch.float64)
    depth = 1.7 * truth * (0.3 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).exp()
    truth[torch.rand(truth.shape, generator=generator) < 0.4] = 0
    depth[torch.rand(truth.shape, generator=generator) < 0.2] = 0
    found = single_view_metrics(depth, truth, rules, crop_mask(37, 53, crop))
    assert ("depth_scale" in found) == (scaling == "median")
    for b in range(2):
        for s in range(3):
            expected = plainly(depth[b, s].numpy(), truth[b, s].numpy(), rules)
            for key in set(KEYS) & set(found):
                assert found[key][b, s].item() == pytest.approx(expected[KEYS[key]], rel=1e-12), key


def test_crops_are_those_of_the_published_programs() -> None:
    def edges(h: int, w: int, crop: Any) -> list[int]:
        y, x = crop_mask(h, w, crop).nonzero().unbind(-1)
        assert crop_mask(h, w, crop).sum() == (y.max() - y.min() + 1) * (x.max() - x.min() + 1)
        return [int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1]

    # of 370 x 1224 a comment there says 44; the program itself makes 43 of 43.999997
    assert edges(370, 1224, "garg") == [151, 366, 43, 1180]
    assert edges(375, 1242, "garg") == [153, 371, 44, 1197]
    assert edges(375, 1242, "eigen") == [124, 342, 44, 1197]
    assert crop_mask(5, 7, "none").all()


def test_values_by_hand() -> None:
    truth = torch.tensor([[2.0, 4.0, 8.0, 80.0], [0.0, 100.0, 79.0, 0.0005]])
    depth = torch.tensor([[1.0, 2.0, 0.0, 7.0], [5.0, 100.0, 90.0, 3.0]])
    d, t, scale = under_rules(depth, truth, EigenRules())
    assert t.tolist() == [[2, 4, 8, 0], [0, 0, 79, 0]]  # the ends of the cap do not count
    assert d.tolist() == [[1, 2, 0, 7], [5, 80, 80, 3]]  # what is none stays none
    assert scale == 1
    found = single_view_metrics(depth, truth, EigenRules())
    assert found["depth_num_pixels"] == 3
    assert found["depth_coverage_percent"] == 75
    assert found["depth_abs_rel"].item() == pytest.approx((0.5 + 0.5 + 1 / 79) / 3)
    median = under_rules(depth, truth, EigenRules(scaling="median"))
    assert median[2] == 4 / 2  # of 2, 4, 79 and 1, 2, 90: not of the pixel without a depth
    assert median[0].tolist() == [[2, 4, 0, 14], [10, 80, 80, 6]]


def test_a_factor_is_taken_out_of_each_image(generator: torch.Generator) -> None:
    truth = 1 + 70 * torch.rand(3, 8, 9, generator=generator)
    factor = torch.tensor([0.5, 3.0, 400.0])
    found = single_view_metrics(factor[:, None, None] * truth, truth, EigenRules(scaling="median"))
    assert found["depth_abs_rel"].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert found["depth_scale"].tolist() == pytest.approx((1 / factor).tolist())


@pytest.mark.parametrize("scaling", ["none", "median"])
def test_images_without_a_pixel_have_no_errors(scaling: Any) -> None:
    truth, depth = torch.ones(3, 4, 5), torch.ones(3, 4, 5)
    truth[0], depth[1] = 0, 0
    found = single_view_metrics(depth, truth, EigenRules(scaling=scaling))
    assert found["depth_num_pixels"].tolist() == [0, 0, 20]
    assert found["depth_abs_rel"].isnan().tolist() == [True, True, False]
    assert found["depth_coverage_percent"][1:].tolist() == [0, 100]
    assert all(
        math.isnan(value) == (row < 2) for row, value in enumerate(found.get("depth_scale", found["depth_abs_rel"]))
    )


@pytest.mark.parametrize("value", [-1.0, math.nan])
@pytest.mark.parametrize("what", ["depth", "truth"])
@pytest.mark.parametrize("scaling", ["none", "median"])
def test_what_is_no_length_is_refused(what: str, value: float, scaling: Any) -> None:
    maps = {"depth": torch.ones(4, 5), "truth": torch.ones(4, 5)}
    maps[what][2, 3] = value
    with pytest.raises(Vo3dError, match=f"1 of 20 values of the {what} are negative, NaN or infinite"):
        single_view_metrics(**maps, rules=EigenRules(scaling=scaling))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cap": (80.0, 1.0)}, "cap 80 to 1 m: expected a near and a larger far"),
        ({"cap": (-1.0, 1.0)}, "cap -1 to 1 m"),
        ({"cap": (1.0, math.inf)}, "cap 1 to inf m"),
        ({"cap": (math.nan, 1.0)}, "cap nan to 1 m"),
        ({"crop": "gargle"}, "crop 'gargle' is unknown: expected one of none, garg, eigen"),
        ({"scaling": "mean"}, "scaling 'mean' is unknown: expected one of none, median"),
    ],
)
def test_wrong_rules_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EigenRules(**options)


def test_rules_tell_themselves() -> None:
    assert str(EigenRules()) == "truths from 0.001 to 80 m, no crop, no scaling"
    told = str(EigenRules(cap=(1.0, 50.0), crop="garg", scaling="median"))
    assert told == "truths from 1 to 50 m, the crop of Garg, each image scaled by the ratio of medians"
