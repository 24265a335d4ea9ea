"""A few small images that stand for a long film, kept while its frames go by."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SIDE = 320  # pixels of the longer side
MOST = 64  # images, before every other one is dropped


@dataclass
class Film:
    """Frames at even distances, made small, and the last one; as the film grows they lie further apart.

    Args:
        most: Images that are kept at most.
    """

    most: int = MOST
    images: dict[int, Float[Tensor, "3 h w"]] = field(default_factory=dict)  # by the place in the film, RGB in [0, 1]
    apart: int = 1
    count: int = 0
    last: Float[Tensor, "3 h w"] | None = None  # the newest frame, as it came

    def add(self, image: Float[Tensor, "3 h w"]) -> None:
        """Take the next frame of the film."""
        if self.count % self.apart == 0:
            self.images[self.count] = _small(image)
            if len(self.images) > self.most:
                self.apart *= 2
                self.images = {place: one for place, one in self.images.items() if place % self.apart == 0}
        self.count += 1
        self.last = image

    def put(self, place: int, image: Float[Tensor, "3 h w"]) -> None:
        """Take the frame at a later place of the film, where not every frame is at hand."""
        self.images[place] = _small(image)
        self.count = place + 1

    def contrast(self) -> float:
        """Compute how much the images show: the median of their deviations, in grey levels of 0 to 255."""
        deviations = [one.mean(0).std(correction=0).item() for one in self.images.values()]
        return 255 * float(torch.tensor(deviations).median()) if deviations else 0.0

    def chosen(self, num: int) -> dict[int, Float[Tensor, "3 h w"]]:
        """Choose up to `num` images, about evenly, by their places: the first and the last frame are among them."""
        images = dict(self.images)
        if self.last is not None:
            images[self.count - 1] = _small(self.last)
        ends = torch.linspace(0, max(self.count - 1, 0), num).tolist()
        places = sorted({min(images, key=lambda place: abs(place - end)) for end in ends}) if images else []
        return {place: images[place] for place in places}


def _small(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 rows columns"]:
    """Reduce an image to at most `SIDE` pixels along its longer side."""
    h, w = image.shape[-2:]
    scale = SIDE / max(h, w)
    if scale >= 1:
        return image.clone()
    size = max(1, round(h * scale)), max(1, round(w * scale))
    small: Tensor = functional.interpolate(
        image[None].cpu(), size, mode="bilinear", antialias=True, align_corners=False
    )
    return small[0].clamp(0, 1)
