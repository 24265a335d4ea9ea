"""The material that users have: a folder of images or a video file, or two of a stereo rig, with known intrinsics."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.folder_frames import FolderImages, Video, open_frames
from vo3d.datasets.folder_truth import FolderTruth
from vo3d.datasets.given_camera import GivenCamera
from vo3d.datasets.resize import Size, resize_image, resize_intrinsics
from vo3d.datasets.views import FileRecording, given_name, read_camera_path
from vo3d.errors import Vo3dError
from vo3d.formats.images import orientation_notes
from vo3d.formats.trajectory_rows import TrajectoryFormat
from vo3d.geometry.stereo import check_pair
from vo3d.recording import Recording, SequenceLayout
from vo3d.sample import Sample

LONG_BASELINE = 5.0  # metres: few rigs are wider, and millimetres would be
CHECKED = 3  # pairs of a recording that are looked at when it is opened


class ImageFolder(ClipDataset):
    """Clips of one folder of images (in natural order: 2 before 10) or of one video file.

    Arguments:
        source: the folder, or the video file.
        intrinsics: fx, fy, cx, cy in pixels of the original images; the centre of the top-left pixel is (0, 0). They
            are for the pixels as they are stored: an EXIF orientation is ignored. Videos that say so are turned upright
            whatever is given, as players and OpenCV do: all that is said of the camera is for what they show.
        field_of_view: horizontal, degrees; instead of `intrinsics`, for square pixels and a centred camera. Photographs
            are turned upright first, as EXIF says.
        focal: focal length in pixels of the original images, upright; otherwise as `field_of_view`.
        camera: a file of intrinsics, or `FILE:NAME` of one camera in it: see `vo3d.formats.intrinsics_files`. Its lens
            is undone, and K is scaled where the images are resized ones. It is for images as they are stored.
        guess: where none of these is given, take the focal length that the EXIF header of the first image states, or
            else guess it: 1.2 times the longer side of the image, as COLMAP does (`default_focal_length_factor`).
            `Recording.camera` says which it was.
        fps: frames a second, for `time`. None: the time stamps of a video's frames; a folder has no time then.
        frames: first and last (exclusive) frame to take; without it, all.
        trajectory: file with the true pose of every frame of the source, for `world_T_cam`.
        trajectory_format: "auto" tells it from the file; one with time stamps also gives `time` where there is no fps.
        size: height and width to resize to at load.
        right: the folder or the video of the right camera, of as many images as `source`, for `right` and
            `left_T_right`. Images pair by their names; where no name is in both folders, in natural order. The pairs
            must be rectified: one K for both, and a point in the same row of both images.
        side_by_side: each image of the source holds a pair, the left half and the right half; then all the other
            arguments are for a half.
        baseline: metres between the cameras of a pair, more than 0.
        flow: folder of the flow from each image to the next, .flo or KITTI's 16-bit PNG; as many files as images, or
            one fewer. Here as for `mask`, files go with the images of their names, or else in natural order.
        mask: folder of PNG of the ids of what moves, 0 = static, grey or with a palette; as many as images.
        object_motion: the file of that name that `vo3d render` writes, how each id of `mask` moves from each image to
            the next; k of `Sample.object_motion` is the largest id in it. Like flow, it wants a frame_stride of 1.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Raises Vo3dError when there is no image, the video cannot be read, the camera is described twice or not at all, a
    lens is to be undone in images that have truth or are pairs, the trajectory, the right images or the truth have
    another length or size than the source, or a few pairs that are looked at contradict the baseline (see
    `vo3d.geometry.stereo.check_pair`).
    """

    def __init__(
        self,
        source: str | Path,
        *,
        intrinsics: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
        focal: float | None = None,
        camera: str | None = None,
        guess: bool = False,
        fps: float | None = None,
        frames: tuple[int, int] | None = None,
        trajectory: str | Path | None = None,
        trajectory_format: TrajectoryFormat | Literal["auto"] = "auto",
        size: Size | None = None,
        right: str | Path | None = None,
        side_by_side: bool = False,
        baseline: float | None = None,
        flow: str | Path | None = None,
        mask: str | Path | None = None,
        object_motion: str | Path | None = None,
        **clips: Any,
    ) -> None:
        recording = FolderRecording(
            Path(source),
            intrinsics=intrinsics,
            field_of_view=field_of_view,
            focal=focal,
            camera=camera,
            guess=guess,
            fps=fps,
            frames=frames,
            trajectory=None if trajectory is None else Path(trajectory),
            trajectory_format=trajectory_format,
            size=size,
            right=None if right is None else Path(right),
            side_by_side=side_by_side,
            baseline=baseline,
            flow=None if flow is None else Path(flow),
            mask=None if mask is None else Path(mask),
            object_motion=None if object_motion is None else Path(object_motion),
        )
        super().__init__([recording], **clips)


class FolderRecording(FileRecording):
    """One folder of images, one image, or one video; arguments and errors as `ImageFolder` says.

    Without `needs_camera`, nothing need be said of the camera: its samples then have no `K`.
    `index` of its samples is the place in the recording: 0 is the frame `first_frame` of the source.
    """

    def __init__(
        self,
        source: Path,
        *,
        intrinsics: tuple[float, float, float, float] | None = None,
        field_of_view: float | None = None,
        focal: float | None = None,
        camera: str | None = None,
        guess: bool = False,
        fps: float | None = None,
        frames: tuple[int, int] | None = None,
        trajectory: Path | None = None,
        trajectory_format: TrajectoryFormat | Literal["auto"] = "auto",
        size: Size | None = None,
        right: Path | None = None,
        side_by_side: bool = False,
        baseline: float | None = None,
        flow: Path | None = None,
        mask: Path | None = None,
        object_motion: Path | None = None,
        needs_camera: bool = True,
    ) -> None:
        super().__init__(Path(given_name(source)).stem if source.is_file() else given_name(source), frames, size)
        given = GivenCamera(intrinsics=intrinsics, field_of_view=field_of_view, focal=focal, camera=camera, guess=guess)
        given.check(source, needs_camera)
        if fps is not None and not fps > 0:
            raise Vo3dError(f"fps is {fps}: expected frames a second, more than 0")
        _check_baseline(source, right, side_by_side, baseline)
        self._left_T_right = None if baseline is None else _shift(baseline)
        self._side_by_side = side_by_side
        self._source = open_frames(source, frames, upright=not given.of_stored)
        self._right = None if right is None else open_frames(right, frames, upright=not given.of_stored)
        files = [path for one in (self._source, self._right) if isinstance(one, FolderImages) for path in one.files]
        self.notes = orientation_notes(files) if given.of_stored else []
        total = len(self._source)
        last = total if frames is None else frames[1]
        if last > total:
            raise Vo3dError(f"{source}: has {total} frames, but frames up to {last} are asked for: shorten the range")
        self._count = last - self.first_frame
        stored = _half(source, self._source.size) if side_by_side else self._source.size
        left = self._source.files if isinstance(self._source, FolderImages) else []
        self._camera = given.find(source, stored, left)
        K = self._K = None if self._camera is None else self._camera.K
        if self._camera is not None and K is not None:
            self.camera, self.notes = self._camera.words, [*self.notes, *self._camera.notes]
            self._K = K if size is None else resize_intrinsics(K, stored, size)
            if self._camera.stored.lens is not None and (baseline or flow or mask or object_motion):
                raise Vo3dError(
                    f"{camera}: has a lens, which is not undone in stereo pairs and in images with flow or masks: "
                    "undistort the images first"
                )
        self.notes = [*self.notes, *self._source.notes]
        if fps is None and self._source.time is not None:
            self._time = self._source.time[self.first_frame : last]
        elif (rate := fps or self._source.fps) is not None:
            self._time = torch.arange(self.first_frame, last, dtype=torch.float64) / rate
        if trajectory is not None:
            truth = read_camera_path(trajectory, trajectory_format)
            if len(truth) != total:
                raise Vo3dError(
                    f"{trajectory}: has {len(truth)} poses, but {source} has {total} frames: expected as many"
                )
            self.notes = [*self.notes, *truth.notes]
            self._poses = truth.world_T_cam[self.first_frame : last]
            if self._time is None and truth.time is not None:
                self._time = truth.time[self.first_frame : last]
        if right is not None and self._right is not None:
            self.notes = [*self.notes, *_pairing(source, self._source, right, self._right)]
        self._truth = FolderTruth(
            source,
            [path.stem for path in self._source.files] if isinstance(self._source, FolderImages) else [],
            total,
            stored,
            flow=flow,
            mask=mask,
            object_motion=object_motion,
        )
        self.notes = [*self.notes, *self._truth.notes]
        if baseline is not None and K is not None:
            if baseline > LONG_BASELINE:
                self.notes = [*self.notes, f"the baseline is {baseline:g} m, which few rigs have: is it in metres?"]
            looked_at = {self._count * (2 * part + 1) // (2 * CHECKED) for part in range(CHECKED)}
            names = str(source) if right is None else f"{source} (left) and {right} (right)"
            check_pair(*self._views(sorted(looked_at), None), K, self._left_T_right, names)

    def __len__(self) -> int:
        """Number of frames."""
        return self._count

    @cached_property
    def names(self) -> Sequence[str]:
        """Name each frame by its image; those of a video by their numbers."""
        if isinstance(self._source, Video):
            return super().names
        return [path.stem for path in self._source.files[self.first_frame :][: self._count]]

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is damaged or has another size."""
        image, right = self._views(indices, self._size)
        left_T_right = None if self._left_T_right is None else self._left_T_right.clone()
        truth = self._truth.fields([self.first_frame + index for index in indices], self._size)
        return self.sample(indices, image, self._K, right=right, left_T_right=left_T_right, **truth)

    def _views(
        self, indices: Sequence[int], size: Size | None
    ) -> tuple[Float32[Tensor, "s 3 h w"], Float32[Tensor, "s 3 h w"] | None]:
        """Read the images at `indices`, and the right ones of a stereo rig."""
        places = [self.first_frame + index for index in indices]
        if self._side_by_side:
            halves = self._source.read(places, None).chunk(2, dim=-1)
            left, right = (half.contiguous() if size is None else resize_image(half, size) for half in halves)
            return left, right
        if self._camera is not None and self._camera.stored.lens is not None:
            views = [self._camera.undo(self._source.read([place], None)) for place in places]  # one by one: large ones
            return torch.cat([view if size is None else resize_image(view, size) for view in views]), None
        return self._source.read(places, size), None if self._right is None else self._right.read(places, size)


