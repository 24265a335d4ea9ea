"""NeRF's transforms.json against values worked out by hand, as its writers spell it, and files that are wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from checks import assert_same
from vo3d.errors import Vo3dError
from vo3d.formats.nerf import read_transforms

HALF_TURN = [[0, 0, 1, 4], [1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 0, 1]]
WHOLE = {"w": 800.0, "h": 600, "fl_x": 700.5, "fl_y": 710, "cx": 400.5, "cy": 300, "k1": 0.1, "k2": -0.2}


def frame(name: str = "images/0.jpg", **more: Any) -> dict[str, Any]:
    return {"file_path": name, "transform_matrix": HALF_TURN, **more}


def write(path: Path, frames: Any, **whole: Any) -> Path:
    (path / "transforms.json").write_text(json.dumps({**whole, "frames": frames}))
    return path / "transforms.json"


def test_a_file_of_instant_ngp(tmp_path: Path) -> None:
    angles = {"camera_angle_x": 2 * math.atan(400 / 700.5), "camera_angle_y": 2 * math.atan(300 / 710)}
    extra = {"aabb_scale": 16, "scale": 0.5, "offset": [1, 2, 3], "p1": 0.003, "p2": 0}
    first, second = read_transforms(write(tmp_path, [frame(sharpness=3.5), frame("b")], **WHOLE, **angles, **extra))
    assert (first.file_path, second.file_path) == ("images/0.jpg", "b")
    assert first.camera == second.camera
    assert first.camera.size == (600, 800)
    assert first.camera.lens == ("radtan", (0.1, -0.2, 0.003, 0))
    K = first.camera.intrinsics((600, 800))
    assert K.tolist() == [[700.5, 0, 400], [0, 710, 299.5], [0, 0, 1]]  # half a pixel less than in the file
    # the camera's x, y and z point along the file's columns 0, -1 and -2; the position is the file's, whatever scale
    expected = [[0, 0, -1, 4], [1, 0, 0, 5], [0, -1, 0, 6], [0, 0, 0, 1]]
    assert_same(first.world_T_cam, torch.tensor(expected, dtype=torch.float64), 0)


def test_a_scene_of_blender_has_an_angle_alone(tmp_path: Path) -> None:
    (one,) = read_transforms(write(tmp_path, [frame("./train/r_0", rotation=0.01)], camera_angle_x=math.pi / 2))
    assert one.camera.size is None
    assert one.camera.lens is None
    assert_same(
        one.camera.intrinsics((80, 100)),
        torch.tensor([[50.0, 0, 49.5], [0, 50, 39.5], [0, 0, 1]], dtype=torch.float64),
        1e-12,
    )


def test_a_frame_goes_before_the_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [frame(), frame(fl_x=350.0, fl_y=351, w=400, h=300, cx=200, cy=150, k2=0), frame(y_fov=90)],
        camera_model="OPENCV",
        camera_angle_x=2 * math.atan(400 / 700.5),
        **WHOLE,
    )
    first, second, third = (one.camera for one in read_transforms(path))
    assert (second.size, second.lens) == ((300, 400), ("radtan", (0.1, 0, 0, 0)))
    assert second.intrinsics((300, 400)).tolist() == [[350, 0, 199.5], [0, 351, 149.5], [0, 0, 1]]
    assert first.intrinsics((600, 800))[0, 0] == 700.5
    assert float(third.intrinsics((600, 800))[1, 1]) == pytest.approx(300)


@pytest.mark.parametrize(
    ("whole", "lens"),
    [
        ({"camera_model": "PINHOLE"}, None),
        ({"camera_model": "OPENCV", "k1": 0, "p1": 0.0}, None),
        ({"k3": 0.5}, ("radtan", (0, 0, 0, 0, 0.5))),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.4}, ("equidistant", (0.1, 0, 0, 0.4))),
        ({"is_fisheye": True, "k2": 0.2}, ("equidistant", (0, 0.2, 0, 0))),
        ({"is_fisheye": False, "k2": 0.2}, ("radtan", (0, 0.2, 0, 0))),
    ],
)
def test_lenses(tmp_path: Path, whole: dict[str, Any], lens: object) -> None:
    (one,) = read_transforms(write(tmp_path, [frame()], fl_x=9, **whole))
    assert one.camera.lens == lens
    assert one.camera.intrinsics((4, 6)).tolist() == [[9, 0, 2.5], [0, 9, 1.5], [0, 0, 1]]  # fl_y is fl_x, too


BAD = {
    "no frames": ({}, [], ": no list of frames"),
    "frames of another kind": ({}, {"a": 1}, ": no list of frames"),
    "no path": ({}, [{"transform_matrix": HALF_TURN}], ", frame 0: has no file_path"),
    "path of another kind": ({}, [frame(), frame(name=3)], ", frame 1: has no file_path"),  # type: ignore[arg-type]
    "a list for a frame": ({}, [frame(), [1]], ", frame 1: has no file_path"),
    "no pose": ({}, [{"file_path": "a"}], ", frame 0: transform_matrix is None: expected four rows"),
    "rows": ({}, [frame(transform_matrix=[[1, 2, 3, 4]] * 2)], ", frame 0: transform_matrix is"),
    "columns": ({}, [frame(transform_matrix=[[1, 2, 3]] * 4)], ", frame 0: a row of transform_matrix has other"),
    "scaled": ({}, [frame(transform_matrix=[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])], ": not a rot"),
    "words": (
        {},
        [frame(transform_matrix=[["1", 0, 0, 0]] * 4)],
        ", frame 0: transform_matrix has '1': expected a fin",
    ),
    "nan": ({}, [frame(transform_matrix=[[math.nan, 0, 0, 0]] * 4)], ", frame 0: transform_matrix has nan"),
    "huge": ({}, [frame(transform_matrix=[[10**400, 0, 0, 0]] * 4)], ", frame 0: transform_matrix has 1000"),
    "truth": ({"fl_x": True}, [frame()], ": fl_x has True: expected a finite number"),
    "lens": ({"k1": [1]}, [frame()], ": k1 has [1]: expected a finite"),
    "no focal length": ({"fl_x": None}, [frame()], ": no focal length: expected fl_x"),
    "frame's focal length": ({}, [frame(), frame(fl_x="long")], ", frame 1: fl_x has 'long'"),
    "angle": ({"camera_angle_x": 4}, [frame()], ": camera_angle_x is 4 radians: expected an angle between"),
    "size": ({"w": 80.5, "h": 60}, [frame()], ": w 80.5 and h 60.0: expected whole numbers"),
    "w alone": ({"w": 80}, [frame()], ": w 80.0 and h None: expected whole numbers"),
    "large": ({"w": 1e9, "h": 60}, [frame()], ": w 1000000000.0 and h 60.0: expected whole numbers"),
    "model": ({"camera_model": "EQUIRECTANGULAR"}, [frame()], ": camera_model is 'EQUIRECTANGULAR': expected PINHOLE"),
    "model of another kind": ({"camera_model": ["OPENCV"]}, [frame()], ": camera_model is ['OPENCV']: expected PIN"),
    "latlong": ({"latlong": True}, [frame()], ": has a lens of another kind (latlong)"),
    "k4": ({"k4": 0.1}, [frame()], ": a perspective lens with k4, k5 or k6: expected k1"),
    "fisheye": ({"is_fisheye": True, "p1": 0.1}, [frame()], ": a fisheye lens with p1"),
    "lens twice": ({"is_fisheye": True, "camera_model": "OPENCV"}, [frame()], ": camera_model is OPENCV, and is_fish"),
    "words for a lens": ({"is_fisheye": "false"}, [frame()], ": is_fisheye is 'false': expected true or false"),
    "mitsuba": ({"normal_mts_args": []}, [frame()], ": has Mitsuba's axes"),
}


@pytest.mark.parametrize(("whole", "frames", "words"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_line(tmp_path: Path, whole: dict[str, Any], frames: Any, words: str) -> None:
    path = write(tmp_path, frames, **{"fl_x": 9, **whole})
    with pytest.raises(Vo3dError) as caught:
        read_transforms(path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert "\n" not in str(caught.value)


def test_a_focal_length_of_nothing_is_not_the_other_one(tmp_path: Path) -> None:
    (one,) = read_transforms(write(tmp_path, [frame()], fl_x=9, fl_y=0))
    with pytest.raises(Vo3dError, match=r"json: K is singular \(fx 9, fy 0\)"):
        one.camera.intrinsics((4, 6))


def test_a_focal_length_that_is_said_twice_is_compared(tmp_path: Path) -> None:
    path = write(tmp_path, [frame()], **{**WHOLE, "fl_x": 1401, "camera_angle_x": 2 * math.atan(400 / 700.5)})
    (one,) = read_transforms(path)
    with pytest.raises(
        Vo3dError, match=r"json: fl_x is 1401, but the angle of view along x, .*, means 700.5 at 800x600"
    ):
        one.camera.intrinsics((600, 800))
    for text in ("[1]", "{", "null"):
        path.write_text(text)
        with pytest.raises(Vo3dError, match=r"transforms.json: (no list of frames|not JSON)"):
            read_transforms(path)
