"""DTU (Jensen et al., CVPR 2014) as MVSNet prepared it: scans of objects by 49 cameras under seven lights.

Convention: the files are in millimetres, samples in metres. Views are numbered from 0, their images from 1.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera
from vo3d.datasets.multiview import MultiViewDataset
from vo3d.datasets.photographs import Photograph, Photographs, check_shape
from vo3d.datasets.transforms import HorizontalFlip, RandomCrop, RandomResizedCrop, Resize
from vo3d.datasets.views import DepthChoice, given_and_target, listed
from vo3d.errors import Vo3dError
from vo3d.formats.images import image_size, read_image
from vo3d.formats.mvsnet import MVSCamera, find_files, read_cam, read_pairs, read_scene
from vo3d.formats.pfm import read_pfm
from vo3d.geometry import se3
from vo3d.recording import Layout, MultiViewScene, Transform

Split = Literal["train", "val", "test"]

# fmt: off
# Source: the authors' code.
SPLITS: dict[Split, tuple[int, ...]] = {
    "train": (
        2, 6, 7, 8, 14, 16, 18, 19, 20, 22, 30, 31, 36, 39, 41, 42, 44, 45, 46, 47, 50, 51, 52, 53, 55, 57, 58, 60, 61,
        63, 64, 65, 68, 69, 70, 71, 72, 74, 76, 83, 84, 85, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100,
        101, 102, 103, 104, 105, 107, 108, 109, 111, 112, 113, 115, 116, 119, 120, 121, 122, 123, 124, 125, 126, 127,
        128,
    ),
    "val": (3, 5, 17, 21, 28, 35, 37, 38, 40, 43, 56, 59, 66, 67, 82, 86, 106, 117),
    "test": (1, 4, 9, 10, 11, 12, 13, 15, 23, 24, 29, 32, 33, 34, 48, 49, 62, 75, 77, 110, 114, 118),
}
# fmt: on
LIGHTS = (0, 1, 2, 3, 4, 5, 6)
ALL_LIGHTS_ON = 3  # the light of validation and test
STRIDE = 4  # pixels of the image from one pixel of the true depth, and of the training cameras' K, to the next
METRES = 0.001  # in a millimetre
MOVE_PIXELS = (HorizontalFlip, RandomCrop, RandomResizedCrop, Resize)  # to where a grid of stride 4 misses the truth
DEPTH_ROOTS = ("Depths_raw", "Depths")  # of true depth at the size of the evaluation's images


class DTU(MultiViewDataset):
    """Samples of the training layout: `image`, `K`, `world_T_cam`, `depth`, `depth_range`; 640x512 pixels.

    Layout: `Rectified/scan2_train/rect_001_0_r5000.png`, `Depths/scan2_train/{depth_map_0000.pfm,
    depth_visual_0000.png}`, `Cameras/train/00000000_cam.txt`, `Cameras/pair.txt`.

    The true depth has a quarter of the images' size, 160x128: it stands at the rows and columns that are multiples of
    four, with 0 between them, because pixel i of a network's grid of stride 4 sits on pixel 4i of the image.
    Augmentations that crop, resize or flip would pull the two apart and are refused. `K` is four times that of the
    files.

    Args:
        root: the folder of the layout.
        split: "train" (79 scans), "val" (18), "test" (22), or a list of scans.
        lights: which of the seven, 0 to 6, each a scene of its own; None: all for training, else 3 (all lamps on).
        depth: "required", "where present" (a view without has depth 0), "none".
        num_depths, interval_scale: `depth_range` is depth_min and depth_min + interval * interval_scale *
            (num_depths - 1) of each cam file; 192 and 1.06 are those of the published results: 425 to 931.15 mm.
        num_views, fewer_views, transforms, seed: see `MultiViewDataset`.

    Raises Vo3dError, naming the file, for what is missing or damaged; for a scan or light that is absent; for an
    augmentation that moves pixels.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split | list[int] = "train",
        *,
        lights: Sequence[int] | None = None,
        depth: DepthChoice = "required",
        num_depths: int = 192,
        interval_scale: float = 1.06,
        transforms: Sequence[Transform] = (),
        **views: Any,
    ) -> None:
        moving = [type(one).__name__ for one in transforms if isinstance(one, MOVE_PIXELS)]
        if moving and depth != "none":
            raise Vo3dError(
                f"{moving[0]} moves pixels, and the true depth of DTU stands at every fourth: leave it "
                "out, or give depth='none'"
            )
        if lights is None:
            lights = LIGHTS if split == "train" else (ALL_LIGHTS_ON,)
        shared = training_views(Path(root), num_depths=num_depths, interval_scale=interval_scale)
        super().__init__(
            [
                DTUScene(Path(root), scan, light, views=shared, depth=depth)
                for scan in _scans(split)
                for light in lights
            ],
            transforms=transforms,
            **views,
        )


