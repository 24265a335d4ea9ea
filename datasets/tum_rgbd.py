"""TUM RGB-D (Sturm et al., IROS 2012): hand-held colour and depth in offices, with poses of a tracker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.cut import at_size
from vo3d.datasets.lenses import StoredCamera, lens_pixels, pinhole, undo_lens
from vo3d.datasets.photographs import check_shape
from vo3d.datasets.resize import Size, resize_image, resize_intrinsics, resize_labels
from vo3d.datasets.tracked import check_listed, rows_in, track_frames
from vo3d.datasets.views import FileRecording, check_folder, check_indices, given_name, read_camera_path
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_depth_png, read_image
from vo3d.formats.tum_rgbd import read_stamped_files
from vo3d.geometry import sample_image, trajectory
from vo3d.recording import Recording, SequenceLayout
from vo3d.sample import Sample

CameraName = Literal["freiburg1", "freiburg2", "freiburg3", "ros"]

ORIGINAL = (480, 640)  # height and width of colour and depth
COUNTS = 5000  # of depth in a metre
# fx, fy, cx, cy in pixels, and k1, k2, p1, p2, k3 of the colour cameras as the dataset's page of file formats lists
# them; the images of freiburg3 were published without distortion
CAMERAS: dict[CameraName, tuple[tuple[float, float, float, float], tuple[float, ...] | None]] = {
    "freiburg1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), None),
    "ros": ((525.0, 525.0, 319.5, 239.5), None),
}


class TUMRGBD(ClipDataset):
    """Clips of TUM RGB-D: `image`, `K`, `time`, `world_T_cam` where there is truth, and `depth` on request.

    Layout: `root/rgbd_dataset_freiburg1_xyz/{rgb.txt,depth.txt,groundtruth.txt,rgb/,depth/}`. Images come without the
    distortion of the lens, and depth with them: it is registered to the colour camera. Its accelerometer is not read:
    without angular rates there are no inertial readings.

    Arguments:
        root: the folder that holds the recordings, or one recording.
        sequences: folders in `root`; None: `root` itself is the recording.
        camera: whose calibration holds, see `CAMERAS`; "ros" is the nominal one without a lens. None: by the name of
            the folder.
        depth: also give the depth image that is nearest in time; 0 everywhere where none is near.
        max_difference: seconds between an image and its depth, at most.
        poses: give the true poses, interpolated on SE(3) at the stamps of the images, and only the frames that they
            cover (see `vo3d.datasets.tracked`). False keeps all frames and gives no `world_T_cam`.
        frames: first and last (exclusive) image of `rgb.txt` to take of every recording.
        size: height and width to resize to at load.
        clip_length, clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Raises Vo3dError naming the file for what is missing or damaged, or says something else than its neighbours.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Sequence[str] | None = None,
        *,
        camera: CameraName | None = None,
        depth: bool = False,
        max_difference: float = 0.02,
        poses: bool = True,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
        **clips: Any,
    ) -> None:
        folders = [Path(root)] if sequences is None else [Path(root) / name for name in sequences]
        super().__init__(
            [
                TUMRGBDRecording(
                    folder,
                    camera=camera,
                    depth=depth,
                    max_difference=max_difference,
                    poses=poses,
                    frames=frames,
                    size=size,
                )
                for folder in folders
            ],
            **clips,
        )


