"""NetVLAD: its start at clusters, its whitening, its loss, and the simpler ways to make a vector of maps."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from samples import make_sample
from tiny import TinyRecording
from vo3d.errors import Vo3dError
from vo3d.models import netvlad
from vo3d.models.netvlad import NetVLAD
from vo3d.retrieval import local_descriptors
from vo3d.sample import Sample


class Pictures(TinyRecording):
    """Images that are large enough for a trunk, each of its own colours."""

    def __init__(self, frames: int = 8) -> None:
        super().__init__(0, frames)
        generator = torch.Generator().manual_seed(0)
        self.image = torch.rand(frames, 3, 32, 48, generator=generator) * torch.rand(frames, 3, 1, 1)


def _small(**changes: object) -> NetVLAD:
    torch.manual_seed(0)
    return NetVLAD(**{"trunk": "resnet18", "cut": 2, "num_clusters": 4, **changes})  # type: ignore[arg-type]


@pytest.fixture
def clustered(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What was clustered, by a stand-in that takes the first descriptors as centres; components by singular values."""
    seen: list[Tensor] = []

    def kmeans(vectors: Tensor, num_clusters: int, *, seed: int) -> SimpleNamespace:
        seen.append(vectors)
        return SimpleNamespace(centres=vectors[:num_clusters])

    def principal_components(vectors: Tensor, num: int) -> SimpleNamespace:
        mean = vectors.mean(0)
        _, values, directions = torch.linalg.svd((vectors - mean).double(), full_matrices=False)
        weight = (directions / (values / (len(vectors) - 1) ** 0.5)[:, None])[:num].float()
        return SimpleNamespace(whitening=lambda: (weight, -weight @ mean))

    monkeypatch.setattr(local_descriptors, "kmeans", kmeans)
    monkeypatch.setattr(netvlad, "principal_components", principal_components)
    return seen


def _sample(recording: Pictures) -> Sample:
    return Sample.collate([recording.clip(range(len(recording)))])


def test_it_begins_at_clusters_of_descriptors_of_unit_length(clustered: list[Tensor]) -> None:
    model = _small(cluster_images=3, cluster_points=5)
    rests = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    rests.eval()
    before = rests.running_mean.clone()  # type: ignore[union-attr]

    model.fit([Pictures(2), Pictures(6)])

    assert clustered[0].shape == (15, 128)
    torch.testing.assert_close(clustered[0].norm(dim=-1), torch.ones(15))
    assert model.vlad is not None
    assert torch.equal(model.vlad.centres, clustered[0][:4])
    assert model.training
    assert not rests.training
    assert torch.equal(rests.running_mean, before)  # type: ignore[arg-type]


def test_whitened_descriptors_have_equal_variances_and_training_sees_none_of_it(clustered: list[Tensor]) -> None:
    model, recording = _small(whitened=5).eval(), Pictures(9)
    sample = _sample(recording)
    with torch.no_grad():
        before = model(sample)["descriptor"]
    assert torch.equal(model.predict(sample)["descriptor"], before)

    model.finish([recording])

    assert model.whitening is not None
    plain = before[0] @ model.whitening.weight.mT + model.whitening.bias  # type: ignore[operator]
    torch.testing.assert_close(plain.mT.cov(), torch.eye(5), rtol=0, atol=1e-3)
    torch.testing.assert_close(model.predict(sample)["descriptor"][0], normalize(plain, dim=-1))
    with torch.no_grad():
        assert torch.equal(model(sample)["descriptor"], before)
    model.check([recording])  # another training begins, and its descriptors are others
    assert torch.equal(model.predict(sample)["descriptor"], before)


def test_too_few_images_for_the_whitening_are_refused_before_the_training(clustered: list[Tensor]) -> None:
    model = _small(whitened=8)

    for early in (model.check, model.finish):
        with pytest.raises(Vo3dError, match=r"^whitened 8 of 8 training images"):
            early([Pictures(8)])
    model.check([Pictures(9)])
    with pytest.raises(Vo3dError, match="expected 1 to 512"):
        _small(whitened=513)


def test_fewer_descriptors_than_clusters_are_refused() -> None:
    with pytest.raises(Vo3dError, match=r"^3 local descriptors of 3 training images: expected at least 4"):
        _small(cluster_points=1).fit([Pictures(3)])
    with pytest.raises(Vo3dError, match=r"^0 local descriptors of 0 training images"):
        _small().fit([])


@pytest.mark.parametrize("aggregation", ["max", "mean", "grid"])
def test_the_baselines_pool_the_same_maps(aggregation: str) -> None:
    model, sample = _small(aggregation=aggregation, grid=(2, 3)).eval(), _sample(Pictures(2))

    with torch.no_grad():
        maps = model.trunk(sample.image[0])
        found = model(sample)["descriptor"][0]

    expected = {
        "max": maps.amax((-2, -1)),
        "mean": maps.mean((-2, -1)),
        "grid": adaptive_avg_pool2d(maps, (2, 3)).flatten(1),
    }[aggregation]
    torch.testing.assert_close(found, normalize(expected, dim=-1))
    model.fit([])  # nothing to learn
    assert not any(key.startswith("vlad") for key in model.state_dict())


def test_the_loss_takes_views_after_the_positives_as_negatives() -> None:
    model = _small(num_positives=2, margin=1.5)
    angles = torch.tensor([0.0, 90, 60, 90, 60, 180]).deg2rad()
    descriptor = torch.stack([angles.cos(), angles.sin()], -1)[None]
    sample = make_sample(b=1, s=6)

    terms = model.loss({"descriptor": descriptor}, sample)
    unsquared = _small(num_positives=2, margin=0.5, squared=False).loss({"descriptor": descriptor}, sample)

    torch.testing.assert_close(terms["ranking"], torch.tensor((0.5 + 1.5) / 2))
    torch.testing.assert_close(unsquared["ranking"], torch.tensor((1.5 - 2**0.5 + 0.5) / 3))
    with pytest.raises(
        Vo3dError, match=r"^samples of 3 views: NetVLAD learns from at least 4.*put a PlaceTuples around the data$"
    ):
        model.loss({"descriptor": descriptor[:, :3]}, sample)


def test_an_image_of_640x480_has_1200_local_descriptors() -> None:
    model = NetVLAD().to("meta")

    maps = model.trunk(torch.rand(1, 3, 480, 640, device="meta"))

    assert maps.shape == (1, 512, 30, 40)
    assert model._described(maps).shape == (1, 32_768)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(Vo3dError, match=r"^no package brings weights from ImageNet for the trunk vgg16"):
        NetVLAD(pretrained=True)
    with pytest.raises(Vo3dError, match=r"margin 0\.0 more than 0"):
        _small(margin=0.0)
