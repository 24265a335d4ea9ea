"""`vo3d view` of a sequence: a cloud of it by a model of depth and poses, from all sources that frames come from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial import KDTree

from checks import complaint
from true_street import street
from vo3d.cli import main
from vo3d.formats.images import write_image
from vo3d.formats.kitti import write_sequence
from vo3d.formats.ply import PointCloud, read_cloud, write_cloud
from vo3d.geometry import backproject, se3

FRAMES, FINE, SIZE = 6, (128, 416), (64, 208)  # the files are twice as fine as the model's frames
MODEL = ["--model", f'{{"class_path": "true_street.TrueStreet", "init_args": {{"frames": {FRAMES}}}}}']
MODEL += ["--allow", "true_street", "--device", "cpu"]
CAMERA = ["--field-of-view", "81.5"]
SHOW = ["--viewer", "pictures", "--frames", "2"]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street as a folder of images, as a sequence of KITTI, and as a configuration."""
    root = tmp_path_factory.mktemp("drive")
    sample = street(3, FRAMES, FINE).clip(range(FRAMES))
    for index, image in enumerate(sample.image):
        write_image(root / "street" / f"{index}.png", image)
    write_sequence(root / "data", "06", [street(3, FRAMES, FINE).clip([index]) for index in range(FRAMES)])
    rendered = {"seeds": [2, 3], "frames": FRAMES, "size": [*SIZE]}
    data = {"test": {"class_path": "vo3d.datasets.rendered.Rendered", "init_args": rendered}}
    net = {"class_path": "true_street.TrueStreet", "init_args": {"frames": FRAMES}}
    (root / "street.yaml").write_text(yaml.safe_dump({"model": {"net": net}, "data": data}))
    write_cloud(root / "cloud.ply", PointCloud(points=np.eye(3, dtype=np.float32)))
    return root


@pytest.fixture(autouse=True)
def here(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; what they write goes elsewhere for each test."""
    shutil.copytree(drive, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def surfaces() -> KDTree:
    """The true points of all frames, in the frame of the first camera."""
    truth = street(3, FRAMES, SIZE).clip(range(FRAMES))
    assert truth.K is not None
    assert truth.depth is not None
    assert truth.world_T_cam is not None
    points = se3.transform(
        se3.relative(truth.world_T_cam[0], truth.world_T_cam), backproject(truth.K, truth.depth).double()
    )
    return KDTree(points[truth.depth > 0].numpy())


def camera() -> list[str]:
    """The numbers of the camera of the files."""
    K = street(3, FRAMES, FINE).clip([0]).K
    assert K is not None
    return ["--intrinsics", *(str(float(K[0, row, column])) for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)))]


@pytest.mark.parametrize("source", ["street", "data/sequences/06", "street.yaml"])
def test_the_cloud_lies_on_the_true_surfaces(
    source: str, here: Path, surfaces: KDTree, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"street": camera(), "street.yaml": ["--recording", "street-0003"]}.get(source, [])
    words = ["view", source, *MODEL, *more, *SHOW, "--ply", "made/cloud.ply", "--every", "2"]
    assert main(words) == 0
    told = capsys.readouterr().out
    cloud = read_cloud(here / "made" / "cloud.ply")
    assert f"made/cloud.ply: {len(cloud):,} points of 3 frames, along a path of" in told
    assert "seen as 208x64" in told
    distances, _ = surfaces.query(cloud.points)
    assert np.quantile(distances, 0.99) < 0.01  # metres
    assert len(cloud) > 3000
    assert cloud.colours is not None
    assert len(np.unique(cloud.colours, axis=0)) > 500
    assert b"comment up " in (here / "made" / "cloud.ply").read_bytes()[:200]
    assert sorted(path.name for path in (here / "made" / "cloud_view").iterdir()) == [
        "cloud.html", "turntable.gif", "turntable_000.png", "turntable_001.png",
    ]  # fmt: skip


def test_a_part_of_a_sequence_goes_where_its_pictures_go(here: Path) -> None:
    words = ["view", "street", *MODEL, *CAMERA, *SHOW, "--range", "0", "3", "--out", "pictures", "--max-depth", "12"]
    assert main([*words, "--every", "1", "--every-pixel", "1", "--max-step", "0.5"]) == 0
    cloud = read_cloud(here / "pictures" / "street.ply")
    truth = street(3, FRAMES, SIZE).clip(range(3))
    assert truth.depth is not None
    near = int(((truth.depth > 0) & (truth.depth <= 12)).sum())
    assert 0.9 * near < len(cloud) <= near
    assert (here / "pictures" / "street.html").is_file()


WRONG = {
    "a cloud with weights": (["cloud.ply", *MODEL], "cloud.ply: is a cloud already: leave --weights"),
    "images without weights": (
        ["street"],
        "street: expected a PLY file, a trajectory or a reconstruction; or, for the cloud of a video",
    ),
    "options of a sequence alone": (
        ["cloud.ply", "--max-depth", "10", "--range", "0", "3"],
        "--max-depth, --range: of a sequence: add --weights",
    ),
    "no camera": (["street", *MODEL], "street: nothing tells its camera: give intrinsics (fx, fy, cx, cy), focal"),
    "three numbers of a camera": (["street", *MODEL, "--intrinsics", "1", "2", "3"], "--intrinsics: 3 numbers: expec"),
    "one end of a range": (["street", *MODEL, *CAMERA, "--range", "3"], "--range: 1 numbers: expected 2"),
    "a range that ends early": (["street", *MODEL, *CAMERA, "--range", "3", "9"], "street: has 6 frames, but frames"),
    "nothing there": (["nowhere", *MODEL, *CAMERA], "nowhere: no such file or folder: expected frames in time order"),
    "no PLY there": (["nowhere.ply"], "nowhere.ply"),
    "no video": (["street.txt", *MODEL, *CAMERA], "street.txt: not a video that OpenCV can open"),
    "a camera for KITTI": (["data/sequences/06", *MODEL, *CAMERA], "KITTI odometry (sequences/06), which has no use"),
    "a size for a configuration": (["street.yaml", *MODEL, "--size", "64x208"], "street.yaml: describes its own data"),
    "no such recording": (["street.yaml", *MODEL, "--recording", "street-9"], "has no recording street-9: expected"),
    "a recording of one": (["street", *MODEL, *CAMERA, "--recording", "a"], "street: is one recording: leave --recor"),
    "a model without depth": (
        ["street", "--model", "vo3d.models.constant_motion.ConstantMotion", *CAMERA],
        "ConstantMotion gives prev_T_cam: expected a model of depth",
    ),
    "a model without poses": (
        ["street", "--weights", "plane_sweep", *CAMERA],
        "a cloud of a sequence needs poses too",
    ),
    "no such weights": (["street", "--weights", "nothing", *CAMERA], "nothing"),
    "a cloud of another name": (["street", *MODEL, *CAMERA, "--ply", "cloud.txt"], "--ply cloud.txt: expected a name"),
    "no frames left out": (["street", *MODEL, *CAMERA, "--every", "0"], "--every 0: expected at least 1"),
    "nothing near": (["street", *MODEL, *CAMERA, "--max-depth", "0.1"], "is within 0.1 m and off edges: raise --max-"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_one_line(mistake: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "street.txt").write_text("no video")
    words, line = WRONG[mistake]
    assert line in complaint(capsys, "view", *words)
    assert not (here / "street.ply").exists()
