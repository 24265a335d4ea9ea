"""Image features: a fixed descriptor of whole images, which nothing is trained for; a place is what looks alike."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.image_descriptor import Features, ImageDescriptor
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class ImageFeatures(Model):
    """Describes images by thumbnails, or by features of a trunk that never learns; images may have any size.

    Args:
        features: see `ImageDescriptor`.
        pretrained: whether the trunk has weights of ImageNet; without them its filters are random.

    Raises:
        Vo3dError: there are no such weights.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)
    baseline = "image_features"

    def __init__(self, features: Features = "efficientnet_lite0", pretrained: bool = True) -> None:
        super().__init__()
        self.descriptor = ImageDescriptor(features, pretrained=pretrained)

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Take what the descriptor needs of training images."""

    def forward(self, sample: Sample) -> Prediction:
        """Describe each view: `descriptor`, b s c."""
        found: Tensor = self.descriptor(sample.image.flatten(0, 1))
        return {"descriptor": found.reshape(*sample.image.shape[:2], -1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ImageFeatures has no parameters to train: evaluate it, after its fit(recordings), instead")
