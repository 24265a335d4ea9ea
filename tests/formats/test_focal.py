"""Focal lengths out of EXIF headers, which Pillow writes."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from vo3d.formats.images import image_focal

H, W = 300, 400  # 4:3, as telephones take them
FILM, FOCAL, PLANE, UNIT, WIDTH = 41989, 37386, 41486, 41488, 40962


def photograph(folder: Path, tags: dict[int, object], suffix: str = "jpg") -> Path:
    """Write an image with tags of its camera."""
    exif = Image.Exif()
    exif[34665] = tags
    path = folder / f"a.{suffix}"
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_film_of_35_mm_sees_as_much_from_corner_to_corner(suffix: str, tmp_path: Path) -> None:
    found = image_focal(photograph(tmp_path, {FILM: 26, FOCAL: IFDRational(42, 10)}, suffix))
    assert found is not None
    focal, words = found
    assert words == "26 mm in 35 mm film"
    # the same diagonal angle of view on the film and in the image
    assert math.atan(math.hypot(H, W) / 2 / focal) == pytest.approx(math.atan(math.hypot(36, 24) / 2 / 26))


def test_the_resolution_of_the_sensor_tells_it_too(tmp_path: Path) -> None:
    # 3200 pixels of a sensor of 22.3 mm, behind 50 mm, and the image made 8 times smaller
    tags = {FOCAL: IFDRational(50, 1), PLANE: IFDRational(32000000, 22300), UNIT: 3, WIDTH: 3200}
    assert image_focal(photograph(tmp_path, tags)) == (pytest.approx(50 * W / 22.3, rel=1e-4), "50 mm")
    inches = {**tags, PLANE: IFDRational(int(3200 / 22.3 * 25.4 * 1000), 1000), UNIT: 2}
    assert image_focal(photograph(tmp_path, inches)) == (pytest.approx(50 * W / 22.3, rel=1e-4), "50 mm")


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FILM: 0},
        {FOCAL: IFDRational(42, 10)},
        {FILM: 65535},
        {FILM: 1},
        {FOCAL: IFDRational(0, 1), PLANE: IFDRational(1000, 1), UNIT: 2, WIDTH: W},
        {FOCAL: IFDRational(50, 1), PLANE: IFDRational(1000, 1), UNIT: 7, WIDTH: W},
        {FOCAL: IFDRational(50, 1), PLANE: IFDRational(1000, 1), UNIT: 2, WIDTH: 0},
    ],
)
def test_what_is_unknown_or_no_lens_is_none(tags: dict[int, object], tmp_path: Path) -> None:
    assert image_focal(photograph(tmp_path, tags)) is None
