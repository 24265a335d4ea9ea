"""Procedural patterns: box filters against brute force, noise that fades before it can alias."""

import torch

from vo3d.world.textures import band, cell_hash, fractal_noise, noise_lattice, pulses, value_noise


def averaged(function, x, footprint):
    """The mean of a pattern over each pixel by 2,001 samples."""
    offsets = torch.linspace(-0.5, 0.5, 2001, dtype=torch.float64)
    return function(x[:, None] + footprint[:, None] * offsets).double().mean(1)


def test_pulses_and_band_are_the_mean_over_the_footprint(generator):
    x = torch.rand(50, generator=generator, dtype=torch.float64) * 20 - 10
    footprint = torch.rand(50, generator=generator, dtype=torch.float64) * 5 + 0.05
    expected = averaged(lambda p: (p / 1.7).remainder(1) < 0.3, x, footprint)
    torch.testing.assert_close(pulses(x, 1.7, 0.3, footprint), expected, atol=2e-3, rtol=0)
    expected = averaged(lambda p: (p > -1.2) & (p < 2.5), x, footprint)
    torch.testing.assert_close(band(x, -1.2, 2.5, footprint), expected, atol=2e-3, rtol=0)


def test_noise_is_smooth_periodic_and_bounded(generator):
    lattice = noise_lattice(generator)
    x, y = (torch.rand(5000, generator=generator) * 100 for _ in range(2))
    noise = value_noise(lattice, x, y)
    assert float(noise.abs().max()) <= 1.0
    assert float(noise.std()) > 0.2
    torch.testing.assert_close(value_noise(lattice, x + 128, y - 128), noise, atol=1e-3, rtol=0)
    assert float((value_noise(lattice, x + 1e-3, y) - noise).abs().max()) < 4e-3  # slope at most 1.5 * 2
    cell = x.floor()
    corner = value_noise(lattice, cell, y.floor())
    expected = lattice[0, :, y.floor().long() % 128, cell.long() % 128]
    torch.testing.assert_close(corner, expected, atol=1e-4, rtol=0)


def test_noise_fades_where_a_pixel_covers_its_cells(generator):
    lattice = noise_lattice(generator)
    x, y = (torch.rand(4000, generator=generator) * 100 for _ in range(2))
    spread = [
        float(fractal_noise(lattice, x, y, torch.full_like(x, footprint), 1.0, 4).std())
        for footprint in (0.01, 0.2, 0.5, 0.9, 1.0, 50.0)
    ]
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 0.3
    assert spread[-1] == spread[-2] == 0.0


def test_hashes_of_cells_are_even_and_depend_on_the_seed():
    x, y = torch.meshgrid(torch.arange(-100, 100), torch.arange(-100, 100), indexing="ij")
    value = cell_hash(x.flatten(), y.flatten(), 0.3)
    histogram = torch.histc(value, 10, 0, 1)
    assert float(histogram.min()) > 3400  # 4000 expected in each tenth
    assert float(histogram.max()) < 4600
    assert float((value == cell_hash(x.flatten(), y.flatten(), 0.7)).float().mean()) < 0.01
    correlation = torch.corrcoef(torch.stack((value.view(200, 200)[:-1].flatten(), value.view(200, 200)[1:].flatten())))
    assert abs(float(correlation[0, 1])) < 0.03
