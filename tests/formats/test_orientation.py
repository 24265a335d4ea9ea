"""EXIF orientations: pixels as stored by default, upright on request, and sizes from headers that agree with both."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from exif import set_orientation, tags
from vo3d.errors import Vo3dError
from vo3d.formats.image_headers import exif_orientation
from vo3d.formats.images import image_size, orientation_notes, read_depth_png, read_image, write_image

# Source: EXIF 2.32, tag 274: the sides of the scene that the 0th row and the 0th column show
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
OPPOSITE = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
H, W = 20, 30


@pytest.fixture
def pixels() -> np.ndarray:
    """Noise, so that every turn gives another image."""
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)


def write(folder: Path, form: str, pixels: np.ndarray, orientation: int) -> Path:
    """A file of the form with the orientation; Pillow writes what OpenCV cannot."""
    path = folder / f"{form}_{orientation}.{form.partition('-')[0]}"
    image, file = Image.fromarray(pixels), io.BytesIO()
    if form == "tif":
        image.save(path, tiffinfo={274: orientation})
    elif form == "webp":
        image.save(path, lossless=True, exif=b"Exif\0\0" + tags(orientation))
    else:
        image.save(file, "JPEG" if form.startswith("jpg") else "PNG", quality=100, subsampling=0)
        path.write_bytes(file.getvalue())
        order = "little" if form.endswith("little") else "big"
        set_orientation(path, orientation, order=order, late=form.endswith("late"))
    return path


def shows(stored: Tensor, upright: Tensor, orientation: int) -> bool:
    """Whether the corners of the upright image are those that EXIF says of the stored one."""
    agree = []
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        first_row, first_column = SIDES[orientation]
        sides = {
            first_row if row == 0 else OPPOSITE[first_row],
            first_column if column == 0 else OPPOSITE[first_column],
        }
        place = (0 if "top" in sides else -1, 0 if "left" in sides else -1)
        agree.append(torch.equal(stored[:, row, column], upright[:, *place]))
    return all(agree)


@pytest.mark.parametrize("form", ["png", "png-late", "png-little", "jpg", "jpg-little", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_turns_an_image_only_on_request(
    tmp_path: Path, pixels: np.ndarray, form: str, orientation: int
) -> None:
    path, plain = (write(tmp_path, form, pixels, each) for each in (orientation, 1))
    stored, upright = read_image(path), read_image(path, upright=True)
    assert torch.equal(stored, read_image(plain))
    assert image_size(path) == stored.shape[1:] == (H, W)
    assert image_size(path, upright=True) == upright.shape[1:] == ((W, H) if orientation > 4 else (H, W))
    assert shows(stored, upright, orientation)
    assert exif_orientation(path.read_bytes()) == orientation
    (line,) = orientation_notes([plain, path, path]) or [""]
    assert line == (
        f"the EXIF orientation of {path} ({orientation}) and 1 more is ignored: images with cameras are read as they "
        "are stored"
        if orientation > 1
        else ""
    )


def test_depth_maps_and_masks_are_read_as_they_are_stored(tmp_path: Path) -> None:
    counts = np.arange(600, dtype=np.uint16).reshape(H, W)
    Image.fromarray(counts).save(tmp_path / "depth.png")
    plain = read_depth_png(tmp_path / "depth.png")
    set_orientation(tmp_path / "depth.png", 6)
    assert torch.equal(read_depth_png(tmp_path / "depth.png"), plain)
    write_image(tmp_path / "mask.png", (plain > 0.3).float())
    set_orientation(tmp_path / "mask.png", 8)
    assert torch.equal(read_image(tmp_path / "mask.png", grey_to_rgb=False)[0], (plain > 0.3).float())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_number_that_is_no_orientation_turns_nothing(tmp_path: Path, pixels: np.ndarray, orientation: int) -> None:
    path = write(tmp_path, "png", pixels, orientation)
    assert torch.equal(read_image(path, upright=True), read_image(path))
    assert orientation_notes([path]) == []


def test_headers_that_end_early_or_lead_nowhere_are_upright(tmp_path: Path, pixels: np.ndarray) -> None:
    whole = write(tmp_path, "jpg", pixels, 6).read_bytes()
    assert {exif_orientation(whole[:end]) for end in range(60)} == {1, 6}
    assert exif_orientation(whole.replace(b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff")) == 1
    assert exif_orientation(b"II+\0\x08\0\0\0" + b"\xff" * 8) == 1
    assert exif_orientation(b"") == 1


def test_an_empty_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(Vo3dError, match=r"a\.png: not a whole image \(the file is empty\)"):
        image_size(tmp_path / "a.png")
