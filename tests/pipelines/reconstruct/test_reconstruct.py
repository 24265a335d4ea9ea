"""The whole verb on a small painted wall: plan, depth maps, cloud, figures; going on after an interruption."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

import wall
from checks import assert_same, complaint
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model
from vo3d.formats.images import image_size, read_depth_png, write_image
from vo3d.formats.mvsnet import MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.nerf import read_transforms
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.formats.ply import read_cloud, read_mesh
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.geometry import pixel_grid, rays, se3
from vo3d.inference.cost import Cost, Forecast
from vo3d.inference.depth import depth_maps
from vo3d.pipelines.reconstruct import reconstruct

VIEWS, H, W = 5, 36, 48
NEAR, FAR = 0.7, 1.5
SWEEP = (
    '{"class_path": "vo3d.models.plane_sweep.PlaneSweep", "init_args": {"stride": 2, "window": 5, "smoothing": "box"}}'
)
QUICK = ["--model", SWEEP, "--num-depths", "24", "--num-views", "3", "--min-consistent", "2", "--no-report"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of the wall in MVSNet's layout, with their true depth."""
    folder = tmp_path_factory.mktemp("scenes") / "wall"
    K, poses = wall.intrinsics(H, W), wall.poses(VIEWS)
    for index, pose in enumerate(poses):
        image, depth = wall.photograph(K, pose, H, W)
        write_image(folder / "images" / f"{index:08d}.png", image)
        write_pfm(folder / "depths" / f"{index:08d}.pfm", depth)
        camera = MVSCamera(
            K=K,
            cam_T_world=se3.inverse(pose),
            depth_min=NEAR,
            depth_max=FAR,
            depth_interval=(FAR - NEAR) / 23,
            num_depths=24,
        )
        write_cam(folder / "cams" / f"{index:08d}_cam.txt", camera)
    others = [sorted(set(range(VIEWS)) - {index}, key=lambda other: abs(other - index)) for index in range(VIEWS)]
    write_pairs(
        folder / "pair.txt",
        [ViewSources(view=index, sources=tuple(row), scores=(1.0,) * len(row)) for index, row in enumerate(others)],
    )
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Samples that the model was asked about, those of the forecast included."""
    seen: list[Any] = []
    asked = depth_maps

    def spy(model: Any, scene: Any, windows: Any, **options: Any) -> Any:
        seen.extend(windows)
        return asked(model, scene, windows, **options)

    monkeypatch.setattr("vo3d.pipelines.reconstruct.pipeline.depth_maps", spy)
    return seen


def _result(cloud: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((cloud.with_name(f"{cloud.stem}_depth") / "reconstruction.json").read_text())
    return result


def _distance(points: np.ndarray) -> Tensor:
    """Of points from the wall, metres along its normal."""
    x, _, z = torch.from_numpy(points).double().unbind(-1)
    return (z - 1 - wall.SLOPE * x).abs() / (1 + wall.SLOPE**2) ** 0.5


def test_a_cloud_of_the_wall_and_its_figures(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    out = tmp_path / "new" / "wall.ply"
    assert main(["reconstruct", str(scene), "--out", str(out), *QUICK[:-1], "--mesh"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("found     wall: MVSNet's layout")
    assert "5 views of 48x36, 4 sources each, depths from 0.7 to 1.5" in lines[0]
    assert "5 depth maps of 24x18 from 3 views each by PlaneSweep" in lines[1]
    assert "24 depths even in 1 / depth" in lines[1]
    assert "a parallax of 1.36 pixels of the depth maps, rays that meet at 3.2 degrees (medians); below 2" in lines[2]
    assert lines[3].startswith("estimate  about ")
    assert any(line.startswith("done ") and "points in" in line for line in lines)

    cloud = read_cloud(out)
    assert len(cloud) > 300
    assert cloud.colours is not None
    assert cloud.normals is not None
    assert float(_distance(cloud.points).median()) < 0.01  # metres, about a third of the interval between depths
    assert len(read_mesh(out.with_name("wall_mesh.ply")).faces) > 100
    assert out.with_name("wall_mesh.glb").read_bytes()[:4] == b"glTF"

    assert "Depth against the truth" in (tmp_path / "new" / "wall_report" / "report.html").read_text()

    result = _result(out)
    assert result["points"] == len(cloud) == sum(view["fused"] for view in result["views"])
    assert result["depth_errors"]["depth_within_5pc_percent"] > 80
    assert result["depth_errors"]["confident_depth_abs_rel"] < 0.02
    assert not any("_mm" in key for key in result["depth_errors"])  # the folder does not say what its unit is
    assert result["provenance"]["class_path"] == "vo3d.models.plane_sweep.PlaneSweep"
    assert {view["sweep"]["planes"]["num"] for view in result["views"]} == {24}
    assert result["peak_memory_bytes"] > 1e7
    maps = sorted(path.name for path in (tmp_path / "new" / "wall_depth").iterdir())
    assert maps[:2] == ["00000000_confidence.pfm", "00000000_depth.pfm"]
    assert read_pfm(tmp_path / "new" / "wall_depth" / maps[1]).shape == (18, 24)
    assert not list(tmp_path.rglob(".*"))


def test_a_second_run_takes_the_maps_from_their_files(
    scene: Path, tmp_path: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK]
    assert main(words) == 0
    first = (tmp_path / "a.ply").read_bytes()
    assert len(calls) == VIEWS

    assert main(words) == 0
    assert len(calls) == VIEWS
    assert (tmp_path / "a.ply").read_bytes() == first
    assert "holds maps of these settings (5)" in " ".join(capsys.readouterr().out.split())

    assert main([*words[:-1], "--num-depths", "16", "--no-report"]) == 0
    assert len(calls) == 2 * VIEWS
    assert "num_depths was 24, now 16" in " ".join(capsys.readouterr().out.split())


def test_an_interruption_loses_nothing(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, seen = depth_maps, []

    def interrupted(model: Any, scene: Any, windows: Any, **options: Any) -> Any:
        seen.extend(windows)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return asked(model, scene, windows, **options)

    monkeypatch.setattr("vo3d.pipelines.reconstruct.pipeline.depth_maps", interrupted)
    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK]
    assert main(words) == 130
    assert f"2 of {VIEWS} depth maps are in {tmp_path / 'a_depth'}: the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "a.ply").exists()
    assert main(words) == 0
    assert len(seen) == 1 + VIEWS


def test_a_map_whose_images_changed_is_made_anew(scene: Path, tmp_path: Path, calls: list[Any]) -> None:
    import shutil

    copy = shutil.copytree(scene, tmp_path / "wall")
    words = ["reconstruct", str(copy), "--out", str(tmp_path / "a.ply"), *QUICK]
    assert main(words) == 0
    darker = wall.photograph(wall.intrinsics(H, W), wall.poses(VIEWS)[4], H, W)[0] * 0.9
    write_image(copy / "images" / "00000004.png", darker)
    assert main(words) == 0
    again = [sample.views[0] for sample in calls[VIEWS:]]
    with_4_among_them = [index for index in range(VIEWS) if 4 in (index, *_sources(index)[:2])]
    assert again == with_4_among_them


def _sources(index: int) -> list[int]:
    return sorted(set(range(VIEWS)) - {index}, key=lambda other: abs(other - index))


def test_references_and_sources_can_be_chosen(
    scene: Path, tmp_path: Path, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), *QUICK]
    assert main([*words, "--views", "00000001", "2", "3", "--num-views", "9"]) == 0
    assert [list(sample.views) for sample in calls] == [[index, *_sources(index)] for index in (1, 2, 3)]
    text = " ".join(capsys.readouterr().out.split())
    assert "3 views have fewer than 8 sources: they are matched with those that they have" in text
    assert "has no view of that name" in complaint(capsys, *words, "--views", "7")


def test_a_network_with_random_weights_ends_in_a_diagnosis(scene: Path, tmp_path: Path) -> None:
    from vo3d.inference.cards import save_pretrained
    from vo3d.models.mvsnet import MVSNet

    torch.manual_seed(0)
    path = tmp_path / "random.safetensors"
    save_pretrained(path, MVSNet(), "vo3d.models.mvsnet.MVSNet", {}, "none", {})
    with pytest.raises(Vo3dError, match="no point is left of 5 depth maps"):
        reconstruct(
            scene,
            out=tmp_path / "a.ply",
            weights=str(path),
            num_depths=8,
            arguments={"slab": 4},
            rules={"min_confidence": 0.99},
            report=False,
            console=Console(quiet=True),
        )
    assert len(list((tmp_path / "a_depth").glob("*_depth.pfm"))) == VIEWS
    assert not (tmp_path / "a.ply").exists()


def test_depths_are_refined_between_the_hypotheses(scene: Path, tmp_path: Path) -> None:
    coarse = ["--model", SWEEP.replace("}}", ', "subpixel": false}}'), "--num-depths", "12", *QUICK[4:]]
    errors = []
    for name, more in (("a", []), ("b", ["--refine"])):
        assert main(["reconstruct", str(scene), "--out", str(tmp_path / f"{name}.ply"), *coarse, *more]) == 0
        errors.append(_result(tmp_path / f"{name}.ply")["depth_errors"]["depth_abs_rel"])
    assert errors[1] < 0.8 * errors[0]


def test_images_with_a_file_of_poses(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "posed"
    folder.mkdir()
    for path in (scene / "images").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    write_trajectory(tmp_path / "where.txt", Trajectory(world_T_cam=wall.poses(VIEWS)), "kitti")
    K = wall.intrinsics(H, W)
    numbers = [f"{float(value):.9g}" for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])]
    words = [
        "reconstruct",
        str(folder),
        "--out",
        str(tmp_path / "a.ply"),
        *QUICK,
        "--poses",
        str(tmp_path / "where.txt"),
    ]
    assert main([*words, "--intrinsics", *numbers, "--depth-range", str(NEAR), str(FAR)]) == 0
    assert float(_distance(read_cloud(tmp_path / "a.ply").points).median()) < 0.01


def test_without_a_method_the_best_that_is_here_is_taken_and_named(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VO3D_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["reconstruct", str(scene), "--out", str(tmp_path / "a.ply"), "--no-report"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "method plane_sweep, the best that is here; not here, and does better: itermvs_blendedmvs (vo3d" in told
    assert "by PlaneSweep" in told
    assert not (tmp_path / "cache").exists()
    line = complaint(capsys, "reconstruct", scene, "--out", tmp_path / "b.ply", "--precision", "float16")
    assert "plane_sweep, taken by default: Option 'precision'" in line
    assert line.endswith(
        "is not accepted by vo3d.models.plane_sweep.PlaneSweep: leave it out, or name another method by --weights"
    )


def test_mistakes_are_told_before_the_work(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").write_text("")
    out = ["--out", tmp_path / "a.ply"]
    for words, expected in (
        ([empty, *out, *QUICK], "no scene: expected MVSNet's layout"),
        ([tmp_path / "none", *out, *QUICK], "no such file or folder: expected a scene"),
        ([scene, *out, "--weights", "plane_swep"], "did you mean plane_sweep?"),
        ([scene, *out, "--model", "vo3d.models.constant_motion.ConstantMotion"], "expected a model of depth"),
        ([scene, *QUICK, "--out", tmp_path / "a.pcd"], "expected a name that ends in .ply"),
        ([scene, *QUICK, "--out", tmp_path / "file" / "a.ply"], "file"),
        ([scene, *out, *QUICK, "--num-views", "1"], "num_views 1: expected at least 2"),
        ([scene, *out, *QUICK, "--views", "0"], "--views 0: none of these is a source of another"),
        ([scene, *out, *QUICK, "--size", "48"], "expected rows and columns"),
        ([scene, *out, *QUICK, "--depth-range", "1"], "1 numbers: expected 2"),
        ([scene, *out, *QUICK, "--depth-range", "9", "4"], "--depth-range 9 4: expected 0 < near < far"),
        ([scene, *out, *QUICK, "--every", "2"], "has no use for --every"),
        ([scene, *out, *QUICK, "--precision", "float16"], "'precision' is not accepted"),
        ([scene, *out, *QUICK, "--device", "tpu9"], "device 'tpu9'"),
        ([scene, *out, *QUICK, "--min-consistent", "0"], "at least one"),
        ([scene, *out, "--model", SWEEP, "--num-depths", "1"], "num_depths 1, slab 4: expected at least 2 planes"),
        ([scene, *out, *QUICK, "--depth-range", "10", "11"], "a parallax of 0.0"),
    ):
        assert expected in complaint(capsys, "reconstruct", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_memory_is_refused_only_where_it_cannot_fit(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = Cost(seconds=1.0, memory=10**9)
    told = Forecast(depths=(16, 32), costs=(cost, cost))
    free = [0]
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("vo3d.pipelines.reconstruct.messages.forecast", lambda *_: told)
    monkeypatch.setattr("vo3d.pipelines.reconstruct.messages.memory_in_use", lambda _: 0)
    monkeypatch.setattr("vo3d.pipelines.reconstruct.messages.free_memory", lambda _: free[0])
    words = ["reconstruct", scene, "--out", tmp_path / "a.ply", *QUICK]
    free[0] = 10**9 // 2
    assert "1.0 GB of memory; only 500 MB are there: take a smaller --max-side" in complaint(capsys, *words)
    free[0] = 9 * 10**8
    assert main(list(map(str, words))) == 0
    said = capsys.readouterr().out
    assert "estimate  about 5.0 s (1.0 s a view), 1.0 GB of memory; 900 MB are there: take" in said
    assert "if it does not suffice" in said


def test_a_folder_that_is_no_record_is_left_alone(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_depth").mkdir()
    words = ["reconstruct", scene, "--out", tmp_path / "a.ply", *QUICK]
    for text in ("[1", "[" * 100_000):
        (tmp_path / "a_depth" / "settings.json").write_text(text)
        assert "not a record of depth maps" in complaint(capsys, *words)
        assert (tmp_path / "a_depth" / "settings.json").read_text() == text


def test_what_a_scene_lacks_is_said_and_kept(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(scene, tmp_path / "wall")
    (folder / "images/00000004.png").unlink()
    out = tmp_path / "wall.ply"
    assert main(["reconstruct", str(folder), "--out", str(out), *QUICK]) == 0
    note = f"1 of 5 images of {folder} are missing (00000004): the others are used"
    assert capsys.readouterr().out.splitlines()[1] == f"note      {note}"
    result = _result(out)
    assert result["scene"]["notes"] == [note]
    assert len(result["views"]) == 4


def test_views_whose_names_become_equal_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Four images of a transforms.json, whose folders and names join to two names."""
    K, names = wall.intrinsics(H, W), ("a_b/c", "a/b_c", "x/c", "x/b_c")
    opengl = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    frames = []
    for name, pose in zip(names, wall.poses(len(names)), strict=True):
        write_image(tmp_path / f"{name}.png", wall.photograph(K, pose, H, W)[0])
        frames.append({"file_path": name, "transform_matrix": (pose @ opengl).tolist()})
    camera = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5}
    content = {key: float(value) for key, value in camera.items()} | {"frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    out = tmp_path / "wall.ply"
    words = ["reconstruct", str(tmp_path), "--depth-range", str(NEAR), str(FAR), "--out", str(out), *QUICK]
    assert main(words) == 0
    assert len(list((tmp_path / "wall_depth").glob("*_depth.pfm"))) == 4
    assert [view["name"] for view in _result(out)["views"]] == ["a_b_c", "a_b_c_2", "x_c", "x_b_c"]
    assert float(_distance(read_cloud(out).points).median()) < 0.01  # in the frame of the file


def test_other_programs_go_on_from_the_depths(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    out = tmp_path / "a.ply"
    words = ["reconstruct", str(scene), "--out", str(out), *QUICK, "--colmap", "--depth-png"]
    assert main(words) == 0
    assert "_depth.png: 10000 counts are 1 of the poses' unit, 0 is none" in capsys.readouterr().out

    frames = read_transforms(tmp_path / "a_depth" / "cameras.json")
    told = json.loads((tmp_path / "a_depth" / "cameras.json").read_text())
    assert told["depth_unit_scale_factor"] == 1e-4
    for frame, pose, one in zip(frames, wall.poses(VIEWS), told["frames"], strict=True):
        assert_same(frame.world_T_cam, pose, 1e-6)  # MVSNet's files have so many digits
        depth = read_depth_png(tmp_path / "a_depth" / one["depth_file_path"], metres_per_count=1e-4)
        assert frame.camera.size == tuple(depth.shape) == image_size(tmp_path / "a_depth" / frame.file_path)
        K = frame.camera.intrinsics((18, 24)).float()
        points = se3.transform(frame.world_T_cam, (rays(K, pixel_grid(18, 24)) * depth[..., None]).double())
        assert float(_distance(points[depth > 0].numpy()).median()) < 0.01
        raw = read_pfm(tmp_path / "a_depth" / one["depth_file_path"].replace("png", "pfm"))
        assert 0 < int((depth > 0).sum()) < raw.numel()  # what other views do not confirm is 0

    dense = tmp_path / "a_colmap"
    model = read_model(dense / "sparse")
    assert len(model.images) == VIEWS
    assert len(model.points) > 100
    assert _distance(model.points.xyz.numpy()).median() < 0.01
    assert len(read_cloud(dense / "fused.ply")) == len(read_cloud(out))
    names = {f"{image.name}.{kind}.bin" for image in model.images for kind in ("geometric", "photometric")}
    for folder in ("depth_maps", "normal_maps"):
        assert {path.name for path in (dense / "stereo" / folder).iterdir()} == names

    assert main(words) == 0  # writes the workspace anew
    (dense / "README.txt").unlink()
    assert "a_colmap: is there, and not a workspace that vo3d wrote" in complaint(capsys, *words)


def test_depths_are_no_arguments_of_the_model(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="arguments of the model: num_depths: give reconstruct itself"):
        reconstruct(scene, out=tmp_path / "a.ply", model=SWEEP, arguments={"num_depths": 8})
