"""What the verb says and keeps when the scene, the range or the disk is not as it should be; and masks."""

import json
from pathlib import Path

import pytest

import wall
import wall_scenes
from checks import complaint
from vo3d.cli import main
from vo3d.formats.images import write_image
from vo3d.formats.ply import read_cloud

SWEEP = (
    '{"class_path": "vo3d.models.plane_sweep.PlaneSweep", "init_args": {"stride": 2, "window": 5, "smoothing": "box"}}'
)
QUICK = ["--model", SWEEP, "--num-depths", "24", "--num-views", "2", "--min-consistent", "1", "--no-report"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three views of the wall, 0.8 to 1.2 metres away."""
    return wall_scenes.write_mvsnet(tmp_path_factory.mktemp("scenes") / "wall", views=3)


def test_a_disk_that_becomes_full_costs_one_line_and_no_map(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Path.write_bytes

    def refuse(path: Path, content: bytes) -> int:
        if "00000002" in path.name:
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK]
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", refuse)
        line = complaint(capsys, *words)
    assert "00000002_depth.pfm: No space left on device: free some space" in line
    assert f"(2 of 3 depth maps are in {tmp_path / 'a_depth'}, the same command goes on there)" in line
    assert len(list((tmp_path / "a_depth").glob("*_depth.pfm"))) == 2
    assert main(words) == 0
    assert "holds maps of these settings (2)" in " ".join(capsys.readouterr().out.split())


def test_a_range_that_holds_nothing_is_one_line_and_the_maps_are_kept(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", scene, "--out", tmp_path / "a.ply", *QUICK, "--depth-range", "1.45", "40"]
    line = complaint(capsys, *words, "--min-confidence", "0.9")
    assert "no point is left of 3 depth maps" in line
    assert f"(the maps are kept in {tmp_path / 'a_depth'})" in line
    assert len(list((tmp_path / "a_depth").glob("*_depth.pfm"))) == 3
    assert not (tmp_path / "a.ply").exists()


def test_masks_leave_the_background_out(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(3):
        mask = wall.photograph(wall.intrinsics(36, 48), wall.poses(3)[index], 36, 48)
        write_image(tmp_path / "masks" / f"{index:08d}.png", (mask[0][0] > 0.5).float())  # what is reddish
    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK]
    assert main([*words, "--masks", str(tmp_path / "masks")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 3 views have a mask: what is 0 there is left out" in said
    masked = read_cloud(tmp_path / "a.ply")
    result = json.loads((tmp_path / "a_depth" / "reconstruction.json").read_text())
    assert all(view["dropped"]["background (mask)"] > 100 for view in result["views"])
    assert main(words) == 0
    assert "holds maps of these settings (3)" in " ".join(capsys.readouterr().out.split())  # masks change no map
    whole = read_cloud(tmp_path / "a.ply")
    assert 50 < len(masked) < 0.7 * len(whole)
    assert masked.colours is not None
    assert whole.colours is not None
    assert (masked.colours[:, 0] > 118).mean() > 0.95
    assert (whole.colours[:, 0] > 118).mean() < 0.7


def test_a_cloud_that_is_hardly_one_is_kept_and_warned_of(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK, "--max-relative", "0.000004"]
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    result = json.loads((tmp_path / "a_depth" / "reconstruction.json").read_text())
    assert 0 < result["points"] == len(read_cloud(tmp_path / "a.ply"))
    assert result["warning"].startswith("only ")
    assert result["warning"][:60] in line
