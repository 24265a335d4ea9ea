"""Stereo pairs against their geometry: rendered streets, drawn cameras and real pairs, in both orders."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from vo3d.datasets.kitti import KITTIOdometry
from vo3d.datasets.rendered import Rendered
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.stereo import check_offset, check_pair, match_pair
from vo3d.sample import Sample


def pair(seed: int = 0, sensor: Literal["drawn"] | None = None, size: tuple[int, int] = (96, 312)) -> Sample:
    return Rendered("street", [seed], 12, size, stereo=True, depth=True, clip_length=1, sensor=sensor)[8]


def check(sample: Sample) -> None:
    check_pair(sample.image, sample.right, sample.K, sample.left_T_right, "my rig")


def swapped(sample: Sample) -> Sample:
    assert sample.right is not None
    return replace(sample, image=sample.right, right=sample.image)


def offset(x: float, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> Tensor:
    return se3.exp(torch.tensor([x, y, z, 0.0, turn, 0.0]))


@pytest.mark.parametrize("sensor", [None, "drawn"])
@pytest.mark.parametrize("seed", range(6))
def test_a_rendered_pair_passes_and_a_swapped_one_does_not(seed: int, sensor: Literal["drawn"] | None) -> None:
    sample = pair(seed, sensor)
    check(sample)
    with pytest.raises(Vo3dError, match=r"^my rig: left and right images are swapped: the median disparity of \d+ "):
        check(swapped(sample))


def test_the_complaint_gives_the_disparity_that_the_depth_tells() -> None:
    sample = pair()
    assert sample.depth is not None
    assert sample.K is not None
    image, right = (np.asarray((x[0] * 255).byte().permute(1, 2, 0)) for x in (sample.image, sample.right))
    depth = sample.depth[0][sample.depth[0] > 0]
    disparity = float(sample.K[0, 0, 0]) * float(sample.left_T_right[0, 3]) / depth
    shifts = match_pair(image, right)
    assert len(shifts) > 100
    # every match but a few is a disparity that the scene has
    low, high = disparity.min().item() - 0.5, disparity.max().item() + 0.5
    assert np.mean((-shifts[:, 0] > low) & (-shifts[:, 0] < high)) > 0.97
    with pytest.raises(Vo3dError) as error:
        check(swapped(sample))
    line = str(error.value)
    assert "\n" not in line
    found = float(re.search(r"matched points is (-[\d.]+) pixels", line)[1])
    assert found == pytest.approx(np.median(match_pair(right, image)[:, 0]) * -1, abs=0.051)
    assert "exchange the images, or turn the sign of the baseline" in line


def test_a_negative_baseline_asks_for_negative_disparities() -> None:
    sample = pair()
    other_way = replace(sample, left_T_right=offset(-0.54))
    check(swapped(other_way))
    with pytest.raises(Vo3dError, match=r"are swapped: .* is \d+\.\d pixels, but the right camera stands .* the left:"):
        check(other_way)


def test_points_moved_by_a_known_shift_are_found_there_at_any_size() -> None:
    generator = torch.Generator().manual_seed(0)
    octaves = [torch.rand(1, 3, 4 * 2**n, 12 * 2**n, generator=generator) for n in range(5)]
    for width, height, x, y in ((312, 96, -7, 0), (1280, 400, -90, 4), (1280, 400, 40, -12)):
        big = torch.stack([interpolate(one, (height + 40, width + 200), mode="bicubic")[0] for one in octaves])
        big = big.mean(0).clamp(0, 1)  # blobs of all sizes, as images have them
        left = big[:, 20 : 20 + height, 100 : 100 + width]
        right = big[:, 20 - y : 20 - y + height, 100 - x : 100 - x + width] * 0.6  # exposed more shortly
        arrays = [np.ascontiguousarray((one * 255).byte().permute(1, 2, 0)) for one in (left, right)]
        shifts = match_pair(*arrays)
        assert len(shifts) > 50
        assert np.median(shifts, axis=0) == pytest.approx([x, y], abs=0.1 * width / 312)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_differ_are_no_rectified_pair(seed: int) -> None:
    sample = pair(seed, size=(128, 416))
    lowered = replace(sample, right=sample.right.roll(3, dims=-2))
    with pytest.raises(Vo3dError, match=r"my rig: \d+ matched points are [23]\.\d pixels apart in their rows"):
        check(lowered)


def test_one_image_twice_is_no_pair() -> None:
    sample = pair()
    with pytest.raises(Vo3dError, match="my rig: left and right images are the same"):
        check(replace(sample, right=sample.image))


def test_images_without_points_or_without_near_ones_get_no_verdict() -> None:
    sample = pair()
    generator = torch.Generator().manual_seed(0)
    x = pixel_grid(96, 312)[None, None, ..., 0].expand(1, 3, 96, 312) / 311
    for image, right in (
        (torch.zeros_like(sample.image), torch.zeros_like(sample.image)),
        (torch.ones_like(sample.image), torch.ones_like(sample.image)),
        (x, x.flip(-1)),  # a gradient without corners
        (sample.image, torch.rand(sample.image.shape, generator=generator)),  # nothing in common
    ):
        check_pair(image, right, sample.K, offset(0.5), "fog")
    # a tenth of a pixel to the wrong side: noise, not an order
    blurred = avg_pool2d(sample.image, 3, 1, 1)
    moved = 0.9 * blurred + 0.1 * blurred.roll(1, dims=-1)
    shifts = match_pair(*(np.asarray((one[0] * 255).byte().permute(1, 2, 0)) for one in (blurred, moved)))
    assert 0 < np.median(shifts[:, 0]) < 0.3
    check_pair(blurred, moved, sample.K, offset(0.5), "far away")


def test_several_pairs_are_pooled() -> None:
    dataset = Rendered("street", [0], 12, (96, 312), stereo=True, clip_length=3)
    clip = dataset[0]
    dark = torch.zeros_like(clip.image[:1])
    image, right = torch.cat([clip.image, dark]), torch.cat([clip.right, dark])
    check_pair(image, right, clip.K, clip.left_T_right, "rig")
    with pytest.raises(Vo3dError, match="rig: left and right images are swapped"):
        check_pair(right, image, clip.K, clip.left_T_right, "rig")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"right": None}, "my rig: has no right images: expected stereo pairs"),
        ({"left_T_right": None}, "my rig: has no left_T_right: expected stereo pairs"),
        ({"K": None}, "my rig: has no K: expected the camera"),
        ({"left_T_right": offset(0.0)}, "my rig: the baseline is zero"),
        ({"left_T_right": offset(0.0, 0.5)}, r"my rig: the right camera stands at \(0, 0.5, 0\) m"),
        ({"left_T_right": offset(0.5, 0.0, 0.1)}, r"stands at \(0.5, 0, 0.1\) m of the left one: expected a rectified"),
        ({"left_T_right": offset(0.5, turn=0.02)}, "is turned by 1.15 degrees: expected a rectified pair"),
        ({"left_T_right": torch.full((4, 4), torch.nan)}, "my rig: left_T_right is not finite"),
    ],
)
def test_what_is_missing_or_no_rectified_pair_is_told(changes: dict[str, Tensor | None], complaint: str) -> None:
    with pytest.raises(Vo3dError, match=complaint):
        check(replace(pair(), **changes))


def test_left_and_right_images_have_one_size() -> None:
    with pytest.raises(Vo3dError, match="rig: left images are 312x96 pixels and right ones 300x96: expected one size"):
        check_pair(torch.zeros(1, 3, 96, 312), torch.zeros(1, 3, 96, 300), torch.eye(3), offset(0.5), "rig")


def test_the_baseline_of_every_pair_of_a_batch_is_looked_at() -> None:
    batch = torch.stack([offset(0.5), offset(0.3, 0.001), offset(-0.2)])
    assert check_offset(batch, "rig") == pytest.approx(0.5)
    assert check_offset(batch[2].double(), "rig") == pytest.approx(-0.2)
    with pytest.raises(Vo3dError, match="rig: the baseline is zero"):
        check_offset(torch.cat([batch, offset(0.0)[None]]), "rig")


@pytest.mark.real
@pytest.mark.parametrize("size", [None, (128, 416)])
def test_real_pairs_pass_and_swapped_ones_do_not(shared_data: Path, size: tuple[int, int] | None) -> None:
    root = shared_data / "kitti_odometry"
    dataset = KITTIOdometry(root, ["06"], colour=False, stereo=True, frames=(0, 51), clip_length=1, size=size)
    for index in range(0, 51, 10):
        sample = dataset[index]
        check(sample)
        with pytest.raises(Vo3dError, match="are swapped"):
            check(swapped(sample))
