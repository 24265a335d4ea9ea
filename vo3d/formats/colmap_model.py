"""What a sparse model of COLMAP holds, and how its camera models become K and a lens model of vo3d.

Convention: COLMAP puts the centre of the top-left pixel at (0.5, 0.5), vo3d at (0, 0): `K` and `keypoints` here are
vo3d's, half a pixel less; `params` are as in COLMAP's files. Lengths are in the model's own unit, known up to scale.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vo3d.errors import Vo3dError, quoted, shown
from vo3d.formats.pinhole import LARGEST_K, check_pinhole
from vo3d.formats.text import FARTHEST
from vo3d.geometry import rotations, se3
from vo3d.geometry.distortion import LensModel

HALF_PIXEL = 0.5  # from vo3d's pixel coordinates to COLMAP's
QUATERNION_TOLERANCE = 5e-3


@dataclass(frozen=True, kw_only=True)
class CameraModel:
    """One of COLMAP's camera models: focal lengths, principal point, coefficients, in this order."""

    id: int
    focals: int  # 1: fx = fy
    lens: LensModel | None = None
    coefficients: int = 0  # the first ones of the lens model; the others are zero

    @property
    def num_params(self) -> int:
        """Numbers after the size of the image."""
        return self.focals + 2 + self.coefficients


# Those that OpenCV's two lens models express. Source: COLMAP's documentation of its camera models.
CAMERA_MODELS = {
    "SIMPLE_PINHOLE": CameraModel(id=0, focals=1),
    "PINHOLE": CameraModel(id=1, focals=2),
    "SIMPLE_RADIAL": CameraModel(id=2, focals=1, lens="radtan", coefficients=1),
    "RADIAL": CameraModel(id=3, focals=1, lens="radtan", coefficients=2),
    "OPENCV": CameraModel(id=4, focals=2, lens="radtan", coefficients=4),
    "OPENCV_FISHEYE": CameraModel(id=5, focals=2, lens="equidistant", coefficients=4),
    "FULL_OPENCV": CameraModel(id=6, focals=2, lens="radtan", coefficients=8),
    "SIMPLE_RADIAL_FISHEYE": CameraModel(id=8, focals=1, lens="equidistant", coefficients=1),
    "RADIAL_FISHEYE": CameraModel(id=9, focals=1, lens="equidistant", coefficients=2),
    "SIMPLE_FISHEYE": CameraModel(id=14, focals=1, lens="equidistant"),
    "FISHEYE": CameraModel(id=15, focals=2, lens="equidistant"),
}
MODEL_NAMES = {model.id: name for name, model in CAMERA_MODELS.items()} | {
    7: "FOV",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION",
    13: "DIVISION",
    16: "EUCM",
    17: "EQUIRECTANGULAR",
}


@dataclass(frozen=True, kw_only=True)
class ColmapCamera:
    """A camera that one or many images share; `params` as in COLMAP's files."""

    id: int
    model: str  # a key of CAMERA_MODELS
    width: int
    height: int
    params: tuple[float, ...]

    @property
    def K(self) -> Float64[Tensor, "3 3"]:
        """The intrinsic matrix in vo3d's pixels: the principal point half a pixel less than in `params`."""
        focals = CAMERA_MODELS[self.model].focals
        cx, cy = self.params[focals : focals + 2]
        rows = (
            (self.params[0], 0.0, cx - HALF_PIXEL),
            (0.0, self.params[focals - 1], cy - HALF_PIXEL),
            (0.0, 0.0, 1.0),
        )
        return torch.tensor(rows, dtype=torch.float64)

    @property
    def lens(self) -> tuple[LensModel, tuple[float, ...]] | None:
        """Model and coefficients for `vo3d.geometry.distortion`; None where the camera is an ideal pinhole."""
        model = CAMERA_MODELS[self.model]
        given = self.params[model.focals + 2 :]
        if model.lens is None or (model.lens == "radtan" and not any(given)):
            return None
        return model.lens, given + (0.0,) * (4 - len(given))


@dataclass(frozen=True, kw_only=True)
class ColmapImage:
    """One registered image: its pose, world to camera, and its keypoints, in vo3d's pixels."""

    id: int
    name: str  # path below the folder of the images
    camera_id: int
    cam_T_world: Float64[Tensor, "4 4"]
    keypoints: Float64[Tensor, "k 2"]
    point_ids: Int64[Tensor, " k"]  # of the sparse point that a keypoint shows; -1: none

    @property
    def motion(self) -> list[float]:
        """The pose as in COLMAP's files: unit quaternion, w first, and translation."""
        q = rotations.quaternion_from_matrix(self.cam_T_world[:3, :3])
        return [*q.tolist(), *self.cam_T_world[:3, 3].tolist()]


@dataclass(frozen=True, kw_only=True)
class SparsePoints:
    """The sparse points and who sees them: observation i is of the point in row `point[i]`, in image `image_id[i]`."""

    id: Int64[Tensor, " p"]
    xyz: Float64[Tensor, "p 3"]
    rgb: UInt8[Tensor, "p 3"]
    error: Float64[Tensor, " p"]  # mean reprojection error, pixels
    point: Int64[Tensor, " m"]
    image_id: Int64[Tensor, " m"]
    keypoint: Int64[Tensor, " m"]  # row of the image's keypoints

    def __len__(self) -> int:
        """Number of points."""
        return len(self.id)

    def rows(self) -> Iterator[tuple[int, list[float], list[int], float, Int64[Tensor, "n 2"]]]:
        """Yield id, x y z, red green blue, error, and the track, image id and keypoint a row, of each point."""
        lengths = self.point.bincount(minlength=len(self)).tolist()
        track = torch.stack((self.image_id, self.keypoint), dim=-1)[self.point.argsort(stable=True)]
        tracks = torch.split(track, lengths)
        return zip(self.id.tolist(), self.xyz.tolist(), self.rgb.tolist(), self.error.tolist(), tracks, strict=True)


