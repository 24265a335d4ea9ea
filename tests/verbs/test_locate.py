"""`vo3d locate`: a run of the command line, and one line for each mistake."""

import shutil
from pathlib import Path

import pytest
import torch

from checks import complaint
from shaded_places import ShadedClips, posed_frames, write_place, write_run
from stubs import TrivialMapper
from tiny import TinyModel
from vo3d.cli import main
from vo3d.formats.images import write_image
from vo3d.models.posenet import PoseNet

ALLOW = ["--allow", "shaded_places", "tiny", "stubs"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place, maps of several models, and what is no image."""
    root = tmp_path_factory.mktemp("scene")
    data = {"train": posed_frames(write_place(root / "hall", 12), None)}
    write_run(root / "clips", ShadedClips(), {}, data)
    posenet = {"size": [48, 64], "trunk": "resnet18", "hidden": 8}
    write_run(root / "posenet", PoseNet((48, 64), "resnet18", hidden=8), posenet, data)
    write_run(root / "steps", TinyModel(), {}, data)
    write_run(root / "mapper", TrivialMapper(), {}, data)
    write_run(root / "untrained", ShadedClips(), {}, data)
    shutil.rmtree(root / "untrained" / "checkpoints")
    (root / "empty").mkdir()
    (root / "walk.mp4").write_text("no video")
    write_image(root / "mixed" / "0.png", torch.zeros(3, 24, 32))
    write_image(root / "mixed" / "1.png", torch.zeros(3, 24, 30))
    return root


@pytest.fixture(autouse=True)
def here(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene)
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


def test_a_range_of_a_folder_is_located(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", "clips/checkpoints/best.ckpt", "--device", "cpu"]
    words = ["locate", "hall", "--map", "clips", *ALLOW, *weights, "--range", "3", "9", "--clip-length", "6"]
    assert main([*words, "--size", "12x16", "--out", str(tmp_path)]) == 0
    assert "6 frames of 32x24, seen as 16x12 (--size)" in capsys.readouterr().out
    assert [line.split(",")[0] for line in (tmp_path / "poses.csv").read_text().splitlines()[1:]] == list("345678")


WRONG = {
    "no map": (["hall"], "no --map: expected the folder of a run"),
    "no such run": (["hall", "--map", "nowhere"], "nowhere/config.yaml: no such file: expected the run folder"),
    "a run of steps": (["hall", "--map", "steps"], "--map steps: TinyModel gives prev_T_cam: expected the run of a"),
    "a mapper": (["hall", "--map", "mapper"], "--map mapper: TrivialMapper maps each recording in a world of its own"),
    "no weights": (["hall", "--map", "untrained"], "untrained/checkpoints/best.ckpt: no such checkpoint"),
    "other weights": (
        ["hall", "--map", "posenet", "--weights", "clips/checkpoints/best.ckpt"],
        "clips/checkpoints/best.ckpt",
    ),
    "a clip too long": (["hall", "--map", "clips", "--clip-length", "13"], "hall has 12 frames: expected 1 to 12"),
    "a clip too short": (["hall", "--map", "clips", "--clip-length", "4"], "expected at least 5 frames"),
    "clips of single images": (
        ["hall", "--map", "posenet", "--clip-length", "3"],
        "--clip-length 3: PoseNet looks at single images: leave it out",
    ),
    "images below the crop": (["hall", "--map", "posenet", "--size", "20x30"], "but got images of 20 and 30"),
    "no video": (["walk.mp4", "--map", "clips"], "walk.mp4: not a video that OpenCV can open"),
    "an empty folder": (["empty", "--map", "clips"], "empty: holds no image"),
    "images of two sizes": (["mixed", "--map", "clips"], "1.png: is 30x24 pixels and 0.png is 32x24"),
    "nothing there": (["gone", "--map", "clips"], "gone: no such file or folder"),
    "one end of a range": (["hall", "--map", "clips", "--range", "3"], "--range: 1 numbers: expected 2"),
    "a range that ends early": (["hall", "--map", "clips", "--range", "3", "19"], "hall: has 12 frames, but frames up"),
    "no size": (["hall", "--map", "clips", "--size", "12"], "--size is '12': expected rows and columns"),
    "among the images": (["hall", "--map", "clips", "--out", "hall"], "--out hall: is the folder of the images"),
    "no such device": (["hall", "--map", "clips", "--device", "abacus"], "device 'abacus' is unknown to torch"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_one_line(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, line = WRONG[mistake]
    out = [] if "--out" in words else ["--out", str(tmp_path)]
    assert line in complaint(capsys, "locate", *words, *out, *ALLOW)
    assert not (tmp_path / "poses.csv").exists()
