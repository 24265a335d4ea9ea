"""A model of descriptors that learns one thing from images, without gradients."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class MeanShades(Model):
    """Describes an image by the deviation of its mean colour from that of the images it was fitted on."""

    needs = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    mean: Tensor
    window = Window(views=1, overlap=0)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Take the mean colour."""
        colours = [one.clip((i,)).image.mean((0, 2, 3)) for one in recordings for i in range(len(one))]
        self.mean = torch.stack(colours).mean(0)

    def forward(self, sample: Sample) -> Prediction:
        """Give unit vectors."""
        shade = sample.image.mean((-1, -2)) - self.mean
        return {"descriptor": normalize(shade, dim=-1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {}
