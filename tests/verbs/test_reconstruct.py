"""The verbs around scenes and clouds: from rendered tables to files, from clouds to pictures and scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from checks import complaint
from vo3d.cli import main
from vo3d.datasets.mvs_folder import scene as read_scene
from vo3d.formats.ply import PointCloud, read_cloud, write_cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """Points on a square metre."""
    points = np.random.default_rng(0).random((400, 3)).astype(np.float32) * (1, 1, 0)
    write_cloud(tmp_path / "square.ply", PointCloud(points=points), comments=["up 0 0 1"])
    return tmp_path / "square.ply"


def test_view_writes_pictures_where_no_window_can_be(cloud: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = cloud.parent / "pictures"
    assert main(["view", str(cloud), "--out", str(out), "--frames", "2", "--up", "0", "0", "1"]) == 0
    assert "400 points" in capsys.readouterr().out
    assert len(list(out.glob("*.png"))) == 2
    assert "expected a PLY file" in complaint(capsys, "view", cloud.parent)


def test_cloud_scores_against_a_reference(cloud: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = read_cloud(cloud)
    write_cloud(cloud.with_name("moved.ply"), PointCloud(points=moved.points + np.float32([0, 0, 0.01])))
    words = ["cloud", str(cloud), "--ref", str(cloud.with_name("moved.ply")), "--distances", "0.005", "0.02"]
    assert main([*words, "--json", str(cloud.with_name("scores.json"))]) == 0
    scores = json.dumps(json.loads(cloud.with_name("scores.json").read_text()))
    assert "precision" in scores
    assert "precision" in capsys.readouterr().out.lower()
    assert "neither a reference nor" in complaint(capsys, "cloud", cloud)


def test_render_writes_a_table_that_can_be_reconstructed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", "tabletop", "--seed", "7", "--frames", "4", "--size", "24x32", "--out", str(tmp_path)]
    assert main(words) == 0
    scene = read_scene(tmp_path / "scan7")
    assert len(scene) == 4
    clip = scene.clip([0, 1])
    assert clip.image.shape == (2, 3, 24, 32)
    assert clip.depth is not None
    assert float(clip.depth.max()) > 400  # millimetres
    assert len(read_cloud(tmp_path / "Points" / "stl" / "stl007_total.ply")) > 100
    assert "holds images already" in complaint(capsys, *words)
    assert "drives to kitti" in complaint(capsys, *words, "--layout", "kitti")
    assert "tables go to dtu" in complaint(capsys, "render", "street", "--layout", "dtu")
