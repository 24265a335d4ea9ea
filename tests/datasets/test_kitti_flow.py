"""KITTI 2015 and 2012: the official layouts written here, what a sample says of each pixel, and every refusal."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from kitti_flow_tree import BASELINE, GREY_BASELINE, disparity_counts, flow_counts, write_scenes
from kitti_raw_tree import OFFSETS, F, small_K
from vo3d.datasets.kitti_flow import KITTIFlow
from vo3d.errors import Vo3dError
from vo3d.sample import Sample

HEIGHT, WIDTH = 12, 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two scenes of 2015."""
    return write_scenes(tmp_path / "kitti_2015", 2015, (HEIGHT, WIDTH))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Two scenes of 2012."""
    return write_scenes(tmp_path / "kitti_2012", 2012, (HEIGHT, WIDTH))


@pytest.mark.parametrize("occluded", [True, False])
def test_a_sample_of_2015_holds_what_the_files_say(root: Path, occluded: bool) -> None:
    dataset = KITTIFlow(root, occluded=occluded, stereo=True)
    assert [recording.name for recording in dataset.recordings] == ["000000", "000001"]
    assert [list(recording.frames) for recording in dataset.recordings] == [[10, 11], [10, 11]]
    assert dataset.recordings[0].names == ["000010", "000011"]
    assert dataset.recordings[0].notes == []
    assert len(dataset) == 2
    sample = dataset[1]
    width = WIDTH + 2
    assert sample.given() == (*("image", "K", "depth", "right", "left_T_right", "mask", "flow", "scene", "index"),)
    assert sample.image.shape == (2, 3, HEIGHT, width)
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [42, 52]
    assert sample.right is not None
    assert sample.right[:, 0, 0, 0].mul(255).round().tolist() == [43, 53]
    assert torch.allclose(sample.K[1].double(), small_K())
    offset = [mine - its for mine, its in zip(OFFSETS[2], OFFSETS[3], strict=True)]
    assert sample.left_T_right is not None
    assert sample.left_T_right[:3, 3].tolist() == pytest.approx(offset, abs=1e-6)

    which = "occ" if occluded else "noc"
    counts = flow_counts(HEIGHT, width, which)
    valid = torch.from_numpy(counts[..., 2] > 0)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(width), indexing="ij")
    assert sample.flow.shape == (1, 2, HEIGHT, width)
    assert torch.equal(sample.flow[0].isnan().all(0), ~valid)
    assert torch.equal(sample.flow[0][:, valid], torch.stack([x - y / 2, y.float()])[:, valid])

    disparity = torch.from_numpy(disparity_counts(HEIGHT, width, which).astype(np.float32)) / 256
    known = disparity > 0
    torch.testing.assert_close(sample.depth[0][known], F * BASELINE / disparity[known])
    assert not sample.depth[0][~known].any()
    assert not sample.depth[1].any()  # disp_occ_1 lies in the pixels of the first view
    assert sample.mask.unique(return_counts=True)[1].tolist() == [2 * HEIGHT * width - 24, 18, 6]
    assert sample.mask[0, 3, 4] == 1
    assert sample.mask[0, 7, 22] == 9
    assert not sample.mask[1].any()


def test_a_depth_agrees_with_the_pair(root: Path) -> None:
    """A point at that depth, seen by the right camera, lies as many pixels to the left as the disparity says."""
    sample = KITTIFlow(root, stereo=True, numbers=[0])[0]
    y, x = 5, 16
    point = sample.depth[0, y, x] * torch.linalg.solve(sample.K[0], torch.tensor([float(x), y, 1]))
    point = point - sample.left_T_right[:3, 3]
    u, v, z = sample.K[0] @ point
    assert float(x - u / z) == pytest.approx(1 + y, abs=1e-4)
    assert float(v / z) == pytest.approx(y, abs=0.1)  # the cameras differ by 6 mm in height


@pytest.mark.parametrize("colour", [True, False])
def test_a_sample_of_2012(older: Path, colour: bool) -> None:
    sample = KITTIFlow(older, year=2012, colour=colour, stereo=True, numbers=[0])[0]
    left = 2 if colour else 0
    assert sample.image[:, 0, 0, 0].mul(255).round().tolist() == [left, 10 + left]
    assert sample.right is not None
    assert sample.right[:, 0, 0, 0].mul(255).round().tolist() == [left + 1, 11 + left]
    assert sample.left_T_right[0, 3] == pytest.approx(BASELINE if colour else GREY_BASELINE, abs=1e-6)
    assert sample.depth[0, 4, 8] == pytest.approx(F * GREY_BASELINE / 5, rel=1e-6)  # measured for the grey pair
    assert sample.flow[0, :, 4, 9].tolist() == [7, 4]
    assert sample.mask is None


def test_sizes_keep_what_is_known(root: Path) -> None:
    """Flow is taken from the nearest pixel and scaled by the sides; nothing is averaged, K goes along."""
    dataset = KITTIFlow(root, size=(6, 20))
    sample, whole = dataset[0], KITTIFlow(root)[0]
    assert sample.image.shape == (2, 3, 6, 20)
    assert sample.K[0, 0, 0] == F / 2
    assert sample.K[0, 0, 2] == pytest.approx((19.3 + 0.5) / 2 - 0.5)
    taken = whole.flow[..., 1::2, 1::2] / 2
    assert torch.equal(sample.flow.nan_to_num(-9), taken.nan_to_num(-9))
    assert torch.equal(sample.flow.isnan(), taken.isnan())
    assert torch.equal(sample.depth, whole.depth[..., 1::2, 1::2])
    assert torch.equal(sample.mask, whole.mask[..., 1::2, 1::2])
    batch = next(iter(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=Sample.collate)))
    assert batch.flow.shape == (2, 1, 2, 6, 20)
    stretched = KITTIFlow(root, size=(HEIGHT, 2 * WIDTH), numbers=[0])[0]
    assert stretched.flow[0, :, 4, 18].tolist() == [14, 4]


def test_other_views_than_first_and_second_have_no_flow(root: Path) -> None:
    recording = KITTIFlow(root).recordings[0]
    whole = recording.clip([0, 1])
    back = recording.clip([1, 0])
    assert bool(back.flow.isnan().all())
    assert torch.equal(back.depth, whole.depth.flip(0))
    assert torch.equal(back.mask, whole.mask.flip(0))
    assert recording.clip([0]).flow.shape == (0, 2, HEIGHT, WIDTH)
    assert torch.equal(recording.clip([0]).depth, whole.depth[:1])
    assert not recording.clip([1]).depth.any()
    assert recording.poses() is None


def test_scenes_are_chosen_by_their_numbers(root: Path) -> None:
    (dataset,) = KITTIFlow(root, numbers=[1]).recordings
    assert dataset.name == "000001"
    (root / "training" / "image_2" / "000000_09.png").write_bytes(b"of the multi-view extension")
    (root / "training" / "image_2" / "._000000_10.png").write_bytes(b"of a Mac")
    assert len(KITTIFlow(root)) == 2
    with pytest.raises(Vo3dError, match=r"image_2: has no scene 7: expected numbers of 0 to 1"):
        KITTIFlow(root, numbers=[0, 7])
    with pytest.raises(Vo3dError, match="recording '000001' is asked for twice"):
        KITTIFlow(root, numbers=[1, 1])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gone", r"gone: no such folder: expected the one of KITTI 2012 or 2015 that holds training"),
        ("kitti_2015/training", r"training: is the training half itself: give the folder that holds it, .*kitti_2015$"),
        ("kitti_2015/testing", r"testing: the testing half of KITTI has no truth: give the folder that holds training"),
        ("untold", r"untold: the testing half of KITTI has no truth: give the folder that holds training"),
        ("other", r"other: holds image_2, but no folder training: expected KITTI 2012 or 2015 as it was published"),
        ("empty", r"empty: holds nothing, but no folder training"),
    ],
)
def test_other_roots_are_one_clear_line(tmp_path: Path, root: Path, path: str, words: str) -> None:
    for folder in ("kitti_2015/testing/image_2", "untold/testing", "other/image_2", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(Vo3dError, match=words) as caught:
        KITTIFlow(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_the_other_year_is_told(root: Path, older: Path) -> None:
    with pytest.raises(
        Vo3dError, match=r"image_2: no such folder: .* of KITTI 2015; for what is there give year: 2012"
    ):
        KITTIFlow(older)
    with pytest.raises(Vo3dError, match=r"colored_0: no such folder: .* of KITTI 2012; .* give year: 2015"):
        KITTIFlow(root, year=2012)
    shutil.rmtree(older / "training" / "colored_0")
    with pytest.raises(Vo3dError, match=r"colored_0: no such folder: .* give year: 2012 and colour: false"):
        KITTIFlow(older, year=2012)
    with pytest.raises(Vo3dError, match="KITTI 2015 has no grey images: leave out colour"):
        KITTIFlow(root, colour=False)


@pytest.mark.parametrize(
    "name",
    [
        *("image_2/000001_11.png", "image_3/000001_10.png", "flow_occ/000001_10.png", "disp_occ_0/000001_10.png"),
        *("obj_map/000001_10.png", "calib_cam_to_cam/000001.txt"),
    ],
)
def test_missing_files_are_named_at_once(root: Path, name: str) -> None:
    (root / "training" / name).unlink()
    with pytest.raises(Vo3dError, match=f"training/{name}: no such file: (expected it with scene 1|unpack the calib)"):
        KITTIFlow(root, stereo=True)
    assert len(KITTIFlow(root, stereo=True, numbers=[0])) == 1


def test_without_first_frames_there_is_no_scene(root: Path) -> None:
    for path in (root / "training" / "image_2").glob("*_10.png"):
        path.unlink()
    with pytest.raises(Vo3dError, match=r"image_2: holds no first frame: expected 000000_10\.png and on"):
        KITTIFlow(root)


@pytest.mark.parametrize(
    ("name", "pixels", "words"),
    [
        ("flow_occ/000000_10.png", np.ones((9, 40, 3), np.uint16), "is 40x9 pixels, but its image is 40x12"),
        ("flow_occ/000000_10.png", np.ones((12, 40, 3), np.uint8), "3 channels of 8 bits: expected flow as KITTI"),
        ("disp_occ_0/000000_10.png", np.ones((12, 41), np.uint16), "is 41x12 pixels, but its image is 40x12"),
        ("disp_occ_0/000000_10.png", np.ones((12, 40), np.uint8), "1 channel of 8 bits: expected disparity as KITTI"),
        ("obj_map/000000_10.png", np.ones((12, 20), np.uint8), "is 20x12 pixels, but its image is 40x12"),
        ("obj_map/000000_10.png", np.ones((12, 40, 3), np.uint8), "has 3 channels: expected a mask of ids"),
        ("image_2/000000_11.png", np.ones((12, 41, 3), np.uint8), "is 41x12 pixels and 000000_10.png is 40x12"),
    ],
)
def test_odd_maps_are_one_clear_line(root: Path, name: str, pixels: np.ndarray, words: str) -> None:
    cv2.imwrite(str(root / "training" / name), pixels)
    with pytest.raises(Vo3dError, match=f"{name}: {words}") as caught:
        KITTIFlow(root)[0]
    assert "\n" not in str(caught.value)


def _without(line: str) -> Callable[[str], str]:
    return lambda text: "".join(one for one in text.splitlines(keepends=True) if not one.startswith(line))


def _exchanged(text: str) -> str:
    return text.replace("P_rect_02", "P_rect_X").replace("P_rect_03", "P_rect_02").replace("P_rect_X", "P_rect_03")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("P_rect_03"), r"000000\.txt: has no projection of camera 3: download the file again"),
        (_exchanged, r"000000\.txt: camera 3 is not on the right of camera 2: expected the calibration as it was"),
        (lambda text: text.replace("P_rect_03: 2.0", "P_rect_03: 2.1"), "cameras 2 and 3 differ in K: expected a rect"),
        (lambda text: text.replace("1.930000000e+01", "9.930000000e+01"), r"000000_10\.png: is 40x12 pixels, but its"),
    ],
)
def test_odd_calibration_is_one_clear_line(root: Path, change: Callable[[str], str], words: str) -> None:
    path = root / "training" / "calib_cam_to_cam" / "000000.txt"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(Vo3dError, match=words) as caught:
        KITTIFlow(root)
    assert "\n" not in str(caught.value)
