"""Rain in the air: the streaks that drops leave in an image while the shutter is open."""

import torch
from jaxtyping import Float
from torch import Tensor

STREAKS = 1400  # in a downpour, in a square image


def rain_streaks(image: Float[Tensor, "3 h w"], generator: torch.Generator, amount: float) -> Float[Tensor, "3 h w"]:
    """Draw streaks over an encoded image in [0, 1]; `amount` 1 is a downpour, and 0 leaves image and generator alone.

    Near drops leave long, wide, faint streaks, far ones short and thin ones, all slanted alike, of the sky's light.
    """
    if amount <= 0:
        return image
    height, width = image.shape[1:]
    scale = height / 256
    count = max(int(amount * STREAKS * width / height), 1)
    drawn = torch.rand(4, count, generator=generator)
    slant = 0.24 * (float(torch.rand((), generator=generator)) - 0.5)
    near = drawn[2] ** 3
    length = (6 + 60 * near) * scale
    strength = (0.10 + 0.16 * drawn[3]) * (1 - 0.55 * near) * min(scale, 1.0)  # narrower than a pixel
    steps = int(66 * scale) + 2
    along = torch.linspace(0, 1, steps)[:, None]
    x = drawn[0] * (width + 1) + slant * along * length
    y = drawn[1] * (height + length.max()) - length.max() + along * length
    weight = strength * (along * (1 - along) * 4) * (length / steps)  # a pixel of the streak gets `strength` in all
    veil = torch.zeros(height * width)
    for right in (0, 1):
        for down in (0, 1):
            i, j = y.floor() + down, x.floor() + right
            share = (1 - (y - i).abs()) * (1 - (x - j).abs()) * weight
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            veil.index_add_(0, (i * width + j)[inside].long(), share[inside])
    veil = veil.view(height, width).clamp(max=0.6).to(image.device)
    return image + veil * (0.82 - image).clamp(min=-0.1)
