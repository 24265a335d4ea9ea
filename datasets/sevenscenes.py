"""Microsoft 7-Scenes (Shotton et al., CVPR 2013): hand-held RGB-D sequences of seven rooms, with poses."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.multiview import MultiViewDataset
from vo3d.datasets.photographs import Photograph, Photographs, posed_photographs
from vo3d.datasets.resize import Size, resize_intrinsics, resize_labels, wanted_size
from vo3d.datasets.sevenscenes_splits import sequence_folders
from vo3d.datasets.views import DepthChoice, FileRecording, Frames, check_folder, frame_files, named_ranges, read_views
from vo3d.errors import Vo3dError, quoted
from vo3d.formats.images import orientation_notes, read_depth_png
from vo3d.formats.text import read_json, read_lines
from vo3d.formats.trajectories import check_poses
from vo3d.geometry.camera import pixel_grid
from vo3d.geometry.warp import sample_image
from vo3d.recording import Layout, Recording, SequenceLayout
from vo3d.sample import Sample

_ORIGINAL = (480, 640)  # height and width of colour and depth
_CENTRE = (320.0, 240.0)  # as the authors state it
FOCAL, DEPTH_FOCAL = 525.0, 585.0  # pixels of the colour camera and of the depth camera
_KINDS = ("jpg", "png")  # of colour images
_NO_DEPTH = (0, 65535)  # counts that mean no measurement
EVERY = 10  # frames of a long sequence: neighbours in time are too close to each other to see depth
ENOUGH_VIEWS = 10  # that are to be left of a short one, where it has so many
ROOM = (0.5, 5.0)  # metres: near and far that hold what is seen in most frames


class SevenScenes(ClipDataset):
    """Clips of one scene: `image`, `K`, `world_T_cam`, `index`, and `depth` on request. There are no time stamps.

    Layout: `root/<scene>/{TrainSplit.txt,TestSplit.txt}`, `root/<scene>/seq-01/frame-000000.{color.png,depth.png,
    pose.txt}`; `.color.jpg` is read where there is no `.color.png`. Of the seven scenes the official split is known
    where a file of it is missing.

    Arguments:
        root: the folder that holds the scenes.
        scene: such as "redkitchen".
        split: the sequences of the official "train" or "test" file, or a list of folders such as ["seq-01"].
        frames: first and last (exclusive) frame to take of every sequence, or a list of such ranges, each of which is
            then a recording of its own, named with its first frame; without it, all.
        focal: of the colour camera, pixels at 640x480.
        depth_focal: of the depth camera, about 585 pixels. Colour and depth images are not registered: with it `depth`
            is moved into the pixels of the colour camera, see `SevenScenesScene`, so that `K` belongs to it. None: it
            is given as it was measured, in the pixels of the depth camera: take focal=585 to back-project it.
        depth: "none"; "required", a missing depth file is an error; "where present", a view without one has depth 0.
        size: height and width to resize to at load.
        short_side: instead of it, pixels of the shorter side: 256 makes 341x256.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: the files hold world_T_cam in metres, x right, y down, z forward; their rotations, which are off by up
    to 4e-4, are made orthonormal.
    Raises Vo3dError when a folder, split or file is missing or damaged, naming it.
    """

    def __init__(
        self,
        root: str | Path,
        scene: str,
        *,
        split: Literal["train", "test"] | list[str] = "train",
        frames: Frames = None,
        focal: float = FOCAL,
        depth_focal: float | None = None,
        depth: DepthChoice = "none",
        size: Size | None = None,
        short_side: int | None = None,
        **clips: Any,
    ) -> None:
        size = wanted_size(_ORIGINAL, size, short_side)
        folders, notes = sequence_folders(Path(root) / scene, split)
        recordings = [
            SevenScenesRecording(
                folder, name=name, frames=span, focal=focal, depth_focal=depth_focal, depth=depth, size=size
            )
            for folder in folders
            for name, span in named_ranges(_name(folder), frames)
        ]
        for recording in recordings:
            recording.notes = [*recording.notes, *notes]
        super().__init__(recordings, **clips)


class SevenScenesViews(MultiViewDataset):
    """Samples for multi-view stereo: `image`, `K`, `world_T_cam`, `depth_range`, and `depth` on request.

    Arguments:
        root, scene, split: as in `SevenScenes`.
        frames, every, depth_range, num_sources, focal, depth_focal, depth, size, max_side: see `SevenScenesScene`.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        scene: str,
        *,
        split: Literal["train", "test"] | list[str] = "train",
        frames: tuple[int, int] | None = None,
        every: int | None = None,
        depth_range: tuple[float, float] = ROOM,
        num_sources: int = 10,
        focal: float = FOCAL,
        depth_focal: float = DEPTH_FOCAL,
        depth: DepthChoice = "none",
        size: Size | None = None,
        max_side: int | None = None,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        folders, notes = sequence_folders(Path(root) / scene, split)
        scenes = [
            SevenScenesScene(
                folder,
                frames=frames,
                every=every,
                depth_range=depth_range,
                num_sources=num_sources,
                focal=focal,
                depth_focal=depth_focal,
                depth=depth,
                size=size,
                max_side=max_side,
            )
            for folder in folders
        ]
        for one in scenes:
            one.notes = [*one.notes, *notes]
        super().__init__(scenes, num_views=num_views, **views)


