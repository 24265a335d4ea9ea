"""Scenes of NeRF, written here around a painted wall that lenses distort, and a real one beside its COLMAP model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import wall
from checks import complaint
from vo3d.datasets.colmap import scene as colmap_scene
from vo3d.datasets.nerf import NeRF, recognises, scene
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.geometry import pixel_grid, rays, se3, undistort_points
from vo3d.settings.layouts import open_scene

HEIGHT, WIDTH, VIEWS = 96, 120, 5
RANGE = (0.7, 1.4)
BARREL = (-0.25, 0.05, 0.002, -0.001)
K = wall.intrinsics(HEIGHT, WIDTH)
OPENGL = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))


def write_scene(folder: Path, *, shrink: int = 1, lens: bool = True, suffix: str = ".png", **whole: Any) -> Path:
    """Write images of a distorting lens, `shrink` times smaller than the file says, and their transforms.json."""
    height, width = HEIGHT // shrink, WIDTH // shrink
    small = K.clone()
    small[:2, 2] += 0.5
    small[:2] /= shrink
    small[:2, 2] -= 0.5
    pixels = pixel_grid(height, width, dtype=torch.float64)
    looks = rays(small, undistort_points(pixels, small, BARREL, "radtan") if lens else pixels)
    frames = []
    for index, pose in enumerate(wall.poses(VIEWS)):
        write_image(folder / "images" / f"{index}.png", wall.look(looks, pose)[0])
        frames.append({"file_path": f"images/{index}{suffix}", "transform_matrix": (pose @ OPENGL).tolist()})
    numbers = {"w": WIDTH, "h": HEIGHT, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2] + 0.5, "cy": K[1, 2] + 0.5}
    said = {key: float(value) for key, value in numbers.items()}
    said |= dict(zip(("k1", "k2", "p1", "p2"), BARREL, strict=True)) if lens else {}
    (folder / "transforms.json").write_text(json.dumps({**said, **whole, "frames": frames}))
    return folder


@pytest.mark.parametrize(("shrink", "suffix"), [(1, ".png"), (2, ""), (1, "")])
def test_what_is_read_is_what_a_pinhole_sees(tmp_path: Path, shrink: int, suffix: str) -> None:
    folder = write_scene(tmp_path / "desk", shrink=shrink, suffix=suffix)
    assert recognises(folder)
    here = scene(folder / "transforms.json", depth_range=RANGE)
    assert (here.name, here.names) == ("desk", ["0", "1", "2", "3", "4"])
    resized = [f"5 of 5 images are resized (0.png is {WIDTH // 2}x{HEIGHT // 2} pixels, its camera for 120x96): K is "]
    assert [note.replace("scaled to them", "") for note in here.notes] == resized[: shrink - 1]
    sample = here.clip([0, 1])
    assert sample.given() == ("image", "K", "world_T_cam", "depth_range", "scene", "index")
    assert sample.world_T_cam is not None
    assert torch.allclose(sample.world_T_cam, wall.poses(VIEWS)[:2], atol=1e-12)
    picture, _ = wall.photograph(sample.K[1].double(), wall.poses(VIEWS)[1], HEIGHT // shrink, WIDTH // shrink)
    assert (sample.image[1] - picture).abs().mean() < 0.006 * shrink**2
    assert here.sources(0)[0] == 2
    assert len(scene(folder, depth_range=RANGE, every=2)) == 3


def test_missing_images_and_other_files_are_told(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, lens=False)
    (folder / "images/1.png").unlink()
    (folder / "transforms_test.json").write_text("{}")
    here = scene(folder, depth_range=RANGE)
    assert list(here.notes) == [
        f"{folder}/transforms.json is read; left out: transforms_test.json",
        f"1 of 5 images of {folder}/transforms.json are missing (images/1.png): the others are used",
    ]
    assert len(here) == 4
    assert len(scene(folder / "transforms.json", depth_range=RANGE).notes) == 1
    (folder / "images").rename(folder / "photos")
    assert len(scene(folder, depth_range=RANGE, images=folder / "photos")) == 4
    with pytest.raises(
        Vo3dError, match=r"json: none of its 5 images is there, the first of which would be .*images/0\.png: add"
    ):
        scene(folder, depth_range=RANGE)


def test_a_scene_of_blender(tmp_path: Path) -> None:
    """No size, an angle, names without suffixes below ./, and a file for each split."""
    folder = write_scene(tmp_path / "lego", lens=False, suffix="")
    content = json.loads((folder / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["file_path"] = f"./{frame['file_path']}"
    angle = 2 * torch.atan(WIDTH / 2 / K[0, 0]).item()
    (folder / "transforms.json").unlink()
    (folder / "transforms_train.json").write_text(json.dumps({"camera_angle_x": angle, "frames": content["frames"]}))
    layout, here = open_scene(folder, {"depth_range": RANGE})
    assert (layout.name, here.name) == ("nerf", "lego_transforms_train")
    found = here.clip([0]).K[0]
    assert torch.allclose(found.double(), torch.tensor([[144, 0, 59.5], [0, 144, 47.5], [0, 0, 1]]).double(), atol=1e-4)


def test_suffixes_of_cameras_are_found_too(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, lens=False, suffix="")
    for path in folder.glob("images/*"):
        path.rename(path.with_suffix(".PNG"))
    assert not scene(folder, depth_range=RANGE).notes


def test_two_images_of_a_name_without_suffix_are_refused(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, lens=False, suffix="")
    (folder / "images/1.JPG").write_bytes((folder / "images/2.png").read_bytes())
    with pytest.raises(Vo3dError, match=r"1\.(JPG|png): 1\.(JPG|png) is of the same name: remove one"):
        scene(folder, depth_range=RANGE)


def test_images_elsewhere_keep_their_folders(tmp_path: Path) -> None:
    """Two cameras, whose images have the same names."""
    folder = write_scene(tmp_path / "rig", lens=False)
    content = json.loads((folder / "transforms.json").read_text())
    for index, frame in enumerate(content["frames"]):
        place = folder / "images_2" / f"cam{index % 2}" / f"{index // 2}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / frame["file_path"]).rename(place)
        frame["file_path"] = f"../rig/images/cam{index % 2}/{index // 2}.png"
    (folder / "transforms.json").write_text(json.dumps(content))
    here = scene(folder, depth_range=RANGE, images=folder / "images_2")
    assert here.names == ["cam0_0", "cam1_0", "cam0_1", "cam1_1", "cam0_2"]
    picture, _ = wall.photograph(K, wall.poses(VIEWS)[1], HEIGHT, WIDTH)
    assert (here.clip([1]).image[0] - picture).abs().mean() < 0.006


def test_smaller_images_elsewhere_of_a_file_without_sizes(tmp_path: Path) -> None:
    """The images that its focal lengths are for tell the size."""
    folder, small = write_scene(tmp_path / "desk", lens=False), write_scene(tmp_path / "small", lens=False, shrink=2)
    content = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps({k: v for k, v in content.items() if k not in ("w", "h")}))
    here = scene(folder, depth_range=RANGE, images=small / "images")
    assert here.clip([0]).K[0, 0, 0] == pytest.approx(float(K[0, 0]) / 2)
    assert here.notes[0].startswith("5 of 5 images are resized (0.png is 60x48 pixels, its camera for 120x96)")


def test_many_scenes_make_one_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / name, lens=False)
    dataset = NeRF(tmp_path, ["a", "b/transforms.json"], depth_range=RANGE, size=(48, 60), num_views=3)
    assert len(dataset) == 2 * VIEWS
    assert dataset[5].image.shape == (3, 3, 48, 60)


@pytest.mark.parametrize(
    ("harm", "options", "words"),
    [
        (
            lambda folder: [write_image(path, torch.full((3, 96, 120), 0.5)) for path in folder.glob("images/*.png")],
            {"depth_range": None},
            "how far things are, and 0 points that match between the 5 images fit their poses, too few: .*NEAR FAR",
        ),
        (lambda folder: None, {"every": 0}, "every is 0"),
        (lambda folder: (folder / "transforms.json").unlink(), {}, r"desk: no transforms\.json or transforms_train"),
        (
            lambda folder: write_image(folder / "images/2.png", torch.ones(60, 48)),
            {},
            r"2\.png: is 48x60 pixels, but its camera in .*transforms\.json is for 120x96",
        ),
        (
            lambda folder: write_scene(folder, cx=500),
            {},
            r"json, an image: is 120x96 pixels, but its camera has the principal point \(499.5",
        ),
        (lambda folder: write_scene(folder, lens=False, cx=500), {}, r"json, an image: is 120x96 .* point \(499.5"),
        (lambda folder: write_scene(folder, camera_angle_x=0.3), {}, "fl_x is 144, but the angle of view along x, 0.3"),
        (lambda folder: write_scene(folder, k1=-12), {}, r"transforms\.json: its lens cannot be undone"),
        (lambda folder: (folder / "images/2.png").write_bytes(b"?"), {}, r"2\.png: not a whole image"),
    ],
)
def test_every_mistake_is_one_clear_line(
    tmp_path: Path, harm: Callable[[Path], object], options: dict[str, Any], words: str
) -> None:
    folder = write_scene(tmp_path / "desk")
    harm(folder)
    with pytest.raises(Vo3dError, match=words) as caught:
        scene(folder, **{"depth_range": RANGE, **options})
    assert "\n" not in str(caught.value)


def test_the_command_line_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_scene(tmp_path / "desk")
    assert "which has no use for --poses" in complaint(
        capsys, "reconstruct", folder / "transforms.json", "--poses", "a.txt", "--depth-range", "1", "2"
    )
    (folder / "notes.txt").write_text("no scene")
    assert "a NeRF's transforms.json" in complaint(capsys, "reconstruct", folder / "notes.txt")


def test_a_folder_of_two_layouts_says_so(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "desk")
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * VIEWS)
    layout, here = open_scene(folder, {"depth_range": RANGE})
    assert layout.name == "nerf"
    assert f"{folder} is read as images with a NeRF's transforms.json; left out: images with a file" in here.notes[-1]


@pytest.mark.real
def test_a_real_file_agrees_with_the_colmap_model_that_it_was_made_from(shared_data: Path) -> None:
    """Written by instant-ngp's converter: other axes and another scale, the same cameras; a quarter of the size."""
    trials = shared_data / "trials" / "scenes"
    nerf = scene(trials / "transforms_json", depth_range=(2.0, 10.0))
    colmap = colmap_scene(trials / "colmap_without_points", depth_range=(2.0, 10.0))
    assert len(nerf) == len(colmap) == 4
    assert "63 of 67 images" in nerf.notes[0]
    assert "46 of 50 images" in colmap.notes[0]
    one, other = nerf.clip([0, 3]), colmap.clip([0, 3])
    assert one.image.shape == (2, 3, 480, 270)
    assert torch.equal(one.image, other.image)
    assert torch.allclose(one.K, other.K)
    first, second = (se3.relative(poses[:1], poses[1:]) for poses in (nerf.poses(), colmap.poses()))
    assert (first - second).abs().max() < 1e-3
    assert [list(nerf.sources(index)) for index in range(4)] == [list(colmap.sources(index)) for index in range(4)]
