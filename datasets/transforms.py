"""Geometry-aware augmentation of clips: whatever happens to the pixels happens to cameras, depth and flow as well.

Every transform draws the same numbers for all views of a clip (and for both cameras of a stereo pair), because views
of one clip that were cropped or tinted apart would no longer be views of one scene.
"""

import math
from dataclasses import replace
from typing import ClassVar

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import adjust_hue
from torch import Tensor

from vo3d.datasets.resize import PIXELS, Size, changed, check_size, resize
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import crop_intrinsics, flip_intrinsics
from vo3d.recording import Transform
from vo3d.sample import Sample
from vo3d.world.imu import MEMS


class _ToSize(Transform):
    """A change that leaves images of one `size` (height, width); Vo3dError for one that is none."""

    def __init__(self, size: Size) -> None:
        check_size(size)
        self.size = size


class Resize(_ToSize):
    """Resize image, right, depth, mask, flow and K to `size` (height, width)."""

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip at the size."""
        return resize(sample, self.size)


class RandomCrop(_ToSize):
    """Cut the same window of `size` (height, width) out of all views; the principal point moves with it.

    Raises Vo3dError when the images are smaller than the window.
    """

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip seen through the window."""
        return _random_window(sample, self.size, generator)


class RandomResizedCrop(Transform):
    """Cut a window whose sides are a fraction of the images' sides, and resize it to `size` (None: the images' own).

    The window has the images' shape, the fraction lies in `scale`: focal lengths grow by its inverse.
    """

    def __init__(self, size: Size | None = None, scale: tuple[float, float] = (0.8, 1.0)) -> None:
        check_size(size)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise Vo3dError(f"scale {scale} of RandomResizedCrop: expected 0 < lowest <= highest <= 1")
        self.size = size
        self.scale = scale

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip seen through the window, enlarged."""
        height, width = sample.image.shape[-2:]
        fraction = _uniform(generator, *self.scale)
        window = (max(1, round(height * fraction)), max(1, round(width * fraction)))
        return resize(_random_window(sample, window, generator), self.size or (height, width))


class _Sometimes(Transform):
    """A change that is made with `probability`; Vo3dError for one that is none."""

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise Vo3dError(f"probability is {probability}: expected a number from 0 to 1")
        self.probability = probability


class HorizontalFlip(_Sometimes):
    """Mirror the clip left to right with `probability`: the pixels, and the world with its motion.

    With M = diag(-1, 1, 1), points become M p, poses and motions M T M, angular rates (a pseudovector) -M w,
    accelerations M a.
    The mirror image of a left camera is a right camera: a stereo pair is mirrored and swapped, so that `right` stays on
    the right and the poses are those of the new left camera.

    Raises Vo3dError for a stereo clip with what belongs to the left camera, which is the right one after the swap
    (depth, mask, label, flow, imu), and for occupancy, whose grid is not bound to the cameras.
    """

    breaks: ClassVar[tuple[str, ...]] = ("mirror",)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip or its mirror image."""
        _refuse(sample, ("occupancy",), "HorizontalFlip", "whose grid is not bound to the cameras")
        if sample.right is not None:
            _refuse(
                sample,
                ("depth", "mask", "label", "flow", "imu"),
                "HorizontalFlip of a stereo pair",
                "which belong to the left camera, and the cameras are swapped",
            )
        if _uniform(generator) >= self.probability:
            return sample
        if sample.right is not None:
            sample = _swap_stereo(sample)
        width = sample.image.shape[-1]
        return replace(
            sample,
            **changed(sample, ("image", "right", "depth", "mask", "label"), lambda pixels: pixels.flip(-1)),
            **changed(sample, ("K",), lambda K: flip_intrinsics(K, width)),
            **changed(sample, ("flow",), lambda flow: flow.flip(-1) * flow.new_tensor([-1.0, 1.0])[:, None, None]),
            **changed(sample, ("imu",), lambda imu: imu * imu.new_tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])),
            **changed(sample, ("world_T_cam", "left_T_right", "cam_T_imu", "object_motion"), se3.mirror),
        )


