"""Grey images of RGB in [0, 1]: the bytes that were read come back, and what resizing moved outside saturates."""

import cv2
import numpy as np
import torch

from vo3d.formats.images import rgb_of
from vo3d.geometry.grey import grey_image


def test_grey_is_that_of_the_bytes_that_were_read() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    assert (grey_image(rgb_of(pixels)) == cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)).all()


def test_values_outside_the_range_are_black_and_white() -> None:
    image = torch.tensor([-0.4, 1.7]).expand(3, 5, 2)
    assert (grey_image(image) == [0, 255]).all()
