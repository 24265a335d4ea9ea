"""Images to recognise places by: photographs of any size in a folder, or the frames of a video or sequence."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.images import IMAGE_SUFFIXES, read_image
from vo3d.formats.place_names import utm_of
from vo3d.formats.weights import sha256_of
from vo3d.inference.place_map import Place, small
from vo3d.recording import Recording
from vo3d.sample import Sample
from vo3d.settings.discovery import known_sequence_layouts
from vo3d.settings.layouts import open_sequence

MAX_SIDE = 640  # pixels of the longer side unless another number is asked for


class PlaceViews(Recording):
    """Images that may differ in size, read one at a time and reduced to `max_side` pixels of their longer side.

    Args:
        name: of their source.
        names: of each image.
        paths: of the file that it is, or is a frame of.
        read: reads image `i`, RGB in [0, 1].
        files: whether each image is a file of its own.
        at: their positions, metres; None where unknown.
    """

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        paths: Sequence[Path],
        read: Callable[[int], Float32[Tensor, "3 h w"]],
        *,
        files: bool,
        at: Float64[Tensor, "n 3"] | None = None,
        max_side: int = MAX_SIDE,
    ) -> None:
        self.name, self.names, self.paths, self.files, self.max_side = name, names, paths, files, max_side
        self._read, self._at = read, at
        self._last: tuple[int, Tensor] | None = None
        self.reduced = 0  # images that were larger

    def __len__(self) -> int:
        """Count the images."""
        return len(self.names)

    def image(self, index: int) -> Float32[Tensor, "3 h w"]:
        """Read an image, reduced; Vo3dError where it cannot be read. The last one is kept."""
        if self._last is None or self._last[0] != index:
            whole = self._read(index)
            self.reduced += max(whole.shape[-2:]) > self.max_side
            self._last = index, small(whole, self.max_side)
        return self._last[1]

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read images of one size."""
        images = [self.image(index) for index in indices]
        if len({image.shape for image in images}) > 1:
            raise Vo3dError(f"{self.name}: images of several sizes in one clip: take them one by one")
        return Sample(image=torch.stack(images), scene=self.name, index=torch.tensor(list(indices)))

    def poses(self) -> None:
        """Give no pose: photographs look anywhere."""

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the positions, metres; None where they are unknown."""
        return self._at

    def part(self, indices: Sequence[int]) -> "PlaceViews":
        """Take some of the images."""
        return PlaceViews(
            self.name,
            [self.names[index] for index in indices],
            [self.paths[index] for index in indices],
            lambda place: self._read(indices[place]),
            files=self.files,
            at=None if self._at is None else self._at[list(indices)],
            max_side=self.max_side,
        )

    def key(self, index: int) -> tuple[str, str]:
        """Return what tells an image of a map, see `Place.key`."""
        return os.path.abspath(self.paths[index]), self.names[index]

    def stat(self, index: int) -> tuple[int, int] | None:
        """Return bytes and time of change of an image's file; None of a frame."""
        if not self.files:
            return None
        found = self.paths[index].stat()
        return found.st_size, found.st_mtime_ns

    def place(self, index: int, row: int, sha256: str | None = None) -> Place:
        """Describe an image for the table of a map, without or with its SHA-256."""
        path, name = self.key(index)
        at = None if self._at is None else tuple(self._at[index].tolist())
        sha256 = sha256 or self.fingerprint(index)
        place = Place(name=name, path=path, stat=self.stat(index), sha256=sha256, position=None, row=row)
        return place if at is None else replace(place, position=(at[0], at[1], at[2]))

    def fingerprint(self, index: int) -> str:
        """Compute the SHA-256 of an image's file; of a frame's pixels."""
        if self.files:
            return sha256_of(self.paths[index])
        pixels = (self.image(index) * 255).round().byte().contiguous()
        return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def open_views(source: Path, *, every: int = 1, max_side: int = MAX_SIDE) -> PlaceViews:
    """Open the images at a path: all in a folder and those below it, one image, or the frames of a video or sequence.

    Photographs in a folder come in natural order, without hidden files; `every` takes each so-manieth image.

    Raises:
        Vo3dError: there is none, or an option is out of range.
    """
    if every < 1:
        raise Vo3dError(f"--every {every}: expected a whole number of at least 1")
    if max_side < 16:
        raise Vo3dError(f"--max-side {max_side}: expected at least 16 pixels")
    if not source.exists():
        raise Vo3dError(f"{source}: no such file or folder: expected images or a video")
    *special, _ = known_sequence_layouts()  # the last one takes any path, and wants one size of all its images
    plain = not any(layout.recognises(source) for layout in special)
    if plain and (source.is_dir() or source.suffix.lower() in IMAGE_SUFFIXES):
        return _photographs(source, every, max_side)
    recording = open_sequence(source, {}, needs_camera=False)[1]
    chosen = range(0, len(recording), every)
    at = recording.positions()
    views = PlaceViews(
        recording.name,
        [recording.names[index] for index in chosen],
        [source] * len(chosen),
        lambda place: recording.clip((chosen[place],)).image[0],
        files=False,
        at=None if at is None else at[list(chosen)],
        max_side=max_side,
    )
    views.notes = recording.notes
    return views


def _photographs(source: Path, every: int, max_side: int) -> PlaceViews:
    """Find the images in a folder and below; their positions in names as `@east@north@...`."""
    root = source if source.is_dir() else source.parent
    files = sorted(_images_below(source), key=lambda path: _natural(path.relative_to(root))) if source.is_dir() else []
    files = (files or [source] * source.is_file())[::every]
    if not files:
        raise Vo3dError(f"{source}: holds no image: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return PlaceViews(
        source.stem if source.is_file() else source.resolve().name,
        [path.relative_to(root).as_posix() for path in files],
        files,
        lambda place: read_image(files[place], upright=True),
        files=True,
        at=positions_in_names(files),
        max_side=max_side,
    )


def _images_below(folder: Path) -> list[Path]:
    found = []
    for where, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        visible = [name for name in names if not name.startswith(".")]
        found += [Path(where, name) for name in visible if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    return found


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """Order names as people count: 2 before 10, folder after folder."""
    return [
        [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
        for name in path.parts
    ]


def positions_in_names(files: Sequence[Path]) -> Float64[Tensor, "n 3"] | None:
    """Read the positions that names as `@east@north@...` tell, metres of UTM; None where some name tells none.

    Raises Vo3dError where all numbers could be degrees.
    """
    found = []
    for path in files:
        if (at := utm_of(path.name)) is None:
            return None
        found.append((*at, 0.0))
    if found and all(abs(east) <= 180 and abs(north) <= 180 for east, north, _ in found):
        raise Vo3dError(
            f"{files[0].name}: the positions in all names are within 180, as degrees are: expected metres of UTM, "
            "@east@north@"
        )
    return torch.tensor(found, dtype=torch.float64)
