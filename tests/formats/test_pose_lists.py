"""Lists of images with poses in both conventions, as people have them, and focal lengths of VisualSFM's models."""

import math
from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.nvm import nvm_key, read_nvm_cameras
from vo3d.formats.pose_lists import read_pose_list
from vo3d.geometry import rotations, se3

HEADER = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
TURN = (math.cos(0.3), 0.0, math.sin(0.3), 0.0)  # 0.6 radians about y


def row(name: str, centre: tuple[float, ...] = (1.0, 2.0, 3.0), q: tuple[float, ...] = TURN) -> str:
    return f"{name} {' '.join(map(repr, (*centre, *q)))}\n"


def write(folder: Path, text: str, name: str = "dataset_train.txt") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def test_one_list_read_by_both_conventions(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + row("seq1/frame00001.png"))
    outdoors, indoors = (
        read_pose_list(path, "world_to_camera").world_T_cam[0],
        read_pose_list(path, "camera_to_world").world_T_cam[0],
    )
    assert outdoors[:3, 3].tolist() == indoors[:3, 3].tolist() == [1, 2, 3]
    c, s = math.cos(0.6), math.sin(0.6)
    expected = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    assert torch.allclose(indoors[:3, :3], expected, atol=1e-15)
    assert torch.allclose(outdoors[:3, :3], expected.T, atol=1e-15)
    # of world to camera, the file holds R and C with x_cam = R (x - C)
    seen = se3.inverse(outdoors) @ torch.tensor([1.5, 2.0, 3.0, 1.0], dtype=torch.float64)
    assert torch.allclose(seen[:3], expected @ torch.tensor([0.5, 0, 0], dtype=torch.float64), atol=1e-15)


def test_the_hemisphere_and_the_length_of_a_quaternion_change_nothing(tmp_path: Path) -> None:
    drawn = torch.nn.functional.normalize(
        torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double(), dim=1
    )
    lines = [row(f"{place}.png", q=tuple(q)) for place, q in enumerate(drawn.tolist())]
    turned = [row(f"{place}.png", q=tuple(q)) for place, q in enumerate((-1.004 * drawn).tolist())]
    here = read_pose_list(write(tmp_path, HEADER + "".join(lines)), "camera_to_world").world_T_cam
    there = read_pose_list(write(tmp_path, HEADER + "".join(turned)), "camera_to_world").world_T_cam
    assert torch.allclose(here, there, atol=1e-14)
    assert here.dtype == torch.float64
    back = rotations.quaternion_from_matrix(here[:, :3, :3])
    assert torch.allclose(back.abs(), drawn.abs(), atol=1e-12)
    assert bool((back[:, 0] >= 0).all())


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + row("seq1/frame00001.png") + row("seq 2/b.JPG"),
        (HEADER + row("seq1\\frame00001.png") + "\n" + row(".\\seq 2\\b.JPG")).replace("\n", "\r\n"),
        row("seq1/frame00001.png") + row("./seq 2/b.JPG").rstrip("\n"),  # without a header, and the end of a line
        HEADER.replace("\n\n", "\n") + row("seq1/frame00001.png") + row("seq 2/b.JPG"),
    ],
)
def test_lists_as_people_have_them(tmp_path: Path, text: str) -> None:
    found = read_pose_list(write(tmp_path, text), "world_to_camera")
    assert found.names == ["seq1/frame00001.png", "seq 2/b.JPG"]
    assert len(found.world_T_cam) == 2
    assert not found.notes


