"""Your own photographs of a place, each with its pose: for methods that tell from one image where it was taken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float64
from torch import Tensor

from vo3d.datasets.clips import ClipDataset
from vo3d.datasets.image_poses import INTRINSICS, TRAJECTORIES, Intrinsics, cameras_of, posed_image_files
from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.posed_views import PosedViews
from vo3d.datasets.registered import registered_images
from vo3d.datasets.resize import Size
from vo3d.datasets.views import Frames, given_name, named_ranges
from vo3d.errors import Vo3dError
from vo3d.formats.colmap import find_model
from vo3d.formats.image_folder import natural_key

PoseFormat = Literal["kitti", "tum", "colmap"]


class PosedFrames(ClipDataset):
    """Single images, or clips, of one folder: `image`, `world_T_cam`, `index`, and `K` where it is known.

    The folder holds images with a file of poses, which go together as `vo3d.datasets.image_poses.posed_image_files`
    says, or a project of COLMAP as `vo3d.datasets.colmap.ColmapScene` describes it, of which the images are taken in
    the natural order of their names. No depth range is needed, and no camera.

    Arguments:
        root: the folder.
        poses: the file of poses, below `root`; None: poses.txt, trajectory.txt or groundtruth.txt.
        format: of the poses: "kitti", "tum" or "colmap"; None: by what the folder holds.
        images: the folder of the images, below `root`; None: where they are looked for.
        intrinsics: fx, fy, cx, cy in pixels, and OpenCV's coefficients of the lens, where no file in the folder tells
            (see `vo3d.datasets.image_poses.cameras_of`); a project of COLMAP has its own. None and no file: no `K`.
        frames: first and last (exclusive) image to take, or a list of such ranges, each of which is then a recording
            of its own; without it, all. They count the images of the folder, of a project those that COLMAP has
            registered. Training and test sets are cut out of one folder so: frames next to each other look alike, so
            take ranges, not every other frame.
        every: take every so many-th of the images of a range that have a pose.
        max_difference: seconds between an image and its pose, at most.
        size, short_side: see `vo3d.datasets.posed_views.PosedViews`.
        clip_length: views in a sample.
        clip_step, frame_stride, segments, transforms, seed: see `ClipDataset`.

    Convention: KITTI and TUM are in metres, COLMAP in a unit of its own; images are read without distortion.
    Raises Vo3dError naming the file: there are no poses or two kinds of them, they do not go together with the images,
    a file is missing or damaged, a range is not there.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        poses: str | Path | None = None,
        format: PoseFormat | None = None,
        images: str | Path | None = None,
        intrinsics: Intrinsics | None = None,
        frames: Frames = None,
        every: int = 1,
        max_difference: float = 0.02,
        size: Size | None = None,
        short_side: int | None = None,
        clip_length: int = 1,
        **clips: Any,
    ) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such folder: expected images with a file of poses, or a project of COLMAP")
        if every < 1:
            raise Vo3dError(f"every is {every}: expected at least 1")
        place = None if images is None else folder / images
        if place is not None and not place.is_dir():
            raise Vo3dError(f"{place}: no such folder of images")
        if _is_project(folder, poses is not None, format):
            if poses is not None or intrinsics is not None:
                raise Vo3dError(
                    f"{folder}: poses or intrinsics beside format colmap, whose model has both: leave them out"
                )
            found = _project(folder, place)
        else:
            found = _folder(
                folder, None if poses is None else folder / poses, format, place, intrinsics, max_difference
            )
        super().__init__(
            [found.recording(name, span, every, size, short_side) for name, span in named_ranges(found.name, frames)],
            clip_length=clip_length,
            **clips,
        )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The images of a folder that have a pose."""

    name: str
    images: list[Path]
    places: list[int]  # of these among all that count
    total: int
    world_T_cam: Float64[Tensor, "n 4 4"]
    cameras: list[StoredCamera] | None
    metric: bool
    notes: list[str]

    def recording(
        self, name: str, span: tuple[int, int] | None, every: int, size: Size | None, short_side: int | None
    ) -> PosedViews:
        """Cut a range out, every so many-th image of it."""
        first, last = (0, self.total) if span is None else span
        if not 0 <= first < last:
            raise Vo3dError(f"frames {first} to {last} is no range: expected 0 <= first < last (exclusive)")
        if last > self.total:
            raise Vo3dError(
                f"{self.name}: has {self.total} images, but frames up to {last} are asked for: shorten the range"
            )
        rows = [row for row, place in enumerate(self.places) if first <= place < last][::every]
        if not rows:
            raise Vo3dError(f"{self.name}: none of the images {first} to {last - 1} has a pose: choose another range")
        return PosedViews(
            name,
            [self.images[row] for row in rows],
            self.world_T_cam[rows],
            None if self.cameras is None else [self.cameras[row] for row in rows],
            numbers=[self.places[row] for row in rows],
            size=size,
            short_side=short_side,
            metric=self.metric,
            notes=self.notes,
        )


def _is_project(folder: Path, poses: bool, format: PoseFormat | None) -> bool:
    """Tell a project of COLMAP from images with a file of poses."""
    if format is not None:
        return format == "colmap"
    named = next((name for name in TRAJECTORIES if (folder / name).is_file()), None)
    model = find_model(folder)
    if model is not None and named is not None and not poses:
        raise Vo3dError(
            f"{folder}: holds {named} and a model of COLMAP in {model}: say whose poses are meant: format: colmap, or "
            f"poses: {named}"
        )
    if model is None and named is None and not poses:
        raise Vo3dError(
            f"{folder}: holds no file of poses ({', '.join(TRAJECTORIES)}) and no model of COLMAP (sparse/): name the "
            "file (poses), or put the model there"
        )
    return model is not None and not poses


def _project(folder: Path, images: Path | None) -> _Found:
    """Find the registered images of a project of COLMAP."""
    found = registered_images(folder, images)
    names = [Path(image.name) for image in found.model.images]
    order = sorted(range(len(names)), key=lambda row: natural_key(names[row]))
    return _Found(
        name=found.name,
        images=[found.files[row] for row in order],
        places=list(range(len(order))),
        total=len(order),
        world_T_cam=found.world_T_cam[order],
        cameras=[found.cameras[row] for row in order],
        metric=False,
        notes=[*found.notes, "lengths are in the unit of COLMAP's model, which is not metres unless it was scaled"],
    )


def _folder(
    folder: Path,
    poses: Path | None,
    format: PoseFormat | None,
    images: Path | None,
    intrinsics: Intrinsics | None,
    max_difference: float,
) -> _Found:
    """Find the images that have a pose in a trajectory file."""
    found = posed_image_files(
        folder,
        poses=poses,
        format=None if format == "colmap" else format,
        max_difference=max_difference,
        images=images,
    )
    notes, cameras = list(found.notes), None
    if intrinsics is not None or any((folder / name).is_file() for name in INTRINSICS):
        cameras = cameras_of(folder, intrinsics, found.images)
    else:
        notes.append(f"no intrinsics given, nor in {' or '.join(INTRINSICS)}: samples have no K")
    return _Found(
        name=given_name(folder),
        images=found.images,
        places=found.places,
        total=found.total,
        world_T_cam=found.world_T_cam,
        cameras=cameras,
        metric=True,
        notes=notes,
    )
