"""DTU's two layouts, written here around a painted wall: which file is which, which K at which size, which unit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import wall
from vo3d.datasets.dtu import DTU, SPLITS, DTUEvaluation, recognises, scene
from vo3d.datasets.transforms import HorizontalFlip
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.mvsnet import MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.pfm import read_pfm, write_pfm
from vo3d.geometry import se3

VIEWS = 4
HEIGHT, WIDTH = 128, 160  # a quarter of the layout's images
PAIRS = [
    ViewSources(view=0, sources=(2, 1, 3), scores=(9.0, 5.0, 1.0)),
    ViewSources(view=3, sources=(2,), scores=(1.0,)),
]


def camera(K: Tensor, world_T_cam: Tensor) -> MVSCamera:
    """In millimetres."""
    cam_T_world = se3.inverse(world_T_cam)
    cam_T_world[:3, 3] *= 1000
    return MVSCamera(K=K, cam_T_world=cam_T_world, depth_min=425.0, depth_interval=2.5, num_depths=192, depth_max=902.5)


def write_depth(folder: Path, view: int, depth: Tensor) -> None:
    """In millimetres; the upper left corner has a depth that the picture beside it says to be wrong."""
    mask = torch.ones_like(depth)
    mask[:4, :4] = 0
    write_pfm(folder / f"depth_map_{view:04d}.pfm", 1000 * depth)
    write_image(folder / f"depth_visual_{view:04d}.png", mask)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Scans 2 and 3; the images of light l are scaled by (l + 4) / 10."""
    for folder in (
        "Cameras/train",
        *(f"{kind}/scan{scan}_train" for kind in ("Rectified", "Depths") for scan in (2, 3)),
    ):
        (tmp_path / folder).mkdir(parents=True)
    write_pairs(tmp_path / "Cameras/pair.txt", PAIRS)
    K = wall.intrinsics(HEIGHT, WIDTH)
    quarter = K / torch.tensor([[4.0], [4.0], [1.0]], dtype=torch.float64)
    for view, pose in enumerate(wall.poses(VIEWS)):
        image, depth = wall.photograph(K, pose, HEIGHT, WIDTH)
        write_cam(tmp_path / f"Cameras/train/{view:08d}_cam.txt", camera(quarter, pose))
        for scan in (2, 3):
            for light in (0, 3):
                path = tmp_path / f"Rectified/scan{scan}_train/rect_{view + 1:03d}_{light}_r5000.png"
                write_image(path, image * (light + 4) / 10)
            write_depth(tmp_path / f"Depths/scan{scan}_train", view, depth[::4, ::4])
    return tmp_path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """Scan 1, with its true depth, 16 rows taller than what is kept."""
    folder = tmp_path / "scan1"
    truth = tmp_path / "Depths_raw/scan1"
    for path in (folder / "images", folder / "cams", truth):
        path.mkdir(parents=True)
    write_pairs(folder / "pair.txt", PAIRS)
    K = wall.intrinsics(HEIGHT, WIDTH)
    for view, pose in enumerate(wall.poses(VIEWS)):
        image, depth = wall.photograph(K, pose, HEIGHT + 16, WIDTH)
        write_cam(folder / f"cams/{view:08d}_cam.txt", camera(K, pose))
        write_image(folder / f"images/{view:08d}.png", image)
        write_depth(truth, view, depth)
    return tmp_path


def test_the_splits_are_those_of_the_paper() -> None:
    assert [len(SPLITS[name]) for name in ("train", "val", "test")] == [79, 18, 22]
    assert len(set(sum(SPLITS.values(), ()))) == 119
    assert 49 * 7 * len(SPLITS["train"]) == 27097


def test_a_training_sample_is_at_the_size_of_its_image_and_in_metres(training: Path) -> None:
    sample = DTU(training, [2], lights=[3], num_views=4)[0]
    assert sample.given() == ("image", "K", "world_T_cam", "depth", "depth_range", "scene", "index")
    assert sample.image.shape == (4, 3, HEIGHT, WIDTH)
    assert sample.index is not None
    assert sample.index.tolist() == [0, 2, 1, 3]  # in the order of pair.txt
    assert torch.allclose(sample.K[0].double(), wall.intrinsics(HEIGHT, WIDTH), rtol=1e-6)
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam.double(), wall.poses(VIEWS)[[0, 2, 1, 3]], atol=1e-6)
    assert sample.depth_range is not None
    assert torch.allclose(sample.depth_range, torch.tensor([0.425, 0.93115]).expand(4, 2))


