"""Masks beside photographs and in their transparency: found, cut and resized as the image, its lens undone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import wall
import wall_scenes
from vo3d.datasets import foreground
from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.mvs_folder import MVSFolderScene
from vo3d.datasets.photographs import Photographs, posed_photographs
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.settings.layouts import open_scene

H, W = wall_scenes.H, wall_scenes.W


def right_part(first: int) -> torch.Tensor:
    mask = torch.zeros(H, W)
    mask[:, first:] = 1 / 255  # all but 0 is wanted
    return mask


def test_masks_are_found_by_name_and_resized_with_their_images(tmp_path: Path) -> None:
    folder = wall_scenes.write_mvsnet(tmp_path / "wall", views=3)
    write_image(folder / "masks" / "00000000.png", right_part(20))
    write_image(folder / "masks" / "00000001.png.png", right_part(8))
    scene = MVSFolderScene(folder, size=(H // 2, W // 2 - 4))  # and two columns cut off at either side
    for index, first in ((0, 10 - 2), (1, 4 - 2)):
        wanted = scene.foreground(index)
        assert wanted is not None
        assert wanted.shape == scene.clip((index,)).image.shape[-2:]
        assert bool(wanted[:, first:].all())
        assert not bool(wanted[:, :first].any())
    assert scene.foreground(2) is None
    assert "2 of 3 views have a mask: what is 0 there is left out" in scene.notes
    assert "1 views have no mask (00000002.png): all their pixels count" in scene.notes


def test_a_folder_of_masks_can_be_given(tmp_path: Path) -> None:
    folder = wall_scenes.write_mvsnet(tmp_path / "wall", views=3)
    write_image(folder / "masks" / "00000000.png", right_part(20))
    for index in range(3):
        write_image(tmp_path / "mine" / f"{index:08d}.png", right_part(30))
    _, scene = open_scene(folder, {"masks": tmp_path / "mine"})
    found = [scene.foreground(index) for index in range(3)]
    assert all(one is not None and int(one.sum()) == H * (W - 30) for one in found)
    assert [note for note in scene.notes if "mask" in note] == ["3 of 3 views have a mask: what is 0 there is left out"]


def test_wrong_masks_are_told_in_a_line(tmp_path: Path) -> None:
    folder = wall_scenes.write_mvsnet(tmp_path / "wall", views=3)
    with pytest.raises(Vo3dError, match="none: no such folder: expected masks"):
        open_scene(folder, {"masks": tmp_path / "none"})
    write_image(tmp_path / "mine" / "other.png", right_part(3))
    with pytest.raises(Vo3dError, match=r"no mask of the 3 images: expected 00000000\.png or 00000000\.png\.png"):
        open_scene(folder, {"masks": tmp_path / "mine"})
    write_image(folder / "masks" / "00000001.png", right_part(3)[:10])
    with pytest.raises(Vo3dError, match=r"00000001.png: is 48x10 pixels, its image 00000001.png is 48x36"):
        open_scene(folder, {})


def test_transparent_pixels_are_left_out(tmp_path: Path) -> None:
    folder = wall_scenes.write_mvsnet(tmp_path / "wall", views=3)
    alpha = (right_part(17).numpy() * 255).astype(np.uint8)
    for index, opacity in ((0, alpha), (1, np.full_like(alpha, 9))):
        path = str(folder / "images" / f"{index:08d}.png")
        cv2.imwrite(path, np.dstack((cv2.imread(path), opacity)))
    scene = MVSFolderScene(folder)
    wanted = scene.foreground(0)
    assert wanted is not None
    assert torch.equal(wanted, right_part(17) > 0)
    assert scene.foreground(1) is None  # nothing is left out
    assert scene.foreground(2) is None  # there is no such channel


def test_only_a_png_that_may_be_transparent_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, unpacked = tmp_path / "a.png", []
    monkeypatch.setattr(foreground, "read_counts", lambda one: unpacked.append(one) or np.zeros((H, W, 3), np.uint8))
    write_image(path, torch.zeros(3, H, W))
    assert foreground.read_foreground(path, None) is None
    assert not unpacked
    content = path.read_bytes()  # all of a colour is transparent: tRNS, before the pixels
    path.write_bytes(content[:33] + b"\0\0\0\6tRNS" + bytes(6) + bytes(4) + content[33:])
    assert foreground.read_foreground(path, None) is None
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((H, W, 4), np.uint8))
    foreground.read_foreground(tmp_path / "b.png", None)
    assert unpacked == [path, tmp_path / "b.png"]


def test_folders_of_masks_are_looked_for_once_for_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: looked.append(path) or is_dir(path))
    images = [tmp_path / "images" / side / f"{index}.png" for side in ("left", "right") for index in range(9)]
    write_image(tmp_path / "masks" / "right" / "3.png", torch.zeros(H, W))
    masks, _ = foreground.find_masks(images)
    assert [mask for mask in masks if mask] == [tmp_path / "masks" / "right" / "3.png"]
    assert len([path for path in looked if path.name == foreground.FOLDER]) == 2 * 3


def test_the_lens_of_a_mask_is_undone_as_that_of_its_image(tmp_path: Path) -> None:
    K = wall.intrinsics(H, W)
    image, _ = wall.photograph(K, torch.eye(4).double(), H, W)
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", image)
        write_image(tmp_path / "masks" / f"{name}.png", (image[0] > 0.5).float())
    camera = StoredCamera(name="camera", size=(H, W), K=K, lens=("radtan", (-0.6, 0.2, 0.0, 0.0)))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    scene = Photographs("wall", posed_photographs(paths, [camera] * 2, wall.poses(2), (0.5, 2.0)))
    wanted = scene.foreground(0)
    assert wanted is not None
    red = scene.clip((0,)).image[0, 0]
    assert (wanted == (red > 0.5)).float().mean() > 0.96
    assert ((image[0] > 0.5) == (red > 0.5)).float().mean() < 0.94  # so much does the lens move


def test_views_that_are_one_are_not_matched(tmp_path: Path) -> None:
    poses = wall.poses(4)
    poses[3] = poses[2]
    K = wall_scenes.pictures(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    camera = StoredCamera(name="camera", size=(H, W), K=K)
    views = posed_photographs([tmp_path / f"{name}.png" for name in "abcd"], [camera] * 4, poses, (0.5, 2.0))
    scene = Photographs("wall", views)
    assert [note.partition(": neither is matched")[0] for note in scene.notes if "neither" in note] == [
        "a.png and b.png are the same image",
        "c.png and d.png have the same pose",
    ]
    assert all(index ^ 1 not in scene.sources(index) for index in range(4))
    assert all(scene.sources(index) for index in range(4))
