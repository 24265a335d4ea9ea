"""The contract of methods: what is missing is said once, before any work."""

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.model import Model, Prediction, check_gives, check_needs
from vo3d.sample import Sample


class Depth(Model):
    needs = ("image", "depth_range")
    loss_needs = ("depth",)
    gives = ("depth",)

    def forward(self, sample: Sample) -> Prediction:
        return {"depth": sample.image[..., 0, :, :]}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        return {"depth": prediction["depth"].mean()}


def clip(**fields: Tensor) -> Sample:
    return Sample(image=torch.rand(2, 3, 4, 6), K=torch.eye(3).repeat(2, 1, 1), **fields)


def test_a_missing_field_is_named_with_what_the_source_gives() -> None:
    with pytest.raises(Vo3dError, match=r"Depth needs depth_range; Street gives image, K.*turn the field on"):
        check_needs(Depth(), clip(), "Street")


def test_what_only_the_loss_reads_is_needed_only_to_learn() -> None:
    sample = clip(depth_range=torch.ones(2, 2))
    check_needs(Depth(), sample, "Street")
    with pytest.raises(Vo3dError, match="Depth needs depth;"):
        check_needs(Depth(), sample, "Street", learning=True)


def test_a_model_that_breaks_its_word_is_a_defect() -> None:
    model = Depth()
    check_gives(model, model(clip()))
    with pytest.raises(TypeError, match="declares"):
        check_gives(model, {})


def test_stream_maps_forward_over_the_clips() -> None:
    clips = [clip(), clip()]
    depths = [prediction["depth"] for prediction in Depth().stream(clips)]
    assert all(torch.equal(depth, sample.image[:, 0]) for depth, sample in zip(depths, clips, strict=True))
