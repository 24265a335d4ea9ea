"""Retrieval and PnP: what looks alike is matched key point by key point, and the pose is solved for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Integer, UInt8
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import resection
from vo3d.geometry.grey import grey_image
from vo3d.known_truth import known_poses
from vo3d.layers.image_descriptor import Features, ImageDescriptor
from vo3d.model import Model, Prediction, Window
from vo3d.recording import Recording
from vo3d.sample import Sample

KeyPoints = Literal["sift", "orb"]
LOWE_RATIO = 0.8
APART = (1, 2, 4, 8, 16)  # frames between training views that are matched to triangulate
MIN_ANGLE = 2.0  # degrees between two rays of a triangulated point


@dataclass(frozen=True)
class Described:
    """The key points of one view with their descriptors, of integers as OpenCV makes them."""

    pixels: Float32[ndarray, "n 2"]
    descriptors: UInt8[ndarray, "n d"]


@dataclass(frozen=True)
class Landmarks:
    """The key points of a training view that are known in space: all that is kept of it."""

    points: Float32[ndarray, "n 3"]  # metres, about the mean position of all training views
    descriptors: UInt8[ndarray, "n d"]


class RetrievalPnP(Model):
    """Predicts poses from matches with the training views that look most alike, by PnP in a RANSAC scheme (OpenCV).

    `fit` finds key points in every training view and their points in space: by its depth, where it has some (in the
    pixels of `image`), else by triangulating tracks through its neighbours in time, whose poses are known. A view is
    matched with `num_retrieved` training views; each proposes a pose, the one that most matches of all agree with is
    refined on these. Where fewer than `min_inliers` agree, the answer is the pose of the training view that looks most
    alike, and `failures` counts it, out of `views`: never silent. Images may have any size.

    It keeps 140 bytes a landmark with "sift", 44 with "orb": of 7,000 training views at most 0.5 GB and 0.15 GB.

    Args:
        key_points: "sift" (compared by the square roots of their descriptors) or "orb".
        features: What training views are retrieved by; see `ImageDescriptor`.
        num_retrieved: Training views that a view is matched with.
        num_features: Key points of an image, at most.
        threshold: Pixels by which a point may be off in the view.
        min_inliers: Points that must agree with a pose.
        pretrained: Whether the trunk of `features` has weights of ImageNet; without them its filters are random.

    Raises:
        Vo3dError: An argument is unknown or not positive, or there are no such weights.

    Source: matching by square roots: Arandjelovic and Zisserman, "Three things everyone should know to improve object
    retrieval", CVPR 2012.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")
    gives: ClassVar[tuple[str, ...]] = ("world_T_cam",)
    window = Window(views=1, overlap=0)
    baseline = "retrieval_pnp"
    scale_source = "depths or poses of training views"
    failures: int
    descriptors: Tensor  # n c, of unit length
    world_T_cam: Tensor  # n 4 4, metres, float64

    def __init__(
        self,
        key_points: KeyPoints = "sift",
        features: Features = "efficientnet_lite0",
        num_retrieved: int = 10,
        num_features: int = 500,
        threshold: float = 3.0,
        min_inliers: int = 12,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if key_points not in get_args(KeyPoints):
            raise Vo3dError(f"key_points={key_points!r} is unknown: expected one of {', '.join(get_args(KeyPoints))}")
        for name, least, value in (
            ("num_retrieved", 1, num_retrieved),
            ("num_features", 1, num_features),
            ("min_inliers", resection.MIN_POINTS, min_inliers),
        ):
            if value < least:
                raise Vo3dError(f"{name} {value}: expected at least {least}")
        if not threshold > 0:
            raise Vo3dError(f"threshold {threshold:g}: expected a positive number of pixels")
        self.key_points, self.num_retrieved, self.num_features = key_points, num_retrieved, num_features
        self.threshold, self.min_inliers = threshold, min_inliers
        self.descriptor = ImageDescriptor(features, pretrained=pretrained)
        self.register_buffer("descriptors", torch.empty(0, 1), persistent=False)
        self.register_buffer("world_T_cam", torch.empty(0, 4, 4, dtype=torch.float64), persistent=False)
        self.landmarks: list[Landmarks] = []  # of each training view
        self.views = 0  # since construction
        self.failures = 0  # of those

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Find the landmarks of all views of `recordings`; raises Vo3dError where poses or K are missing."""
        poses = known_poses(recordings)
        self.world_T_cam = poses.to(self.world_T_cam.device)
        self._origin = poses[:, :3, 3].mean(0).numpy()
        self.landmarks = [landmarks for recording in recordings for landmarks in self._landmarks(recording)]
        self.descriptors = self.descriptor.of_all(recordings)

    def _landmarks(self, recording: Recording) -> Iterator[Landmarks]:
        """Find the landmarks of each view of a recording."""
        world_T_cam = known_poses([recording]).numpy() if len(recording) else np.empty((0, 4, 4))
        views: list[Described] = []
        cameras = np.empty((len(recording), 3, 3))
        lifted: dict[int, Float64[ndarray, "n 3"]] = {}
        for index in range(len(recording)):
            sample = recording.clip((index,))
            if sample.K is None:
                raise Vo3dError(f"{recording.name} gives no K: choose recordings of a known camera, or give intrinsics")
            cameras[index] = sample.K[0].cpu().numpy()
            views.append(describe(grey_image(sample.image[0]), self.key_points, self.num_features))
            if sample.depth is not None and bool((sample.depth > 0).any()):
                depth, pixels = sample.depth[0].cpu().numpy(), views[-1].pixels.astype(np.float64)
                lifted[index] = resection.lift(pixels, depth, cameras[index], world_T_cam[index])
        matches: dict[tuple[int, int], Integer[ndarray, "n 2"]] = {}
        for index, view in enumerate(views):
            points = lifted.get(index)
            if points is None:
                points = self._triangulate(views, index, cameras, world_T_cam, matches)
            matches = {pair: places for pair, places in matches.items() if pair[0] > index - max(APART)}
            known = np.isfinite(points).all(-1)
            yield Landmarks((points - self._origin)[known].astype(np.float32), view.descriptors[known])

    def _triangulate(
        self,
        views: Sequence[Described],
        index: int,
        K: Float64[ndarray, "n 3 3"],
        world_T_cam: Float64[ndarray, "n 4 4"],
        matches: dict[tuple[int, int], Any],
    ) -> Float64[ndarray, "m 3"]:
        """Triangulate the key points of a view from `matches` with its neighbours in time, and add to those."""
        near = [index + sign * apart for apart in APART for sign in (-1, 1)]
        near = [other for other in near if 0 <= other < len(views)]
        pixels = np.full((1 + len(near), len(views[index].pixels), 2), np.nan)
        pixels[0] = views[index].pixels
        for row, other in enumerate(near, start=1):
            pair = min(index, other), max(index, other)
            if pair not in matches:
                matches[pair] = match(views[pair[0]], views[pair[1]], self.key_points)
            own, theirs = matches[pair].T if index == pair[0] else matches[pair].T[::-1]
            pixels[row, own] = views[other].pixels[theirs]
        seen = [index, *near]
        return resection.triangulate_tracks(pixels, K[seen], world_T_cam[seen], self.threshold, MIN_ANGLE)

    def forward(self, sample: Sample) -> Prediction:
        """Give the pose of each view, b s 4 4; Vo3dError before `fit` and without K."""
        if not len(self.world_T_cam):
            raise Vo3dError("RetrievalPnP knows no training view: call fit(recordings)")
        if sample.K is None:
            raise Vo3dError("RetrievalPnP needs K: choose a dataset of a known camera")
        image, K = sample.image.flatten(0, 1), sample.K.flatten(0, 1).double().cpu().numpy()
        alike = self.descriptor(image) @ self.descriptors.mT
        nearest = alike.topk(min(self.num_retrieved, len(self.landmarks)), dim=-1).indices
        poses = [self._pose(*view) for view in zip(image, K, nearest.tolist(), strict=True)]
        return {"world_T_cam": torch.stack(poses).to(self.world_T_cam).reshape(*sample.image.shape[:2], 4, 4)}

    def _pose(self, image: Tensor, K: Float64[ndarray, "3 3"], nearest: Sequence[int]) -> Tensor:
        """Find `world_T_cam` of one view from its matches with the training views `nearest`."""
        view = describe(grey_image(image), self.key_points, self.num_features)
        pairs = [match(view, self.landmarks[index], self.key_points) for index in nearest]
        pixels = [view.pixels[pair[:, 0]].astype(np.float64) for pair in pairs]
        points = [
            self.landmarks[index].points[pair[:, 1]].astype(np.float64)
            for index, pair in zip(nearest, pairs, strict=True)
        ]
        all_pixels, all_points = np.concatenate(pixels), np.concatenate(points)
        self.views += 1
        best, most = None, self.min_inliers - 1
        for own_pixels, own_points in zip(pixels, points, strict=True):
            proposed = resection.resect(own_pixels, own_points, K, self.threshold)
            if proposed is None:
                continue
            agreed = resection.agreeing(all_pixels, all_points, K, proposed, self.threshold)
            if agreed.sum() > most:
                best, most = proposed, int(agreed.sum())
        if best is None:
            self.failures += 1
            return self.world_T_cam[nearest[0]]
        pose, _ = resection.refine(all_pixels, all_points, K, best, self.threshold)
        pose[:3, 3] += self._origin
        return torch.from_numpy(pose)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("RetrievalPnP has no parameters to train: evaluate it, after its fit(recordings), instead")


def describe(image: UInt8[ndarray, "h w"], key_points: KeyPoints, num: int) -> Described:
    """Find the `num` strongest key points of an image, and describe them."""
    detector: cv2.Feature2D = (
        cv2.ORB.create(num)
        if key_points == "orb"
        else cv2.SIFT.create(num, 3, 0.02, 10, 1.6, cv2.CV_8U, True)  # the last: no bias of a quarter of a pixel
    )
    points, descriptors = detector.detectAndCompute(image, None)
    if descriptors is None:  # so OpenCV says that there is nothing to describe
        return Described(np.empty((0, 2), np.float32), np.empty((0, detector.descriptorSize()), np.uint8))
    return Described(np.array(cv2.KeyPoint.convert(points), np.float32).reshape(-1, 2), descriptors)


def match(a: Described | Landmarks, b: Described | Landmarks, key_points: KeyPoints) -> Integer[ndarray, "n 2"]:
    """List the places in a and b of key points that are each other's nearest, much nearer than the second (Lowe)."""
    if len(a.descriptors) < 1 or len(b.descriptors) < 2:  # Lowe's ratio needs a second best
        return np.empty((0, 2), np.intp)
    alike = _unit_vectors(a.descriptors, key_points) @ _unit_vectors(b.descriptors, key_points).T
    best = alike.argmax(1)
    rows = np.arange(len(best))
    first = alike[rows, best]
    mutual = alike.argmax(0)[best] == rows
    alike[rows, best] = -np.inf
    clear = 1 - first < LOWE_RATIO**2 * (1 - alike.max(1))  # squares of distances, halved
    found: Integer[ndarray, "n 2"] = np.stack([rows, best], axis=-1)[mutual & clear]
    return found


def _unit_vectors(descriptors: UInt8[ndarray, "n d"], key_points: KeyPoints) -> Float32[ndarray, "n c"]:
    """Turn descriptors into vectors of unit length: square roots of shares for SIFT, -1 and 1 of each bit for ORB."""
    if key_points == "orb":
        bits = np.unpackbits(descriptors, axis=-1).astype(np.float32)
        signs: Float32[ndarray, "n c"] = (2 * bits - 1) / np.sqrt(np.float32(bits.shape[-1]))
        return signs
    counts = descriptors.astype(np.float32)
    roots: Float32[ndarray, "n c"] = np.sqrt(counts / np.maximum(counts.sum(-1, keepdims=True), 1))
    return roots
