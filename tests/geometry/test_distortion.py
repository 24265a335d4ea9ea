"""Lens distortion: there and back, agreement with the published formulas and with OpenCV's own image functions."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import distort_points, pixel_grid, rays, sample_image, undistort_points

K = torch.tensor([[458.654, 0, 367.215], [0, 457.296, 248.375], [0, 0, 1]], dtype=torch.float64)
K_SKEW = K + torch.tensor([[0, 5.0, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
H, W = 480, 752
LENSES = {
    "radtan": [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05],  # EuRoC's left camera
    "equidistant": [-0.0120, 0.0231, -0.0184, 0.0055],
}
models = pytest.mark.parametrize("model", LENSES)


def smooth_image() -> Tensor:
    """A pattern without fine detail, in which interpolation errors are small."""
    x, y = pixel_grid(H, W, dtype=torch.float64).unbind(-1)
    return (0.5 + 0.2 * (x / 25).sin() + 0.2 * (y / 19).cos())[None].float()


def radtan(points: Tensor, k1: float, k2: float, p1: float, p2: float) -> Tensor:
    """Brown's model as OpenCV documents it."""
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    return torch.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ),
        dim=-1,
    )


def equidistant(points: Tensor, k1: float, k2: float, k3: float, k4: float) -> Tensor:
    """Kannala and Brandt 2006: the radius is a polynomial of the angle."""
    r = points.norm(dim=-1, keepdim=True)
    angle = r.atan()
    return points / r * angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)


@models
@pytest.mark.parametrize("camera", [K, K_SKEW])
def test_distortion_follows_its_formula(model, camera):
    pixels = torch.rand(200, 2, dtype=torch.float64) * torch.tensor([W, H])
    lens = {"radtan": radtan, "equidistant": equidistant}[model]
    points = lens(rays(camera, pixels)[:, :2], *LENSES[model])
    expected = (camera @ torch.cat((points, torch.ones(200, 1)), dim=-1).T).T[:, :2]
    torch.testing.assert_close(distort_points(pixels, camera, LENSES[model], model), expected, rtol=0, atol=1e-9)


@models
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_undistort_undoes_distort(model, dtype):
    pixels = pixel_grid(H, W, dtype=dtype)[::8, ::8]
    distorted = distort_points(pixels, K.to(dtype), LENSES[model], model)
    assert (distorted - pixels).norm(dim=-1).max() > 10
    back = undistort_points(distorted, K.to(dtype), LENSES[model], model)
    assert back.dtype == dtype
    torch.testing.assert_close(back, pixels, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-7)


@models
def test_another_camera_for_the_ideal_pixels(model):
    ideal = torch.tensor([[300.0, 0, 400], [0, 320, 200], [0, 0, 1]], dtype=torch.float64)
    pixels = torch.rand(50, 2, dtype=torch.float64) * 100 + 250
    distorted = distort_points(pixels, K, LENSES[model], model, ideal)
    same_ray = (K @ rays(ideal, pixels).T).T[:, :2]
    torch.testing.assert_close(distorted, distort_points(same_ray, K, LENSES[model], model))
    back = undistort_points(distorted, K, LENSES[model], model, ideal)
    torch.testing.assert_close(back, pixels, rtol=0, atol=1e-6)


def test_beyond_the_last_radius_that_the_lens_reaches_there_is_nothing():
    # With k1 = -0.3 alone the distorted radius never exceeds 0.70: at r = 1.05 the polynomial turns back.
    centre, outside = K[:2, 2], K[:2, 2] + torch.tensor([0.9 * K[0, 0], 0.0])
    found = undistort_points(torch.stack((centre, outside)), K, [-0.3, 0.0, 0.0, 0.0], "radtan")
    torch.testing.assert_close(found[0], centre)
    assert found[1].isnan().all()


def test_no_points_are_no_points():
    assert distort_points(torch.zeros(0, 2), K.float(), LENSES["radtan"], "radtan").shape == (0, 2)
    assert undistort_points(torch.zeros(3, 0, 2), K.float(), LENSES["radtan"], "radtan").shape == (3, 0, 2)


@models
def test_opencv_undistorts_the_same_image(model):
    image, lens = smooth_image(), np.array(LENSES[model])
    undistorted, valid = sample_image(image, distort_points(pixel_grid(H, W), K.float(), LENSES[model], model))
    if model == "radtan":
        expected = cv2.undistort(image[0].numpy(), K.numpy(), lens)
    else:
        expected = cv2.fisheye.undistortImage(image[0].numpy(), K.numpy(), lens, None, K.numpy())
    difference = (undistorted[0] - torch.from_numpy(expected)).abs()[valid]
    assert valid.float().mean() > 0.9
    assert difference.max() < 2e-3  # OpenCV rounds positions to 1/32 pixel; the pattern changes by 0.01 a pixel


@pytest.mark.parametrize(("model", "count"), [("radtan", 3), ("radtan", 6), ("equidistant", 5), ("equidistant", 0)])
def test_a_wrong_number_of_coefficients_is_an_error(model, count):
    with pytest.raises(Vo3dError, match=rf"the {model} lens model takes .* coefficients, not {count}"):
        distort_points(torch.zeros(1, 2), K.float(), [0.0] * count, model)