def test_rows_that_are_there_twice_count_once(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + row("a.png") + row("b.png") + row("a.png"))
    found = read_pose_list(path, "world_to_camera")
    assert (found.names, found.lines) == (["a.png", "b.png"], [4, 5])
    assert found.notes == (f"{path}: 1 rows are there twice: each is taken once",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "dataset_train.txt: names no image"),
        (HEADER, "dataset_train.txt: names no image"),
        (
            HEADER + row("a.png") + "b.png 1 2 3 1 0 0\n",
            "dataset_train.txt:5: found 'b.png 1 2 3 1 0 0': expected path",
        ),
        (HEADER + row("a.png") + "1 2 3 1 0 0 0\n", "dataset_train.txt:5: found '1 2 3 1 0 0 0': expected path"),
        (HEADER + row("a.png").replace("1.0", "x"), "dataset_train.txt:4: found 'a.png x"),
        (HEADER + row("a.png").replace("1.0", "nan"), "dataset_train.txt:4: found 'a.png nan"),
        ("a.png 1 2\n" + row("b.png"), "dataset_train.txt:1: found 'a.png 1 2'"),
        (HEADER + row("/"), "dataset_train.txt:4: found '/ 1.0"),
        (HEADER + row("a.png", q=(0.0,) * 4), "dataset_train.txt:4: not a rotation: the quaternion has length 0,"),
        (
            HEADER + row("a.png", q=(3.0, 0.0, 0.0, 0.0)),
            "dataset_train.txt:4: not a rotation: the quaternion has length 3",
        ),
        (HEADER + row("a.png", (1e10, 0.0, 0.0)), "dataset_train.txt:4: the position is 1e+10 0 0"),
        (
            HEADER + row("a.png") + row("a.png", (1.0, 2.0, 4.0)),
            "dataset_train.txt:5: 'a.png' again, with another pose",
        ),
        (HEADER + row("a.png") + "seq\n", "dataset_train.txt:5: found 'seq'"),
    ],
)
def test_every_mistake_has_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(Vo3dError) as caught:
        read_pose_list(path, "world_to_camera")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match=r"nowhere\.txt: no such file: expected a list of images with poses"):
        read_pose_list(tmp_path / "nowhere.txt", "world_to_camera")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Vo3dError, match=r"a\.txt: not a text file"):
        read_pose_list(tmp_path / "a.txt", "world_to_camera")


NVM = (
    "NVM_V3 \n\n2\nseq1/frame00001.jpg\t1670.5 1 0 0 0 1 2 3 -0.05 0 \nseq 1\\b.JPG 800 1 0 0 0 1 2 3 0 0\n"
    "\n1\n1 2 3 4 5 6 0\n"
)


def test_focal_lengths_of_a_model(tmp_path: Path) -> None:
    for text in (NVM, "\ufeff" + NVM.replace("\n", "\r\n"), NVM.replace("NVM_V3 ", "NVM_V3 FixedK 1 2 3 4 0")):
        found = read_nvm_cameras(write(tmp_path, text, "reconstruction.nvm"))
        assert {name: (one.focal, one.distortion) for name, one in found.items()} == {
            "seq1/frame00001": (1670.5, -0.05),
            "seq 1/b": (800.0, 0.0),
        }
    assert nvm_key("seq1\\frame00001.png") == "seq1/frame00001"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nvm:1: found '': expected NVM_V3"),
        (NVM.replace("NVM_V3", "NVM_V3_R9T"), "nvm:1: found 'NVM_V3_R9T': expected NVM_V3"),
        (NVM.replace("\n2\n", "\ntwo\n"), "nvm:3: 'two' as the number of cameras"),
        (NVM.replace("\n2\n", "\n0\n"), "nvm:3: 0 cameras"),
        (NVM.replace("\n2\n", "\n3\n"), "nvm:7: found '1': expected one of 3 cameras"),
        (NVM.replace("1670.5", "-1"), "nvm:4: a focal length of -1"),
        (NVM.replace("1670.5", "f"), "nvm:4: 'f'"),
        (NVM[:40], "expected one of 2 cameras, a name and ten numbers"),
    ],
)
def test_models_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text, "reconstruction.nvm")
    with pytest.raises(Vo3dError) as caught:
        read_nvm_cameras(path)
    assert words in str(caught.value)
    with pytest.raises(Vo3dError, match=r"nowhere\.nvm: cannot be read"):
        read_nvm_cameras(tmp_path / "nowhere.nvm")
