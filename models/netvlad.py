"""NetVLAD (Arandjelovic, Gronat, Torii, Pajdla, Sivic, CVPR 2016): an image as one vector, near those of its place.

Source: R. Arandjelovic et al., "NetVLAD: CNN architecture for weakly supervised place recognition", CVPR 2016; its
release Relja/netvlad (initialisation, whitening, loss).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.geometry.precision import full_precision
from vo3d.layers.downsampling import Pool
from vo3d.layers.netvlad import NetVLADPool, Version, unit
from vo3d.layers.trunk import TrunkName, check_pretrained, make_trunk
from vo3d.layers.whitening import Whitening
from vo3d.losses.ranking import mean_of_violations, ranking_loss
from vo3d.model import Model, Prediction, Window
from vo3d.models import netvlad_port as port
from vo3d.recording import Recording, evenly_spaced
from vo3d.retrieval.local_descriptors import cluster_columns
from vo3d.retrieval.pca import principal_components
from vo3d.sample import Sample

Aggregation = Literal["netvlad", "max", "mean", "grid"]


class NetVLAD(Model):
    """Describes an image by a vector of unit length: images of one place have near ones.

    A trunk makes maps; each of their columns is a local descriptor; a layer sums them up (`vo3d.layers.netvlad`), or
    one of the simpler rivals does. Images may have any size. `fit` puts the layer's centres where local descriptors of
    the training images are dense; without it the vectors are worth little.

    In training a sample is a query, `num_positives` images of its place, and images of other places, in this order.
    After the training `finish` finds a whitening, which inference alone has: descriptors are `whitened` values long
    then, and until then as long as the layer makes them.

    Args:
        trunk: what makes the maps; "vgg16" is the paper's.
        pretrained: have `fit` give the trunk ImageNet weights, where a pip package has some (extra `imagenet`).
        pool: what halves the maps of the trunk; None: as published.
        cut: parts of the trunk to keep, see `vo3d.layers.trunk.make_trunk`; None: all.
        aggregation: what makes a vector of maps: "netvlad"; "max" and "mean" over the whole image, the paper's
            baselines f_max and f_avg; "grid": means over the cells of a grid, one after the other.
        grid: its rows and columns.
        num_clusters, version: see `NetVLADPool`.
        whitened: values of a descriptor after whitening, 4096 in the paper; None: not whitened.
        num_positives: images of the query's place in a sample, of which the nearest counts.
        margin: by which images of other places must be farther: of squared distances, unless `squared` is false.
        squared: as the paper; else as Nanne/pytorch-NetVlad has it, whose margin is 0.316: of distances, and the mean
            over all negatives in place of the violating ones.
        cluster_images: images, evenly spaced, whose local descriptors are clustered.
        cluster_points: random places in each of them.
        whitening_images: the most images that the whitening is found by, evenly spaced.

    Raises:
        Vo3dError: an argument is out of its range, or a trunk has no weights to begin with.
    """

    needs = ("image",)
    gives: ClassVar[tuple[str, ...]] = ("descriptor",)
    window = Window(views=1, overlap=0)
    fixed = ("aggregation", "grid")
    published: ClassVar[Mapping[str, KeyMap]] = port.PUBLISHED

    def __init__(
        self,
        trunk: TrunkName = "vgg16",
        pretrained: bool = False,
        pool: Pool | None = None,
        cut: int | None = None,
        aggregation: Aggregation = "netvlad",
        grid: tuple[int, int] = (3, 4),
        num_clusters: int = 64,
        version: Version = 1,
        whitened: int | None = None,
        num_positives: int = 1,
        margin: float = 0.1,
        squared: bool = True,
        cluster_images: int = 500,
        cluster_points: int = 100,
        whitening_images: int = 10_000,
    ) -> None:
        super().__init__()
        if aggregation not in get_args(Aggregation):
            raise Vo3dError(f"{aggregation=} is unknown: expected one of {', '.join(get_args(Aggregation))}")
        least = min(*grid, num_positives, cluster_images, cluster_points, whitening_images)
        if least < 1 or not margin > 0:
            raise Vo3dError(
                f"grid {grid}, num_positives {num_positives}, cluster_images {cluster_images}, cluster_points "
                f"{cluster_points}, whitening_images {whitening_images}: expected at least 1; and of margin {margin} "
                "more than 0"
            )
        if pretrained:
            check_pretrained(trunk)
        self.trunk_name, self.pool, self.pretrained, self.cut = trunk, pool, pretrained, cut
        self.trunk = make_trunk(trunk, pool=pool, cut=cut)
        self.aggregation, self.grid = aggregation, (grid[0], grid[1])
        channels = self.trunk.out_channels
        self.vlad = NetVLADPool(channels, num_clusters, version) if aggregation == "netvlad" else None
        values = {"netvlad": num_clusters * channels, "grid": grid[0] * grid[1] * channels}.get(aggregation, channels)
        if whitened is not None and not 1 <= whitened <= values:
            raise Vo3dError(f"whitened {whitened}: expected 1 to {values}, the values of a descriptor before")
        self.whitening: nn.Module | None = None if whitened is None else Whitening(values, whitened)
        self.whitened, self.whitening_images = whitened, whitening_images
        self.num_positives, self.margin, self.squared = num_positives, margin, squared
        self.cluster_images, self.cluster_points = cluster_images, cluster_points

    def check(self, recordings: Sequence[Recording]) -> None:
        """Refuse fewer training images than the whitening needs, by Vo3dError; forget that of earlier weights."""
        if isinstance(self.whitening, Whitening):
            self.whitening.forget()  # validation would go by it, while the descriptors change
        images = sum(map(len, recordings))
        if self.whitened is not None and min(images, self.whitening_images) <= self.whitened:
            raise Vo3dError(
                f"whitened {self.whitened} of {images} training images, of which at most {self.whitening_images} are "
                "taken: expected more images than values; give more of them, or a smaller `whitened`"
            )

    @torch.no_grad()
    def fit(self, recordings: Sequence[Recording]) -> None:
        """Begin at the clusters of local descriptors; give a `pretrained` trunk its weights.

        Raises Vo3dError where there are fewer descriptors than clusters, or the package with weights is missing.
        """
        if self.pretrained:
            trunk = make_trunk(self.trunk_name, pool=self.pool, pretrained=True, cut=self.cut)
            self.trunk.load_state_dict(trunk.state_dict())
        if self.vlad is None:
            return
        maps = (self.trunk(image) for image in self._images(recordings, self.cluster_images))
        found = cluster_columns(maps, self.vlad.num_clusters, self.cluster_points)
        self.vlad.initialise(*(values.to(self.vlad.centres.device) for values in found))

    @torch.no_grad()
    def finish(self, recordings: Sequence[Recording]) -> None:
        """Find the whitening by the training images; raises Vo3dError as `check`."""
        if self.whitening is None or self.whitened is None:
            return
        self.check(recordings)
        images = self._images(recordings, self.whitening_images)
        descriptors = torch.cat([self._described(self.trunk(image)).cpu() for image in images])
        weight, bias = principal_components(descriptors, self.whitened).whitening()
        self.whitening.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, sample: Sample) -> Prediction:
        """Describe each view: `descriptor` (b s c), not whitened."""
        found = self._described(self.trunk(sample.image.flatten(0, 1)))
        return {"descriptor": found.reshape(*sample.image.shape[:2], -1)}

    @torch.no_grad()
    def predict(self, sample: Sample) -> Prediction:
        """Describe each view: `descriptor` (b s c), whitened where the whitening is known."""
        descriptor = self(sample)["descriptor"]
        if isinstance(self.whitening, Whitening) and self.whitening.known:
            descriptor = self.whitening(descriptor)
        return {"descriptor": descriptor}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Compute the ranking loss of queries, positives and negatives.

        Squared, it is divided by the triplets that violate it, as `mean_of_violations` says.

        Raises Vo3dError where a sample has no negative.
        """
        descriptor, first = prediction["descriptor"], 1 + self.num_positives
        if descriptor.shape[1] <= first:
            raise Vo3dError(
                f"samples of {descriptor.shape[1]} views: NetVLAD learns from at least {first + 1}, a query, "
                f"{self.num_positives} of its place and some of others: put a PlaceTuples around the data"
            )
        query, positives, negatives = descriptor[:, 0], descriptor[:, 1:first], descriptor[:, first:]
        hinge = ranking_loss(query, positives, negatives, self.margin, self.squared)
        return {"ranking": mean_of_violations(hinge) if self.squared else hinge.mean()}

    @property
    def pool_padding(self) -> int | None:
        """Tell how GoogLeNet pads what it pools, on which published weights depend; None of other trunks."""
        return getattr(self.trunk, "pool_padding", None)

    @full_precision
    def _described(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n v"]:
        """Make one vector of the maps of each image."""
        if self.vlad is not None:
            return self.vlad(maps)  # type: ignore[no-any-return]
        if self.aggregation == "max":
            return unit(adaptive_max_pool2d(maps, 1).flatten(1))
        return unit(adaptive_avg_pool2d(maps, self.grid if self.aggregation == "grid" else 1).flatten(1))

    def _images(self, recordings: Sequence[Recording], most: int) -> Iterator[Float[Tensor, "1 3 h w"]]:
        """Read at most so many images, evenly spaced, on the model's device; meanwhile it is in evaluation mode."""
        modes = [(module, module.training) for module in self.modules()]  # some may rest in evaluation mode
        self.eval()
        try:
            places = [(recording, index) for recording in recordings for index in range(len(recording))]
            for recording, index in evenly_spaced(places, most):
                yield recording.clip((index,)).image.to(self.trunk.image_mean.device)
        finally:
            for module, mode in modes:
                module.training = mode
