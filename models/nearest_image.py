"""Nearest image: a view stands where the training view stood that looks most like it."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.known_truth import known_poses
from vo3d.layers.image_descriptor import Features, ImageDescriptor
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample


class NearestImage(Model):
    """Predicts the pose of the training view with the nearest descriptor; images may have any size.

    Of descriptors it keeps those of all training views: 3 kB each of thumbnails, 5 kB each of EfficientNet-Lite0.

    Args:
        features: "thumbnail", or the trunk whose mean features describe an image; see `ImageDescriptor`.
        pretrained: Whether the trunk has weights of ImageNet; without them its filters are random.

    Raises:
        Vo3dError: There are no such weights.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)
    window = Window(views=1, overlap=0)
    baseline = "nearest_image"
    scale_source = "poses of training views"
    descriptors: Tensor  # n c, of unit length
    world_T_cam: Tensor  # n 4 4, metres, float64

    def __init__(self, features: Features = "efficientnet_lite0", pretrained: bool = True) -> None:
        super().__init__()
        self.descriptor = ImageDescriptor(features, pretrained=pretrained)
        self.register_buffer("descriptors", torch.empty(0, 1), persistent=False)
        self.register_buffer("world_T_cam", torch.empty(0, 4, 4, dtype=torch.float64), persistent=False)

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Describe all views of `recordings`; raises Vo3dError where poses are missing."""
        device = self.world_T_cam.device
        self.world_T_cam = known_poses(recordings).to(device)
        self.descriptors = self.descriptor.of_all(recordings)

    def forward(self, sample: Sample) -> Prediction:
        """Give the pose of the nearest training view, b s 4 4; Vo3dError before `fit`."""
        if not len(self.world_T_cam):
            raise Vo3dError("NearestImage knows no training view: call fit(recordings)")
        nearest = (self.descriptor(sample.image.flatten(0, 1)) @ self.descriptors.mT).argmax(-1)
        return {"world_T_cam": self.world_T_cam[nearest].reshape(*sample.image.shape[:2], 4, 4)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("NearestImage has no parameters to train: evaluate it, after its fit(recordings), instead")
