"""`vo3d track`: paths that are known by construction, in files, pictures and words; what breaks on the way."""

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from corridor import FOCAL, FORWARD, HEIGHT, WIDTH, clip
from page_reader import Page
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.kitti import write_sequence
from vo3d.formats.trajectories import Trajectory, read_trajectory
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.model import Window
from vo3d.pipelines.track import files, track
from vo3d.pipelines.track.files import write_poses
from vo3d.pipelines.track.run import Found
from vo3d.pipelines.track.truth import against_truth
from vo3d.recording import LiveFrames
from vo3d.sample import Sample
from vo3d.settings.layouts import open_sequence
from wall_scenes import write_seven_scenes

STEP = FORWARD[:3, 3].norm().item()
CONSTANT = {"scale": "constant", "step": STEP}
CAMERA = {"intrinsics": (FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)}
STEPS = 7


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


def drive() -> Tensor:
    """Views of a corridor, one step ahead each: s 3 h w."""
    return clip(*["forward"] * STEPS).image


def write_video(path: Path, images: Tensor, fps: float = 10.0) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (images.shape[-1], images.shape[-2]))
    for image in images:
        video.write((255 * image.flip(0)).byte().permute(1, 2, 0).numpy().copy())
    video.release()
    return path


def tracked(source: Path, out: Path, **options: Any) -> list[str]:
    """Track a source, and return the lines that were printed."""
    console = Console(file=io.StringIO(), width=400)
    given = {"scale": CONSTANT, "camera": CAMERA} | options
    track(source, out=out, device="cpu", console=console, **given)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def facts(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "track.json").read_text(encoding="utf-8"))
    return found


def poses(out: Path) -> tuple[Trajectory, Trajectory]:
    return read_trajectory(out / "poses.tum", "tum", time_unit="s"), read_trajectory(out / "poses.txt", "kitti")


def test_a_video_becomes_a_path_in_files_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = tracked(write_video(tmp_path / "walk.avi", drive()), out)
    tum, rows = poses(out)
    assert tum.time is not None
    np.testing.assert_allclose(tum.time, np.arange(STEPS + 1) / 10)
    truth = chain(FORWARD.repeat(STEPS, 1, 1))
    torch.testing.assert_close(tum.world_T_cam, truth, atol=0.05 * STEPS * STEP, rtol=0)
    torch.testing.assert_close(rows.world_T_cam, tum.world_T_cam)
    assert rows.frames is None
    told = facts(out)
    assert (told["unit"], told["gaps"], told["poses"], told["times"]) == ("m", [], STEPS + 1, "seconds")
    assert told["path_length"] == pytest.approx(STEPS * STEP, rel=1e-3)
    assert told["fps"] == pytest.approx(10)
    assert told["K"] == pytest.approx(CAMERA["intrinsics"])
    for picture in ("path.png", "frames.png"):
        assert cv2.imread(str(out / picture)).std() > 10
    assert f"Constant step {STEP:.3g} m; lengths are in metres" in Page(out / "report.html").text("p")
    starts = [line.split()[0] for line in lines]
    assert starts == "source method frames camera scale gaps path speed poses pictures page next".split()
    assert "ClassicOdometry, on cpu; the best that is here: on videos that none has seen" in lines[1]
    assert all(str(out / name) in " ".join(lines) for name in ("poses.tum", "frames.png", "report.html"))


