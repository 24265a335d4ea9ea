"""Lens distortion through OpenCV: between the pixels of a real lens and those of an ideal pinhole.

Convention: "radtan" is OpenCV's (k1, k2, p1, p2[, k3[, k4, k5, k6[, s1..s4[, tx, ty]]]]), as in EuRoC, COLMAP's OPENCV
and ROS's plumb_bob; "equidistant" is OpenCV's fisheye (k1, k2, k3, k4) of Kannala and Brandt 2006. Distorted and ideal
pixels share `K` unless another matrix is given for the ideal ones.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.camera import project, rays

LensModel = Literal["radtan", "equidistant"]
Points = NDArray[np.float64]

CENTRED = np.eye(3)  # OpenCV works on rays at depth 1; K, with its skew, is applied here
NUM_COEFFICIENTS = {"radtan": (4, 5, 8, 12, 14), "equidistant": (4,)}
CONVERGED = 1e-3  # pixels


def distort_points(
    pixels: Float[Tensor, "*n 2"],
    K: Float[Tensor, "3 3"],
    coefficients: Sequence[int | float],
    model: LensModel,
    K_ideal: Float[Tensor, "3 3"] | None = None,
) -> Float[Tensor, "*n 2"]:
    """Find where the real lens shows what an ideal pinhole (`K_ideal`, by default `K`) shows at `pixels`.

    The image that the pinhole would have taken is `sample_image` of the lens's at these pixels of a `pixel_grid`, which
    are found once for all images of a camera. Not differentiable.

    Raises Vo3dError when the model does not take that number of coefficients.
    """
    lens = _coefficients(coefficients, model)
    return _through(lambda points: _distort(points, lens, model), pixels, K if K_ideal is None else K_ideal, K)


def undistort_points(
    pixels: Float[Tensor, "*n 2"],
    K: Float[Tensor, "3 3"],
    coefficients: Sequence[int | float],
    model: LensModel,
    K_ideal: Float[Tensor, "3 3"] | None = None,
) -> Float[Tensor, "*n 2"]:
    """Find where an ideal pinhole (`K_ideal`, by default `K`) would show what the real lens shows at `pixels`.

    The inverse of `distort_points`, found by iteration; NaN where that does not come back to the given pixel, which
    happens beyond the radius where a polynomial model stops growing. Not differentiable.

    Raises Vo3dError when the model does not take that number of coefficients.
    """
    lens = _coefficients(coefficients, model)
    focal = K[:2, :2].diagonal().double().cpu().numpy()

    def inverse(points: Points) -> Points:
        ideal = _undistort(points, lens, model)
        error = np.abs(_distort(ideal, lens, model) - points) * focal
        return np.where((error <= CONVERGED).all(-1, keepdims=True), ideal, np.nan)

    return _through(inverse, pixels, K, K if K_ideal is None else K_ideal)


def _coefficients(coefficients: Sequence[int | float], model: LensModel) -> Points:
    """The coefficients as OpenCV wants them."""
    if len(coefficients) not in NUM_COEFFICIENTS[model]:
        raise Vo3dError(
            f"the {model} lens model takes {', '.join(map(str, NUM_COEFFICIENTS[model]))} coefficients, not "
            f"{len(coefficients)}: copy them from the calibration, in OpenCV's order"
        )
    return np.asarray([float(value) for value in coefficients])


def _through(function: Callable[[Points], Points], pixels: Tensor, K_in: Tensor, K_out: Tensor) -> Tensor:
    """Apply a map of points at depth 1 to pixels, in float64 on the CPU, and come back to their type and device."""
    points = rays(K_in.double().cpu(), pixels.double().cpu())[..., :2].reshape(-1, 2)
    if len(points):  # OpenCV refuses empty arrays
        points = torch.from_numpy(function(points.detach().numpy()))
    points = torch.cat((points, torch.ones_like(points[:, :1])), dim=-1)
    return project(K_out.double().cpu(), points)[0].reshape(pixels.shape).to(pixels)


def _distort(points: Points, lens: Points, model: LensModel) -> Points:
    """Ideal to distorted points at depth 1."""
    if model == "equidistant":
        distorted = cv2.fisheye.distortPoints(points[:, None], CENTRED, lens)
    else:
        homogeneous = cv2.convertPointsToHomogeneous(points)
        distorted, _ = cv2.projectPoints(homogeneous, np.zeros(3), np.zeros(3), CENTRED, lens)
    return np.asarray(distorted, dtype=np.float64).reshape(-1, 2)


def _undistort(points: Points, lens: Points, model: LensModel) -> Points:
    """Distorted to ideal points at depth 1: OpenCV's iteration, to the end and not its default of five steps."""
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    if model == "equidistant":
        ideal = cv2.fisheye.undistortPoints(points[:, None], CENTRED, lens, None, None, CENTRED, criteria)
    else:
        ideal = cv2.undistortImagePoints(points[:, None], CENTRED, lens, None, criteria)
    return np.asarray(ideal, dtype=np.float64).reshape(-1, 2)
