"""Pairs of cameras with lenses turned into a rectified pair: one K, and a point in the same row of both images."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, at_steps, between, check_centre, sees, show, zoomed_to_fill
from vo3d.errors import Vo3dError
from vo3d.geometry import sample_image, se3
from vo3d.geometry.camera import project, rays

MOST_TURN = 20.0  # degrees from a camera's axis to the rectified one: beyond, little of what one sees the other sees


@dataclass(frozen=True, eq=False)
class RectifiedPair:
    """A rectified pair, as `rectify_pair` finds it.

    Convention: `left_T_rectified` and `right_T_rectified` are rotations, from the rectified camera to the one that took
    the images; `baseline` is in metres, along x.
    """

    K: Float64[Tensor, "3 3"]
    left_T_rectified: Float64[Tensor, "4 4"]
    right_T_rectified: Float64[Tensor, "4 4"]
    baseline: float
    cameras: tuple[StoredCamera, StoredCamera]
    steps: tuple[Float32[Tensor, "rows columns 2"], Float32[Tensor, "rows columns 2"]]

    @property
    def left_T_right(self) -> Float64[Tensor, "4 4"]:
        """The pose of the right rectified camera in the left one."""
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = self.baseline
        return pose

    def rectify(self, image: Float32[Tensor, "3 h w"], *, right: bool = False) -> Float32[Tensor, "3 h w"]:
        """Make the image that the rectified camera would have taken out of that of the left or the right camera."""
        return sample_image(image, between(self.steps[right], self.cameras[0].size))[0]


def rectify_pair(
    left: StoredCamera, right: StoredCamera, left_T_right: Float64[Tensor, "4 4"], place: str
) -> RectifiedPair:
    """Find the rectified pair of two cameras.

    Its x lies along the baseline, its z between their axes; its focal length is the least that leaves no pixel of
    either image without a view, or has the zoom of the left camera.

    Source: Fusiello, Trucco, Verri, "A compact algorithm for rectification of stereo pairs", Machine Vision and
    Applications 2000, with the mean of both axes in the place of the left one.
    Raises Vo3dError, which begins with `place`, for images of two sizes, cameras that do not stand side by side, and
    lenses that cannot be undone.
    """
    if left.size != right.size:
        sizes = " and ".join(f"{width}x{height}" for height, width in (left.size, right.size))
        raise Vo3dError(f"{place}: the cameras have {sizes} pixels: expected one size for a stereo pair")
    for camera in (left, right):
        check_centre(camera.K, camera.size, f"{camera.name}, an image")
    left_R_rectified = _axes(left_T_right, place)
    right_R_rectified = left_T_right[:3, :3].mT @ left_R_rectified
    focal = torch.stack([camera.K[[0, 1], [0, 1]] for camera in (left, right)]).mean()
    K = torch.diag(torch.stack((focal, focal, torch.ones_like(focal))))
    K[:2, 2] = (left.K[:2, 2] + right.K[:2, 2]) / 2
    turned = ((left, left_R_rectified), (right, right_R_rectified))

    def seen(pixels: Float64[Tensor, "*n 2"]) -> Bool[Tensor, "*n"]:
        in_left, in_right = (sees(camera, _turn(pixels, K, turn, camera.K)) for camera, turn in turned)
        return in_left & in_right

    zoomed = zoomed_to_fill(left, K, seen)
    if zoomed is None:
        raise Vo3dError(
            f"{place}: the lenses do not show the whole images of a rectified pair: check T_BS of both cameras, give a "
            "smaller field of view where there is that option, or turn stereo off"
        )
    shift = torch.zeros(3, dtype=torch.float64)
    at_left, at_right = (
        at_steps(left.size, partial(_show_turned, camera, K=zoomed, turn=turn)) for camera, turn in turned
    )
    return RectifiedPair(
        K=zoomed,
        left_T_rectified=se3.from_rotation_translation(left_R_rectified, shift),
        right_T_rectified=se3.from_rotation_translation(right_R_rectified, shift),
        baseline=float(left_T_right[:3, 3].norm()),
        cameras=(left, right),
        steps=(at_left, at_right),
    )


def _axes(left_T_right: Float64[Tensor, "4 4"], place: str) -> Float64[Tensor, "3 3"]:
    """Find the axes of the rectified cameras in the left one, as columns."""
    offset = left_T_right[:3, 3]
    if not offset.norm() > 0:
        raise Vo3dError(f"{place}: the cameras stand in one place: expected a baseline: check T_BS of both cameras")
    x = offset / offset.norm()
    if x[0] < 0:
        raise Vo3dError(
            f"{place}: the second camera stands {-offset[0]:.3g} m to the left of the first: expected it to the right: "
            "exchange the two"
        )
    middle = left_T_right[:3, 2] / 2
    middle = middle + torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    y = torch.linalg.cross(middle, x)
    y = y / y.norm()
    axes = torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)
    for turn in (axes, left_T_right[:3, :3].mT @ axes):
        angle = float(torch.rad2deg(torch.linalg.norm(turn - torch.eye(3, dtype=torch.float64)) / 2**0.5))
        if angle > MOST_TURN:
            raise Vo3dError(
                f"{place}: a camera is {angle:.0f} degrees off the rectified pair: expected two that stand side by "
                f"side and look the same way, within {MOST_TURN:g}: check T_BS of both, or turn stereo off"
            )
    return axes


def _turn(
    pixels: Float64[Tensor, "*n 2"],
    K: Float64[Tensor, "3 3"],
    turn: Float64[Tensor, "3 3"],
    K_turned: Float64[Tensor, "3 3"],
) -> Float64[Tensor, "*n 2"]:
    """Find where a pinhole with `K_turned` shows what one with K shows at `pixels`; `turn` maps the latter's axes."""
    return project(K_turned, rays(K, pixels) @ turn.mT)[0]


def _show_turned(
    camera: StoredCamera, pixels: Float64[Tensor, "*n 2"], K: Float64[Tensor, "3 3"], turn: Float64[Tensor, "3 3"]
) -> Float64[Tensor, "*n 2"]:
    """Find where a camera shows what a rectified one shows at `pixels`."""
    return show(camera, _turn(pixels, K, turn, camera.K), camera.K)
