"""Follow a single camera from key frame to key frame, in a unit that triangulated points carry along."""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from vo3d.geometry import two_view
from vo3d.mapping.bundle import adjust
from vo3d.mapping.features import Grey, free_corners, grid_corners, track
from vo3d.mapping.following import follow_points
from vo3d.mapping.inverse_depths import InverseDepths, relative_length

START_PARALLAX = 8.0  # pixels, median: from here on the first two key frames tell a direction ...
SLOW_PARALLAX = 3.0  # ... or from here on, where as many frames have waited as SLOW, or no more come
SLOW = 60
KEY_PARALLAX = 12.0  # pixels, median: a frame that far from its key frame is the next one
KEEP = 0.6  # share of a key frame's points: with fewer the next key frame is due
CUT = 0.15  # share of the points that must be found again in the next frame, and fit one motion
FOLLOWED = 0.25  # share of the known points that must agree with a pose near the one before, or others are looked for
NOISE = 0.15  # pixels, deviation of a match of Lucas-Kanade
FORGET = 1.2  # factor on the variance of an inverse depth from key frame to key frame
MOST_LOST = 3  # frames in which nothing is found, before a new map is begun
MOST_WAITING = 90  # frames that wait for the first parallax; a camera that stands longer is taken to stand
MEMORY = 20  # steps whose mean length stands in for one that points do not tell
Pose = Float64[ndarray, "4 4"]
Pixels = Float64[ndarray, "n 2"]
Names = Int64[ndarray, " n"]


