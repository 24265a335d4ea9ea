"""Folders in the layout of MVSNet (Yao et al., ECCV 2018), as BlendedMVS and Tanks and Temples have it too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.multiview import MultiViewDataset, scene_folders
from vo3d.datasets.photographs import Photograph, Photographs
from vo3d.datasets.resize import Size
from vo3d.datasets.views import DepthChoice, given_name, missing_note
from vo3d.errors import Vo3dError
from vo3d.formats.candidates import fullest, visible_paths
from vo3d.formats.images import image_size
from vo3d.formats.mvsnet import CAM_FOLDERS, NUM_DEPTHS, find_files, find_pairs, read_scene
from vo3d.formats.pfm import read_pfm
from vo3d.geometry import project, rays, se3
from vo3d.geometry.camera import cell_centres
from vo3d.recording import Layout

DEPTH_FOLDERS = ("depths", "rendered_depth_maps")  # of true depth; the second is BlendedMVS's

GRID = 5  # rows and columns of pixels by which two views are held against each other


class MVSFolder(MultiViewDataset):
    """Samples of one or many folders: `image`, `K`, `world_T_cam`, `depth_range`, and `depth` on request.

    Layout: `scene/{images,blended_images}/00000000.jpg` (or .png), `scene/{cams,cams_1}/00000000_cam.txt`,
    `scene/pair.txt` (or in cams/), and, for the truth, `scene/{depths,rendered_depth_maps}/00000000.pfm`.

    Args:
        root: the scene, or the folder of the `scenes`.
        scenes: names of folders in `root`, or "all"; None: `root` itself is the scene.
        size, max_side, depth: of the images and their true depth, see `Photographs`.
        depth_range: near and far for all views; by default what each cam file says.
        cams: the folder of the cameras, where not the fullest is wanted, such as cams_1 in Tanks and Temples.
        num_views, fewer_views, random_sources, transforms, seed: see `MultiViewDataset`.

    Convention: lengths stay in the files' own unit.
    Raises Vo3dError, with file and line, as `read_scene` and `Photographs` do.
    """

    def __init__(
        self,
        root: str | Path,
        scenes: Sequence[str] | Literal["all"] | None = None,
        *,
        size: Size | None = None,
        max_side: int | None = None,
        depth: DepthChoice = "none",
        depth_range: tuple[float, float] | None = None,
        cams: str | None = None,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                MVSFolderScene(folder, size=size, max_side=max_side, depth=depth, depth_range=depth_range, cams=cams)
                for folder in scene_folders(root, scenes)
            ],
            num_views=num_views,
            **views,
        )


class MVSFolderScene(Photographs):
    """The views that a folder's pair.txt names, by ascending number; arguments and errors as `MVSFolder` says.

    Those without an image are left out, as sources too, which `notes` say.

    `num_depths`, where a cam file does not state the number of its depths, tells the far end; see `read_cam`.
    """

    metric = False

    def __init__(
        self,
        folder: Path,
        *,
        size: Size | None = None,
        max_side: int | None = None,
        depth: DepthChoice = "none",
        depth_range: tuple[float, float] | None = None,
        cams: str | None = None,
        num_depths: int = NUM_DEPTHS,
    ) -> None:
        imageless: list[int] = []
        views = read_scene(folder, cams=cams, num_depths=num_depths, imageless=imageless)
        place = {number: index for index, number in enumerate(views)}
        notes = list(find_files(folder, cams).notes)
        truths = {path: len(visible_paths(path, "*.pfm")) for name in DEPTH_FOLDERS if (path := folder / name).is_dir()}
        truth, truths_left = fullest(truths, "files") if truths else (None, [])
        if depth != "none":
            notes += truths_left
        if truth is None and depth == "required":
            wanted = " or ".join(f"{name}/" for name in DEPTH_FOLDERS)
            raise Vo3dError(f"{folder}: no folder {wanted} of true depth: add it, or leave out depth='required'")
        photographs = [
            Photograph(
                image=view.image,
                size=image_size(view.image),
                K=view.camera.K,
                world_T_cam=se3.inverse(view.camera.cam_T_world),
                depth_range=depth_range or (view.camera.depth_min, view.camera.depth_max),
                sources=tuple(place[source] for source in view.sources),
                depth=None if truth is None else truth / f"{view.index:08d}.pfm",
            )
            for view in views.values()
        ]
        absent = missing_note([f"{index:08d}" for index in imageless], len(views) + len(imageless), f"of {folder}")
        super().__init__(
            given_name(folder),
            photographs,
            size=size,
            max_side=max_side,
            depth=depth,
            notes=[*notes, *absent, *pair_notes(photographs)],
        )

    def read_depth(self, photograph: Photograph, path: Path) -> Float32[Tensor, "h w"]:
        """Read the depth map, 0 where there is none; Vo3dError for NaN."""
        return read_pfm(path)


def recognises(path: Path) -> bool:
    """Tell whether a folder has a pair.txt and a folder of cameras."""
    return find_pairs(path) is not None and any((path / name).is_dir() for name in CAM_FOLDERS)


def scene(
    path: Path,
    *,
    size: Size | None = None,
    max_side: int | None = None,
    depth_range: tuple[float, float] | None = None,
) -> MVSFolderScene:
    """Open the scene that a folder holds, with its true depth where there is some."""
    depth: DepthChoice = "where present" if any((path / name).is_dir() for name in DEPTH_FOLDERS) else "none"
    return MVSFolderScene(path, size=size, max_side=max_side, depth=depth, depth_range=depth_range)


def pair_notes(photographs: Sequence[Photograph]) -> list[str]:
    """Say whether most of the pairs are of views that, by their cameras and depth ranges, do not see the same."""
    pairs = [(one, photographs[source]) for one in photographs for source in one.sources]
    apart = [pair for pair in pairs if not _overlap(*pair)]
    if 2 * len(apart) <= len(pairs):
        return []
    names = " and ".join(one.image.name for one in apart[0])
    return [
        f"{len(apart)} of {len(pairs)} pairs in pair.txt see nothing in common by cameras and depth ranges, such as "
        f"{names}: are the poses those from the world to the camera, K for images of this size, depths in their unit?"
    ]


LAYOUT = Layout("MVSNet's layout (images/, cams/, pair.txt)", recognises, scene, rank=1)


def _overlap(one: Photograph, other: Photograph) -> bool:
    """Tell whether some pixel at the middle depth of one view lies in the image and in the depths of the other."""
    pixels = cell_centres(one.size, GRID, GRID)
    depth = (one.depth_range[0] * one.depth_range[1]) ** 0.5
    points = se3.transform(se3.relative(other.world_T_cam, one.world_T_cam), rays(one.K, pixels) * depth)
    found, z = project(other.K, points)
    near, far = other.depth_range
    inside = (found >= -0.5) & (found <= torch.tensor([other.size[1], other.size[0]]) - 0.5)
    return bool((inside.all(-1) & (z > near / 2) & (z < 2 * far)).any())
