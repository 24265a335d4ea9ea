"""Cameras of images and videos that bring none: what a person says, a file, EXIF, or a guess that is called one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.datasets.lenses import StoredCamera, camera_notes, check_centre, fit_to_images, pinhole, undo_lens
from vo3d.datasets.resize import Size, is_resized
from vo3d.errors import Vo3dError, first_few
from vo3d.formats.images import image_focal
from vo3d.formats.intrinsics_files import read_intrinsics

GUESS = 1.2  # focal length over the longer side of an image. Source: COLMAP, default_focal_length_factor
EXIF_AGREEMENT = 0.02  # of the focal lengths of a folder's images
REMEDY = "give intrinsics (fx, fy, cx, cy), focal (pixels), field_of_view (horizontal, degrees) or camera (a file)"


@dataclass(frozen=True, kw_only=True)
class GivenCamera:
    """A description of the camera of images: one of the first four, or none; `ImageFolder` explains them."""

    intrinsics: tuple[float, float, float, float] | None = None
    field_of_view: float | None = None
    focal: float | None = None
    camera: str | Path | None = None
    guess: bool = False

    def check(self, source: Path | str, needs_camera: bool) -> None:
        """Raise Vo3dError where several are given, or none although a camera is needed and nothing may be guessed."""
        given = [name for name in ("intrinsics", "field_of_view", "focal", "camera") if getattr(self, name) is not None]
        if len(given) > 1:
            raise Vo3dError(f"{source}: {', '.join(given)} are given: expected one description of the camera: {REMEDY}")
        if needs_camera and not given and not self.guess:
            raise Vo3dError(f"{source}: nothing tells its camera: {REMEDY}")

    @property
    def of_stored(self) -> bool:
        """Tell whether it describes images as they are stored, whatever way up their EXIF headers say."""
        return self.intrinsics is not None or self.camera is not None

    def find(self, source: Path | str, size: Size, files: Sequence[Path]) -> "FoundCamera | None":
        """Find the camera of images of a size; `files` are those whose EXIF headers may tell. None where none may be.

        Raises Vo3dError, which names the source, for numbers that are no camera's or are for images of another shape.
        """
        if self.camera is not None:
            return _of_file(self.camera, source, size, files)
        (height, width), notes = size, list[str]()
        cx, cy = (width - 1) / 2, (height - 1) / 2
        if self.intrinsics is not None:
            fx, fy, cx, cy = self.intrinsics
            words = f"given: fx {fx:,g}, fy {fy:,g}, cx {cx:,g}, cy {cy:,g}"
        elif self.focal is not None:
            fx = fy = self.focal
            words = f"given: focal length {fx:,g} pixels"
        elif self.field_of_view is not None:
            if not 0 < self.field_of_view < 180:
                raise Vo3dError(f"{source}: field_of_view is {self.field_of_view}: expected degrees between 0 and 180")
            fx = fy = width / 2 / math.tan(math.radians(self.field_of_view) / 2)
            words = f"given: {self.field_of_view:g} degrees across"
        elif self.guess:
            fx, words, notes = _told_or_guessed(size, files)
            fy = fx
        else:
            return None
        if not (fx > 0 and fy > 0 and math.isfinite(fx * fy * cx * cy)):
            numbers = ", ".join(f"{number:g}" for number in (fx, fy, cx, cy))
            raise Vo3dError(f"{source}: intrinsics {numbers}: expected fx, fy > 0 and cx, cy, in pixels")
        K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
        stored = StoredCamera(name=str(source), size=size, K=K)
        return FoundCamera(stored=stored, words=words, notes=notes).checked(source)


@dataclass(frozen=True, kw_only=True)
class FoundCamera:
    """The camera of images as they come in, in words where it comes from, and what is to be said of it."""

    stored: StoredCamera
    words: str
    notes: list[str]

    def checked(self, source: Path | str) -> "FoundCamera":
        """Return itself with notes on what looks odd; Vo3dError where the principal point lies outside of the image."""
        check_centre(self.stored.K, self.stored.size, source)
        odd = camera_notes([(Path(source).name, self.stored.K, self.stored.size)])
        return FoundCamera(stored=self.stored, words=self.words, notes=[*self.notes, *odd])

    @property
    def K(self) -> Float64[Tensor, "3 3"]:
        """K of the images once their lens is undone, at their own size."""
        return pinhole(self.stored)

    def undo(self, image: Float32[Tensor, "*s 3 h w"]) -> Float32[Tensor, "*s 3 h w"]:
        """Undo the lens in images of the size of the camera."""
        if self.stored.lens is None:
            return image
        flat = image.reshape(-1, *image.shape[-3:])
        return torch.stack([undo_lens(self.stored, one) for one in flat]).reshape(image.shape)


def _of_file(file: str | Path, source: Path | str, size: Size, files: Sequence[Path]) -> FoundCamera:
    """Find the camera of images of a size in a file."""
    found, (height, width) = read_intrinsics(file, size), size
    if found.size and not files and is_resized((width, height), found.size) and width != height:
        raise Vo3dError(
            f"{file}: is for {found.size[1]}x{found.size[0]} pixels, but frames of {source} are {width}x{height} as "
            "they are shown: expected K for frames that are turned alike"
        )
    stored = StoredCamera(name=str(file), size=found.size or size, K=found.K, lens=found.lens)
    (stored,), notes = fit_to_images([stored], [Path(source)], [size])
    words = f"{Path(file).name}, fx {stored.K[0, 0]:,.5g}" + (", its lens undone" if found.lens else "")
    return FoundCamera(stored=stored, words=words, notes=notes).checked(source)


def _told_or_guessed(size: Size, files: Sequence[Path]) -> tuple[float, str, list[str]]:
    """Return a focal length, pixels, by the EXIF of the first image or else by a guess; words; where others differ."""
    told = [image_focal(path) for path in files]
    if not told or told[0] is None:
        focal = GUESS * max(size)
        angle = 2 * math.degrees(math.atan(size[1] / 2 / focal))
        words = (
            f"guessed: focal length {GUESS:g} x the longer side, {angle:.0f} degrees across: {REMEDY} if you know it"
        )
        return focal, words, []
    focal, by = told[0]
    odd = [one is None or abs(one[0] - focal) > EXIF_AGREEMENT * focal for one in told]
    others = [path.name for path, other in zip(files, odd, strict=True) if other]
    notes = [
        f"the EXIF header of {files[0].name} tells the focal length of all, but {len(others)} of {len(files)} images "
        f"have another or none ({first_few(others, 1)}): expected those of one camera at one zoom"
    ]
    return focal, f"EXIF: {by}, focal length {focal:,.0f} pixels", notes if others else []