class DTUEvaluation(MultiViewDataset):
    """Samples of the evaluation layout: `image`, `K`, `world_T_cam`, `depth_range`, and `depth` on request.

    Layout: that of MVSNet, one folder a scan, with images of 1600x1200 pixels under light 3:
    `scan1/{images/00000000.jpg,cams/00000000_cam.txt,pair.txt}`; the truth, where there is some, in
    `{Depths_raw,Depths}/scan1/{depth_map_0000.pfm,depth_visual_0000.png}` at the size of the images.

    Args:
        root: the folder of the scans.
        split: "test", another split, or a list of scans.
        rows: that are kept at most, from the top, so that K stays; 1184 are those of published results. None: all.
        depth: "none", "required", "where present" (a view without has depth 0).
        num_depths, interval_scale: as in `DTU`.
        num_views, fewer_views: see `MultiViewDataset`.

    Raises Vo3dError as `DTU` does.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split | list[int] = "test",
        *,
        rows: int | None = 1184,
        depth: DepthChoice = "none",
        num_depths: int = 192,
        interval_scale: float = 1.06,
        num_views: int = 5,
        **views: Any,
    ) -> None:
        super().__init__(
            [
                DTUEvaluationScene(
                    Path(root), scan, rows=rows, depth=depth, num_depths=num_depths, interval_scale=interval_scale
                )
                for scan in _scans(split)
            ],
            num_views=num_views,
            **views,
        )


# A view of which all is known but its files: calling it with them makes the photograph.
View = partial[Photograph]


def training_views(root: Path, *, num_depths: int = 192, interval_scale: float = 1.06) -> dict[int, View]:
    """Read the cameras and pairs that all scans of the training layout share; K is at the size of the images."""
    folder = root / "Cameras"
    if not folder.is_dir():
        raise Vo3dError(f"{folder}: no such folder: expected DTU's training layout: Cameras, Depths, Rectified")
    pairs = {row.view: row.sources for row in read_pairs(folder / "pair.txt")}
    place = {view: index for index, view in enumerate(sorted({*pairs, *chain.from_iterable(pairs.values())}))}
    cameras = {view: read_cam(folder / "train" / f"{view:08d}_cam.txt") for view in place}
    scale = torch.tensor([[STRIDE], [STRIDE], [1]], dtype=torch.float64)
    return {
        view: _view(
            replace(camera, K=camera.K * scale),
            [place[source] for source in pairs.get(view, ())],
            num_depths,
            interval_scale,
        )
        for view, camera in cameras.items()
    }


class DTUScene(Photographs):
    """One scan under one light in the training layout; arguments and errors as `DTU` says.

    `notes` are what is to be said of the scene beside what `Photographs` says.
    """

    num_looked_at = 1  # because there are 27,097 in all

    def __init__(
        self,
        root: Path,
        scan: int,
        light: int = ALL_LIGHTS_ON,
        *,
        views: dict[int, View] | None = None,
        depth: DepthChoice = "required",
        notes: Sequence[str] = (),
    ) -> None:
        if light not in LIGHTS:
            raise Vo3dError(f"light {light}: DTU has the lights 0 to 6: choose among them")
        images, truth = root / "Rectified" / f"scan{scan}_train", root / "Depths" / f"scan{scan}_train"
        if not images.is_dir():
            raise Vo3dError(
                f"{images}: no such scan: expected its images there; there are {listed(images.parent, 'scan*')}"
            )
        views = views or training_views(root)
        there = {path.name for path in images.iterdir()}
        files = {view: f"rect_{view + 1:03d}_{light}_r5000.png" for view in views}
        if missing := next((name for name in files.values() if name not in there), None):
            found = sorted({int(match[1]) for name in there if (match := re.fullmatch(r"rect_\d+_(\d)_.*", name))})
            raise Vo3dError(
                f"{images / missing}: no such image: the views of Cameras/pair.txt need it; lights with images here: "
                f"{', '.join(map(str, found)) or 'none'}"
            )
        size = image_size(images / next(iter(files.values())))  # of one, because there are 27,097 in all
        super().__init__(
            f"scan{scan}_light{light}",
            [
                photograph(image=images / files[view], size=size, depth=truth / f"depth_map_{view:04d}.pfm")
                for view, photograph in views.items()
            ],
            depth=depth,
            notes=notes,
        )

    def read_depth(self, photograph: Photograph, path: Path) -> Float32[Tensor, "h w"]:
        """Read the depth in metres at every fourth pixel, 0 elsewhere."""
        small = _masked_depth(path)
        (rows, columns), (height, width) = small.shape, photograph.size
        if (rows * STRIDE, columns * STRIDE) != (height, width):
            raise Vo3dError(
                f"{path}: is {columns}x{rows} pixels and its image {width}x{height}: expected a quarter: the training "
                "layout has depth of 160x128 for images of 640x512"
            )
        full = torch.zeros(height, width)
        full[::STRIDE, ::STRIDE] = small
        return full


class DTUEvaluationScene(Photographs):
    """One scan in the evaluation layout; arguments and errors as `DTUEvaluation` says."""

    def __init__(
        self,
        root: Path,
        scan: int,
        *,
        rows: int | None = 1184,
        depth: DepthChoice = "none",
        num_depths: int = 192,
        interval_scale: float = 1.06,
    ) -> None:
        if rows is not None and rows < 1:
            raise Vo3dError(f"rows is {rows}: expected the number of rows to keep, at least 1")
        folder = root / f"scan{scan}"
        if not folder.is_dir():
            raise Vo3dError(f"{folder}: no such scan: there are {listed(root, 'scan*')}")
        views = read_scene(folder)
        place = {number: index for index, number in enumerate(views)}
        truths = [path for name in DEPTH_ROOTS if (path := root / name / f"scan{scan}").is_dir()]
        truth = next(iter(truths), None)
        left_out = [f"the true depth is that of {truth}; left out: {truths[1]}"] if len(truths) > 1 else []
        super().__init__(
            f"scan{scan}",
            [
                _view(view.camera, [place[source] for source in view.sources], num_depths, interval_scale)(
                    image=view.image,
                    size=(height if rows is None else min(height, rows), width),
                    stored=StoredCamera(name=str(view.image), size=(height, width), K=view.camera.K),
                    depth=None if truth is None else truth / f"depth_map_{view.index:04d}.pfm",
                )
                for view in views.values()
                for height, width in [image_size(view.image)]
            ],
            depth=depth,
            notes=[*find_files(folder).notes, *(left_out if depth != "none" else ())],
        )

    def read(self, photograph: Photograph) -> Float32[Tensor, "3 h w"]:
        """Read the upper rows of the image."""
        return read_image(photograph.image)[:, : photograph.size[0]]

    def read_depth(self, photograph: Photograph, path: Path) -> Float32[Tensor, "h w"]:
        """Read the upper rows of the depth in metres."""
        return _masked_depth(path)[: photograph.size[0]]


def recognises(path: Path) -> bool:
    """Tell whether a folder, or what a link leads to, is one scan of the training layout, `Rectified/scan1_train`."""
    return _find_scan(path) is not None


def scene(path: Path, *, light: int = ALL_LIGHTS_ON) -> MultiViewScene:
    """Open the scan in the folder `path`, such as `Rectified/scan1_train`, with its true depth where there is some."""
    found = _find_scan(path)
    if found is None:
        raise Vo3dError(f"{path}: no scan of DTU's training layout: expected Rectified/scan1_train, beside Cameras")
    notes = [] if found == given_and_target(path)[0] else [f"{path} is a link: its scan is {found}"]
    return DTUScene(found.parents[1], int(re.sub(r"\D", "", found.name)), light, depth="where present", notes=notes)


LAYOUT = Layout("a scan of DTU's training layout (Rectified/scan1_train)", recognises, scene, rank=3)


def _find_scan(path: Path) -> Path | None:
    """Return the folder of a scan, as it was given or else where its link leads, with Cameras two levels above."""
    for place in given_and_target(path):
        if re.fullmatch(r"scan\d+_train", place.name) and (place.parent.parent / "Cameras" / "pair.txt").is_file():
            return place
    return None


def _scans(split: Split | list[int]) -> Sequence[int]:
    """Return the numbers of a split's scans."""
    if isinstance(split, str) and split not in SPLITS:
        raise Vo3dError(f"there is no split {split!r} of DTU: expected {', '.join(SPLITS)}, or a list of scans")
    return SPLITS[split] if isinstance(split, str) else split