class SevenScenesRecording(FileRecording):
    """One sequence folder of 7-Scenes; arguments and errors as `SevenScenes` says; `name` None: of scene and sequence.

    `index` of its samples is the place in the recording: 0 is the frame `first_frame` of the sequence.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        frames: tuple[int, int] | None = None,
        focal: float = FOCAL,
        depth_focal: float | None = None,
        depth: DepthChoice = "none",
        size: Size | None = None,
    ) -> None:
        super().__init__(name or _name(folder), frames, size)
        for what, pixels in (("focal", focal), ("depth_focal", depth_focal)):
            if pixels is not None and not 0 < pixels < math.inf:
                raise Vo3dError(f"{what} is {pixels}: expected pixels, more than 0")
        self._zoom = None if depth_focal is None else depth_focal / focal
        self._depth: DepthChoice = depth
        self.camera = f"{focal:g} pixels, as published for the set" if focal == FOCAL else f"given: {focal:g} pixels"
        self.files, self.left_out = _colour_files(folder, frames)
        self.notes = [*self.left_out, *orientation_notes(self.files[:1])]  # and the others alike
        self.stems = [path.with_name(path.name.split(".")[0]) for path in self.files]
        self.world_T_cam = self._poses = _nearest_rotations(
            torch.stack([_read_pose(Path(f"{stem}.pose.txt")) for stem in self.stems])
        )
        K = torch.tensor([[focal, 0, _CENTRE[0]], [0, focal, _CENTRE[1]], [0, 0, 1]], dtype=torch.float64)
        self.K = K if size is None else resize_intrinsics(K, _ORIGINAL, size)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.files)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when an image or a depth map is missing or damaged."""
        files = [self.files[index] for index in indices]
        image, original = read_views(files, self._size)
        if original != _ORIGINAL:
            raise Vo3dError(f"{files[0]}: is {original[1]}x{original[0]} pixels: the images of 7-Scenes are 640x480")
        depth = None if self._depth == "none" else torch.stack([self._read_depth(index) for index in indices])
        return self.sample(indices, image, self.K, depth=depth)

    def _read_depth(self, index: int) -> Float32[Tensor, "h w"]:
        """Read the depth map of one frame, metres; zeros where there is none and that was allowed."""
        path = Path(f"{self.stems[index]}.depth.png")
        if self._depth == "where present" and not path.exists():
            return torch.zeros(self._size or _ORIGINAL)
        depth = _read_depth(path, self._zoom)
        return depth if self._size is None else resize_labels(depth, self._size)