class KeyFrameTracker:
    """The path of one camera, frame by frame; the unit of length is the distance of the first two key frames.

    Corners are tracked from frame to frame (`vo3d.mapping.features`). A frame becomes the next key frame when its
    median parallax to the one before exceeds `KEY_PARALLAX` or few points are left. Its motion is that of the epipolar
    lines (`two_view.fit_motion`); the length is the weighted median of the ratios between the inverse depths that this
    motion gives to points and those that they have from the key frames before (`relative_length`): tracks over three
    and more frames carry the scale. Inverse depths are fused there, and new corners fill the empty cells. Frames
    between are placed by the points whose inverse depths are known (`follow_points`). While matches move less
    than `min_parallax` beside a rotation, the camera stands: its frames are compared with the one in which it came to
    rest, so that noise adds up to nothing.

    Poses of the first frames wait until a key frame is far enough from the first one to tell their lengths. Where
    nothing is found in a few frames, a new map begins, in which the first length is that of the mean step before: a
    guess.

    Args:
        num_features: Corners that are tracked at once.
        threshold: Distance of an inlier from its epipolar line, pixels.
        min_parallax: Median, pixels, below which the camera stands.
        bundle: Key frames whose poses are adjusted together with their points (`vo3d.mapping.bundle`); 0: none.
    """

    def __init__(self, num_features: int, threshold: float, min_parallax: float, bundle: int = 0) -> None:
        self.num_features, self.threshold, self.min_parallax = num_features, threshold, min_parallax
        self.bundle = bundle
        self.poses: list[Pose] = []  # world_T_cam of each frame, in the unit
        self.told: list[bool] = []  # of each frame, whether the images told its pose
        self.settled = 0  # frames whose poses are final
        self._image: Grey | None = None  # the last one that was followed
        self._lost = 0  # frames in a row

    def add(self, image: Grey, K: Float64[ndarray, "3 3"]) -> None:
        """Go on by one frame, whose size is that of the frames before."""
        cv2.setRNGSeed(0)  # RANSAC draws from OpenCV's own generator: same frames, same poses
        self._K, self._pixel = K, 1 / math.sqrt(K[0, 0] * K[1, 1])
        if self._image is None:
            self.poses.append(np.eye(4))
            self.told.append(True)
            self._begin(image)
            self._settle()
            return
        found = self._follow(image)
        self.poses.append(self._repeated() if found is None else found)
        self.told.append(found is not None)
        self._lost = 0 if found is not None else self._lost + 1
        if self._image is image:
            self._followed = self.poses[-1]
        if self._lost == MOST_LOST:
            self._begin(image)
        if self._mapped or len(self.poses) - self.settled > MOST_WAITING:
            self._settle()

    def end(self) -> None:
        """Place the frames that wait, by as much parallax as there is, because no more come."""
        if self._waiting:
            a, b = self._rays(self._key), self._rays(self._now)
            if self._parallax(a, b, two_view.fit_rotation(a, b)) > SLOW_PARALLAX:
                self._moved(a, b)  # which places those that wait, the newest among them
        self._settle()

    def _settle(self) -> None:
        """Take the poses of frames that wait as they are."""
        self.settled = len(self.poses)
        self._waiting.clear()

    def _begin(self, image: Grey) -> None:
        """Make the newest frame the key frame of a map without points."""
        self._image, self._lost, self._mapped = image, 0, False
        self._followed = self.poses[-1]  # world_T_cam of that image
        self._now = grid_corners(image, self.num_features).astype(np.float64)  # points in the newest frame
        self._key = self._now  # the same in the key frame
        self._names, self._next_name = np.arange(len(self._now)), len(self._now)
        self._depths = InverseDepths.unknown(len(self._now))  # in the key frame
        self._motion = np.eye(4)  # cam_T_key of the frame before
        self._key_frame, self._count = len(self.poses) - 1, len(self._now)
        self._waiting: list[tuple[int, Names, Pixels, Pose]] = []  # frames before the first length, see `_wait`
        self._seen = self._now[None]  # the points in the last `bundle` key frames
        self._world_T_keys = self.poses[-1][None]

    def _follow(self, image: Grey) -> Pose | None:
        """Find `world_T_cam` of the next frame; None where the images do not tell it."""
        assert self._image is not None  # noqa: S101  by `add`
        moved, good = track(self._image, image, self._now.astype(np.float32))
        if good.sum() < max(two_view.MIN_POINTS, CUT * len(good)):
            return None
        now = moved[good].astype(np.float64)
        a, b = self._rays(self._now[good]), self._rays(now)
        turned = two_view.fit_rotation(a, b)
        if good.mean() > KEEP and self._parallax(a, b, turned) < self.min_parallax:  # it stands
            self._wait(turned)
            return np.asarray(self._followed @ two_view.inverse(turned))
        self._image = image
        self._keep(good, now)
        return self._find(turned)

    def _find(self, turned: Pose) -> Pose | None:
        """Find `world_T_cam` of the newest frame, `turned` since the one before; None where the images do not tell."""
        few = len(self._now) < KEEP * self._count
        a, b = self._rays(self._key), self._rays(self._now)
        if not self._mapped:
            turned = two_view.fit_rotation(a, b)
            needed = START_PARALLAX if len(self._waiting) < SLOW else SLOW_PARALLAX
            if few or self._parallax(a, b, turned) > needed:
                return self._moved(a, b)
            self._wait(np.eye(4))
            return self._placed(turned)
        known, guess = self._depths.known, np.asarray(turned @ self._motion)
        if known.sum() > two_view.MIN_POINTS:
            depths = self._depths[known]
            args = (a[known], b[known], depths.mean, depths.variance, guess, self.threshold * self._pixel)
            cam_T_key, inlier = follow_points(*args)
            if inlier.mean() > FOLLOWED:
                guess, parallax = cam_T_key, self._parallax(a, b, cam_T_key)
                if parallax < (SLOW_PARALLAX if few else KEY_PARALLAX):
                    self._motion = cam_T_key
                    pose = self._placed(cam_T_key)
                    if few:  # after a turn, of which epipolar lines tell nothing
                        self._advance(pose, self._depths.moved(a, cam_T_key))
                    return pose
        self._motion = guess
        return self._moved(a, b)

    def _parallax(self, a: Pixels, b: Pixels, b_T_a: Pose) -> float:
        """Compute the median parallax, pixels."""
        return float(np.median(two_view.parallax(a, b, b_T_a))) / self._pixel

    def _moved(self, a: Pixels, b: Pixels) -> Pose | None:
        """Find `world_T_cam` of a camera that has moved between these rays, and make its frame the next key frame."""
        fitted = two_view.fit_motion(a, b, self.threshold * self._pixel, self._motion)
        if fitted is None or fitted[1].mean() < CUT:
            return None
        unit_T_key, inlier = fitted
        seen = InverseDepths.between(a, b, unit_T_key, NOISE * self._pixel).without(~inlier)
        told = relative_length(self._depths, seen, two_view.MIN_POINTS) if self._mapped else self._usual_length() or 1.0
        length = self._usual_length() if told is None else told
        self._motion, seen = _scaled(unit_T_key, length), seen.scaled(length)
        pose = self._placed(self._motion)
        if not self._mapped:
            self._resolve(seen)
        self._advance(pose, self._depths.fused(seen, FORGET).without(~inlier).moved(a, self._motion))
        return None if told is None else pose

    def _rays(self, pixels: Pixels) -> Pixels:
        return two_view.rays_from_pixels(pixels, self._K)

    def _placed(self, cam_T_key: Pose) -> Pose:
        """Give `world_T_cam` of a motion since the key frame."""
        return np.asarray(self._world_T_keys[-1] @ two_view.inverse(cam_T_key))

    def _repeated(self) -> Pose:
        """Repeat the step before."""
        if len(self.poses) < 2:
            return self.poses[-1]
        return np.asarray(self.poses[-1] @ two_view.inverse(self.poses[-2]) @ self.poses[-1])

    def _usual_length(self) -> float:
        """Compute the length since the key frame at the mean speed of the steps before it; 0 where nothing moved."""
        first = max(0, self._key_frame - MEMORY)
        positions = np.stack([pose[:3, 3] for pose in self.poses[first : self._key_frame + 1]])
        steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        return float(steps.mean()) * (len(self.poses) - self._key_frame) if len(steps) else 0.0

    def _keep(self, good: Bool[ndarray, " all"], now: Pixels) -> None:
        """Go on with the points that were found again, `now` in the newest frame."""
        self._now, self._key, self._names = now, self._key[good], self._names[good]
        self._depths, self._seen = self._depths[good], self._seen[:, good]

    def _wait(self, turned: Pose) -> None:
        """Remember a frame whose position is not known yet: the newest points, and the turn since they were seen."""
        if not self._mapped:
            self._waiting.append((len(self.poses), self._names, self._now, turned))

    def _resolve(self, depths: InverseDepths) -> None:
        """Find the positions of the frames that waited, by the points that the first length has placed."""
        self._mapped = True
        known = depths.known
        if known.sum() < two_view.MIN_POINTS:
            return
        a, depths = self._rays(self._key), depths[known]
        for frame, names, pixels, further in self._waiting:
            b = self._rays(pixels[np.searchsorted(names, self._names)])
            args = (a[known], b[known], depths.mean, depths.variance, two_view.fit_rotation(a, b))
            cam_T_key, inlier = follow_points(*args, self.threshold * self._pixel)
            if inlier.mean() > FOLLOWED:
                self.poses[frame] = self._placed(further @ cam_T_key)

    def _advance(self, world_T_cam: Pose, depths: InverseDepths) -> None:
        """Make the newest frame the key frame, where the points have these inverse depths, and fill it with corners."""
        assert self._image is not None  # noqa: S101  by `add`
        most = max(self.bundle, 1)
        self._seen = np.concatenate([self._seen, self._now[None]])[-most:]
        self._world_T_keys = np.concatenate([self._world_T_keys, world_T_cam[None]])[-most:]
        self._key_frame, self._motion = len(self.poses), two_view.rigid(np.eye(3), self._motion[:3, 3])
        if len(self._seen) > 2 and self._mapped:
            depths = self._adjusted(depths)
        fresh = free_corners(self._image, self.num_features, self._now).astype(np.float64)
        unseen = np.full((len(self._seen), len(fresh), 2), np.nan)
        unseen[-1] = fresh
        self._seen = np.concatenate([self._seen, unseen], axis=1)
        self._now = self._key = np.concatenate([self._now, fresh])
        self._names = np.concatenate([self._names, self._next_name + np.arange(len(fresh))])
        self._next_name += len(fresh)
        self._depths, self._count = depths.extended(len(fresh)), len(self._now)
        if not self._mapped:  # nobody will place what was seen from the key frame before
            self._waiting.clear()

    def _adjusted(self, depths: InverseDepths) -> InverseDepths:
        """Adjust the last key frames and the points that several of them see, and give the points' inverse depths."""
        used = depths.known & (np.isfinite(self._seen[..., 0]).sum(0) > 2)
        if used.sum() < two_view.MIN_POINTS:
            return depths
        world_T_cam = self._world_T_keys[-1]
        rays = np.concatenate([self._rays(self._now[used]), np.ones((used.sum(), 1))], axis=1)
        points = rays / depths.mean[used, None] @ world_T_cam[:3, :3].T + world_T_cam[:3, 3]
        adjusted = adjust(self._seen[:, used], self._K, self._world_T_keys, points, self.threshold)
        self._world_T_keys, points = adjusted
        world_T_cam = self._world_T_keys[-1]
        z = (points - world_T_cam[:3, 3]) @ world_T_cam[:3, 2]
        mean = depths.mean.copy()
        mean[used] = 1 / np.where(z > 0, z, np.nan)
        return InverseDepths(mean, depths.variance).without(~np.isfinite(mean))


def _scaled(b_T_a: Pose, length: float) -> Pose:
    """Give a motion of unit length another length."""
    return two_view.rigid(b_T_a[:3, :3], length * b_T_a[:3, 3])
