"""Images as OpenCV's matching and tracking want them."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor


def grey_image(image: Float[Tensor, "3 h w"]) -> UInt8[ndarray, "h w"]:
    """Turn RGB in [0, 1] into 8 bits of grey, as OpenCV weighs colours."""
    stored = image.detach().clamp(0, 1).float().cpu().contiguous().numpy()
    counts = cv2.convertScaleAbs(stored.reshape(-1, stored.shape[-1]), alpha=255.0)  # rounds as torch does
    return np.asarray(cv2.cvtColor(cv2.merge(list(counts.reshape(stored.shape))), cv2.COLOR_RGB2GRAY))