def test_the_truth_stands_where_a_grid_of_stride_four_looks_for_it(training: Path) -> None:
    sample = DTU(training, [2], lights=[3], num_views=3)[0]
    assert sample.depth is not None
    assert sample.world_T_cam is not None
    on_grid = sample.depth[:, ::4, ::4]
    assert int((sample.depth > 0).sum()) == int((on_grid > 0).sum()) == 3 * (32 * 40 - 16)
    assert not on_grid[:, :4, :4].any()  # what depth_visual says to be wrong
    _, depth = wall.photograph(wall.intrinsics(HEIGHT, WIDTH), wall.poses(VIEWS)[2], HEIGHT, WIDTH)
    assert torch.allclose(on_grid[1, 4:], depth[::4, ::4][4:], rtol=1e-5)
    # all views see one wall: with K or depth wrong the colours differ
    assert wall.disagreement(sample.image, sample.K, sample.world_T_cam, sample.depth) < 0.005
    assert wall.disagreement(sample.image, sample.K, sample.world_T_cam, 1.1 * sample.depth) > 0.03
    wrong_K = sample.K * torch.tensor([[0.25], [0.25], [1.0]])
    assert wall.disagreement(sample.image, wrong_K, sample.world_T_cam, sample.depth) > 0.03


def test_each_light_of_each_scan_is_a_scene(training: Path) -> None:
    dataset = DTU(training, [3, 2], lights=[3, 0], num_views=2, depth="none")
    assert [one.name for one in dataset.recordings] == ["scan3_light3", "scan3_light0", "scan2_light3", "scan2_light0"]
    assert len(dataset) == 8  # views 0 and 3 have sources
    bright, dark = dataset[0].image.mean(), dataset[2].image.mean()
    assert float(dark / bright) == pytest.approx(4 / 7, abs=0.01)
    assert dataset.recordings[0].names[1] == "rect_002_3_r5000"  # images count from 1, views from 0
    assert "depth" not in dataset[0].given()


def test_lights_are_all_in_training_and_all_lamps_else(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "val", (3,))
    assert [one.name for one in DTU(training, "val", num_views=2).recordings] == ["scan3_light3"]
    monkeypatch.setitem(SPLITS, "train", (2,))
    with pytest.raises(Vo3dError, match=r"rect_001_1_r5000\.png: no such image: .*lights with images here: 0, 3$"):
        DTU(training, num_views=2)


def test_the_range_follows_the_settings(training: Path) -> None:
    depth_range = DTU(training, [2], num_views=2, num_depths=256, interval_scale=0.8)[0].depth_range
    assert depth_range is not None
    assert depth_range[0].tolist() == pytest.approx([0.425, 0.425 + 0.0025 * 0.8 * 255])


