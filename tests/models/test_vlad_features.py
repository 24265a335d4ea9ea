"""VLAD features: at clusters of the images that they are fitted on, and what the order of an image's parts means."""

import pytest
import torch
from torch import Tensor

from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.layers.netvlad import unit
from vo3d.models.vlad_features import VLADFeatures
from vo3d.sample import Sample


class Pictures(TinyRecording):
    """Images of random colours, large enough for a trunk."""

    def __init__(self, frames: int = 6) -> None:
        super().__init__(0, frames)
        self.image = torch.rand(frames, 3, 224, 256, generator=torch.Generator().manual_seed(0))


def describe(model: VLADFeatures, image: Tensor) -> Tensor:
    return model.predict(Sample(image=image[None], scene=["pictures"]))["descriptor"][0]


def test_a_descriptor_is_the_sum_of_residuals_of_the_clusters_of_the_images() -> None:
    pictures = Pictures()
    model = VLADFeatures(trunk="resnet18", pretrained=False, cut=2, num_clusters=5, cluster_images=4)
    assert next(model.parameters(), None) is None
    before = describe(model, pictures.image)
    model.fit([pictures])
    again = VLADFeatures(trunk="resnet18", pretrained=False, cut=2, num_clusters=5)
    again.load_state_dict(model.state_dict())
    found = describe(model, pictures.image)
    assert torch.equal(found, describe(again, pictures.image))
    assert not torch.allclose(found, before, atol=0.1)

    columns = unit(model.trunk(pictures.image[:1])[0].flatten(1).mT)  # n d
    share = (columns @ model.vlad.assignment.weight.mT).softmax(1)  # n k
    blocks = [(share[:, k, None] * (columns - model.vlad.centres[k])).sum(0) for k in range(5)]
    torch.testing.assert_close(found[0], unit(torch.cat([unit(block) for block in blocks])), rtol=1e-4, atol=1e-5)


def test_it_does_not_learn_by_gradients() -> None:
    model = VLADFeatures(trunk="resnet18", pretrained=False, cut=2, num_clusters=5)
    with pytest.raises(Vo3dError, match="VLADFeatures has no parameters to train"):
        model.loss({}, Sample(image=torch.zeros(1, 1, 3, 8, 8), scene=["a"]))
    with pytest.raises(Vo3dError, match="cluster_images=0, cluster_points=100"):
        VLADFeatures(pretrained=False, cluster_images=0)
