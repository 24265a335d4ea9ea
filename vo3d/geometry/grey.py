"""Images as OpenCV's matching and tracking want them."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor


def grey_image(image: Float[Tensor, "3 h w"]) -> UInt8[ndarray, "h w"]:
    """Turn RGB in [0, 1] into 8 bits of grey, as OpenCV weighs colours."""
    stored = image.detach().float().cpu().contiguous().numpy()
    flat = stored.reshape(-1, stored.shape[-1])
    counts = cv2.addWeighted(flat, 255.0, flat, 0.0, 0.0, dtype=cv2.CV_8U)  # rounds as torch does, and saturates
    return np.asarray(cv2.cvtColor(cv2.merge(list(counts.reshape(stored.shape))), cv2.COLOR_RGB2GRAY))
