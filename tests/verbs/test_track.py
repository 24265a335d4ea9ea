"""`vo3d track`: a run of the command line, and one line for each mistake."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from checks import complaint
from shaded_places import ShadedClips, posed_frames, write_place, write_run
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.verbs.tracking import _camera, _moment

CONSTANT = ["--scale", "constant", "--step", "1"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of noise that moves to the left, and what cannot be tracked."""
    root = tmp_path_factory.mktemp("films")
    noise = cv2.resize(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8), (180, 120))
    video = cv2.VideoWriter(str(root / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (128, 96))
    for index in range(6):
        video.write(np.ascontiguousarray(noise[10:106, 6 * index : 6 * index + 128]))
    video.release()
    data = {"train": posed_frames(write_place(root / "hall", 12), None)}
    write_run(root / "clips", ShadedClips(), {}, data)
    write_image(root / "one" / "0.png", torch.rand(3, 24, 32))
    (root / "empty").mkdir()
    (root / "broken.mp4").write_text("no video")
    return root


@pytest.fixture(autouse=True)
def here(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films)
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


def test_a_film_is_tracked_into_a_folder_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["track", "walk.avi", "--fov", "60", "--start", "0.1s", "--device", "cpu", *CONSTANT]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "source    walk: a folder of images, an image or a video file; 5 frames"
    assert "poses     tracks/walk/poses.tum, tracks/walk/poses.txt, tracks/walk/track.json" in lines
    assert lines[-1] == "next      open tracks/walk/report.html, or turn it: vo3d view tracks/walk"
    assert len(Path("tracks/walk/poses.txt").read_text().splitlines()) == 5


WRONG = {
    "nothing there": (["gone.mp4", *CONSTANT], "gone.mp4: no such file or folder: expected frames in time order"),
    "no video": (["broken.mp4", "--fov", "60", *CONSTANT], "broken.mp4: not a video that OpenCV can open"),
    "an empty folder": (["empty", "--fov", "60", *CONSTANT], "empty: holds no image"),
    "one image": (["one", "--fov", "60", *CONSTANT], "one: 1 frame: expected at least 2: a path needs a video"),
    "no such method": (["walk.avi", "--method", "clasic"], "--method 'clasic': did you mean classic?"),
    "no such weights": (["walk.avi", "--method", "mine.ckpt"], "--method 'mine.ckpt': expected one of classic"),
    "no such class": (["walk.avi", "--method", "vo3d.models.classic.Classical"], "--method: "),
    "a model of depth": (
        ["walk.avi", "--method", "mvsnet_tabletop"],
        "MVSNet gives depth, confidence: expected a model",
    ),
    "poses in a known scene": (["walk.avi", "--method", "clips"], "not a path from frame to frame: for images of that"),
    "steps of training": (["walk.avi", "--method", "constant"], "would learn its step from recordings with true poses"),
    "a network without weights": (
        ["walk.avi", "--method", "smoke_deepvo.yaml"],
        "--method smoke_deepvo.yaml: DeepVO has parameters to learn: give the run of vo3d fit",
    ),
    "a scale of a network": (
        ["walk.avi", "--method", "undeepvo_streets", "--scale", "height"],
        "--scale: UnDeepVO has no use for it (its scale comes from: network (learned)): leave it out",
    ),
    "constant without a length": (["walk.avi", "--scale", "constant"], "add --step, its length in metres"),
    "a wide view": (["walk.avi", "--fov", "200"], "--fov 200: expected degrees between 0 and 180"),
    "no focal length": (["walk.avi", "--focal", "0"], "--focal 0: expected pixels, more than 0"),
    "two cameras": (["walk.avi", "--fov", "60", "--focal", "90"], "--focal and --fov: each tells the camera"),
    "three numbers": (["walk.avi", "--intrinsics", "1", "2", "3"], "expected fx fy cx cy, four numbers in pixels"),
    "no right camera": (
        ["walk.avi", "--scale", "stereo", "--fov", "60"],
        "--scale stereo: walk comes without a right camera: take --scale relative",
    ),
    "no truth": (["walk.avi", "--scale", "true", "--fov", "60"], "--scale true: walk has no true poses"),
    "no readings": (
        ["walk.avi", "--method", "classic_gyro", *CONSTANT, "--fov", "60"],
        "GyroClassic needs imu, imu_time, which walk does not give: take --method classic",
    ),
    "no frames taken": (["walk.avi", *CONSTANT, "--fov", "60", "--every", "0"], "--every 0: expected 1 or more"),
    "an end before the start": (
        ["walk.avi", *CONSTANT, "--fov", "60", "--start", "4", "--end", "2"],
        "--start is frame 4 and --end is frame 2: expected an end after the start",
    ),
    "an end behind the end": (["walk.avi", *CONSTANT, "--fov", "60", "--end", "60"], "walk.avi: has 6 frames"),
    "times of a folder": (["hall", *CONSTANT, "--fov", "60", "--end", "1s"], "hall: has no times: give --start and"),
    "no time": (["walk.avi", "--end", "soon"], "--end 'soon': expected a frame such as 120, or a time such as 12.5s"),
    "no waiting": (["hall", "--follow", "0"], "--follow 0: expected seconds, more than 0"),
    "a part of what comes": (
        ["hall", "--follow", "1", "--start", "3", *CONSTANT],
        "--follow takes frames as they come: leave --start, --end and --every out",
    ),
    "among the images": (
        ["hall", *CONSTANT, "--fov", "60", "--out", "hall"],
        "--out hall: is the folder of the images",
    ),
    "no such device": (["walk.avi", "--device", "abacus"], "device 'abacus' is unknown to torch"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_one_line(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, line = WRONG[mistake]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert line in complaint(capsys, "track", *words, *out, "--allow", "shaded_places")
    assert not (tmp_path / "out" / "poses.tum").exists()


def test_moments_are_frames_or_seconds() -> None:
    words = ["120", "12.5s", "3s", "1:05", "0:01.5", "1:00:05"]
    found = [_moment("--start", word) for word in words]
    assert found == [120, 12.5, 3.0, 65.0, 1.5, 3605.0]
    assert [type(one) for one in found] == [int, *[float] * 5]
    for word in ("1:75", "-3", "5 s", "1:2:3:4", "s"):
        with pytest.raises(Vo3dError, match="expected a frame such as 120"):
            _moment("--start", word)


def test_a_camera_is_told_in_one_of_four_ways() -> None:
    assert _camera(None, None, []) == {}
    assert _camera(500.0, None, []) == {"focal": 500.0}
    assert _camera(None, 60.0, []) == {"field_of_view": 60.0}
    assert _camera(None, None, ["calib.txt"]) == {"camera": "calib.txt"}
    assert _camera(None, None, ["500", "5e2", "320", "240"]) == {"intrinsics": (500.0, 500.0, 320.0, 240.0)}