@dataclass(frozen=True, kw_only=True)
class ColmapModel:
    """A sparse model; images by ascending id, whatever gaps the ids have."""

    folder: Path
    cameras: dict[int, ColmapCamera]
    images: list[ColmapImage]
    points: SparsePoints
    notes: tuple[str, ...] = ()  # what was left out of the files, a line each


def make_camera(place: str, id: int, name: str, size: tuple[int, int], params: Sequence[float]) -> ColmapCamera:
    """A camera after a check of its numbers; `size` is (width, height).

    Raises:
        Vo3dError: at `place`, for a camera model that has no place here, and for numbers that are no camera's.
    """
    model = CAMERA_MODELS.get(name)
    if model is None:
        raise Vo3dError(
            f"{place}: camera {id} has the camera model {shown(name, 26)}: expected {', '.join(CAMERA_MODELS)}: "
            "undistort with COLMAP's image_undistorter first"
        )
    if len(params) != model.num_params:
        raise Vo3dError(f"{place}: camera {id} has {len(params)} parameters: expected {model.num_params} for {name}")
    camera = ColmapCamera(id=id, model=name, width=size[0], height=size[1], params=tuple(params))
    if min(size) < 1 or min(params[: model.focals]) <= 0 or not bool(torch.tensor(params).isfinite().all()):
        raise Vo3dError(
            f"{place}: camera {id} is {size[0]} x {size[1]} pixels with {name} {' '.join(f'{p:g}' for p in params)}: "
            "expected a size and focal lengths above 0, and finite numbers"
        )
    if max(size) > LARGEST_K:
        raise Vo3dError(f"{place}: camera {id} is {size[0]} x {size[1]} pixels: expected up to {LARGEST_K:g} a side")
    check_pinhole(camera.K, f"{place}: camera {id}")
    return camera


def make_image(
    place: str, id: int, name: str, camera_id: int, motion: Sequence[float], xy: Tensor, point_ids: Tensor
) -> ColmapImage:
    """Make an image of what is stored of it: `motion` is as in `ColmapImage.motion`, `xy` (k, 2) in COLMAP's pixels.

    Raises:
        Vo3dError: at `place`, for NaN, infinity, a quaternion that is not of length 1, a translation beyond `FARTHEST`,
            the id of a point below -1, and a name that is empty or of several lines.
    """
    q, t = torch.split(torch.tensor(motion, dtype=torch.float64), [4, 3])
    length = float(q.norm())
    if not (abs(length - 1) <= QUATERNION_TOLERANCE and bool((t.abs() <= FARTHEST).all())):
        raise Vo3dError(
            f"{place}: no rigid motion: a quaternion of length {length:g} and a translation of {t.tolist()}: expected "
            f"length 1 and finite numbers up to {FARTHEST:g}"
        )
    if len(name.strip().splitlines()) != 1:
        raise Vo3dError(f"{place}: its name is {quoted(name)}: expected a path below the folder of the images")
    if not bool(xy.isfinite().all()):
        raise Vo3dError(f"{place}: a keypoint is NaN or infinite: expected finite numbers: make the model again")
    if bool((point_ids < -1).any()):
        raise Vo3dError(f"{place}: a keypoint has the point {int(point_ids.min())}: expected an id, or -1 for none")
    return ColmapImage(
        id=id,
        name=name,
        camera_id=camera_id,
        cam_T_world=se3.from_rotation_translation(rotations.matrix_from_quaternion(q / length), t),
        keypoints=xy - HALF_PIXEL,
        point_ids=point_ids,
    )


def make_points(
    place: str,
    ids: Sequence[int],
    numbers: Sequence[Sequence[int | float]],
    lengths: Sequence[int],
    track: Sequence[int] | Tensor,
) -> SparsePoints:
    """Make points of what is stored of each: id, seven `numbers` (x y z, red green blue, error), and its observations.

    There are `lengths[i]` observations of point i, and the `track` has image id and keypoint of all of them in turn.

    Raises:
        Vo3dError: at `place`, for a position or an error that is NaN, infinite or beyond `FARTHEST`, and for an id or a
            keypoint below 0.
    """
    values = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 7)
    image_id, keypoint = torch.as_tensor(track, dtype=torch.int64).reshape(-1, 2).unbind(-1)
    wrong = ~(values.abs() <= FARTHEST).all(-1)
    if bool(wrong.any()):
        number = int(wrong.nonzero()[0])
        raise Vo3dError(
            f"{place}: point {ids[number]} is {' '.join(f'{value:g}' for value in numbers[number])}: expected finite "
            f"numbers up to {FARTHEST:g}: make the model again"
        )
    if min(ids, default=0) < 0 or bool((keypoint < 0).any()):
        raise Vo3dError(f"{place}: a point has an id or a keypoint below 0: expected 0 or more: make the model again")
    return SparsePoints(
        id=torch.tensor(ids, dtype=torch.int64),
        xyz=values[:, :3].contiguous(),
        rgb=values[:, 3:6].to(torch.uint8),
        error=values[:, 6].contiguous(),
        point=torch.repeat_interleave(torch.tensor(lengths, dtype=torch.int64)),
        image_id=image_id.contiguous(),
        keypoint=keypoint.contiguous(),
    )
