"""Stereo pairs: where points of the left image are in the right one, and whether the two fit their geometry.

Convention: a disparity is x of the left pixel less x of the right one; it is positive where the right camera stands on
the right, `left_T_right` having a positive x.
"""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError

WIDEST = 640  # pixels: wider images are made smaller before points are tracked
CORNERS = 500  # that are looked for in an image
QUALITY = 0.01  # of a corner, beside the best one of its image
WINDOW = (21, 21)  # of Lucas-Kanade, pixels
LEVELS = 4  # of its pyramid, above the image itself
RETURN_WITHIN = 0.5  # pixels: a point tracked there and back must arrive where it started
LEAST_MATCHES = 30  # fewer tell nothing of a pair
LEAST_DISPARITY = 0.5  # pixels: less of it has no sign that can be trusted
SAME = 0.01  # pixels: if no point moves by more, the images are one
ROWS_APART = 0.008  # of the height: rows of a rectified pair differ by less ...
LEAST_ROWS_APART = 1.0  # ... or by less than so many pixels
ACROSS = 0.05  # of the baseline, that a rectified pair may have along y and z
TURN = 1e-3  # radians, by which the cameras of a rectified pair may be turned


def check_pair(
    image: Float[Tensor, "*b 3 h w"],
    right: Float[Tensor, "*b 3 right_h right_w"] | None,
    K: Float[Tensor, "*k 3 3"] | None,
    left_T_right: Float[Tensor, "*t 4 4"] | None,
    source: str,
) -> None:
    """Raise Vo3dError, which begins with `source`, unless the images are those of a rectified pair in this order.

    Points are matched to learn the order, which costs about 20 milliseconds an image; images that show too few (fog,
    a wall, darkness), or nothing near enough to have a disparity, pass.

    Args:
        image: The left images, RGB in [0, 1]; one or several of the same pair of cameras, whose matches are pooled.
        right: The right ones; None where the data have none, which is refused.
        K: Of the left images, pixels; only its presence is checked.
        left_T_right: See `check_offset`.
        source: What the user knows the images by.

    Raises:
        Vo3dError: Something is missing, left and right differ in size, the offset is none of a rectified pair,
            the images are one, the median disparity contradicts the offset, or matched points are in different rows.
    """
    if right is None or left_T_right is None:
        name = "right images" if right is None else "left_T_right"
        raise Vo3dError(f"{source}: has no {name}: expected stereo pairs: turn stereo on in the dataset's arguments")
    if K is None:
        raise Vo3dError(f"{source}: has no K: expected the camera of its stereo pairs: give intrinsics")
    (height, width), (right_height, right_width) = image.shape[-2:], right.shape[-2:]
    if (height, width) != (right_height, right_width):
        raise Vo3dError(
            f"{source}: left images are {width}x{height} pixels and right ones {right_width}x{right_height}: expected "
            "one size: rectify both cameras to one"
        )
    baseline = check_offset(left_T_right, source)
    shifts = np.concatenate([match_pair(*pair) for pair in zip(_views(image), _views(right), strict=True)])
    if len(shifts) < LEAST_MATCHES:
        return
    if np.abs(shifts).max() < SAME:
        raise Vo3dError(f"{source}: left and right images are the same: give those of two cameras")
    disparity, apart = -float(np.median(shifts[:, 0])), float(np.median(np.abs(shifts[:, 1])))
    limit = max(ROWS_APART * height, LEAST_ROWS_APART)
    if apart > limit:
        raise Vo3dError(
            f"{source}: {len(shifts)} matched points are {apart:.1f} pixels apart in their rows (median): expected "
            f"less than {limit:.1f}: rectify the pairs (cv2.stereoRectify), and give left and right of the same instant"
        )
    if math.copysign(1, baseline) * disparity < -LEAST_DISPARITY:
        side = "right" if baseline > 0 else "left"
        raise Vo3dError(
            f"{source}: left and right images are swapped: the median disparity of {len(shifts)} matched points is "
            f"{disparity:.1f} pixels, but the right camera stands {abs(baseline):.3g} m to the {side}: exchange the "
            "images, or turn the sign of the baseline"
        )


