"""OpenCV's semi-global stereo: a known disparity is metric depth, rendered truth is met, bad pairs are one line."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from samples import make_sample
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.models.semi_global import SemiGlobalStereo
from vo3d.sample import Sample


def shifted(disparity: int = 6, size: tuple[int, int] = (64, 128), baseline: float = 0.5) -> Sample:
    """A wall of noise, seen by two cameras of the focal length 100."""
    h, w = size
    wide = torch.rand(1, 2, 3, h, w + disparity, generator=torch.Generator().manual_seed(0))
    left_T_right = torch.eye(4)
    left_T_right[0, 3] = baseline
    K = torch.tensor([[100.0, 0, w / 2], [0, 100, h / 2], [0, 0, 1]]).expand(1, 2, 3, 3)
    image, right = wide[..., :w], wide[..., disparity:]
    return Sample(image=image, right=right, K=K, left_T_right=left_T_right[None])


@pytest.mark.parametrize(("disparity", "baseline"), [(6, 0.5), (11, 0.5), (6, 2.0)])
def test_a_known_disparity_is_a_depth(disparity: int, baseline: float) -> None:
    sample = shifted(disparity, baseline=baseline)
    depth = SemiGlobalStereo(near=100 * baseline / 16)(sample)["depth"]
    assert depth.shape == (1, 2, 64, 128)
    known = depth > 0
    assert known[..., 16:].float().mean() > 0.95
    assert not known[..., :16].any()  # 16 disparities are searched
    found = 100 * baseline / depth[known]
    assert found.median() == pytest.approx(disparity)
    assert ((found - disparity).abs() <= 1 / 16).float().mean() > 0.99  # it moves a few by a part of a pixel more
    assert ((found - disparity).abs() < 1).all()


def test_a_rendered_street_is_met() -> None:
    data = Rendered(seeds=[3], frames=20, size=(96, 312), clip_length=1, depth=True, stereo=True)
    sample = data.recordings[0].clip([4, 12])
    depth = SemiGlobalStereo()(Sample.collate([sample]))["depth"][0]
    assert sample.depth is not None
    both = (depth > 0) & (sample.depth > 0) & (sample.depth < 40)
    assert both.sum() > 0.6 * ((sample.depth > 0) & (sample.depth < 40)).sum()
    assert ((depth - sample.depth).abs() / sample.depth)[both].median() < 0.05


def test_it_is_what_opencv_finds() -> None:
    sample = make_sample(b=1, s=1)
    assert sample.right is not None
    assert sample.K is not None
    grey = [
        cv2.cvtColor((255 * view[0, 0]).round().byte().permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
        for view in (sample.image, sample.right)
    ]
    matcher = cv2.StereoSGBM.create(0, 16, 5, 200, 800, 1, 0, 10, 100, 2)
    disparity = matcher.compute(*grey).astype(np.float32) / 16
    assert sample.left_T_right is not None
    scale = float(sample.K[0, 0, 0, 0] * sample.left_T_right[0, 0, 3])
    expected = np.where(disparity > 0, scale / np.maximum(disparity, 1 / 16), 0)
    np.testing.assert_allclose(SemiGlobalStereo()(sample)["depth"][0, 0].numpy(), expected, rtol=1e-6)
    assert (expected > 0).any()


def test_what_is_not_seen_has_no_depth() -> None:
    sample = shifted()
    flat = replace(sample, image=torch.full_like(sample.image, 0.5), right=torch.full_like(sample.image, 0.5))
    assert (SemiGlobalStereo()(flat)["depth"] == 0).all()


@pytest.mark.parametrize("baseline", [0.0, -0.5])
def test_a_pair_without_a_baseline_is_one_line(baseline: float) -> None:
    with pytest.raises(Vo3dError, match=f"the right camera is {baseline:g} m to the right of the left one: expected"):
        SemiGlobalStereo()(shifted(baseline=baseline))


def test_wrong_input_is_one_line() -> None:
    with pytest.raises(Vo3dError, match="disparities up to 400 pixels, and the images are 128 wide"):
        SemiGlobalStereo(near=0.125)(shifted())
    with pytest.raises(Vo3dError, match="needs K, right and left_T_right: choose a dataset of stereo pairs"):
        SemiGlobalStereo()(replace(shifted(), right=None))
    with pytest.raises(Vo3dError, match="no parameters to train"):
        SemiGlobalStereo().loss({}, shifted())
    for options, words in (
        ({"near": 0.0}, "near 0: expected metres"),
        ({"block_size": 4}, "block_size 4: expected an odd number"),
        ({"uniqueness": 100}, "uniqueness 100: expected a percentage"),
    ):
        with pytest.raises(Vo3dError, match=words):
            SemiGlobalStereo(**options)