class ReverseTime(_Sometimes):
    """Play the clip backwards with `probability`, as if the camera had gone the same way back.

    Views, poses, depths and `index` change their order; the times ascend as before, with the intervals reversed; what
    moves goes back. Raises Vo3dError for clips with imu or flow: readings of the way back cannot be had by reordering.
    """

    breaks: ClassVar[tuple[str, ...]] = ("time",)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip, forwards or backwards."""
        _refuse(sample, ("imu", "imu_time", "flow"), "ReverseTime", "which run in one direction")
        if _uniform(generator) >= self.probability:
            return sample
        per_view = ("image", "K", "world_T_cam", "depth", "depth_range", "right", "mask", "label", "index")
        changes = changed(sample, per_view, lambda values: values.flip(0))
        changes |= changed(sample, ("object_motion",), lambda motion: se3.inverse(motion).flip(0))
        if sample.time is not None:
            changes["time"] = sample.time[0] + sample.time[-1] - sample.time.flip(0)
        return replace(sample, **changes)


class PhotometricJitter(Transform):
    """Change the colours of all views alike; every argument is the largest deviation, 0 switches that change off.

    `brightness`, `contrast`, `saturation`: factors 1 - x .. 1 + x, the contrast about the mean grey of the whole clip;
    `hue`: turns of the colour circle, -x .. x, at most 0.5; `gamma`: exponents 1 / (1 + x) .. 1 + x;
    `exposure`: a gain of its own for each view, (1 / (1 + x) .. 1 + x), as cameras with automatic exposure have;
    `stereo_exposure`: a gain of the right camera against the left one, for all views, as two cameras of a rig have.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.05,
        gamma: float = 0.0,
        exposure: float = 0.0,
        stereo_exposure: float = 0.0,
    ) -> None:
        limits = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}
        limits |= {"gamma": 10.0, "exposure": 10.0, "stereo_exposure": 10.0}
        given = (brightness, contrast, saturation, hue, gamma, exposure, stereo_exposure)
        for name, value in zip(limits, given, strict=True):
            if not 0 <= value <= limits[name]:
                raise Vo3dError(f"{name} {value} of PhotometricJitter: expected a number from 0 to {limits[name]:g}")
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.gamma = gamma
        self.exposure = exposure
        self.stereo_exposure = stereo_exposure

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip in other colours, clipped to [0, 1]."""
        brightness, contrast, saturation = (
            _uniform(generator, 1.0 - x, 1.0 + x) for x in (self.brightness, self.contrast, self.saturation)
        )
        turn = _uniform(generator, -self.hue, self.hue)
        exponent = _log_uniform(generator, self.gamma)
        gains = sample.image.new_tensor([_log_uniform(generator, self.exposure) for _ in sample.image])
        mean = rgb_to_grayscale(sample.image).mean() * brightness

        def recoloured(image: Tensor) -> Tensor:
            image = (image * brightness - mean) * contrast + mean
            if saturation != 1:
                grey = rgb_to_grayscale(image)
                image = grey + (image - grey) * saturation
            image = image.clamp(0, 1)
            if turn != 0:
                image = adjust_hue(image, 2 * math.pi * turn)
            if exponent != 1:
                image = image**exponent
            return (image * gains[:, None, None, None]).clamp(0, 1)

        changes = changed(sample, ("image", "right"), recoloured)
        if self.stereo_exposure and "right" in changes:
            gain = _log_uniform(generator, self.stereo_exposure)
            changes["right"] = (changes["right"] * gain).clamp(0, 1)
        return replace(sample, **changes)


class RandomGrey(_Sometimes):
    """Take the colours from all views, and from both cameras of a stereo pair, with `probability`.

    Grey is 0.299 R + 0.587 G + 0.114 B in all three channels, as of a grey camera. A network that meets both learns not
    to lean on colours.
    """

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip in colour, or grey in all three channels."""
        if _uniform(generator) >= self.probability:
            return sample
        return replace(
            sample,
            **changed(sample, ("image", "right"), lambda image: rgb_to_grayscale(image).expand_as(image).clone()),
        )


