"""Images that come with cameras are read as they are stored, whatever their EXIF orientation, in every layout."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import wall_scenes
from exif import set_orientation
from vo3d.datasets import colmap, dtu, mvs_folder, nerf, posed_images, sevenscenes
from vo3d.datasets.folder import FolderRecording
from vo3d.datasets.kitti import KITTIRecording
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import read_model, write_model
from vo3d.formats.images import read_image, write_image
from vo3d.recording import MultiViewScene, Recording

RANGE = (wall_scenes.NEAR, wall_scenes.FAR)
Write, Open = Callable[..., Path], Callable[[Path], Recording]

LAYOUTS: dict[str, tuple[Write, Open]] = {
    "mvsnet": (wall_scenes.write_mvsnet, mvs_folder.scene),
    "colmap": (wall_scenes.write_colmap, colmap.scene),
    "posed images": (wall_scenes.write_posed, lambda path: posed_images.scene(path, depth_range=RANGE)),
    "nerf": (wall_scenes.write_nerf, lambda path: nerf.scene(path, depth_range=RANGE)),
    "dtu training": (wall_scenes.write_dtu_training, dtu.scene),
    "dtu evaluation": (
        wall_scenes.write_dtu_evaluation,
        lambda path: dtu.DTUEvaluationScene(path, 1, rows=32, depth="required"),
    ),
    "7-scenes, a video": (
        wall_scenes.write_seven_scenes,
        lambda path: sevenscenes.SevenScenesRecording(path, depth="required"),
    ),
    "7-scenes, views": (
        wall_scenes.write_seven_scenes,
        lambda path: sevenscenes.SevenScenesScene(path, every=1, depth="required"),
    ),
    "kitti": (wall_scenes.write_kitti, lambda path: KITTIRecording(path, "00", stereo=True)),
    "folder with intrinsics": (
        wall_scenes.write_posed,
        lambda path: FolderRecording(path / "images", intrinsics=(50.0, 50.0, 20.0, 20.0)),
    ),
}


def same_samples(left: Recording, right: Recording) -> bool:
    """Whether all views agree to the bit."""
    places = list(range(len(left)))
    one, other = left.clip(places), right.clip(places)
    assert one.given() == other.given()
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in one.given() if name not in {"scene", "name"}
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tag_changes_nothing_and_is_told(tmp_path: Path, name: str) -> None:
    """Also those of masks, depth maps and right images, which lie beside the photographs."""
    write, read = LAYOUTS[name]
    plain, tagged = (write(tmp_path / which / "scene") for which in ("plain", "tagged"))
    for number, path in enumerate(sorted((tmp_path / "tagged").rglob("*.png"))):
        set_orientation(path, 6 if number == 0 else 2 + number % 7)
    assert not read(plain).notes
    (note,) = read(tagged).notes
    assert "the EXIF orientation of " in note
    assert note.endswith("is ignored: images with cameras are read as they are stored")
    assert same_samples(read(plain), read(tagged))


@pytest.mark.parametrize("name", ["mvsnet", "colmap", "posed images", "nerf"])
def test_poses_at_utm_coordinates_keep_their_digits(tmp_path: Path, name: str) -> None:
    write, read = LAYOUTS[name]
    home = read(write(tmp_path / "home"))
    far = read(write(tmp_path / "far", offset=wall_scenes.UTM))
    assert isinstance(home, MultiViewScene)
    assert isinstance(far, MultiViewScene)
    here, there = home.clip([0, 1, 2]), far.clip([0, 1, 2])
    assert there.world_T_cam is not None
    assert here.world_T_cam is not None
    assert there.world_T_cam.dtype == torch.float64
    moved = there.world_T_cam[:, :3, 3] - torch.tensor(wall_scenes.UTM, dtype=torch.float64)
    assert (moved - here.world_T_cam[:, :3, 3]).abs().max() < 1e-6  # of metres
    for index in range(len(home)):  # two that are as good may change places
        assert sorted(far.sources(index)) == sorted(home.sources(index))
    assert here.depth_range is not None
    assert there.depth_range is not None
    assert torch.allclose(there.depth_range, here.depth_range, rtol=1e-6)


def test_photographs_without_a_camera_are_turned(tmp_path: Path) -> None:
    folder = wall_scenes.write_posed(tmp_path, views=2) / "images"
    plain = FolderRecording(folder, field_of_view=60.0).clip([0, 1])
    for path in folder.iterdir():
        set_orientation(path, 6)
    turned = FolderRecording(folder, field_of_view=60.0)
    assert not turned.notes
    sample = turned.clip([0, 1])
    assert sample.image.shape[-2:] == plain.image.shape[:-3:-1]
    assert torch.equal(sample.image, plain.image.mT.flip(-1))  # clockwise by a quarter
    assert sample.K is not None
    assert sample.K[0, 0, 2] == (wall_scenes.H - 1) / 2


def test_cameras_of_turned_images_are_told(tmp_path: Path) -> None:
    folder = wall_scenes.write_colmap(tmp_path / "scene")
    for path in (folder / "images").iterdir():
        write_image(path, read_image(path)[:, :30])
    with pytest.raises(
        Vo3dError, match=r"0\.png: is \d+x30 pixels, .*: give the images that the cameras were made for"
    ):
        colmap.scene(folder)
    file = next(folder.rglob("cameras.bin"))
    model = read_model(folder)
    camera = replace(model.cameras[1], width=30, height=48, params=(50.0, 50.0, 15.0, 24.0))
    write_model(file.parent, replace(model, cameras={1: camera}, points=model.points.seen_in(torch.zeros(0).long())))
    with pytest.raises(Vo3dError, match=r"is for 30x48: it is for images that were turned: turn these too"):
        colmap.scene(folder, depth_range=RANGE)
