"""Scenes of photographs with known cameras: files of any sizes in, views of one size with their sources out."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

import torch
from jaxtyping import Bool, Float32, Float64, Shaped
from torch import Tensor

from vo3d.datasets.foreground import find_masks, read_foreground, undo_lens_of_mask
from vo3d.datasets.lenses import StoredCamera, camera_notes, check_centre, pinhole, undo_lens
from vo3d.datasets.resize import Size, check_size, resize_image, resize_intrinsics, resize_labels
from vo3d.datasets.twins import find_twins
from vo3d.datasets.views import DepthChoice, check_indices
from vo3d.errors import Vo3dError
from vo3d.formats.images import orientation_notes, read_image
from vo3d.geometry.camera import crop_intrinsics
from vo3d.geometry.view_selection import best_sources, frustum_scores
from vo3d.recording import Cameras, MultiViewScene
from vo3d.sample import Sample

LEAST_PARALLAX = 0.2  # degrees between the rays of a view and of its farthest source; good ones have five and more


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One image file, its camera, and the views to match it with; `K` and `size` are those of what is read.

    The camera is for the pixels as they are stored, whatever way up EXIF says. The distortion of the one that they were
    `stored` with is undone, and `K` is then `lenses.pinhole` of that.
    """

    image: Path
    size: Size
    K: Float64[Tensor, "3 3"]
    world_T_cam: Float64[Tensor, "4 4"]
    depth_range: tuple[float, float]  # near and far, z
    sources: tuple[int, ...] = ()  # places in the scene, best first
    depth: Path | None = None  # the true depth, where there is a file
    stored: StoredCamera | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The way from images of one size to another: resized by one factor, then cut evenly at the borders."""

    stored: Size
    resized: Size
    size: Size

    @classmethod
    def of(cls, stored: Size, size: Size | None, max_side: int | None) -> "Window":
        """Find the largest centred window of the shape of `size`, or the whole image at a longer side of `max_side`."""
        factor = 1.0
        if size is not None:
            factor = max(size[0] / stored[0], size[1] / stored[1])
        elif max_side is not None:
            factor = min(1.0, max_side / max(stored))
        # rounding must not make an image smaller than its window
        height, width = (max(1, round(side * factor)) for side in stored)
        resized = (height, width) if size is None else (max(height, size[0]), max(width, size[1]))
        return cls(stored=stored, resized=resized, size=size or resized)

    @property
    def corner(self) -> tuple[int, int]:
        """Find the row and the column of the window in the resized image."""
        return (self.resized[0] - self.size[0]) // 2, (self.resized[1] - self.size[1]) // 2

    def cut(self, pixels: Shaped[Tensor, "*b h w"]) -> Shaped[Tensor, "*b new_h new_w"]:
        """Cut the window out of what has the resized image's size."""
        top, left = self.corner
        return pixels[..., top : top + self.size[0], left : left + self.size[1]]

    def intrinsics(self, K: Float64[Tensor, "3 3"]) -> Float64[Tensor, "3 3"]:
        """Return K of what the window shows."""
        if self.stored == self.size:
            return K
        top, left = self.corner
        return crop_intrinsics(resize_intrinsics(K, self.stored, self.resized), left, top)


def posed_photographs(
    images: Sequence[Path],
    cameras: Sequence[StoredCamera],
    world_T_cam: Float64[Tensor, "v 4 4"],
    depth_range: tuple[float, float],
    *,
    num_sources: int = 10,
    depths: Sequence[Path | None] | None = None,
) -> list[Photograph]:
    """Make views of which no sparse points are known: their sources are chosen by their poses (`frustum_scores`).

    The angles between two views are taken at the geometric mean of `depth_range`, which is that of all views.

    Raises Vo3dError when `depth_range` is none, `num_sources` too small, or the lens of a camera cannot be undone.
    """
    near, far = depth_range
    if not 0 < near < far < float("inf"):
        raise Vo3dError(f"depth_range {near:g} to {far:g}: expected 0 < near < far")
    if num_sources < 1:
        raise Vo3dError(f"num_sources is {num_sources}: expected at least 1")
    K = torch.stack([pinhole(camera) for camera in cameras])
    scores = frustum_scores(K, world_T_cam, [camera.size for camera in cameras], (near * far) ** 0.5)
    return [
        Photograph(
            image=image,
            size=camera.size,
            K=K[index],
            world_T_cam=world_T_cam[index],
            depth_range=depth_range,
            sources=tuple(sources),
            depth=None if depths is None else depths[index],
            stored=camera,
        )
        for index, (image, camera, (sources, _)) in enumerate(
            zip(images, cameras, best_sources(scores, num_sources), strict=True)
        )
    ]


