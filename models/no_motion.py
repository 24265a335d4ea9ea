"""No motion: the baseline that never looks at an image and that every optical flow must beat."""

from typing import ClassVar

from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.model import Model, Prediction
from vo3d.sample import Sample


class NoMotion(Model):
    """Predicts that every pixel stays where it is: its end-point error is the mean length of the true flow."""

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("flow",)
    baseline = "no_motion"

    def forward(self, sample: Sample) -> Prediction:
        """Give flow 0 from each view to the next, b s-1 2 h w, pixels; of one view, no flow (s-1 = 0)."""
        b, s, _, h, w = sample.image.shape
        return {"flow": sample.image.new_zeros(b, s - 1, 2, h, w)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("NoMotion has no parameters to train: evaluate it instead")
