"""TUM RGB-D: its layout written here, with what a lens and a late depth do to it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.datasets.tum_rgbd import CAMERAS, SEQUENCE_LAYOUT, TUMRGBD
from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import project, se3
from vo3d.geometry.distortion import distort_points

START, COUNT = 1305031102.175304, 4
NAME = "rgbd_dataset_freiburg1_xyz"
POINT = (0.35, -0.28, 1.0)  # a ray of the camera, where its lens moves it by pixels


def poses(time: Tensor) -> Tensor:
    return se3.exp((time - START)[:, None] * torch.tensor([0.3, 0.1, 0, 0.2, -0.5, 0.1], dtype=torch.float64))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A recording at 30 Hz whose depth is 10 ms late, with a bright dot where the lens shows `POINT`, 2 m away."""
    home = tmp_path / NAME
    (home / "rgb").mkdir(parents=True)
    (home / "depth").mkdir()
    (fx, fy, cx, cy), lens = CAMERAS["freiburg1"]
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    ideal = project(K, torch.tensor([POINT], dtype=torch.float64))[0]
    x, y = distort_points(ideal, K, lens, "radtan")[0].round().int().tolist()
    assert float((ideal[0] - torch.tensor([x, y])).norm()) > 3
    lists: dict[str, list[str]] = {"rgb": ["# color images", "# timestamp filename"], "depth": ["# depth maps"]}
    for number in range(COUNT):
        colour, counts = np.full((480, 640, 3), 40 + number, np.uint8), np.full((480, 640), 5000, np.uint16)
        colour[y - 1 : y + 2, x - 1 : x + 2], counts[y - 1 : y + 2, x - 1 : x + 2] = 255, 10000
        for kind, late, pixels in (("rgb", 0.0, colour), ("depth", 0.01, counts)):
            stamp = f"{START + number / 30 + late:.6f}"
            cv2.imwrite(str(home / kind / f"{stamp}.png"), pixels)
            lists[kind].append(f"{stamp} {kind}/{stamp}.png")
    for kind, lines in lists.items():
        (home / f"{kind}.txt").write_text("\n".join(lines) + "\n")
    time = START + torch.arange(-3, 15, dtype=torch.float64) / 100
    write_trajectory(home / "groundtruth.txt", Trajectory(world_T_cam=poses(time), time=time), "tum")
    return tmp_path


def test_image_and_depth_are_those_of_an_ideal_camera(root: Path) -> None:
    sample = TUMRGBD(root, [NAME], depth=True)[0]
    x, y = project(sample.K[0].double(), torch.tensor([POINT], dtype=torch.float64))[0][0].tolist()
    row, column = divmod(int(sample.image[0, 0].argmax()), 640)
    assert (column, row) == (pytest.approx(x, abs=1.5), pytest.approx(y, abs=1.5))
    assert sample.depth is not None
    assert float(sample.depth[0, row, column]) == pytest.approx(2)
    assert float(sample.depth[0, 240, 320]) == pytest.approx(1)
    assert sample.image[1, 0, 240, 320] == pytest.approx(41 / 255)
    assert sample.time[1] - sample.time[0] == pytest.approx(1 / 30, abs=1e-6)


def test_poses_are_interpolated_at_the_images_and_frames_without_are_left_out(root: Path) -> None:
    (found,) = TUMRGBD(root / NAME).recordings
    time = START + torch.arange(COUNT, dtype=torch.float64) / 30
    assert (found.poses() - poses(time)).abs().max() < 2e-6
    path = root / NAME / "groundtruth.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-4]))
    (found,) = TUMRGBD(root / NAME).recordings
    assert list(found.frames) == [0, 1, 2]
    assert "1 of 4 frames have no pose" in found.notes[0]
    assert len(TUMRGBD(root / NAME, poses=False).recordings[0]) == COUNT


def test_a_frame_without_depth_near_has_none(root: Path) -> None:
    path = root / NAME / "depth.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[3:]]))
    dataset = TUMRGBD(root / NAME, depth=True, size=(48, 64))
    assert "1 of 4 frames have no depth within 0.02 s" in dataset.recordings[0].notes[0]
    depth = dataset[0].depth
    assert depth.shape == (2, 48, 64)
    assert [float(one.max()) > 0 for one in depth] == [True, False]
    with pytest.raises(Vo3dError, match=r"depth.txt: no stamps within 0.001 s"):
        TUMRGBD(root / NAME, depth=True, max_difference=0.001)


def test_the_name_tells_the_camera(root: Path) -> None:
    (root / NAME).rename(root / "mine")
    with pytest.raises(Vo3dError, match="mine: its name does not tell the camera: give camera, one of freiburg1"):
        TUMRGBD(root / "mine")
    assert float(TUMRGBD(root / "mine", camera="freiburg3")[0].K[0, 0, 0]) == pytest.approx(535.4)
    assert SEQUENCE_LAYOUT.recognises(root / "mine")
    assert not SEQUENCE_LAYOUT.recognises(root)
    nominal = SEQUENCE_LAYOUT.recording(root / "mine", frames=(1, 3))
    assert list(nominal.frames) == [1, 2]
    assert float(nominal.clip([0]).K[0, 0, 0]) == 525
    assert "the nominal one is taken" in nominal.notes[-1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# nothing", r"rgb.txt: is empty: expected lines of a stamp"),
        ("1.5 rgb/a.png\n1.4 rgb/b.png", r"rgb.txt:2: time stamp 1.4 follows 1.5"),
        ("1.5 rgb/a.png x", r"rgb.txt:1: found '1.5 rgb/a.png x'"),
        ("1.5 ../a.png", r"rgb.txt:1: found '1.5 ../a.png'"),
        ("nan rgb/a.png", r"rgb.txt:1: 'nan'"),
        ("1305031102175304000 a.png\n1305031102205304000 b.png", r"rgb.txt: time stamps from \d+ on look like ns"),
        (f"{START} rgb/none.png\n{START + 0.03} rgb/too.png", r"none.png: no such file, the first of 2 missing"),
    ],
)
def test_a_damaged_list_is_refused_in_one_line(root: Path, text: str, complaint: str) -> None:
    (root / NAME / "rgb.txt").write_text(text)
    with pytest.raises(Vo3dError, match=complaint) as refused:
        TUMRGBD(root / NAME)
    assert "\n" not in str(refused.value)
