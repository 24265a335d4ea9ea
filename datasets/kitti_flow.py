"""KITTI's benchmarks of stereo, flow and scene flow, 2012 and 2015, in their official layouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.lenses import camera_notes, check_centre
from vo3d.datasets.photographs import check_shape
from vo3d.datasets.resize import Size, resize_flow, resize_intrinsics, resize_labels
from vo3d.datasets.views import FileRecording, read_views
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import visible_paths
from vo3d.formats.flow import read_kitti_disparity, read_kitti_flow
from vo3d.formats.images import image_size
from vo3d.formats.kitti import read_calib
from vo3d.formats.kitti_raw import read_cameras
from vo3d.formats.moving_objects import read_mask
from vo3d.sample import Sample

FIRST, SECOND = 10, 11  # numbers of the two frames of a scene in the names of files


@dataclass(frozen=True)
class _Layout:
    """The folders of one benchmark below `training`."""

    images: str  # of the left camera
    right: str
    cameras: tuple[int, int]  # the left and the right one that took the images
    reference: tuple[int, int]  # the pair whose disparity the truth is
    disparity: str  # before _occ or _noc, and behind it
    disparity_end: str
    calibration: str
    mask: str | None


_COLOUR_2012 = _Layout("colored_0", "colored_1", (2, 3), (0, 1), "disp", "", "calib", None)
_GREY_2012 = _Layout("image_0", "image_1", (0, 1), (0, 1), "disp", "", "calib", None)
_2015 = _Layout("image_2", "image_3", (2, 3), (2, 3), "disp", "_0", "calib_cam_to_cam", "obj_map")


class KITTIFlow(ClipDataset):
    """Scenes of KITTI 2015 or 2012, each a pair of frames with measured flow: a recording called by its number.

    Samples have `image`, `K`, `flow` (NaN where there is no measurement), `depth`, of 2015 `mask`, and `right` with
    `left_T_right` on request. The truth is that of the first frame: depth is 0 = none all over the second, because
    `disp_occ_1`, the disparity of the second pair, lies in the pixels of the first; and so is the mask of the second
    0 all over, as there is one of the first frame alone. Depth comes from the disparity of the first pair. `mask`
    holds the ids of `obj_map`, in which 0 is the static world and everything else a car that moves.

    Layout of 2015: `root/training/{image_2,image_3,flow_occ,flow_noc,disp_occ_0,disp_noc_0,obj_map}/000000_10.png`,
    images also as `000000_11.png`, and `root/training/calib_cam_to_cam/000000.txt`, which comes in an archive of its
    own. Of 2012: `{colored_0,colored_1,image_0,image_1,flow_occ,flow_noc,disp_occ,disp_noc}` and `calib/000000.txt`.
    The testing halves have no truth.

    Arguments:
        root: the folder that holds `training`.
        year: of the benchmark, 2015 (200 scenes) or 2012 (194 scenes, without masks).
        numbers: of the scenes, such as 0; None: all.
        occluded: flow and disparity also of points that the other image does not show (`flow_occ`), which the tables
            of the benchmark count; otherwise without these (`flow_noc`).
        colour: of 2012, the colour images, as torchvision and mmflow read them; otherwise the grey ones, whose left
            image the development kit calls the reference of the truth. Either way depth is that of the grey pair.
        stereo: also give the right camera, as `right` and `left_T_right`.
        size: height and width to resize to at load. Scenes differ by some pixels: batches of several need one size.
            Flow, depth and mask are taken from the nearest pixel, and flow is scaled.
        clip_length, transforms, seed and the like: see `ClipDataset`.

    Raises Vo3dError when the root, a scene or a file is missing or says something else than its neighbours.

    Source: Geiger, Lenz, Urtasun, "Are we ready for Autonomous Driving?", CVPR 2012; Menze, Geiger, "Object Scene Flow
    for Autonomous Vehicles", CVPR 2015; the readmes of the development kits.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        year: Literal[2012, 2015] = 2015,
        numbers: Sequence[int] | None = None,
        occluded: bool = True,
        colour: bool = True,
        stereo: bool = False,
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        folder = _training(Path(root))
        if year == 2015 and not colour:
            raise Vo3dError(f"{root}: KITTI 2015 has no grey images: leave out colour")
        layout = _2015 if year == 2015 else _COLOUR_2012 if colour else _GREY_2012
        chosen = _numbers(folder, layout, year, numbers)
        super().__init__(
            [KITTIPair(folder, layout, one, occluded=occluded, stereo=stereo, size=size) for one in chosen], **clips
        )


