"""Smoothness against loops over pixels, and of the maps that planes and edges have."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from stereo_scenes import street_scene, wall_scene
from textured_plane import textured_plane
from vo3d.losses import edge_aware_smoothness, normalised_by_mean, second_order_smoothness


def _maps(generator: torch.Generator, *batch: int, h: int = 5, w: int = 7) -> tuple[Tensor, Tensor]:
    """A positive map and an image."""
    values = 0.1 + torch.rand(*batch, h, w, generator=generator, dtype=torch.float64)
    return values, torch.rand(*batch, 3, h, w, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("edge_weight", [0.0, 1.0, 10.0])
def test_edge_aware_smoothness_equals_a_loop(edge_weight: float, generator: torch.Generator) -> None:
    values, image = _maps(generator)

    across, down = edge_aware_smoothness(values, image, edge_weight)

    assert across.shape == (5, 6)
    assert down.shape == (4, 7)
    for y, x in product(range(5), range(7)):
        for found, i, j in ((across, y, x + 1), (down, y + 1, x)):
            if i < 5 and j < 7:
                edge = sum(abs(float(image[k, i, j] - image[k, y, x])) for k in range(3)) / 3
                expected = abs(float(values[i, j] - values[y, x])) * math.exp(-edge_weight * edge)
                assert float(found[y, x]) == pytest.approx(expected)


def test_second_order_smoothness_equals_a_loop(generator: torch.Generator) -> None:
    values, _ = _maps(generator)
    v = values.tolist()

    xx, xy, yy = second_order_smoothness(values)

    for y, x in product(range(5), range(5)):
        assert float(xx[y, x]) == pytest.approx(abs(v[y][x] - 2 * v[y][x + 1] + v[y][x + 2]))
    for y, x in product(range(4), range(6)):
        assert float(xy[y, x]) == pytest.approx(abs(v[y][x] - v[y][x + 1] - v[y + 1][x] + v[y + 1][x + 1]))
    for y, x in product(range(3), range(7)):
        assert float(yy[y, x]) == pytest.approx(abs(v[y][x] - 2 * v[y + 1][x] + v[y + 2][x]))
    assert (xx.shape, xy.shape, yy.shape) == ((5, 5), (4, 6), (3, 7))


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 1, 3)])
def test_any_batch_axes(batch: tuple[int, ...], generator: torch.Generator) -> None:
    values, image = _maps(generator, *batch)
    calls: list[Callable[[Tensor, Tensor], tuple[Tensor, ...]]] = [
        edge_aware_smoothness,
        lambda values, _: second_order_smoothness(values),
        lambda values, _: (normalised_by_mean(values),),
    ]

    for call in calls:
        together = call(values, image)
        for index in product(*map(range, batch)):
            for whole, alone in zip(together, call(values[index], image[index]), strict=True):
                torch.testing.assert_close(whole[index], alone)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_maps_of_a_pixel_or_two(h: int, w: int, generator: torch.Generator) -> None:
    values, image = _maps(generator, 2, h=h, w=w)

    across, down = edge_aware_smoothness(values, image)

    assert across.shape == (2, h, w - 1)
    assert down.shape == (2, h - 1, w)


def test_inverse_depth_of_a_plane_is_smooth_in_second_order_and_its_depth_is_not() -> None:
    for sample in (wall_scene(slope=0.5, dtype=torch.float64).sample, textured_plane().map(lambda x: x.double())):
        inverse = [term.max() for term in second_order_smoothness(1 / sample.depth)]
        depth = [term.max() for term in second_order_smoothness(sample.depth)]
        assert max(inverse) < 1e-6 * float((1 / sample.depth).max())
        assert max(depth) > 1e-5

    flat = wall_scene(slope=0.0, dtype=torch.float64).sample.depth[:, :1]  # seen straight on
    across, down = edge_aware_smoothness(1 / flat[:, 0], torch.zeros(1, 3, 48, 96, dtype=torch.float64))
    assert max(float(across.max()), float(down.max())) < 1e-15


def test_errors_of_inverse_depth_raise_the_roughness_of_a_street(generator: torch.Generator) -> None:
    sample = street_scene().sample
    inverse = torch.where(sample.depth > 0, 1 / sample.depth, 0.0)[:, 0]
    image = sample.image[:, 0]
    wrong = inverse * (1 + 0.1 * torch.randn(inverse.shape, generator=generator))

    def rough(values: Tensor) -> float:
        return sum(term.mean().item() for term in edge_aware_smoothness(normalised_by_mean(values), image, 10.0))

    assert rough(wrong) > 2 * rough(inverse)
    assert rough(0.3 * inverse) == pytest.approx(rough(inverse), rel=1e-5)  # and shrinking is no way out
    shifted = inverse.roll(20, -1)  # the edges of depth lie beside those of the image
    assert rough(shifted) > 1.2 * rough(inverse)


def test_a_map_may_jump_where_its_image_does() -> None:
    values, image = torch.zeros(4, 6), torch.zeros(3, 4, 6)
    values[:, 3:] = 2.0
    image[:, :, 3:] = 0.5

    across, down = edge_aware_smoothness(values, image, 10.0)
    flat, _ = edge_aware_smoothness(values, torch.zeros_like(image), 10.0)

    assert across[:, 2].tolist() == pytest.approx([2 * math.exp(-5.0)] * 4)
    assert flat[:, 2].tolist() == [2.0] * 4
    assert down.max() == 0
    assert across.count_nonzero() == 4


def test_normalised_maps_have_the_mean_one(generator: torch.Generator) -> None:
    values, _ = _maps(generator, 2, 3)

    normalised = normalised_by_mean(values)

    torch.testing.assert_close(normalised.mean((-2, -1)), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(normalised_by_mean(1e-3 * values), normalised)
    assert normalised_by_mean(torch.zeros(2, 3)).tolist() == torch.zeros(2, 3).tolist()
    assert normalised_by_mean(values.half()).dtype == torch.float32


def test_gradients_are_finite_for_black_images_and_even_maps() -> None:
    for level in (0.0, 1.0):
        values = torch.full((2, 5, 7), 0.01, requires_grad=True)
        image = torch.full((2, 3, 5, 7), level, requires_grad=True)

        terms = (*edge_aware_smoothness(normalised_by_mean(values), image, 10.0), *second_order_smoothness(values))
        sum(term.sum() for term in terms).backward()

        assert values.grad.isfinite().all()
        assert image.grad.isfinite().all()

    zero = torch.zeros(2, 5, 7, requires_grad=True)
    normalised_by_mean(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_gradients_equal_finite_differences(generator: torch.Generator) -> None:
    values, image = (x.requires_grad_() for x in _maps(generator, h=4, w=4))

    assert torch.autograd.gradcheck(lambda v, i: edge_aware_smoothness(normalised_by_mean(v), i, 3.0), (values, image))
    assert torch.autograd.gradcheck(second_order_smoothness, (values,))
