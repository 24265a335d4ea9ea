"""Points that two images both show: tracked corners, or key points matched by their descriptors."""

import math
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, Shaped, UInt8
from numpy import ndarray

Features = Literal["fast_lk", "orb", "sift"]
Grey = UInt8[ndarray, "h w"]
Pixels = Float32[ndarray, "n 2"]
Descriptors = Shaped[ndarray, "n d"]

WINDOW = (15, 15)  # of Lucas-Kanade, pixels
LEVELS = 4  # of its pyramid, above the image itself
RETURN_WITHIN = 0.5  # pixels: a point tracked there and back must arrive where it started
FAST_THRESHOLD = 7  # grey levels
MIN_EIGENVALUE = 1e-4  # of the structure tensor, image in [0, 1]: below it a corner cannot be tracked
CROWD = 20  # key points detected for each one wanted, before they are thinned out evenly
LOWE_RATIO = 0.8


def match(prev: Grey, cam: Grey, features: Features, num: int) -> tuple[Pixels, Pixels]:
    """Find pixels of `prev`, and the pixels of `cam` that show the same points."""
    if features == "fast_lk":
        corners = grid_corners(prev, num)
        moved, good = track(prev, cam, corners)
        return corners[good], moved[good]
    (points, described), (others, described_too) = (describe(image, features, num) for image in (prev, cam))
    index = match_descriptors(described, described_too, cv2.NORM_HAMMING if features == "orb" else cv2.NORM_L2)
    return points[index[:, 0]], others[index[:, 1]]


def match_descriptors(one: Shaped[ndarray, "n d"], other: Shaped[ndarray, "k d"], norm: int) -> Integer[ndarray, "m 2"]:
    """Find the rows that are each other's best match by a `norm` of OpenCV and pass Lowe's ratio test."""
    if len(one) < 2 or len(other) < 2:  # the ratio needs a second best
        return np.empty((0, 2), np.intp)
    matcher = cv2.BFMatcher(norm)
    back = {best.queryIdx: best.trainIdx for best in matcher.match(other, one)}
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, second in matcher.knnMatch(one, other, 2)
        if best.distance < LOWE_RATIO * second.distance and back[best.trainIdx] == best.queryIdx
    ]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def describe(image: Grey, features: Features, num: int) -> tuple[Pixels, Descriptors]:
    """Find key points of ORB or SIFT, spread over the image, with their descriptors."""
    detector: cv2.Feature2D = (
        cv2.ORB.create(CROWD * num, edgeThreshold=16, fastThreshold=FAST_THRESHOLD)
        if features == "orb"
        else cv2.SIFT.create(CROWD * num, contrastThreshold=0.02)
    )
    points = detector.detect(image)
    pixels = np.array(cv2.KeyPoint.convert(points), np.float32).reshape(-1, 2)
    chosen = best_of_cells(pixels, np.array([point.response for point in points]), image.shape, num)
    points, described = detector.compute(image, [points[index] for index in chosen])
    if described is None:  # so OpenCV says that there is nothing to describe
        return np.empty((0, 2), np.float32), np.empty((0, detector.descriptorSize()), np.float32)
    return np.array(cv2.KeyPoint.convert(points), np.float32).reshape(-1, 2), described


def grid_corners(image: Grey, num: int) -> Pixels:
    """Find FAST corners spread over the image: in each cell of a grid the one with the best Shi-Tomasi score."""
    corners = cv2.FastFeatureDetector.create(FAST_THRESHOLD).detect(image)
    pixels = np.array(cv2.KeyPoint.convert(corners), np.float32).reshape(-1, 2)
    x, y = pixels.astype(np.intp).T
    score = cv2.cornerMinEigenVal(image, 5)[y, x]
    pixels, score = pixels[score > MIN_EIGENVALUE], score[score > MIN_EIGENVALUE]
    return pixels[best_of_cells(pixels, score, image.shape, num)]  # type: ignore[no-any-return]


def free_corners(image: Grey, num: int, taken: Float[ndarray, "m 2"]) -> Pixels:
    """Find corners as `grid_corners` does, in the cells of its grid in which none of the `taken` pixels lies."""
    corners = grid_corners(image, num)
    return corners[~np.isin(_cells(corners, image.shape, num), _cells(taken, image.shape, num))]


def best_of_cells(
    pixels: Pixels, score: Float[ndarray, "n"], shape: tuple[int, ...], num: int
) -> Integer[ndarray, "m"]:
    """Choose the best of `pixels` in each of about `num` square cells of an image of `shape` (height, width)."""
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(_cells(pixels, shape, num)[order], return_index=True)
    return order[first]


def _cells(pixels: Float[ndarray, "n 2"], shape: tuple[int, ...], num: int) -> Integer[ndarray, " n"]:
    """Number the cell of each pixel, of about `num` square ones in an image of `shape`."""
    cell = max(4.0, math.sqrt(shape[0] * shape[1] / num))
    column, row = (pixels // cell).astype(np.intp).T
    return np.asarray(row * shape[1] + column)


def track(a: Grey, b: Grey, pixels: Pixels) -> tuple[Pixels, Bool[ndarray, "n"]]:
    """Find where `pixels` of image a are in image b, and which of them Lucas-Kanade finds there and back."""
    if len(pixels) == 0:
        return pixels, np.zeros(0, dtype=bool)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(a, b, pixels, np.empty_like(pixels), winSize=WINDOW, maxLevel=LEVELS)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(b, a, moved, np.empty_like(pixels), winSize=WINDOW, maxLevel=LEVELS)
    inside = (moved >= 0).all(1) & (moved <= np.array(b.shape[::-1]) - 1).all(1)
    returned = np.linalg.norm(back - pixels, axis=1) < RETURN_WITHIN
    return moved, (found.ravel() > 0) & (found_back.ravel() > 0) & inside & returned