def check_offset(left_T_right: Float[Tensor, "*b 4 4"], source: str) -> float:
    """Return the baseline of a rectified pair: the x of its `left_T_right`, metres, negative for a camera on the left.

    Raises Vo3dError, which begins with `source`, for an offset that is not finite or zero, leads more than 5 % of it
    along y and z, or turns; of several, each is looked at, and the first is returned.
    """
    for offset in left_T_right.reshape(-1, 4, 4).double().cpu():
        x, y, z = offset[:3, 3].tolist()
        place = f"{source}: the right camera stands at ({x:.3g}, {y:.3g}, {z:.3g}) m of the left one"
        if not bool(torch.isfinite(offset).all()):
            raise Vo3dError(f"{source}: left_T_right is not finite: expected the baseline in metres along x")
        if x == y == z == 0:
            raise Vo3dError(f"{source}: the baseline is zero: expected metres from the left camera to the right one")
        if math.hypot(y, z) > ACROSS * abs(x):
            raise Vo3dError(f"{place}: expected a rectified pair, with a baseline along x: rectify the pairs")
        # |R - 1| is 2 sqrt(2) sin(angle / 2)
        turn = 2 * math.asin(min(1.0, float((offset[:3, :3] - torch.eye(3)).norm()) / math.sqrt(8)))
        if turn > TURN:
            raise Vo3dError(
                f"{source}: the right camera is turned by {math.degrees(turn):.3g} degrees: expected a rectified pair, "
                "without a turn: rectify the pairs"
            )
    return float(left_T_right.reshape(-1, 4, 4)[0, 0, 3])


def match_pair(left: UInt8[ndarray, "h w 3"], right: UInt8[ndarray, "h w 3"]) -> Float64[ndarray, "n 2"]:
    """Find how far points of the left image lie from themselves in the right one, x and y, pixels.

    Corners are tracked there and back by pyramidal Lucas-Kanade in images of at most 640 pixels' width, after both
    were brought to one mean and contrast: the cameras of a pair may expose apart.
    """
    height, width = left.shape[:2]
    scale = min(1.0, WIDEST / width)
    grey, other = (_levelled(view, (round(width * scale), round(height * scale))) for view in (left, right))
    corners = cv2.goodFeaturesToTrack(grey, CORNERS, QUALITY, max(3.0, grey.shape[1] / 100))
    if corners is None:
        return np.empty((0, 2))
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        grey, other, corners, np.empty_like(corners), winSize=WINDOW, maxLevel=LEVELS
    )
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        other, grey, moved, np.empty_like(corners), winSize=WINDOW, maxLevel=LEVELS
    )
    pixels, moved, back = (points.reshape(-1, 2) for points in (corners, moved, back))
    good = (found.ravel() > 0) & (found_back.ravel() > 0)
    good &= (moved >= 0).all(1) & (moved <= np.array(grey.shape[::-1]) - 1).all(1)
    good &= np.linalg.norm(back - pixels, axis=1) < RETURN_WITHIN
    shifts = (moved - pixels)[good] * np.array([width / grey.shape[1], height / grey.shape[0]])
    return shifts  # type: ignore[no-any-return]


def _views(images: Float[Tensor, "*b 3 h w"]) -> list[UInt8[ndarray, "h w 3"]]:
    """Make each of the images an array of 8 bits."""
    flat = images.detach().reshape(-1, *images.shape[-3:]).float().clamp(0, 1)
    return list((flat * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def _levelled(image: UInt8[ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[ndarray, "new_h new_w"]:
    """Make an image grey and of a `size` (width, height), its mean 128 and its deviation 50."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = 50 / max(float(grey.std()), 1.0)
    levelled = (grey - grey.mean()) * contrast + 128
    return levelled.clip(0, 255).astype(np.uint8)  # type: ignore[no-any-return]
