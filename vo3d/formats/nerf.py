"""NeRF's transforms.json, as instant-ngp, nerfstudio and the scenes of Blender have it: images, cameras, poses.

Convention: in the file a camera looks along -z with y up, and the centre of the top-left pixel is (0.5, 0.5); here
cameras look along z with y down, and it is (0, 0). Poses stay in the frame and the unit of `transform_matrix`: what
instant-ngp makes of them (`scale`, `offset`, `aabb_scale`) and what nerfstudio did before it wrote them
(`applied_transform`, `applied_scale`) is left alone. Angles are in radians, `x_fov` and `y_fov` in degrees.
Source: instant-ngp's and nerfstudio's documentation of their data.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.files import write_whole
from vo3d.formats.pinhole import LARGEST_K, check_pinhole
from vo3d.formats.text import read_json
from vo3d.formats.trajectories import check_poses
from vo3d.geometry.distortion import LensModel

HALF_PIXEL = 0.5  # from vo3d's pixel coordinates to the file's
PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE")
FISHEYE = ("OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
OTHER_LENSES = ("latlong", "equirectangular", "ftheta_p0")  # keys of lenses that have no place here
AXES = (("fl_x", "camera_angle_x", "x_fov"), ("fl_y", "camera_angle_y", "y_fov"))  # ways to say a focal length
LENS_KEYS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
CAMERA_KEYS = ("w", "h", "cx", "cy", *LENS_KEYS, *AXES[0], *AXES[1])  # of numbers
AGREEMENT = 0.01  # of two focal lengths

CAM_UP_T_CAM = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # y up, z backward
_FORM = "a transforms.json: frames with file_path and transform_matrix, and fl_x or camera_angle_x"


@dataclass(frozen=True, kw_only=True)
class NerfCamera:
    """A camera as the file describes it: numbers for x and y, None where it does not say.

    Convention: `focal`, in pixels, and `centre`, as in the file, are for images of `size`, height and width.
    """

    place: str = field(compare=False)  # of the file, for messages
    size: tuple[int, int] | None
    focal: tuple[float | None, float | None]
    angle: tuple[float | None, float | None]  # of the whole view, radians
    centre: tuple[float | None, float | None]
    lens: tuple[LensModel, tuple[float, ...]] | None

    def intrinsics(self, size: tuple[int, int]) -> Float64[Tensor, "3 3"]:
        """Compute K, in vo3d's pixels, of images of the `size` that the file states, or of any where it states none.

        Raises Vo3dError where focal length and angle contradict each other, or are no camera's.
        """
        (height, width), found = size, []
        for name, focal, angle, side in zip("xy", self.focal, self.angle, (width, height), strict=True):
            by_angle = None if angle is None else side / 2 / math.tan(angle / 2)
            if focal is not None and by_angle is not None and abs(focal - by_angle) > AGREEMENT * by_angle:
                raise Vo3dError(
                    f"{self.place}: fl_{name} is {focal:g}, but the angle of view along {name}, {angle:g}, means "
                    f"{by_angle:g} at {width}x{height} pixels: expected one focal length: remove the wrong one"
                )
            found.append(by_angle if focal is None else focal)
        fx, fy = (other if own is None else own for own, other in (found, found[::-1]))
        cx, cy = (side / 2 if c is None else c for c, side in zip(self.centre, (width, height), strict=True))
        rows = ((fx, 0.0, cx - HALF_PIXEL), (0.0, fy, cy - HALF_PIXEL), (0.0, 0.0, 1.0))
        K = torch.tensor(rows, dtype=torch.float64)
        check_pinhole(K, self.place)
        return K


@dataclass(frozen=True, kw_only=True)
class NerfFrame:
    """One image of the file: its path as it is written there, its camera, and its pose."""

    file_path: str
    camera: NerfCamera
    world_T_cam: Float64[Tensor, "4 4"]


def read_transforms(path: Path) -> list[NerfFrame]:
    """Read the frames of a transforms.json, in its order; what a frame says of its camera goes before the whole's.

    Raises:
        Vo3dError: with file and frame: no JSON, other parts than expected, numbers that are none or no camera's, a lens
            that has no place here, a pose that is no rigid motion.
    """
    content = read_json(path, _FORM)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise Vo3dError(f"{path}: no list of frames, or an empty one: expected {_FORM}")
    if "normal_mts_args" in content:
        raise Vo3dError(f"{path}: has Mitsuba's axes (normal_mts_args): expected OpenGL's: export the scene anew")
    found, poses = [], []
    for number, frame in enumerate(frames):
        place = f"{path}, frame {number}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise Vo3dError(f"{place}: has no file_path: expected {_FORM}")
        found.append((frame["file_path"], _camera(path, place, content, frame)))
        poses.append(_pose(place, frame.get("transform_matrix")))
    world_T_cam = torch.stack(poses) @ CAM_UP_T_CAM
    check_poses(world_T_cam, path)
    return [
        NerfFrame(file_path=name, camera=camera, world_T_cam=pose)
        for (name, camera), pose in zip(found, world_T_cam, strict=True)
    ]


def write_transforms(
    path: Path,
    files: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    K: Float64[Tensor, "n 3 3"],
    world_T_cam: Float64[Tensor, "n 4 4"],
    *,
    depth_files: Sequence[str] | None = None,
    depth_unit: float = 0.001,
) -> None:
    """Write images of pinhole cameras, their sizes (height, width), K and poses; the file is whole or absent.

    With `depth_files`, depth images of 16 bits in the unit of the poses: `depth_unit` times their counts, as nerfstudio
    has it (`depth_file_path`, `depth_unit_scale_factor`).
    """
    frames: list[dict[str, Any]] = []
    for file, (h, w), k, pose in zip(files, sizes, K.tolist(), (world_T_cam @ CAM_UP_T_CAM).tolist(), strict=True):
        camera = {"fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2] + HALF_PIXEL, "cy": k[1][2] + HALF_PIXEL}
        frames.append({"file_path": file, "w": w, "h": h, **camera, "transform_matrix": pose})
    content: dict[str, Any] = {"camera_model": "PINHOLE"}
    if depth_files is not None:
        content["depth_unit_scale_factor"] = depth_unit
        frames = [one | {"depth_file_path": file} for one, file in zip(frames, depth_files, strict=True)]
    write_whole(path, json.dumps(content | {"frames": frames}, indent=2) + "\n")


def _camera(path: Path, place: str, whole: Mapping[str, Any], frame: Mapping[str, Any]) -> NerfCamera:
    """Collect what is said of a frame's camera."""
    said = {**whole, **frame}
    for keys in AXES:  # a focal length of the frame replaces an angle of the whole
        if any(key in frame for key in keys):
            said = {key: value for key, value in said.items() if key not in keys or key in frame}
    if not any(key in frame for key in CAMERA_KEYS):
        place = str(path)  # what may be wrong is said there for all frames
    numbers = {key: _number(place, key, said[key]) for key in CAMERA_KEYS if said.get(key) is not None}
    for key in OTHER_LENSES:
        if said.get(key):
            raise Vo3dError(f"{place}: has a lens of another kind ({key}): expected a perspective or a fisheye lens")
    angles = []
    for _, key, degrees in AXES:
        angle = math.radians(numbers[degrees]) if degrees in numbers else numbers.get(key)
        if angle is not None and not 0 < angle < math.pi:
            raise Vo3dError(f"{place}: {key} is {angle:g} radians: expected an angle between 0 and pi")
        angles.append(angle)
    focal = (numbers.get("fl_x"), numbers.get("fl_y"))
    if focal == (None, None) and angles == [None, None]:
        raise Vo3dError(f"{place}: no focal length: expected fl_x and fl_y, or camera_angle_x, in pixels or radians")
    sides = [numbers.get("h"), numbers.get("w")]
    wrong = [side for side in sides if side is not None and not (1 <= side <= LARGEST_K and side == int(side))]
    if wrong or sides.count(None) == 1:
        raise Vo3dError(
            f"{place}: w {sides[1]} and h {sides[0]}: expected whole numbers of pixels, up to {LARGEST_K:g}, or neither"
        )
    height, width = (None if side is None else int(side) for side in sides)
    return NerfCamera(
        place=place,
        size=None if height is None or width is None else (height, width),
        focal=focal,
        angle=(angles[0], angles[1]),
        centre=(numbers.get("cx"), numbers.get("cy")),
        lens=_lens(place, said, numbers),
    )