class SevenScenesScene(Photographs):
    """Frames of one sequence folder as views for multi-view stereo; sources are chosen by the poses.

    Depth is moved into the colour camera as if both cameras had one centre and one direction, so that only their focal
    lengths differ. That is an approximation: they stand a little apart, how much is not known, and the files are not
    registered; expect errors of some pixels at the borders of near things. Where the depth camera saw nothing, which
    includes a frame of the colour image, depth is 0.

    Arguments:
        folder: of the sequence.
        frames: first and last (exclusive) frame; without it, all.
        every: take every so many-th frame; None: every tenth, of a short sequence the most that leaves ten views.
        depth_range: near and far for all views, metres.
        num_sources: at most, of each view.
        focal, depth_focal: of the colour camera and of the depth camera, pixels at 640x480.
        depth, size, max_side: see `Photographs`.

    Raises Vo3dError as `SevenScenes` does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        frames: tuple[int, int] | None = None,
        every: int | None = None,
        depth_range: tuple[float, float] = ROOM,
        num_sources: int = 10,
        focal: float = FOCAL,
        depth_focal: float = DEPTH_FOCAL,
        depth: DepthChoice = "none",
        size: Size | None = None,
        max_side: int | None = None,
    ) -> None:
        if (every is not None and every < 1) or not depth_focal > 0:
            raise Vo3dError(f"every is {every}, depth_focal {depth_focal:g}: expected at least 1, and more than 0")
        recording = SevenScenesRecording(folder, frames=frames, focal=focal)
        step, short = (every, []) if every is not None else _step(folder, len(recording))
        chosen = slice(None, None, step)
        images, stems = recording.files[chosen], recording.stems[chosen]
        views = posed_photographs(
            images,
            [StoredCamera(name=recording.name, size=_ORIGINAL, K=recording.K)] * len(images),
            recording.world_T_cam[chosen],
            depth_range,
            num_sources=num_sources,
            depths=[Path(f"{stem}.depth.png") for stem in stems],
        )
        self._zoom = depth_focal / focal
        notes = [*recording.left_out, *short]
        super().__init__(recording.name, views, size=size, max_side=max_side, depth=depth, notes=notes)

    def read_depth(self, photograph: Photograph, path: Path) -> Float32[Tensor, "h w"]:
        """Read the depth of each pixel of the colour image, metres; the nearest measurement, none is mixed."""
        return _read_depth(path, self._zoom)


def recognises(path: Path) -> bool:
    """Tell whether a folder is a sequence of 7-Scenes."""
    return any(path.glob("frame-*.pose.txt"))


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
    every: int | None = None,
) -> SevenScenesScene:
    """Open a sequence folder, with depth where it was measured; near and far are those of rooms by default."""
    return SevenScenesScene(
        path,
        every=every,
        depth_range=depth_range or ROOM,
        depth_focal=_depth_focal(path.parent / "scene.json"),
        depth="where present",
        size=size,
        max_side=max_side,
    )


def sequence(path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None) -> Recording:
    """Open a sequence folder as frames in time order, cut to a size."""
    return at_size(SevenScenesRecording(path, frames=frames), size)


WORDS = "a sequence of 7-Scenes (frame-000000.color.png, .pose.txt)"
SEQUENCE_LAYOUT = SequenceLayout(WORDS, recognises, sequence, rank=3)
LAYOUT = Layout(WORDS, recognises, scene, rank=4)


def _colour_files(folder: Path, frames: tuple[int, int] | None) -> tuple[list[Path], list[str]]:
    """Return the colour images of the frames 0 and on without a gap, or of the range, and a line on what is left out.

    The lossless PNG is taken where a frame is there as JPEG too.
    """
    check_folder(folder, "sequence", "seq-*")
    jpg, png = ({path.name.split(".")[0]: path for path in folder.glob(f"frame-*.color.{kind}")} for kind in _KINDS)
    if not (jpg or png):
        raise Vo3dError(f"{folder}: holds no image: expected frame-000000.color.png (or .color.jpg) and on")
    missing = ".color.png: no such file, nor .color.jpg"
    files = frame_files(jpg | png, f"{folder}/frame-{{:06d}}", frames, suffixes=missing)
    twice = len(jpg.keys() & png.keys())
    left_out = [f"{folder}: {twice} frames are there as PNG and as JPEG: the JPEG files are left out"] if twice else []
    return files, left_out


def _step(folder: Path, count: int) -> tuple[int, list[str]]:
    """Choose the step from view to view of a sequence of `count` frames, and say so where it is not the usual one."""
    step = max(1, min(EVERY, (count - 1) // (ENOUGH_VIEWS - 1)))
    if step == EVERY:
        return step, []
    taken = "every frame is a view" if step == 1 else f"views are {step} frames apart"
    return step, [
        f"{folder}: has {count} frames: {taken}, where long sequences have them {EVERY} apart: --every N chooses"
    ]


def _depth_focal(about: Path) -> float:
    """Return the focal length of the depth camera: that in the scene.json of a rendered room, else the sensor's."""
    content = read_json(about, "what `vo3d render room` writes") if about.is_file() else {}
    focal = content.get("depth_focal", DEPTH_FOCAL) if isinstance(content, dict) else DEPTH_FOCAL
    if not isinstance(focal, int | float) or not focal > 0:
        raise Vo3dError(f"{about}: depth_focal is {focal!r}: expected pixels, a number above 0")
    return float(focal)


