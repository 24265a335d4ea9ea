"""What the features of R-MVSNet see: each image less its mean over its deviation, which 0.001 keeps from 0."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from samples import make_sample
from vo3d.models.rmvsnet import RMVSNet

SIZE = (16, 24)


def seen(images: Tensor) -> list[Tensor]:
    """What the feature network is given for each view (b 3 h w) of images (b s 3 h w)."""
    torch.manual_seed(0)
    model = RMVSNet(num_depths=4, features="uninet").eval()
    given: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0])

    model.features.register_forward_pre_hook(note)
    with torch.no_grad():
        model(replace(make_sample(b=images.shape[0], s=images.shape[1], size=SIZE), image=images))
    return given


@pytest.mark.parametrize("deviation", [0.25, 0.01, 0.001, 0.0001])
def test_an_image_of_two_values_becomes_plus_and_minus_its_deviation_over_that_and_0_001(deviation: float) -> None:
    sign = torch.ones(SIZE)
    sign[:, ::2] = -1.0
    images = (0.5 + deviation * sign).expand(1, 2, 3, *SIZE)
    for view in seen(images):
        expected = deviation / (deviation + 0.001) * sign
        torch.testing.assert_close(view, expected.expand(1, 3, *SIZE), rtol=1e-3, atol=1e-4)


def test_an_image_of_one_colour_becomes_zero() -> None:
    for view in seen(torch.full((1, 2, 3, *SIZE), 0.25)):
        assert torch.equal(view, torch.zeros(1, 3, *SIZE))


def test_each_image_has_a_mean_and_a_deviation_of_its_own_over_all_three_channels(generator: torch.Generator) -> None:
    images = torch.rand(2, 2, 3, *SIZE, generator=generator)
    images[:, 1] = 0.1 + 0.2 * images[:, 1]
    images[:, :, 2] *= 0.5  # less blue
    for place, view in enumerate(seen(images)):
        for row in range(2):
            values = images[row, place].flatten().double().tolist()
            mean = sum(values) / len(values)
            deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
            expected = torch.tensor([(value - mean) / (deviation + 0.001) for value in values])
            torch.testing.assert_close(view[row].flatten(), expected, rtol=1e-4, atol=2e-5)