def _lens(
    place: str, said: Mapping[str, Any], numbers: Mapping[str, float]
) -> tuple[LensModel, tuple[float, ...]] | None:
    """Read model and coefficients of the lens; None where it distorts nothing."""
    model, fisheye = said.get("camera_model"), said.get("is_fisheye")
    if model is not None and model not in (*PERSPECTIVE, *FISHEYE):
        raise Vo3dError(
            f"{place}: camera_model is {quoted(model)}: expected {', '.join((*PERSPECTIVE, *FISHEYE))}: undistort the "
            "images first"
        )
    if fisheye not in (None, False, True):
        raise Vo3dError(f"{place}: is_fisheye is {quoted(fisheye)}: expected true or false")
    if model is not None and fisheye is not None and bool(fisheye) != (model in FISHEYE):
        raise Vo3dError(f"{place}: camera_model is {model}, and is_fisheye says otherwise: correct what is wrong")
    k1, k2, k3, k4, k5, k6, p1, p2 = (numbers.get(key, 0.0) for key in LENS_KEYS)
    if model in FISHEYE or fisheye:
        if p1 or p2 or k5 or k6:
            raise Vo3dError(f"{place}: a fisheye lens with p1, p2, k5 or k6: expected k1 to k4 alone")
        return "equidistant", (k1, k2, k3, k4)
    if k4 or k5 or k6:
        raise Vo3dError(f"{place}: a perspective lens with k4, k5 or k6: expected k1, k2, k3, p1, p2: undistort first")
    lens = (k1, k2, p1, p2, k3) if k3 else (k1, k2, p1, p2)
    return ("radtan", lens) if any(lens) else None


def _pose(place: str, rows: Any) -> Float64[Tensor, "4 4"]:
    """Read a transform_matrix of three or four rows."""
    if not isinstance(rows, list) or len(rows) not in (3, 4):
        raise Vo3dError(f"{place}: transform_matrix is {quoted(rows)}: expected four rows of four numbers")
    if any(not isinstance(row, list) or len(row) != 4 for row in rows):
        raise Vo3dError(f"{place}: a row of transform_matrix has other than four numbers: expected four rows of four")
    numbers = [[_number(place, "transform_matrix", value) for value in row] for row in rows]
    return torch.tensor([*numbers, [0.0, 0.0, 0.0, 1.0]][:4], dtype=torch.float64)


def _number(place: str, key: str, value: Any) -> float:
    """Return a finite number; Vo3dError for anything else."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Vo3dError(f"{place}: {key} has {quoted(value)}: expected a finite number: correct it")
    return number
