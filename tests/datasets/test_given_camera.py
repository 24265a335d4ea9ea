"""What is said of the camera of images and videos that bring none: a file, a focal length, EXIF, or a guess."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exif import set_orientation
from vo3d.datasets.folder import FolderRecording
from vo3d.errors import Vo3dError
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.distortion import undistort_points
from vo3d.settings.layouts import open_sequence

H, W = 48, 64
LENS = (-0.2, 0.05, 0.001, 0.0)


def photograph(path: Path, *, film: int | None = None, turned: int = 1, size: tuple[int, int] = (H, W)) -> Path:
    """Write a gradient, with the focal length and the orientation that a camera would note."""
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([x / size[1], y / size[0], 0.5 + 0 * x], axis=-1)
    exif = Image.Exif()
    exif[274] = turned
    if film is not None:
        exif[34665] = {41989: film}
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((255 * pixels).astype(np.uint8)).save(path, exif=exif, quality=98)
    return path


def test_a_focal_length_is_of_upright_images_with_square_pixels(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", turned=6)
    found = FolderRecording(tmp_path, focal=70.0)
    sample = found.clip([0])
    assert sample.image.shape[-2:] == (W, H)
    assert sample.K is not None
    assert sample.K[0].tolist() == [[70, 0, (H - 1) / 2], [0, 70, (W - 1) / 2], [0, 0, 1]]
    assert found.camera == "given: focal length 70 pixels"


def test_exif_tells_the_focal_length_and_others_that_differ_are_noted(tmp_path: Path) -> None:
    for number, film in enumerate((26, 26, 52, None)):
        photograph(tmp_path / f"{number}.jpg", film=film)
    found = FolderRecording(tmp_path, guess=True)
    focal = 26 * math.hypot(H, W) / math.hypot(36, 24)
    sample = found.clip([3])
    assert sample.K is not None
    assert sample.K[0, 0, 0].item() == pytest.approx(focal)
    assert found.camera == f"EXIF: 26 mm in 35 mm film, focal length {focal:.0f} pixels"
    (note,) = found.notes
    assert "2 of 4 images have another or none (2.jpg and 1 more)" in note
    given = FolderRecording(tmp_path, guess=True, field_of_view=90.0)
    assert (given.camera, given.notes) == ("given: 90 degrees across", [])


def test_a_guess_is_called_one(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    _, found = open_sequence(tmp_path, {"guess": True, "size": (H // 2, W // 2)})
    sample = found.clip([0])
    assert sample.K is not None
    assert sample.K[0, 0, 0].item() == pytest.approx(1.2 * W / 2)
    assert found.camera.startswith("guessed: focal length 1.2 x the longer side, 45 degrees across: give intrinsics")
    with pytest.raises(Vo3dError, match="nothing tells its camera: give intrinsics"):
        open_sequence(tmp_path, {"guess": False})


def test_a_file_is_scaled_to_the_images_and_its_lens_undone(tmp_path: Path) -> None:
    photograph(tmp_path / "images" / "a.png")
    file = tmp_path / "camera.yaml"
    lens = ", ".join(map(str, LENS))
    file.write_text(
        f"image_width: {2 * W}\nimage_height: {2 * H}\ncamera_matrix: {{data: [120, 0, 63.5, 0, 121, 47.5, 0, 0, 1]}}\n"
        f"distortion_coefficients: {{data: [{lens}]}}\n"
    )
    found = FolderRecording(tmp_path / "images", camera=str(file))
    sample = found.clip([0])
    assert found.camera == "camera.yaml, fx 60, its lens undone"
    assert "is resized" in found.notes[0] or "are resized" in found.notes[0]
    assert sample.K is not None
    # the gradient tells where in the stored image each pixel comes from; K of the result must see the same ray there
    stored = sample.image[0, :2].movedim(0, -1).double() * torch.tensor([W, H])
    real = torch.tensor([[60, 0, 31.5], [0, 60.5, 23.5], [0, 0, 1]], dtype=torch.float64)
    ideal = undistort_points(stored, real, LENS, "radtan", sample.K[0].double())
    inside = slice(4, -4)
    assert (ideal - pixel_grid(H, W).double())[inside, inside].abs().max() < 0.5  # of 8 bits a channel


def test_a_file_for_another_shape_or_pairs_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "left" / "a.png")
    photograph(tmp_path / "right" / "a.png")
    (tmp_path / "wide.txt").write_text("1 PINHOLE 1920 1080 1500 1500 960 540\n")
    with pytest.raises(Vo3dError, match=r"left: is 64x48 pixels, but its camera in .*wide\.txt is for 1920x1080"):
        FolderRecording(tmp_path / "left", camera=str(tmp_path / "wide.txt"))
    (tmp_path / "lens.txt").write_text("60 60 31.5 23.5 -0.2 0 0 0")
    with pytest.raises(Vo3dError, match=r"lens\.txt: has a lens, which is not undone in stereo pairs"):
        FolderRecording(tmp_path / "left", right=tmp_path / "right", baseline=0.1, camera=str(tmp_path / "lens.txt"))


def test_a_file_is_for_images_as_they_are_stored(tmp_path: Path) -> None:
    set_orientation(photograph(tmp_path / "images" / "a.png"), 6)
    (tmp_path / "K.txt").write_text("60 60 31.5 23.5")
    found = FolderRecording(tmp_path / "images", camera=str(tmp_path / "K.txt"))
    assert found.clip([0]).image.shape[-2:] == (H, W)
    assert "is ignored: images with cameras are read as they are stored" in found.notes[0]


def test_two_descriptions_are_one_too_many(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    with pytest.raises(Vo3dError, match="field_of_view, focal are given: expected one description of the camera"):
        FolderRecording(tmp_path, focal=50.0, field_of_view=60.0)
    with pytest.raises(Vo3dError, match=r"intrinsics -3, -3, 31\.5, 23\.5: expected fx, fy > 0"):
        FolderRecording(tmp_path, focal=-3.0)


@pytest.mark.real
def test_a_folder_with_its_sensor_yaml_is_what_the_loader_of_euroc_gives(shared_data: Path) -> None:
    folder = shared_data / "euroc" / "MH_01_easy" / "mav0" / "cam0"
    plain = FolderRecording(folder / "data", camera=str(folder / "sensor.yaml"), frames=(0, 3))
    known = open_sequence(folder.parent, {"frames": (0, 3)})[1]
    one, other = plain.clip([1]), known.clip([1])
    assert one.K is not None
    assert other.K is not None
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.K, other.K)
