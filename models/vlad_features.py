"""VLAD features: what a trunk that never learns says of an image, summed up at clusters of the images of a place."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.frozen import FrozenTrunk, as_buffers
from vo3d.layers.netvlad import NetVLADPool
from vo3d.layers.trunk import TrunkName
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording, evenly_spaced
from vo3d.retrieval.local_descriptors import cluster_columns
from vo3d.sample import Sample


class VLADFeatures(Model):
    """Describes images, of any size, by the layer of NetVLAD on a trunk, neither of which is trained.

    `fit` puts the layer's centres where local descriptors of some images are dense: those of the database, or of a map.
    Nothing is learnt by gradients. The order of what an image shows does not count, so that a place is known from
    other lanes and in other directions as well, where a grid of features (`ImageFeatures`) sees another place.

    Args:
        trunk: what makes the maps; images are seen with 224 pixels on their shorter side.
        pretrained: whether the trunk has weights of ImageNet; without them its filters are random.
        cut: parts of the trunk that are kept; 11 blocks of EfficientNet-Lite0 end in 112 maps at 1/16 of the size.
        num_clusters: a descriptor has as many times the number of maps values.
        cluster_images: images at most, evenly spaced, whose local descriptors are clustered.
        cluster_points: random places in each of them.

    Raises:
        Vo3dError: there are no such weights or parts, or a number is out of its range.

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016, section 3 and its initialisation.
    """

    needs: ClassVar[tuple[str, ...]] = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)
    baseline = "vlad_features"

    def __init__(
        self,
        trunk: TrunkName = "efficientnet_lite0",
        pretrained: bool = True,
        cut: int | None = 11,
        num_clusters: int = 64,
        cluster_images: int = 500,
        cluster_points: int = 100,
    ) -> None:
        super().__init__()
        if min(cluster_images, cluster_points) < 1:
            raise Vo3dError(f"{cluster_images=}, {cluster_points=}: expected at least 1 of both")
        self.trunk = FrozenTrunk(trunk, pretrained=pretrained, cut=cut)
        self.vlad = NetVLADPool(self.trunk.out_channels, num_clusters)
        as_buffers(self.vlad)
        self.cluster_images, self.cluster_points = cluster_images, cluster_points

    @torch.no_grad()
    def fit(self, recordings: Sequence[Recording]) -> None:
        """Cluster local descriptors of the images; raises Vo3dError where there are fewer than clusters."""
        views = [(recording, index) for recording in recordings for index in range(len(recording))]
        device = self.vlad.centres.device
        maps = (
            self.trunk(recording.clip((index,)).image.to(device))
            for recording, index in evenly_spaced(views, self.cluster_images)
        )
        centres, columns = cluster_columns(maps, self.vlad.num_clusters, self.cluster_points)
        self.vlad.initialise(centres.to(device), columns.to(device))

    def forward(self, sample: Sample) -> Prediction:
        """Describe each view: `descriptor`, b s c."""
        found: Tensor = self.vlad(self.trunk(sample.image.flatten(0, 1)))
        return {"descriptor": found.reshape(*sample.image.shape[:2], -1)}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("VLADFeatures has no parameters to train: evaluate it instead; NetVLAD learns")