def _half(source: Path, size: Size) -> Size:
    """Return the size of one half of images that hold a pair side by side."""
    if size[1] % 2:
        raise Vo3dError(f"{source}: is {size[1]} pixels wide: expected an even width, with side_by_side")
    return size[0], size[1] // 2


def _check_baseline(source: Path, right: Path | None, side_by_side: bool, baseline: float | None) -> None:
    """Raise Vo3dError unless there are a baseline above 0 and one source of right images, or neither."""
    if right is not None and side_by_side:
        raise Vo3dError(f"{source}: both right and side_by_side are given: expected one, where the right images are")
    if baseline is None:
        if right is not None or side_by_side:
            raise Vo3dError(f"{source}: stereo pairs without baseline: give the metres between the two cameras")
        return
    if right is None and not side_by_side:
        raise Vo3dError(
            f"{source}: baseline {baseline:g} without right images: give their folder or video as right, or "
            "side_by_side: true where they are the right halves"
        )
    if not 0 < baseline < math.inf:
        raise Vo3dError(
            f"{source}: baseline is {baseline:g}: expected metres from the left camera to the right one, more than 0"
        )


def _shift(baseline: float) -> Float32[Tensor, "4 4"]:
    """Return `left_T_right` of a rectified pair."""
    left_T_right = torch.eye(4)
    left_T_right[0, 3] = baseline
    return left_T_right