class TUMRGBDRecording(FileRecording):
    """One folder of TUM RGB-D; arguments and errors as `TUMRGBD` says.

    `index` of its samples is the place in the recording; `frames` counts the lines of `rgb.txt`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        camera: CameraName | None = None,
        depth: bool = False,
        max_difference: float = 0.02,
        poses: bool = True,
        frames: tuple[int, int] | None = None,
        size: Size | None = None,
    ) -> None:
        check_folder(folder, "recording")
        super().__init__(given_name(folder), frames, size)
        self._camera = _camera(folder, camera)
        listed = read_stamped_files(folder / "rgb.txt")
        numbers = rows_in(frames, len(listed.files), folder / "rgb.txt")
        self._time = listed.time[numbers]
        notes: list[str] = []
        if poses and (path := folder / "groundtruth.txt").is_file():
            truth = read_camera_path(path, "tum")
            found = track_frames(self._time, truth, path)
            numbers, self._poses, self._time = numbers[found.places], found.poses, self._time[found.places]
            notes += [*truth.notes, *found.notes]
        self._numbers: list[int] = numbers.tolist()
        self.first_frame = self._numbers[0]
        self._files = [listed.files[number] for number in self._numbers]
        check_listed(self._files, folder / "rgb.txt")
        self._depths: list[Path | None] | None = None
        if depth:
            self._depths = _nearest_depths(folder, self._time, max_difference)
            without = self._depths.count(None)
            if without:
                notes.append(
                    f"{without} of {len(self._files)} frames have no depth within {max_difference:g} s: 0 everywhere"
                )
        K = pinhole(self._camera)
        self._K = K if size is None else resize_intrinsics(K, ORIGINAL, size)
        self.camera = f"published for {self._camera.name}"
        self.notes = notes

    @property
    def frames(self) -> Sequence[int]:
        """Number the frames by the lines of `rgb.txt`."""
        return self._numbers

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._files)

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is damaged or has another size."""
        check_indices(indices, self, "frame")
        image = torch.stack([self._view(self._files[index]) for index in indices])
        depth = None
        if self._depths is not None:
            depth = torch.stack([self._depth(self._depths[index]) for index in indices])
        return self.sample(indices, image, self._K, depth=depth)

    def _view(self, path: Path) -> Float32[Tensor, "3 h w"]:
        image = read_image(path)
        check_shape(path, image, ORIGINAL, "those of TUM RGB-D are")
        image = undo_lens(self._camera, image)
        return image if self._size is None else resize_image(image, self._size)

    def _depth(self, path: Path | None) -> Float32[Tensor, "h w"]:
        """Read a depth image, metres; the nearest measurement, none is mixed."""
        if path is None:
            return torch.zeros(self._size or ORIGINAL)
        depth = read_depth_png(path, metres_per_count=1 / COUNTS)
        check_shape(path, depth, ORIGINAL, "those of TUM RGB-D are")
        if self._camera.lens is not None:
            depth = sample_image(depth[None], lens_pixels(self._camera), mode="nearest")[0][0]
        return depth if self._size is None else resize_labels(depth, self._size)


def _camera(folder: Path, name: CameraName | None) -> StoredCamera:
    """Return the colour camera; Vo3dError where the folder's name does not tell which, and nobody else."""
    known = [one for one in CAMERAS if one in given_name(folder)] if name is None else [name]
    if len(known) != 1 or known[0] not in CAMERAS:
        raise Vo3dError(
            f"{folder}: its name does not tell the camera: give camera, one of {', '.join(CAMERAS)}"
            if name is None
            else f"camera {name!r}: expected one of {', '.join(CAMERAS)}"
        )
    (fx, fy, cx, cy), coefficients = CAMERAS[known[0]]
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    lens = None if coefficients is None else ("radtan", coefficients)
    return StoredCamera(name=f"{known[0]} of TUM RGB-D", size=ORIGINAL, K=K, lens=lens)  # type: ignore[arg-type]


def _nearest_depths(folder: Path, time: Tensor, max_difference: float) -> list[Path | None]:
    """Return the depth image that belongs to each instant; None where there is none near."""
    listed = read_stamped_files(folder / "depth.txt")
    try:
        places, rows = trajectory.associate(time, listed.time, max_difference)
    except Vo3dError as error:
        raise Vo3dError(f"{folder / 'depth.txt'}: {error}") from error
    found: list[Path | None] = [None] * len(time)
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        found[place] = listed.files[row]
    check_listed([path for path in found if path is not None], folder / "depth.txt")
    return found


def recognises(path: Path) -> bool:
    """Tell whether a folder is a recording of TUM RGB-D."""
    return (path / "rgb.txt").is_file() and (path / "rgb").is_dir()


def sequence(path: Path, *, frames: tuple[int, int] | None = None, size: Size | None = None) -> Recording:
    """Open a recording by its folder, cut to a size; of a camera that its name does not tell, the nominal one."""
    named = any(one in given_name(path) for one in CAMERAS)
    recording = TUMRGBDRecording(path, camera=None if named else "ros", frames=frames)
    if not named:
        recording.notes = [*recording.notes, f"{path}: its name does not tell the camera: the nominal one is taken"]
    return at_size(recording, size)


SEQUENCE_LAYOUT = SequenceLayout("a recording of TUM RGB-D (rgb.txt, rgb/)", recognises, sequence, rank=6)
