"""Folders of images whose poses are in a trajectory file: recordings of robots, trackers, SLAM programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vo3d.datasets.image_poses import TRAJECTORIES, Intrinsics, cameras_of, image_files_in, posed_image_files
from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photographs
from vo3d.datasets.resize import Size
from vo3d.datasets.sparse_views import photographs_by_poses
from vo3d.datasets.views import given_name
from vo3d.errors import Vo3dError
from vo3d.formats.trajectory_rows import TrajectoryFormat
from vo3d.recording import Layout


class PosedImages(MultiViewDataset):
    """Samples of one or many folders: `image`, `K`, `world_T_cam`, `depth_range`; see `PosedImagesScene`.

    Args:
        root: the scene, or the folder of the `scenes`.
        scenes: names of folders in `root`; None: `root` itself is the scene.
        depth_range, poses, format, intrinsics, every, num_sources, size, max_side: see `PosedImagesScene`; a relative
            `poses` is below each scene.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        scenes: Sequence[str] | None = None,
        *,
        depth_range: tuple[float, float] | None = None,
        poses: str | None = None,
        format: TrajectoryFormat | None = None,
        intrinsics: Intrinsics | None = None,
        every: int = 1,
        num_sources: int = 10,
        size: Size | None = None,
        max_side: int | None = None,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                PosedImagesScene(
                    folder,
                    depth_range=depth_range,
                    poses=None if poses is None else folder / poses,
                    format=format,
                    intrinsics=intrinsics,
                    every=every,
                    num_sources=num_sources,
                    size=size,
                    max_side=max_side,
                )
                for folder in scene_folders(root, scenes)
            ],
            num_views=num_views,
            **views,
        )


class PosedImagesScene(Photographs):
    """The images of a folder that have a pose, in natural order; sources are chosen by the poses.

    Which pose is of which image `vo3d.datasets.image_poses.posed_image_files` says.

    Args:
        folder: holds the images, itself or in images/, rgb/, image_2/, color/.
        depth_range: near and far for all views, in the unit of the poses; None: see `photographs_by_poses`.
        poses: the file of poses, camera to world; None: poses.txt, trajectory.txt or groundtruth.txt in `folder`.
        format: of the poses, "kitti" or "tum"; None: by what the file holds.
        intrinsics: fx, fy, cx, cy in pixels of the images, of which the top-left one has its centre at (0, 0), and
            where the lens distorts k1, k2, p1, p2 and so on of OpenCV's model; None: from intrinsics.txt, K.txt or
            camera-intrinsics.txt in `folder`: the four numbers, or a 3x3 or 4x4 matrix, and where the lens distorts a
            line such as `radtan k1 k2 p1 p2` or `equidistant k1 k2 k3 k4`. Images are read without distortion.
        every: take every so many-th of the images that have a pose.
        num_sources: at most, of each view.
        max_difference: seconds between an image and its pose, at most.
        size, max_side: of the images, see `Photographs`.

    Raises Vo3dError naming the file: it is missing or damaged, K is none, poses and images do not go together.
    """

    metric = False

    def __init__(
        self,
        folder: Path,
        *,
        depth_range: tuple[float, float] | None = None,
        poses: Path | None = None,
        format: TrajectoryFormat | None = None,
        intrinsics: Intrinsics | None = None,
        every: int = 1,
        num_sources: int = 10,
        max_difference: float = 0.02,
        size: Size | None = None,
        max_side: int | None = None,
    ) -> None:
        if every < 1:
            raise Vo3dError(f"every is {every}: expected at least 1")
        found = posed_image_files(folder, poses=poses, format=format, max_difference=max_difference)
        images = found.images[::every]
        views, told = photographs_by_poses(
            images,
            cameras_of(folder, intrinsics, images),
            found.world_T_cam[::every],
            depth_range,
            num_sources=num_sources,
        )
        super().__init__(given_name(folder), views, size=size, max_side=max_side, notes=[*found.notes, *told])


def recognises(path: Path) -> bool:
    """Tell whether a folder has a file of poses and images."""
    return any((path / name).is_file() for name in TRAJECTORIES) and bool(image_files_in(path)[0])


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
    poses: Path | None = None,
    intrinsics: Intrinsics | None = None,
    every: int = 1,
) -> PosedImagesScene:
    """Open the scene that a folder holds; without a `depth_range` its images are matched."""
    return PosedImagesScene(
        path,
        depth_range=depth_range,
        poses=poses,
        intrinsics=intrinsics,
        every=every,
        size=size,
        max_side=max_side,
    )


LAYOUT = Layout(
    "images with a file of poses (poses.txt, trajectory.txt, groundtruth.txt, or --poses)",
    recognises,
    scene,
    rank=5,
    asked_by="poses",
)