def _view(camera: MVSCamera, sources: Sequence[int], num_depths: int, interval_scale: float) -> View:
    """Make a view, in metres, of a camera in millimetres; its range is that of a sweep from the first depth."""
    if num_depths < 2 or not interval_scale > 0:
        raise Vo3dError(f"num_depths {num_depths}, interval_scale {interval_scale:g}: expected at least 2, and above 0")
    world_T_cam = se3.inverse(camera.cam_T_world)
    world_T_cam[:3, 3] *= METRES
    far = camera.depth_min + camera.depth_interval * interval_scale * (num_depths - 1)
    return partial(
        Photograph,
        K=camera.K,
        world_T_cam=world_T_cam,
        depth_range=(camera.depth_min * METRES, far * METRES),
        sources=tuple(sources),
    )


def _masked_depth(path: Path) -> Float32[Tensor, "h w"]:
    """Read a depth map of DTU in metres, 0 where its picture depth_visual says that it does not hold."""
    depth = read_pfm(path)
    visual = path.with_name(path.name.replace("depth_map", "depth_visual")).with_suffix(".png")
    mask = read_image(visual, grey_to_rgb=False)[0] > 0.5
    check_shape(visual, mask, (depth.shape[0], depth.shape[1]), f"{path.name} is")
    return torch.where(mask & (depth > 0), depth * METRES, 0.0)