def test_an_evaluation_sample_keeps_the_upper_rows(evaluation: Path) -> None:
    dataset = DTUEvaluation(evaluation, [1], rows=HEIGHT, depth="required", num_views=4)
    assert [len(dataset), dataset.recordings[0].name] == [1, "scan1"]
    sample = dataset[0]
    assert sample.image.shape == (4, 3, HEIGHT, WIDTH)
    assert torch.allclose(sample.K[0].double(), wall.intrinsics(HEIGHT, WIDTH), rtol=1e-6)
    assert sample.depth is not None
    assert sample.world_T_cam is not None
    assert sample.depth.shape == (4, HEIGHT, WIDTH)
    assert wall.disagreement(sample.image, sample.K, sample.world_T_cam, sample.depth) < 0.01
    assert sample.depth_range is not None
    assert sample.depth_range[0].tolist() == pytest.approx([0.425, 0.93115])
    cut = DTUEvaluation(evaluation, [1], rows=HEIGHT * 5 // 8, num_views=2).recordings[0]
    assert not cut.notes  # the principal point is far from the centre because of the cut, as the loader knows
    everything = DTUEvaluation(evaluation, [1], num_views=2)[0]  # 1184 rows at most
    assert everything.image.shape == (2, 3, HEIGHT + 16, WIDTH)
    assert everything.depth is None
    assert len(DTUEvaluation(evaluation, [1], num_views=3, fewer_views=True)) == 2


def test_truth_may_be_missing_where_that_is_allowed(evaluation: Path) -> None:
    (evaluation / "Depths_raw/scan1/depth_map_0002.pfm").unlink()
    depth = DTUEvaluation(evaluation, [1], depth="where present", num_views=3)[0].depth
    assert depth is not None
    assert [bool(view.any()) for view in depth] == [True, False, True]
    with pytest.raises(Vo3dError, match=r"depth_map_0002\.pfm: no such file"):
        DTUEvaluation(evaluation, [1], depth="required", num_views=3)[0]


def test_a_folder_of_the_training_layout_is_a_scene(training: Path) -> None:
    folder = training / "Rectified/scan3_train"
    assert recognises(folder)
    assert not recognises(training)
    assert scene(folder, light=0).name == "scan3_light0"


def nan_truth(root: Path) -> None:
    path = root / "Depths/scan2_train/depth_map_0000.pfm"
    depth = read_pfm(path)
    write_pfm(path, depth)
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\x00\x00\xc0\x7f")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CAM = "Cameras/train/00000002_cam.txt"


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (lambda root: None, {"split": [7]}, "scan7_train: no such scan: .* there are scan2_train, scan3_train"),
        (lambda root: None, {"lights": [7]}, "light 7: DTU has the lights 0 to 6"),
        (lambda root: None, {"lights": [2]}, r"rect_001_2_r5000\.png: no such image.* here: 0, 3"),
        (lambda root: (root / CAM).unlink(), {}, r"00000002_cam\.txt: no such file: expected a cam\.txt"),
        (lambda root: rewrite(root / CAM, "425.0", "0"), {}, r"00000002_cam\.txt:\d+: depth_min 0: expected a depth"),
        (
            lambda root: rewrite(root / CAM, f"{1.2 * 40}", "0"),
            {},
            r"00000002_cam\.txt:\d+: K is singular \(fx 0",
        ),
        (
            lambda root: write_pairs(root / "Cameras/pair.txt", [ViewSources(view=0, sources=(9,), scores=(1.0,))]),
            {"num_views": 2},
            r"00000009_cam\.txt: no such file",
        ),
        (lambda root: (root / "Cameras/pair.txt").unlink(), {}, r"pair\.txt: no such file"),
        (nan_truth, {}, r"depth_map_0000\.pfm: 1 of 1280 values are NaN or infinite"),
        (
            lambda root: (root / "Depths/scan2_train/depth_visual_0000.png").unlink(),
            {},
            r"depth_visual_0000\.png: no such image file",
        ),
        (
            lambda root: write_image(root / "Depths/scan2_train/depth_visual_0000.png", torch.ones(8, 8)),
            {},
            r"depth_visual_0000\.png: is 8x8 pixels, but depth_map_0000\.pfm is 40x32",
        ),
        (
            lambda root: write_depth(root / "Depths/scan2_train", 0, torch.ones(HEIGHT, WIDTH)),
            {},
            r"depth_map_0000\.pfm: is 160x128 pixels and its image 160x128: expected a quarter",
        ),
        (
            lambda root: write_image(root / "Rectified/scan2_train/rect_003_3_r5000.png", torch.ones(8, 8)),
            {},
            r"rect_003_3_r5000\.png: is 8x8 pixels, but its camera is for 160x128",
        ),
        (lambda root: None, {"num_depths": 1}, "num_depths 1, interval_scale 1.06: expected at least 2"),
        (
            lambda root: None,
            {"transforms": [HorizontalFlip()]},
            "HorizontalFlip moves pixels, and the true depth of DTU",
        ),
        (lambda root: None, {"num_views": 5}, "no view of scan2_light3 has 4 source views"),
    ],
)
def test_every_mistake_is_one_clear_line(training: Path, harm, options: dict[str, object], words: str) -> None:
    harm(training)
    with pytest.raises(Vo3dError, match=words) as caught:
        DTU(training, **{"split": [2], "lights": [3], **options})[0]  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_camera_for_images_of_another_size_is_told(evaluation: Path) -> None:
    path = evaluation / "scan1/cams/00000000_cam.txt"
    K = wall.intrinsics(HEIGHT, WIDTH) * torch.tensor([[4.0], [4.0], [1.0]], dtype=torch.float64)
    write_cam(path, camera(K, wall.poses(VIEWS)[0]))
    with pytest.raises(Vo3dError, match=r"00000000\.png: is 160x144 pixels, but its camera has the principal point"):
        DTUEvaluation(evaluation, [1])
    with pytest.raises(Vo3dError, match=r"scan4: no such scan: there are scan1$"):
        DTUEvaluation(evaluation, [4])
    with pytest.raises(Vo3dError, match="rows is 0: expected"):
        DTUEvaluation(evaluation, [1], rows=0)
