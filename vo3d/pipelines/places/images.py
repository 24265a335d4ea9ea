"""Images to recognise places by: photographs of any size in a folder, or the frames of a video or sequence."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.image_folder import images_below
from vo3d.formats.images import IMAGE_SUFFIXES, read_image
from vo3d.formats.place_positions import ImageFolder, find_positions_of, positions_by_headers, positions_by_names
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
    """Find the images in a folder and below, and where they were taken, as far as all of them tell."""
    root = source if source.is_dir() else source.parent
    every_name = images_below(source) if source.is_dir() else [source.name]
    if not every_name:
        raise Vo3dError(f"{source}: holds no image: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    folder = ImageFolder(root, every_name)
    # a table beside a single image is of all images there
    found = find_positions_of(folder) if source.is_dir() else positions_by_names(folder) or positions_by_headers(folder)
    names = every_name[::every]
    files = [root / name for name in names]
    notes = [] if found is None else [f"positions by {found.source}", *found.notes]
    at = None if found is None else found.metres[::every]
    if at is not None and bool((missing := at.isnan().any(-1)).any()):
        notes.append(f"{int(missing.sum())} of {len(names)} images have no position: positions are not used")
        at = None
    views = PlaceViews(
        source.stem if source.is_file() else source.resolve().name,
        names,
        files,
        lambda place: read_image(files[place], upright=True),
        files=True,
        at=at,
        max_side=max_side,
    )
    views.notes = notes
    return views