def test_frames_that_the_images_do_not_tell_are_gaps(tmp_path: Path) -> None:
    images = drive().clone()
    images[3] = 0
    lines = tracked(write_video(tmp_path / "walk.avi", images), tmp_path / "out")
    tum, rows = poses(tmp_path / "out")
    assert rows.frames is not None
    assert rows.frames.tolist() == [0, 1, 2, 5, 6, 7]  # neither step from or to the black frame
    assert len(tum) == 6
    assert facts(tmp_path / "out")["gaps"] == [[3, 4]]
    assert facts(tmp_path / "out")["path_length"] == pytest.approx(4 * STEP, rel=1e-3)
    (gaps,) = [line for line in lines if line.startswith("gaps")]
    assert (
        "2 of 8 frames have no pose: frames 3 to 4; the path behind a gap (a short one may be a cut in the film) is"
        in gaps
    )
    assert "Frames without a pose; they are in no file" in (tmp_path / "out" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("what", ["damage", "keyboard"])
def test_what_was_tracked_before_something_broke_is_kept(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, image in enumerate(drive()):
        write_image(tmp_path / "walk" / f"{index}.png", image)
    broken: type[BaseException] = Vo3dError
    if what == "damage":
        (tmp_path / "walk" / "5.png").write_bytes((tmp_path / "walk" / "5.png").read_bytes()[:3000])
    else:
        broken = KeyboardInterrupt

        def opened(*words: Any, **options: Any) -> Any:
            layout, recording = open_sequence(*words, **options)
            read = recording.clip

            def clip_of(views: Any) -> Sample:
                if max(views) > 3:
                    raise KeyboardInterrupt
                return read(views)  # type: ignore[no-any-return]

            monkeypatch.setattr(recording, "clip", clip_of)
            return layout, recording

        monkeypatch.setattr("vo3d.pipelines.track.job.open_sequence", opened)
        monkeypatch.setattr("vo3d.models.classic.ClassicOdometry.window", Window(views=2))
    with pytest.raises(broken):
        tracked(tmp_path / "walk", tmp_path / "out")
    tum, _ = poses(tmp_path / "out")
    assert len(tum) == (5 if what == "damage" else 4)
    told = facts(tmp_path / "out")
    assert told["ended_early"].startswith(str(tmp_path) if what == "damage" else "KeyboardInterrupt")
    assert told["times"] == "frame numbers"
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(("light", "words"), [(0.01, "show next to nothing (contrast"), (0.9, "do show something")])
def test_a_film_that_tells_no_step_says_why(light: float, words: str, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    blobs = [torch.rand(1, 3, 6, 8, generator=random) for _ in range(6)]
    images = torch.cat([torch.nn.functional.interpolate(light * blob, (96, 128), mode="bicubic") for blob in blobs])
    with pytest.raises(Vo3dError, match="no step could be told") as told:
        tracked(write_video(tmp_path / "cap.avi", images.clamp(0, 1)), tmp_path / "out", camera={"field_of_view": 60.0})
    assert words in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_camera_that_stands_has_a_path_of_no_length(tmp_path: Path) -> None:
    lines = tracked(write_video(tmp_path / "still.avi", drive()[:1].expand(4, -1, -1, -1)), tmp_path / "out")
    assert "note      no step is long enough to be told from a turn: the camera stood, or only turned" in lines
    assert not poses(tmp_path / "out")[0].world_T_cam[:, :3, 3].any()
    assert (tmp_path / "out" / "frames.png").is_file()


def test_a_part_of_a_film_by_its_times_has_the_numbers_of_its_source(tmp_path: Path) -> None:
    video = write_video(tmp_path / "walk.avi", drive())
    tracked(video, tmp_path / "out", between=(0.15, 6))
    tum, rows = poses(tmp_path / "out")
    assert rows.frames is not None
    assert rows.frames.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(tum.time, [0.2, 0.3, 0.4, 0.5])


class Coming(LiveFrames):
    """Frames that come one by one."""

    name, camera, notes = "camera_0", "guessed", ("2 frames came while others were worked on",)

    def __iter__(self) -> Iterator[Sample]:
        K = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])[None]
        for index, image in enumerate(drive()):
            time = torch.tensor([5 + index / 10], dtype=torch.float64)
            yield Sample(image=image[None], K=K, time=time, scene=self.name)


def test_frames_that_still_come_give_the_path_of_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def opened(source: Path, options: dict[str, Any]) -> Coming:
        asked.append(options)
        return Coming()

    monkeypatch.setattr("vo3d.pipelines.track.job.open_live", opened)
    monkeypatch.setattr("vo3d.pipelines.track.run.PAUSE", 0.0)
    monkeypatch.setattr("vo3d.pipelines.track.run.SHARE", math.inf)
    written: list[int] = []

    def write(out: Path, found: Found) -> None:
        written.append(len(found))
        write_poses(out, found)

    monkeypatch.setattr(files, "write_poses", write)
    lines = tracked(Path("camera:0"), tmp_path / "live", follow=2.0, camera={})
    assert asked == [{"size": None, "idle": None, "guess": True}]
    assert written == [*range(2, STEPS + 2), STEPS + 1]
    tum, _ = poses(tmp_path / "live")
    np.testing.assert_allclose(tum.time, 5 + np.arange(STEPS + 1) / 10)
    for index, image in enumerate(drive()):
        write_image(tmp_path / "walk" / f"{index}.png", image)
    tracked(tmp_path / "walk", tmp_path / "walk_track")
    torch.testing.assert_close(tum.world_T_cam, poses(tmp_path / "walk_track")[0].world_T_cam, atol=0.02, rtol=0)
    assert "note      2 frames came while others were worked on" in lines


def test_a_map_and_its_truth(tmp_path: Path) -> None:
    folder = write_seven_scenes(tmp_path / "seq-01", views=6)
    lines = tracked(folder, tmp_path / "out", method="stubs.TrivialMapper", scale={}, camera={})
    assert "method    TrivialMapper, on cpu" in lines
    (line,) = [line for line in lines if line.startswith("truth")]
    assert "APE 0.000 m after 6dof, final drift 0.00 %" in line
    assert facts(tmp_path / "out")["truth"]["scale"] == 1.0


def test_a_stereo_sequence_is_tracked_in_metres(tmp_path: Path) -> None:
    pairs = clip("forward", "forward", "turn", "forward", stereo=True)
    time = torch.arange(5, dtype=torch.float64) / 10
    views = [pairs.map(lambda part, index=index: part if part.ndim == 2 else part[index, None]) for index in range(5)]
    frames = [replace(view, time=time[index, None], index=torch.tensor([index])) for index, view in enumerate(views)]
    write_sequence(tmp_path, "00", frames)
    lines = tracked(tmp_path / "sequences" / "00", tmp_path / "out", scale={"scale": "stereo"}, camera={})
    assert "scale     stereo baseline; lengths are in metres" in lines
    told = facts(tmp_path / "out")["truth"]
    assert (told["alignment"], told["scale"]) == ("6dof", 1.0)
    assert told["ape"] < 0.02 * told["length"]


def test_the_truth_is_brought_to_the_axes_and_the_unit_of_the_path() -> None:
    truth = chain(se3.exp(0.3 * torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))))
    path = truth.clone()
    path[:, :3, 3] *= 2.5
    found = Found(
        world_T_cam=path,
        known=torch.arange(12) != 4,
        numbers=torch.arange(12),
        time=None,
        says=True,
        size=(4, 6),
    )
    told = against_truth(found, truth, metric=False)
    assert told.ape == pytest.approx(0, abs=1e-9)
    assert told.scale == pytest.approx(0.4)
    torch.testing.assert_close(told.position, path[:, :3, 3], atol=1e-8, rtol=0)
    assert against_truth(found, truth, metric=True).ape > 0.1
    assert found.gaps == [(4, 4)]
    lengths = path[:, :3, 3].diff(dim=0).norm(dim=-1)
    assert found.length == pytest.approx(float(lengths.sum() - lengths[3] - lengths[4]))


@pytest.mark.real
def test_a_real_kitchen_as_a_video(shared_data: Path, tmp_path: Path) -> None:
    names = sorted((shared_data / "7scenes" / "redkitchen" / "seq-01").glob("*.color.*"))[:30]
    images = torch.stack([torch.from_numpy(cv2.imread(str(path))) for path in names]).flip(-1).permute(0, 3, 1, 2) / 255
    video = write_video(tmp_path / "kitchen.avi", images, fps=30.0)
    tracked(video, tmp_path / "out", camera={"intrinsics": (525.0, 525.0, 319.5, 239.5)})
    tum, _ = poses(tmp_path / "out")
    rows = [np.loadtxt(path.with_name(f"{path.name.split('.')[0]}.pose.txt")) for path in names]
    truth = torch.from_numpy(np.stack(rows))
    found = Found(
        world_T_cam=tum.world_T_cam,
        known=torch.ones(30, dtype=torch.bool),
        numbers=torch.arange(30),
        time=None,
        says=True,
        size=(480, 640),
    )
    told = against_truth(found, truth, metric=False)
    assert told.ape < 0.15 * told.length