class Photographs(MultiViewScene):
    """Views that lie in image files; `clip` gives image, K, world_T_cam, depth_range, index, and depth on request.

    Args:
        name: of the scene.
        photographs: its views.
        size: height and width of the images: resized, without a change of their shape, to cover it, and what is left
            over cut off evenly at two borders.
        max_side: instead of `size`, the most pixels of the longer side; smaller images stay as they are.
        depth: "none"; "required", a view without a file of true depth is an error; "where present", it has depth 0.
        notes: what is to be said of the scene, a line each; those of the images and of `camera_notes` come behind them.

    Raises:
        Vo3dError: there is no view, an image has its principal point outside, a depth range is none, images that go
            together have unequal sizes; and, when they are read, a file that is missing or damaged.
    """

    num_looked_at: int | None = None  # images to look for an EXIF orientation in; None: all

    def __init__(
        self,
        name: str,
        photographs: Sequence[Photograph],
        *,
        size: Size | None = None,
        max_side: int | None = None,
        depth: DepthChoice = "none",
        notes: Sequence[str] = (),
    ) -> None:
        check_size(size)
        if size is not None and max_side is not None:
            raise Vo3dError(f"{name}: size {size} and max_side {max_side}: give one of the two")
        if max_side is not None and max_side < 1:
            raise Vo3dError(f"{name}: max_side is {max_side}: expected pixels, at least 1")
        if not photographs:
            raise Vo3dError(f"{name}: no view: expected at least one image with a camera")
        self.name = name
        self.names = unique_names([photograph.image for photograph in photographs])
        twins, twin_notes = find_twins(
            [one.image for one in photographs], torch.stack([one.world_T_cam for one in photographs])
        )
        self.photographs = [
            replace(one, sources=tuple(i for i in one.sources if (min(i, index), max(i, index)) not in twins))
            for index, one in enumerate(photographs)
        ]
        self._depth = depth
        self._windows = [Window.of(photograph.size, size, max_side) for photograph in photographs]
        self._K = torch.stack(
            [window.intrinsics(one.K) for window, one in zip(self._windows, photographs, strict=True)]
        )
        self._check()
        self._masks, self._mask_notes = find_masks([one.image for one in self.photographs])
        turned = orientation_notes([one.image for one in self.photographs[: self.num_looked_at]])
        self.notes = [
            *notes,
            *turned,
            *camera_notes(list(map(_whole_view, photographs))),
            *twin_notes,
            *baseline_notes(self.photographs),
            *self._mask_notes,
        ]

    def __len__(self) -> int:
        """Number of views."""
        return len(self.photographs)

    def sources(self, index: int) -> tuple[int, ...]:
        """Return the indices of the views to match view `index` with, best first."""
        return self.photographs[index].sources

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Return `world_T_cam` of every view."""
        return torch.stack([photograph.world_T_cam for photograph in self.photographs])

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the views at `indices`; Vo3dError naming the file when one is missing, damaged, or of another size."""
        check_indices(indices, self, "view")
        chosen = [self.photographs[index] for index in indices]
        return Sample(
            image=torch.stack([self._image(index) for index in indices]),
            K=self._K[list(indices)].float(),
            world_T_cam=torch.stack([photograph.world_T_cam for photograph in chosen]),
            depth=None if self._depth == "none" else torch.stack([self._truth(index) for index in indices]),
            depth_range=torch.tensor([photograph.depth_range for photograph in chosen]),
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def cameras(self) -> Cameras:
        """Return K, depth range and size of the views, without reading an image."""
        ranges = torch.tensor([photograph.depth_range for photograph in self.photographs])
        return Cameras(K=self._K.float(), depth_range=ranges, size=self._windows[0].size)

    def take_masks(self, folder: Path) -> None:
        """Take the masks in a folder instead of those beside the images; see `find_masks`, also for errors."""
        masks, notes = find_masks([one.image for one in self.photographs], folder)
        self.notes = [*(note for note in self.notes if note not in self._mask_notes), *notes]
        self._masks, self._mask_notes = masks, notes

    def foreground(self, index: int) -> Bool[Tensor, "h w"] | None:
        """Mark the wanted pixels of a view, cut and resized as its image: by its mask, else by its alpha channel."""
        photograph, window = self.photographs[index], self._windows[index]
        stored = read_foreground(photograph.image, self._masks[index])
        if stored is None:
            return None
        rows, columns = photograph.size  # scenes may leave out the lower rows of their images
        wanted = undo_lens_of_mask(photograph.stored, stored)[:rows, :columns]
        return window.cut(resize_labels(wanted, window.resized))

    def read(self, photograph: Photograph) -> Float32[Tensor, "3 h w"]:
        """Read the image of a view, as `Photograph.K` sees it: without the distortion of its lens.

        Scenes that override it read pixels by `read_image` too: as they are stored, whatever way up EXIF says, because
        that is what cameras describe.
        """
        return without_lens(photograph, read_image(photograph.image))

    def read_depth(self, photograph: Photograph, path: Path) -> Float32[Tensor, "h w"]:
        """Read the true depth of a view, pixel by pixel with its image, in the unit of the poses."""
        raise NotImplementedError(f"{type(self).__name__} has no true depth")

    def _image(self, index: int) -> Float32[Tensor, "3 h w"]:
        photograph, window = self.photographs[index], self._windows[index]
        image = self.read(photograph)
        check_shape(photograph.image, image, photograph.size, "its camera is for")
        return window.cut(resize_image(image, window.resized))

    def _truth(self, index: int) -> Float32[Tensor, "h w"]:
        photograph, window = self.photographs[index], self._windows[index]
        path = photograph.depth
        if path is None or (self._depth == "where present" and not path.exists()):
            if self._depth == "required":
                raise Vo3dError(f"{photograph.image}: has no true depth: give it, or leave out depth='required'")
            return torch.zeros(window.size)
        depth = self.read_depth(photograph, path)
        check_shape(path, depth, photograph.size, "its image is")
        return window.cut(resize_labels(depth, window.resized))

    def _check(self) -> None:
        """Raise for the first view that cannot be used with the others."""
        first = self.photographs[0]
        for photograph, window in zip(self.photographs, self._windows, strict=True):
            check_centre(photograph.K, photograph.size, photograph.image)
            near, far = photograph.depth_range
            if not 0 < near < far < float("inf"):
                raise Vo3dError(
                    f"{photograph.image}: depth range {near:g} to {far:g}: expected 0 < near < far: correct it"
                )
            if window.size != self._windows[0].size:
                (height, width), (first_height, first_width) = window.size, self._windows[0].size
                raise Vo3dError(
                    f"{photograph.image}: is {width}x{height} pixels and {first.image.name} is {first_width}x"
                    f"{first_height}: views that go together need one size: give size=(height, width) to resize all"
                )


def _whole_view(photograph: Photograph) -> tuple[str, Float64[Tensor, "3 3"], Size]:
    """Return name, K and size of the image as it is stored, where that is known: rows may be cut off it."""
    camera = photograph.stored or photograph
    return photograph.image.name, camera.K, camera.size


def baseline_notes(photographs: Sequence[Photograph]) -> list[str]:
    """Say how many views stand so near to all their sources that depths cannot be told, at the middle of the range."""
    still = []
    for one in photographs:
        places = torch.stack([view.world_T_cam[:3, 3] for view in (one, *(photographs[i] for i in one.sources))])
        farthest, (near, far) = float((places - places[0]).norm(dim=-1).max()), one.depth_range
        angle = math.degrees(math.atan(farthest / (near * far) ** 0.5))
        if one.sources and angle < LEAST_PARALLAX:
            still.append(f"{one.image.name}: {angle:.2g} degrees")
    if not still:
        return []
    return [
        f"{len(still)} of {len(photographs)} views stand so near to their sources that rays meet at less than "
        f"{LEAST_PARALLAX:g} degrees ({still[0]}): depths there mean nothing: take images from places farther apart, "
        "and check that poses and depth range have one unit"
    ]


def without_lens(photograph: Photograph, image: Float32[Tensor, "3 h w"]) -> Float32[Tensor, "3 h w"]:
    """Undo the distortion of the lens that the stored image of a view was taken with; Vo3dError for another size."""
    if photograph.stored is None or photograph.stored.lens is None:
        return image
    check_shape(photograph.image, image, photograph.size, "its camera is for")
    return undo_lens(photograph.stored, image)


def check_shape(path: Path, pixels: Shaped[Tensor, "*b h w"], size: Size, whose: str) -> None:
    """Raise Vo3dError naming the file unless its pixels have the `size`, which is that of `whose` other thing."""
    height, width = pixels.shape[-2:]
    if (height, width) != tuple(size):
        raise Vo3dError(f"{path}: is {width}x{height} pixels, but {whose} {size[1]}x{size[0]}: make them agree")


def unique_names(images: Sequence[Path]) -> list[str]:
    """Name each image so that results can be told apart: by its stem, with as many folders before it as needed.

    Suffixes stay where nothing else tells images apart, as a.jpg beside a.png, and numbers follow where joining does
    not, as a_b/c.jpg beside a/b_c.jpg. Names differ by more than capitals, because file systems may not tell these.
    """
    plain = list(map(os.path.normpath, images))  # a/../b.jpg is b.jpg
    if twice := next((path for path, times in Counter(plain).items() if times > 1), None):
        raise Vo3dError(f"{twice}: is among the images of a scene twice: name it once")
    longest = max((len(path.parts) for path in images), default=1)
    told_apart = None
    for paths in ([path.with_suffix("") for path in images], images):
        below_root = [path.relative_to(path.anchor).parts for path in paths]
        for depth in range(1, longest + 1):
            tails = [parts[-depth:] for parts in below_root]
            names = ["_".join(tail) for tail in tails]
            if len(set(map(str.casefold, names))) == len(names):
                return names
            if told_apart is None and len(set(tails)) == len(names):
                told_apart = names
    return _numbered(told_apart or [])


def _numbered(names: Sequence[str]) -> list[str]:
    """Append numbers to names that came before."""
    taken: set[str] = set()
    free = []
    for name in names:
        free.append(
            next(one for one in chain([name], (f"{name}_{n}" for n in count(2))) if one.casefold() not in taken)
        )
        taken.add(free[-1].casefold())
    return free