class KITTIPair(FileRecording):
    """The two frames of one scene of KITTI 2012 or 2015, numbered 10 and 11; see `KITTIFlow`."""

    def __init__(
        self, folder: Path, layout: _Layout, number: int, *, occluded: bool, stereo: bool, size: Size | None
    ) -> None:
        super().__init__(f"{number:06d}", (FIRST, SECOND + 1), size)
        names = [f"{number:06d}_{frame}.png" for frame in (FIRST, SECOND)]
        which = "occ" if occluded else "noc"
        self._images = [folder / layout.images / name for name in names]
        self._right = [folder / layout.right / name for name in names] if stereo else None
        self._flow = folder / f"flow_{which}" / names[0]
        self._disparity = folder / f"{layout.disparity}_{which}{layout.disparity_end}" / names[0]
        self._mask = None if layout.mask is None else folder / layout.mask / names[0]
        maps = [self._flow, self._disparity, *([self._mask] if self._mask else [])]
        if missing := [path for path in (*self._images, *(self._right or ()), *maps) if not path.is_file()]:
            raise Vo3dError(
                f"{missing[0]}: no such file: expected it with scene {number}: download the training half whole, or "
                "name the scenes that are there by numbers"
            )
        calibration = folder / layout.calibration / f"{number:06d}.txt"
        P = _projections(calibration, sorted({*layout.cameras, *layout.reference}))
        self._K, self._left_T_right = _rig(P, layout.cameras, calibration)
        reference_K, reference = _rig(P, layout.reference, calibration)
        self._focal_times_baseline = float(reference_K[0, 0] * reference[0, 3])
        stored = image_size(self._images[0])
        check_centre(self._K, stored, self._images[0])
        self.notes = camera_notes([(self._images[0].name, self._K, stored)])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._images)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is damaged or has another size.

        Flow is not defined (NaN) from any view to another but from the first to the second.
        """
        image, original = read_views([self._images[index] for index in indices], self._size)
        K = self._K if self._size is None else resize_intrinsics(self._K, original, self._size)
        fields: dict[str, Tensor | None] = {}
        if self._right is not None:
            fields["right"], _ = read_views([self._right[index] for index in indices], self._size)
            fields["left_T_right"] = self._left_T_right.float()
        flow = torch.full((len(indices) - 1, 2, *original), torch.nan)
        depth = torch.zeros(len(indices), *original)
        mask = torch.zeros(len(indices), *original, dtype=torch.long)
        for place in (place for place, index in enumerate(indices) if index == 0):
            depth[place] = self._depth(original)
            if self._mask is not None:
                mask[place] = _checked(self._mask, read_mask(self._mask), original)
            if list(indices[place + 1 : place + 2]) == [1]:
                flow[place] = _checked(self._flow, read_kitti_flow(self._flow), original)
        size = self._size or original
        fields |= {"flow": resize_flow(flow, size), "depth": resize_labels(depth, size)}
        if self._mask is not None:
            fields["mask"] = resize_labels(mask, size)
        return self.sample(indices, image, K, **fields)

    def _depth(self, size: Size) -> Float32[Tensor, "h w"]:
        """Return the depth of the first frame: f b / d, metres, 0 where there is no disparity d."""
        disparity = _checked(self._disparity, read_kitti_disparity(self._disparity), size)
        return torch.where(disparity > 0, self._focal_times_baseline / disparity, 0.0)


def _checked(path: Path, pixels: Tensor, size: Size) -> Tensor:
    """Return a map; Vo3dError naming the file where its size is not that of its image."""
    check_shape(path, pixels, size, "its image is")
    return pixels


def _training(root: Path) -> Path:
    """Return the half of a benchmark that has truth."""
    if not root.is_dir():
        raise Vo3dError(f"{root}: no such folder: expected the one of KITTI 2012 or 2015 that holds training")
    if (root / "training").is_dir():
        return root / "training"
    if root.absolute().name == "training":
        raise Vo3dError(f"{root}: is the training half itself: give the folder that holds it, {root.absolute().parent}")
    if root.absolute().name == "testing" or (root / "testing").is_dir():
        raise Vo3dError(f"{root}: the testing half of KITTI has no truth: give the folder that holds training")
    there = first_few(path.name for path in visible_paths(root)) or "nothing"
    raise Vo3dError(f"{root}: holds {there}, but no folder training: expected KITTI 2012 or 2015 as it was published")


def _numbers(folder: Path, layout: _Layout, year: int, numbers: Sequence[int] | None) -> list[int]:
    """Return the numbers of the scenes that are asked for."""
    images = folder / layout.images
    if not images.is_dir():
        others = {"image_2": "year: 2015", "colored_0": "year: 2012", "image_0": "year: 2012 and colour: false"}
        hint = next(
            (f"; for what is there give {word}" for name, word in others.items() if (folder / name).is_dir()), ""
        )
        raise Vo3dError(f"{images}: no such folder: expected the images of KITTI {year}{hint}")
    stems = [path.stem.removesuffix(f"_{FIRST}") for path in visible_paths(images, f"*_{FIRST}.png")]
    present = sorted(int(stem) for stem in stems if stem.isdecimal())
    if not present:
        raise Vo3dError(f"{images}: holds no first frame: expected 000000_{FIRST}.png and on")
    if numbers is None:
        return present
    if missing := [number for number in numbers if number not in present]:
        raise Vo3dError(f"{images}: has no scene {missing[0]}: expected numbers of {present[0]} to {present[-1]}")
    return list(numbers)


def _projections(path: Path, cameras: Sequence[int]) -> dict[int, Float64[Tensor, "3 4"]]:
    """Read the projection matrices of cameras, from points of rectified camera 0 to pixels."""
    if not path.is_file():
        raise Vo3dError(
            f"{path}: no such file: unpack the calibration into the same folder; KITTI 2015 has it in an archive of "
            "its own, data_scene_flow_calib.zip"
        )
    if path.parent.name == "calib":
        found = {int(name[1:]): P for name, P in read_calib(path).items() if name != "Tr"}
    else:
        found = read_cameras(path).P
    if missing := [camera for camera in cameras if camera not in found]:
        raise Vo3dError(f"{path}: has no projection of camera {missing[0]}: download the file again")
    return found


def _rig(
    P: dict[int, Float64[Tensor, "3 4"]], cameras: tuple[int, int], path: Path
) -> tuple[Float64[Tensor, "3 3"], Float64[Tensor, "4 4"]]:
    """Return K and `left_T_right` of two cameras: P = K [I | t] puts each at -t beside rectified camera 0."""
    left, right = (P[camera] for camera in cameras)
    K = left[:, :3]
    if not torch.allclose(right[:, :3], K, rtol=1e-6):
        raise Vo3dError(f"{path}: cameras {cameras[0]} and {cameras[1]} differ in K: expected a rectified pair")
    left_T_right = torch.eye(4, dtype=torch.float64)
    left_T_right[:3, 3] = torch.linalg.solve(K, left[:, 3] - right[:, 3])
    if not left_T_right[0, 3] > 0:
        raise Vo3dError(
            f"{path}: camera {cameras[1]} is not on the right of camera {cameras[0]}: expected the calibration as it "
            "was published"
        )
    return K, left_T_right
