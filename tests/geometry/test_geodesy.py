"""Places by degrees against the semi-axes of the Earth, and a distance that surveyors publish."""

import torch

from vo3d.geometry.geodesy import earth_centred


def degrees(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_axes() -> None:
    found = earth_centred(degrees((0, 0), (0, 90), (90, 17), (-90, 0)))
    expected = [[6378137.0, 0, 0], [0, 6378137.0, 0], [0, 0, 6356752.314245], [0, 0, -6356752.314245]]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_published_distance() -> None:
    """Flinders Peak to Buninyong, 54,972.271 m along the ellipsoid (Geocentric Datum of Australia manual, 4.1)."""
    flinders = (-(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600)
    buninyong = (-(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600)
    first, second = earth_centred(degrees(flinders, buninyong))
    chord = float((first - second).norm())
    assert abs(chord + chord**3 / (24 * 6.37e6**2) - 54972.271) < 0.005  # an arc above its chord


def test_steps_across_the_date_line_are_short() -> None:
    first, second = earth_centred(degrees((0, 179.9999), (0, -179.9999)))
    assert abs(float((first - second).norm()) - 2e-4 * torch.pi / 180 * 6378137) < 1e-6