def _pairing(source: Path, left: FolderImages | Video, folder: Path, right: FolderImages | Video) -> list[str]:
    """Say how the images pair where their names do not; Vo3dError where they cannot, or differ in size."""
    names = [{path.stem for path in one.files} if isinstance(one, FolderImages) else set() for one in (left, right)]
    alone = sorted(names[0] ^ names[1]) if names[0] & names[1] else []
    hint = f": {alone[0]!r} is in one of them alone" if alone else ""
    if len(left) != len(right):
        raise Vo3dError(
            f"{folder}: has {len(right)} images, and {source} has {len(left)}{hint}: expected pairs, as many in both"
        )
    if alone:
        raise Vo3dError(
            f"{folder}: has other names than {source}{hint}: expected the two images of a pair to have one name"
        )
    if left.size != right.size:
        raise Vo3dError(
            f"{folder}: is {right.size[1]}x{right.size[0]} pixels, and {source} is {left.size[1]}x{left.size[0]}: "
            "expected left and right images of one size"
        )
    if not (isinstance(left, FolderImages) and isinstance(right, FolderImages)) or names[0] == names[1]:
        return []
    first, last = (f"{left.files[place].name} with {right.files[place].name}" for place in (0, -1))
    return [f"no name is in both {source} and {folder}: they pair in natural order, {first} to {last}"]


def sequence(
    source: Path,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    field_of_view: float | None = None,
    focal: float | None = None,
    camera: str | None = None,
    guess: bool = False,
    frames: tuple[int, int] | None = None,
    size: Size | None = None,
    needs_camera: bool = True,
) -> Recording:
    """Open a folder of images or a video file, cut to a size; see `ImageFolder` and `FolderRecording`."""
    opened = FolderRecording(
        source,
        intrinsics=intrinsics,
        field_of_view=field_of_view,
        focal=focal,
        camera=camera,
        guess=guess,
        frames=frames,
        needs_camera=needs_camera,
    )
    return at_size(opened, size)


SEQUENCE_LAYOUT = SequenceLayout("a folder of images, an image or a video file", Path.exists, sequence, rank=9)
