"""Image features: a descriptor of whole images that nothing is trained for, to recognise places by at once."""

from typing import ClassVar

from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.image_descriptor import Features, ImageDescriptor, Pooling
from vo3d.model import Model, Prediction, Window
from vo3d.sample import Sample


class ImageFeatures(Model):
    """Describes images by thumbnails, or by features of a trunk that never learns; images may have any size.

    The default is what a trunk for ImageNet knows halfway, in a grid of cells: 3,840 numbers, which hold for a place
    seen from about the same side. A grid sees an image that is turned or shifted by a cell as another one; `pooling`
    "mean" or "max" does not, and tells places apart less well.

    Args:
        features: "thumbnail", "patch_thumbnail", or the trunk; see `vo3d.layers.image_descriptor.ImageDescriptor`.
        pretrained: whether the trunk has weights of ImageNet; without them its filters are random.
        cut: parts of the trunk that are kept; 8 blocks of EfficientNet-Lite0 end in 80 maps at 1/16 of the size.
        pooling: "mean", "max" or "grid", of the maps.
        grid: rows and columns.

    Raises:
        Vo3dError: there are no such weights or parts, or the grid is empty.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)
    baseline = "image_features"

    def __init__(
        self,
        features: Features = "efficientnet_lite0",
        pretrained: bool = True,
        cut: int | None = 8,
        pooling: Pooling = "grid",
        grid: tuple[int, int] = (6, 8),
    ) -> None:
        super().__init__()
        self.descriptor = ImageDescriptor(features, pretrained=pretrained, cut=cut, pooling=pooling, grid=grid)

    def forward(self, sample: Sample) -> Prediction:
        """Describe each view: `descriptor`, b s c."""
        found: Tensor = self.descriptor(sample.image.flatten(0, 1))
        return {"descriptor": found.reshape(*sample.image.shape[:2], -1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ImageFeatures has no parameters to train: evaluate it instead")