class DepthRangeJitter(Transform):
    """Move the near and the far end of the depth range, so that a network does not learn one range by heart.

    Each end is multiplied by a factor drawn evenly from its interval; a truth outside of the new range stays in the
    sample, and losses leave it out. Where a draw would leave no range, the sample keeps the one that it has.

    Args:
        near: lowest and highest factor of the near end.
        far: the same of the far end.
    """

    def __init__(self, near: tuple[float, float] = (0.8, 1.1), far: tuple[float, float] = (0.9, 1.3)) -> None:
        for name, (low, high) in (("near", near), ("far", far)):
            if not 0 < low <= high:
                raise Vo3dError(f"{name} is ({low}, {high}): expected 0 < lowest <= highest factor")
        self.near, self.far = near, far

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip with another range in all views; Vo3dError where it has none."""
        if sample.depth_range is None:
            raise Vo3dError(f"{sample.scene!r} has no depth_range: leave DepthRangeJitter out")
        factors = [_uniform(generator, low, high) for low, high in (self.near, self.far)]
        moved = sample.depth_range * sample.depth_range.new_tensor(factors)
        return replace(sample, depth_range=moved) if bool((moved[..., 0] < moved[..., 1]).all()) else sample


class InertialBias(Transform):
    """Add a constant to all readings of a clip, another one for each axis, as if another sensor had been switched on.

    A network that meets many biases cannot learn those of the training recordings by heart.

    Args:
        gyro: standard deviation of the bias of each axis, rad/s.
        accelerometer: the same, m/s^2; the defaults are those of `vo3d.world.imu.MEMS`.
    """

    def __init__(self, gyro: float = MEMS.gyro_bias, accelerometer: float = MEMS.accelerometer_bias) -> None:
        if min(gyro, accelerometer) < 0:
            raise Vo3dError(f"gyro {gyro} and accelerometer {accelerometer} of InertialBias: expected at least 0")
        self.deviation = torch.tensor([gyro] * 3 + [accelerometer] * 3)

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Return the clip as another sensor reads it; Vo3dError where it has no readings."""
        if sample.imu is None:
            raise Vo3dError(f"{sample.scene!r} has no imu: turn it on, or leave InertialBias out")
        return replace(sample, imu=sample.imu + self.deviation * torch.randn(6, generator=generator))


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """Draw one number in [low, high), even where low = high, so that options do not shift the other draws."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _log_uniform(generator: torch.Generator, largest: float) -> float:
    """Draw one factor in 1 / (1 + largest) .. 1 + largest, as often above 1 as below."""
    return math.pow(1 + largest, _uniform(generator, -1.0, 1.0))


def _refuse(sample: Sample, names: tuple[str, ...], what: str, why: str) -> None:
    """Raise Vo3dError when the sample has one of the fields, whatever the dice would say."""
    if found := [name for name in names if name in sample.given()]:
        raise Vo3dError(f"{what} cannot change {', '.join(found)}, {why}: leave out the transform or the field")


def _random_window(sample: Sample, size: Size, generator: torch.Generator) -> Sample:
    """Cut the clip to a window of `size`, anywhere in the images."""
    height, width = sample.image.shape[-2:]
    if size[0] > height or size[1] > width:
        raise Vo3dError(
            f"a window of {size[0]}x{size[1]} (height x width) does not fit into images of {height}x{width} in "
            f"{sample.scene!r}: give the dataset a larger size"
        )
    top = int(torch.randint(height - size[0] + 1, (), generator=generator))
    left = int(torch.randint(width - size[1] + 1, (), generator=generator))
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    return replace(
        sample,
        **changed(sample, PIXELS, lambda pixels: pixels[..., rows, columns]),
        **changed(sample, ("K",), lambda K: crop_intrinsics(K, left, top)),
    )


def _swap_stereo(sample: Sample) -> Sample:
    """Return the clip with the right camera as its reference and the left one as `right`."""
    if sample.right is None or sample.left_T_right is None:
        raise Vo3dError(f"the stereo clip of {sample.scene!r} lacks left_T_right: expected it wherever right is given")
    left_T_right = sample.left_T_right
    return replace(
        sample,
        image=sample.right,
        right=sample.image,
        left_T_right=se3.inverse(left_T_right),
        **changed(sample, ("world_T_cam",), lambda poses: poses @ left_T_right.double()),
    )
