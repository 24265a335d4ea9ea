"""`vo3d locate`: poses of images whose places are known by construction, in files, pictures and words."""

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from shaded_places import SCALE, ShadedClips, posed_frames, shades, write_place, write_run
from vo3d.datasets.cut import cut_to
from vo3d.datasets.sevenscenes import SevenScenesRecording
from vo3d.formats.images import write_image
from vo3d.formats.located import Located
from vo3d.formats.trajectories import read_trajectory
from vo3d.metrics.relocalisation import pose_errors
from vo3d.models.posenet import PoseNet
from vo3d.pipelines.locate import locate
from vo3d.settings.trust import allowing
from wall_scenes import write_seven_scenes

COUNT, SIZE = 40, (12, 16)
TINY: dict[str, Any] = {"size": (32, 32), "trunk": "resnet18", "hidden": 8}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_place(tmp_path_factory.mktemp("shades") / "hall", COUNT)


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    data = {"train": posed_frames(place, None), "test": posed_frames(place, SIZE)}
    return write_run(tmp_path / "run", ShadedClips(), {}, data)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write nothing, for tests of words: pictures take a second."""
    monkeypatch.setattr("vo3d.pipelines.locate._write", lambda *_: None)


def told(source: Path, run: Path, out: Path, **options: Any) -> tuple[Located, list[str]]:
    """Locate images, and return the lines that were printed, too."""
    console = Console(file=io.StringIO(), width=400)
    with allowing(["shaded_places"]):
        found = locate(source, run=run, out=out, device="cpu", console=console, **options)
    assert isinstance(console.file, io.StringIO)
    return found, console.file.getvalue().splitlines()


def notes(lines: list[str]) -> list[str]:
    return [line.removeprefix("note").strip() for line in lines if line.startswith("note")]


def test_each_frame_of_a_folder_is_located_once_in_clips(place: Path, run: Path, tmp_path: Path) -> None:
    _, lines = told(place, run, tmp_path / "out", clip_length=9)
    assert lines[0].startswith("found     hall: a folder of images, an image or a video file; 40 frames of 32x24, seen")
    assert lines[0].endswith("seen as 16x12 (size of data.test)")
    assert lines[1] == f"map       {run}: ShadedClips (best.ckpt), {COUNT} training views, on cpu"
    assert not notes(lines)
    assert "40 frames" in lines[-2]
    assert "frames a second by the model" in lines[-1]
    with (tmp_path / "out" / "poses.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [row["name"] for row in rows] == [str(index) for index in range(COUNT)]
    assert "time_s" not in rows[0]

    def column(name: str) -> np.ndarray:  # type: ignore[type-arg]
        return np.array([float(row[name]) for row in rows])

    np.testing.assert_allclose(column("x_m"), SCALE * shades(COUNT).numpy(), atol=1e-4)
    inner = column("y_m")[2:-2]
    assert inner.min() >= 0.002  # frames at the borders of a window count in another one
    assert set(column("z_m")[:36]) == {0.009}
    np.testing.assert_allclose(column("std_z_m"), 0.2, rtol=1e-5)
    np.testing.assert_allclose(column("std_ry_deg"), np.rad2deg(0.01), rtol=1e-5)
    np.testing.assert_allclose(column("position_m"), 0.3, rtol=1e-5)
    np.testing.assert_allclose(column("rotation_deg"), np.rad2deg(0.01 * 3**0.5), rtol=1e-5)
    path = read_trajectory(tmp_path / "out" / "poses.tum", "tum", time_unit="s")
    assert path.time is not None
    assert path.time.tolist() == list(range(COUNT))
    np.testing.assert_allclose(path.world_T_cam[:, 0, 3].numpy(), column("x_m"))
    for picture in ("positions.png", "over_time.png"):
        assert cv2.imread(str(tmp_path / "out" / picture)).std() > 10


def test_frames_of_a_video_have_their_times_and_numbers(run: Path, tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 24))
    for index in range(8):
        video.write(np.full((24, 32, 3), 20 * index, np.uint8))
    video.release()
    found, lines = told(tmp_path / "walk.avi", run, tmp_path, frames=(2, 7))
    assert "walk: a folder of images, an image or a video file; 5 frames of 32x24" in lines[0]
    np.testing.assert_allclose(found.world_T_cam[:, 0, 3].numpy(), SCALE * 20 * np.arange(2, 7) / 255, atol=0.1)
    assert set(found.world_T_cam[:, 2, 3].tolist()) == {0.005}  # all at once: fewer than a clip of 16
    assert list(found.names) == [f"{index:06d}" for index in range(2, 7)]
    stamps = [float(line.split()[0]) for line in (tmp_path / "poses.tum").read_text().splitlines()[1:]]
    assert stamps == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])


def test_posenet_sees_images_as_its_run_says_and_errors_are_told(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = write_seven_scenes(tmp_path / "seq-01", views=3)
    recording = SevenScenesRecording(folder)
    net = PoseNet(**TINY)
    net.fit([recording])
    test = posed_frames(place, None)
    test["init_args"]["short_side"] = 36
    arguments = {**TINY, "size": [32, 32]}
    run = write_run(tmp_path / "run", net, arguments, {"train": posed_frames(place, None), "test": test})
    out = tmp_path / "out"
    out.mkdir()
    (out / "over_time.png").write_bytes(b"of an earlier model")
    found, lines = told(folder, run, out)
    assert "3 frames of 640x480, seen as 48x36 (short_side of data.test)" in lines[0]
    assert found.deviations is None
    assert not (out / "over_time.png").exists()
    sample = cut_to(recording.clip([0, 1, 2]), (36, 48))
    expected = net.eval().predict(type(sample).collate([sample]))["world_T_cam"][0]
    torch.testing.assert_close(found.world_T_cam, expected, atol=1e-5, rtol=0)
    metres, degrees = pose_errors(recording.world_T_cam, found.world_T_cam).quantile(0.5, dim=0).tolist()
    assert f"truth     off by {metres:.3f} m and {degrees:.2f} deg in the median of 3 frames" in lines
    assert (out / "positions.png").is_file()


@pytest.mark.usefixtures("no_files")
def test_what_cannot_be_trusted_is_said(place: Path, tmp_path: Path) -> None:
    data = {"train": posed_frames(place, None)}
    far = write_run(tmp_path / "far", ShadedClips(1000.0), {}, data)
    _, lines = told(place, far, tmp_path / "out")
    x = 1000 * shades(COUNT)
    across = (SCALE * shades(COUNT)).max()
    (note,) = notes(lines)
    count = int((x - across > across).sum())
    assert note.startswith(
        f"{count} of {COUNT} positions lie up to {(x.max() - across).item():.3g} m outside of the box"
    )
    assert note.endswith("they cannot be trusted")
    unsure = write_run(tmp_path / "unsure", ShadedClips(sigma=1.0), {"sigma": 1.0}, data)
    (note,) = notes(told(place, unsure, tmp_path / "out")[1])
    spread = (SCALE * shades(COUNT)).std(correction=0).item()
    assert note.startswith(
        f"the predicted deviation is 3 m in the median, and the training views themselves are only {spread:.3g}"
    )


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("change", ["far", "turned"])
def test_a_map_of_another_scene_is_told_by_true_poses(run: Path, tmp_path: Path, change: str) -> None:
    folder = write_seven_scenes(tmp_path / "seq-01", views=2)
    for path in folder.glob("*.pose.txt"):
        rows = np.loadtxt(path)
        if change == "far":
            rows[0, 3] += 50
        else:
            rows = np.eye(4)
            rows[:3, :3] = np.diag([-1.0, 1.0, -1.0])  # half a turn about y, where the map begins
        np.savetxt(path, rows)
    (note,) = notes(told(folder, run, tmp_path / "out")[1])
    assert "the true poses are of another scene or world than the map" in note


def test_without_the_training_data_poses_are_found_all_the_same(place: Path, tmp_path: Path) -> None:
    moved = posed_frames(tmp_path / "moved", SIZE)
    run = write_run(tmp_path / "run", ShadedClips(), {}, {"train": moved})
    found, lines = told(place, run, tmp_path / "out")
    np.testing.assert_allclose(found.world_T_cam[:, 0, 3].numpy(), SCALE * shades(COUNT).numpy(), atol=1e-4)
    assert "training views unknown" in lines[1]
    (note,) = notes(lines)
    assert note.startswith(f"goes on without the views of the map: {tmp_path}/moved: no such folder")
    assert (tmp_path / "out" / "positions.png").is_file()
    bare = write_run(tmp_path / "bare", ShadedClips(), {}, {})
    _, lines = told(place, bare, tmp_path / "out")
    assert lines[0].endswith("seen as they are")
    assert "there is no data.train" in notes(lines)[0]


@pytest.mark.usefixtures("no_files")
def test_one_image_for_a_model_of_clips_and_images_of_another_shape(run: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "one" / "7.png", torch.full((3, 10, 40), 0.2))
    found, lines = told(tmp_path / "one" / "7.png", run, tmp_path / "out")
    assert found.world_T_cam[0, 0, 3].item() == pytest.approx(SCALE * 0.2, abs=1e-5)
    assert notes(lines) == [
        "7: one image, and ShadedClips looks at clips: a video is located better",
        "7: 67 % of each image are cut off for this shape",
        "7: images are enlarged for this size: what is blurred is located less well",
    ]
    assert "out: poses.tum, poses.csv, positions.png, over_time.png: 1 frame" in lines[-2]
    shutil.copy(tmp_path / "one" / "7.png", tmp_path / "one" / "8.png")
    assert "seen as 20x5 (--size)" in told(tmp_path / "one", run, tmp_path / "out", size=(5, 20))[1][0]
