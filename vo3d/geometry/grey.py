"""Images as OpenCV's matching and tracking want them."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor


def grey_image(image: Float[Tensor, "3 h w"]) -> UInt8[ndarray, "h w"]:
    """Turn RGB in [0, 1] into 8 bits of grey, as OpenCV weighs colours."""
    counts = (255 * image.detach().float()).round_().clamp_(0, 255).byte().cpu()
    return np.asarray(cv2.cvtColor(counts.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY))