def _name(folder: Path) -> str:
    """Name the recording of a sequence folder."""
    return f"{folder.parent.name}_{folder.name}"


def _read_depth(path: Path, zoom: float | None) -> Float32[Tensor, "480 640"]:
    """Read the depth map in a file, metres, as the depth camera saw it.

    With a `zoom`, its focal length in those of the colour camera, each pixel of the colour camera gets the nearest
    measurement; none is mixed, and 0 is where the depth camera saw nothing.
    """
    depth = read_depth_png(path, metres_per_count=0.001, invalid=_NO_DEPTH)
    if tuple(depth.shape) != _ORIGINAL:
        raise Vo3dError(f"{path}: is {depth.shape[1]}x{depth.shape[0]} pixels: those of 7-Scenes are 640x480")
    if zoom is None:
        return depth
    centre = torch.tensor(_CENTRE)
    moved, _ = sample_image(depth[None], centre + zoom * (pixel_grid(*_ORIGINAL) - centre), mode="nearest")
    return moved[0]


def _read_pose(path: Path) -> Float64[Tensor, "4 4"]:
    """Read the 4x4 matrix of one frame."""
    rows: list[list[float]] = []
    for number, line in enumerate(read_lines(path, "the pose that every frame of 7-Scenes has"), start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(token) for token in line.split()])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != 4 or not all(map(math.isfinite, rows[-1])):
            raise Vo3dError(
                f"{path}:{number}: found {quoted(line.strip())}: expected four finite numbers, one row of a 4x4 pose"
            )
    if len(rows) != 4:
        raise Vo3dError(f"{path}: has {len(rows)} rows: expected the four rows of a 4x4 pose")
    pose = torch.tensor(rows, dtype=torch.float64)
    check_poses(pose[None], path)
    return pose


def _nearest_rotations(world_T_cam: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 4 4"]:
    """Return the poses with each rotation replaced by the nearest orthonormal one (Schoenemann 1966)."""
    left, _, right = torch.linalg.svd(world_T_cam[:, :3, :3])
    nearest = world_T_cam.clone()
    nearest[:, :3, :3] = left @ right  # no sign to mend: check_poses let only positive determinants pass
    return nearest
