"""The survey's classic pipeline: calibrated features, RANSAC on the essential matrix, motion, a stated scale."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import ClassVar, Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import two_view
from vo3d.geometry.grey import grey_image
from vo3d.geometry.preintegration import Preintegration
from vo3d.known_truth import known_steps
from vo3d.mapping.features import Features, Grey, Pixels, match, track
from vo3d.mapping.key_frames import KeyFrameTracker
from vo3d.model import Model, Prediction, Window
from vo3d.models.classic_carried import carried_steps
from vo3d.recording import Recording
from vo3d.sample import Sample

Scale = Literal["stereo", "height", "relative", "constant", "true"]

NEEDS_OF_SCALE = {"stereo": ("right", "left_T_right"), "true": ("world_T_cam",)}
THRESHOLDS = {"fast_lk": 0.5, "orb": 1.0, "sift": 0.5}  # pixels; ORB's corners are whole pixels of a pyramid


@dataclass(frozen=True)
class Frame:
    """The parts of one frame that the pipeline keeps."""

    image: Grey
    K: Float64[ndarray, "3 3"]
    right: Grey | None
    right_T_left: Float64[ndarray, "4 4"] | None  # metres
    world_T_cam: Float64[ndarray, "4 4"] | None  # metres; read for the length of the step alone, and only if asked
    moved: Preintegration | None = None  # what an inertial sensor read since the frame before; `GyroClassic` reads it


class ClassicOdometry(Model):
    """Frame-to-frame visual odometry without learning (OpenCV), for one camera and a source of scale that it states.

    A step that fails (too few matches, no consistent motion, no scale) repeats the motion before it and is not
    `tracked`: never silent. When the matches move less than `min_parallax` after a pure rotation has been taken off
    them, the step is that rotation: a camera at rest yields no random directions. Stereo, whose depths tell a slow step
    from a rotation, takes off that of the whole motion.

    Args:
        features: "fast_lk" tracks FAST corners, the best of each grid cell by Shi and Tomasi's score, with pyramidal
            Lucas-Kanade there and back; "orb" and "sift" match descriptors with Lowe's ratio and a mutual check.
        scale: Where the length of a step comes from. "stereo": points triangulated with the right image and its
            baseline; "height": the ground below a camera of known height; "relative": points triangulated before, from
            key frame to key frame (`vo3d.mapping.key_frames`), in a unit of which the first such length is 1;
            "constant": `step`; "true": the ground truth, one length a step, which no fair comparison with other
            sources may hide (see `scale_source`).
        camera_height: Metres above the ground, for "height".
        step: Metres a step, for "constant"; `fit` sets it to the mean of training recordings.
        num_features: Corners that are looked for in an image.
        threshold: Distance of an inlier from its epipolar line, pixels; None takes `THRESHOLDS` of the features.
        min_parallax: Median, pixels, below which a step counts as a rotation alone.
        bundle: Key frames, 3 or more, whose poses are adjusted together with their points, for "relative"; 0: none.
    """

    needs: ClassVar[tuple[str, ...]] = ("image", "K")  # an instance adds what its source of scale reads
    gives: ClassVar[tuple[str, ...]] = ("prev_T_cam", "tracked")
    baseline = "classic"
    turns: ClassVar[bool] = True  # whether stereo may turn the motion that the epipolar lines tell
    step: Tensor

    def __init__(
        self,
        features: Features = "fast_lk",
        scale: Literal["stereo", "height", "relative", "constant", "true", True] = "constant",
        camera_height: float = 1.65,
        step: float | None = None,
        num_features: int = 800,
        threshold: float | None = None,
        min_parallax: float = 0.3,
        bundle: int = 0,
    ) -> None:
        super().__init__()
        scale = "true" if scale is True else scale  # YAML reads the word without quotes as a truth value
        for name, value, known in (("features", features, get_args(Features)), ("scale", scale, get_args(Scale))):
            if value not in known:
                raise Vo3dError(f"{name}={value!r} is unknown: expected one of {', '.join(known)}")
        self.features = features
        self.scale = scale
        self.camera_height = camera_height
        self.num_features = num_features
        self.threshold = threshold if threshold is not None else THRESHOLDS[features]
        self.min_parallax = min_parallax
        if scale == "relative" and features != "fast_lk":
            raise Vo3dError(f"scale='relative' tracks corners, and features is {features!r}: expected 'fast_lk'")
        if bundle < 0 or 0 < bundle < 3:
            raise Vo3dError(f"bundle={bundle}: expected 3 key frames or more, or 0 for none")
        self.bundle = bundle
        self.metric = scale != "relative"
        if scale == "relative":  # whose answers do not depend on it: short ones, whose memory is used again
            self.window = Window(usual=8)
        self.register_buffer("step", torch.tensor(math.nan if step is None else step))
        self.__dict__["needs"] = (*type(self).needs, *NEEDS_OF_SCALE.get(scale, ()))
        if scale != "constant":  # there is nothing to learn, and no training recordings are asked for
            self.__dict__["fit"] = super().fit

    @property
    def scale_source(self) -> str:  # type: ignore[override]
        """Name the source of the scale, in the words that results print."""
        return {
            "stereo": "stereo baseline",
            "height": f"camera height {self.camera_height:g} m",
            "relative": "first key frames (1 unit), carried on by triangulated points",
            "constant": f"constant step {self.step.item():.3g} m",
            "true": "ground truth",
        }[self.scale]

    def fit(self, recordings: Sequence[Recording]) -> None:
        """Set `step` to the mean length of the steps of training `recordings`; only scale="constant" reads it."""
        self.step.fill_(known_steps(recordings)[:, :3, 3].norm(dim=-1).mean())

    def forward(self, sample: Sample) -> Prediction:
        """The steps of each clip on its own."""
        if self.scale == "relative":
            return next(self._carried([sample]))
        return self._predict(sample, None)

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """Raise Vo3dError: nothing here learns by gradients."""
        raise Vo3dError("ClassicOdometry has no parameters to train: evaluate it instead")

    def stream(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """The steps of clip after clip; a failed first step repeats the last one of the clip before.

        With a relative scale the first clips are answered when the camera has moved enough to tell their lengths.
        """
        if self.scale == "relative":
            yield from self._carried(samples)
            return
        before: Tensor | None = None
        for sample in samples:
            prediction = self._predict(sample, before)
            if prediction["prev_T_cam"].shape[-3] > 0:
                before = prediction["prev_T_cam"][..., -1, :, :]
            yield prediction

    def _carried(self, samples: Iterable[Sample]) -> Iterator[Prediction]:
        """The steps of clip after clip, with lengths that are carried on by points."""
        return carried_steps(
            samples,
            lambda: KeyFrameTracker(self.num_features, self.threshold, self.min_parallax, self.bundle),
            lambda clip: ((view.image, view.K) for view in self._views(clip)),
        )

    def _predict(self, sample: Sample, before: Tensor | None) -> Prediction:
        """Steps of a batch of clips (or of one without a batch axis); `before` (*b 4 4) is each one's step before."""
        if self.scale == "constant" and self.step.isnan():
            raise Vo3dError("scale='constant' has no length of a step: give step in metres, or fit() to recordings")
        batched = sample.image.ndim == 5
        clips = [sample.map(itemgetter(row)) for row in range(len(sample.image))] if batched else [sample]
        motions = torch.eye(4).expand(len(clips), 4, 4) if before is None else before.reshape(-1, 4, 4)
        before_each = motions.double().cpu().numpy()
        rows = [self._clip(clip, before_each[row], row) for row, clip in enumerate(clips)]
        prev_T_cam = torch.from_numpy(np.stack([steps for steps, _ in rows])).to(sample.image)
        tracked = torch.from_numpy(np.stack([told for _, told in rows])).to(sample.image.device)
        return {"prev_T_cam": prev_T_cam if batched else prev_T_cam[0], "tracked": tracked if batched else tracked[0]}

    def _clip(
        self, clip: Sample, before: Float64[ndarray, "4 4"], row: int
    ) -> tuple[Float64[ndarray, "m 4 4"], Bool[ndarray, "m"]]:
        """`prev_T_cam` and `tracked` of every view of a clip but the first; `row` is its place in the batch."""
        cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator: same clip, same motion
        found, tracked = np.empty((len(clip.image) - 1, 4, 4)), np.empty(len(clip.image) - 1, dtype=bool)
        views = self._views(clip)
        prev = next(views)
        for index, cam in enumerate(views):
            cam_T_prev = self._step(prev, cam, two_view.inverse(before))
            tracked[index] = cam_T_prev is not None
            before = before if cam_T_prev is None else two_view.inverse(cam_T_prev)
            found[index], prev = before, cam
        return found, tracked

    def _views(self, clip: Sample) -> Iterator[Frame]:
        """The views of one clip (no batch axis), one at a time, as arrays."""
        right_T_left = None
        if clip.left_T_right is not None:
            right_T_left = two_view.inverse(clip.left_T_right.double().cpu().numpy())
        if clip.K is None:
            raise Vo3dError(f"{clip.scene!r} has no K, which the classic pipeline needs: give intrinsics")
        for index in range(len(clip.image)):
            yield Frame(
                image=grey_image(clip.image[index]),
                K=clip.K[index].double().cpu().numpy(),
                right=None if clip.right is None else grey_image(clip.right[index]),
                right_T_left=right_T_left,
                world_T_cam=None if clip.world_T_cam is None else clip.world_T_cam[index].double().cpu().numpy(),
            )

    def _turn(self, cam: Frame, turned: Float64[ndarray, "4 4"]) -> Float64[ndarray, "4 4"]:
        """`cam_T_prev` of a step that is a rotation alone, `turned` by the matches."""
        return turned

    def _motion(
        self,
        cam: Frame,
        a: Float64[ndarray, "n 2"],
        b: Float64[ndarray, "n 2"],
        threshold: float,
        guess: Float64[ndarray, "4 4"],
    ) -> tuple[Float64[ndarray, "4 4"], Bool[ndarray, "n"]] | None:
        """`cam_T_prev` up to scale, and the matches that agree with it, as `two_view.fit_motion` gives them."""
        return two_view.fit_motion(a, b, threshold, guess)

    def _step(self, prev: Frame, cam: Frame, guess: Float64[ndarray, "4 4"]) -> Float64[ndarray, "4 4"] | None:
        """`cam_T_prev` in metres, or None where the images do not tell it; `guess` is that of the step before."""
        pixels, moved = match(prev.image, cam.image, self.features, self.num_features)
        if len(pixels) < two_view.MIN_POINTS:
            return None
        a, b = two_view.rays_from_pixels(pixels, prev.K), two_view.rays_from_pixels(moved, cam.K)
        pixel = 1 / math.sqrt(cam.K[0, 0] * cam.K[1, 1])  # in units of rays
        turned = two_view.fit_rotation(a, b)
        still = self._still(a, b, turned, pixel)
        if still and self.scale != "stereo":
            return self._turn(cam, turned)
        fitted = self._motion(cam, a, b, self.threshold * pixel, guess)
        if self.scale == "stereo":  # depths tell a slow step from a rotation that looks much like it
            metric = None if fitted is None else self._stereo(prev, pixels[fitted[1]], b[fitted[1]], fitted[0], pixel)
            turns = still and (metric is None or self._still(a, b, metric, pixel))
            return self._turn(cam, turned) if turns else metric
        if fitted is None:
            return None
        cam_T_prev, inlier = fitted
        length = self._length(prev, cam, a[inlier], b[inlier], cam_T_prev, pixel)
        return None if length is None else two_view.rigid(cam_T_prev[:3, :3], length * cam_T_prev[:3, 3])

    def _still(
        self, a: Float[ndarray, "n 2"], b: Float[ndarray, "n 2"], cam_T_prev: Float64[ndarray, "4 4"], pixel: float
    ) -> bool:
        """Tell whether the matches move less than `min_parallax` beside the rotation of `cam_T_prev`."""
        return bool(np.median(two_view.parallax(a, b, cam_T_prev)) < self.min_parallax * pixel)

    def _length(
        self,
        prev: Frame,
        cam: Frame,
        a: Float64[ndarray, "n 2"],
        b: Float64[ndarray, "n 2"],
        cam_T_prev: Float64[ndarray, "4 4"],
        pixel: float,
    ) -> float | None:
        """Metres of the step, from the source of scale that needs one camera."""
        if self.scale == "constant":
            return float(self.step)
        if self.scale == "true":
            if prev.world_T_cam is None or cam.world_T_cam is None:
                raise Vo3dError("scale='true' needs world_T_cam: choose a recording with poses, or another scale")
            return float(np.linalg.norm(cam.world_T_cam[:3, 3] - prev.world_T_cam[:3, 3]))
        ground = two_view.fit_ground(a, b, cam_T_prev, 2 * self.threshold * pixel)
        return None if ground is None else self.camera_height * float(np.linalg.norm(ground))

    def _stereo(
        self,
        prev: Frame,
        pixels: Pixels,
        b: Float64[ndarray, "n 2"],
        cam_T_prev: Float64[ndarray, "4 4"],
        pixel: float,
    ) -> Float64[ndarray, "4 4"] | None:
        """The metric motion from points of the stereo pair `prev` (rectified: both cameras have its K)."""
        if prev.right is None or prev.right_T_left is None:
            raise Vo3dError("scale='stereo' needs right and left_T_right: turn stereo on in the dataset's arguments")
        baseline = float(np.linalg.norm(prev.right_T_left[:3, 3]))
        if baseline == 0:
            raise Vo3dError("scale='stereo' needs a baseline, and left_T_right has none: give its translation, metres")
        partner, good = track(prev.image, prev.right, pixels)
        left, right = (two_view.rays_from_pixels(points, prev.K) for points in (pixels, partner))
        good &= np.abs(two_view.sampson(left, right, prev.right_T_left)) < 2 * self.threshold * pixel
        inverse = np.where(good, two_view.inverse_depth(left, right, prev.right_T_left), np.nan)
        behind = np.count_nonzero(inverse * baseline < -2 * self.threshold * pixel)
        if behind > max(two_view.MIN_POINTS, good.sum() / 2):
            raise Vo3dError(
                f"{behind} of {good.sum()} points lie behind the stereo pair: left and right images are swapped, or "
                "left_T_right has the wrong sign: exchange the images or turn its translation round"
            )
        args = (left, b, inverse, baseline, cam_T_prev, self.threshold * pixel)
        return two_view.fit_metric_motion(*args, turns=self.turns)
