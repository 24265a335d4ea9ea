"""Images of places, in files of any sizes: what the databases and queries of `vo3d.retrieval_set` are made of."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float32, Float64
from scipy.spatial import cKDTree
from torch import Tensor

from vo3d.datasets.resize import Size, check_size, resize_image
from vo3d.datasets.views import check_indices
from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.recording import Recording
from vo3d.retrieval_set import RetrievalSet
from vo3d.sample import Sample

MANY = 0.5  # share of a database: where queries match more of it, something is wrong with the rule or its unit
FEW = 20  # images of a database, below which they may all be near


class PlaceImages(Recording):
    """Images with `image`, `scene` and `index`, and maybe with positions; each may have a size of its own.

    They are photographs without a camera, turned upright as their EXIF headers say: two phones held in two ways see one
    place the same way up. No file is looked at before it is asked for.

    Args:
        name: of the recording.
        files: the images.
        names: of the images, as results show them; None: those of the files.
        positions: where each was taken, metres.
        time: when each was taken, seconds.
        numbers: of each image in its source; None: 0 and on.
        size: height and width that images are resized to, whatever their shape.
        max_side: instead of `size`, pixels that the longer side has at most; the shape stays.
        notes: what is to be said of the images, a line each.

    Raises:
        Vo3dError: both sizes are given, or one is none.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        positions: Float64[Tensor, "n 3"] | None = None,
        time: Float64[Tensor, " n"] | None = None,
        numbers: Sequence[int] | None = None,
        size: Size | None = None,
        max_side: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        check_size(size)
        if size is not None and max_side is not None:
            raise Vo3dError(f"size {size} and max_side {max_side}: give one of the two")
        if max_side is not None and max_side < 1:
            raise Vo3dError(f"max_side is {max_side}: expected pixels, at least 1")
        self.name, self.files, self.time = name, list(files), time
        self.names = [path.name for path in self.files] if names is None else list(names)
        self.notes = list(notes)
        self._positions, self._size, self._max_side = positions, size, max_side
        self._numbers = range(len(self.files)) if numbers is None else numbers
        self.first_frame = self._numbers[0] if len(self._numbers) else 0

    @property
    def frames(self) -> Sequence[int]:
        """Number the images as in their source."""
        return self._numbers

    def __len__(self) -> int:
        """Count the images."""
        return len(self.files)

    def poses(self) -> None:
        """Give no poses: which way a camera looked is not known."""
        return

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give where each image was taken, metres; None where the source does not tell."""
        return self._positions

    def clip(self, indices: Sequence[int]) -> Sample:
        """Read the images at `indices`; Vo3dError naming the file that is missing, damaged, or of another size."""
        check_indices(indices, self, "image")
        images = [self._image(index) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != images[0].shape:
                (height, width), (first_height, first_width) = image.shape[1:], images[0].shape[1:]
                raise Vo3dError(
                    f"{self.files[index]}: is {width}x{height} pixels and {self.files[indices[0]].name} is "
                    f"{first_width}x{first_height}: images of one clip need one size: give size=(height, width), or "
                    "take one at a time"
                )
        return Sample(image=torch.stack(images), scene=self.name, index=torch.tensor(list(indices)))

    def _image(self, index: int) -> Float32[Tensor, "3 h w"]:
        image = read_image(self.files[index], upright=True)
        if self._size is not None:
            return resize_image(image, self._size)
        longer = max(image.shape[1:])
        if self._max_side is None or longer <= self._max_side:
            return image
        height, width = (max(1, round(side * self._max_side / longer)) for side in image.shape[1:])
        return resize_image(image, (height, width))


def inside(root: Path, path: str | Path) -> Path:
    """Return a path in the root, where it is there, else as it was given."""
    return root / path if (root / path).exists() else Path(path)


def check_matches(places: RetrievalSet) -> list[str]:
    """Return lines on queries that nothing in the database matches, and on a rule by which nearly all match.

    Raises Vo3dError where no query has a match.
    """
    alone, rule = _without_match(places), places.matches.words
    if alone == len(places.queries):
        raise Vo3dError(
            f"{places.name}: no image of the database is right for any of the {alone} queries ({rule}): "
            "expected a table, frames or positions that go together"
        )
    notes = [f"{alone} of {len(places.queries)} queries have no match in the database ({rule})"] if alone else []
    step = max(1, len(places.queries) // 50)
    counts = [len(places.positives(query)) for query in range(0, len(places.queries), step)]
    share = sum(counts) / len(counts) / max(1, len(places.database))
    if len(places.database) >= FEW and share > MANY:
        notes.append(
            f"a query matches {share:.0%} of the database ({rule}): is the limit, or the unit of positions, another?"
        )
    return notes


def _without_match(places: RetrievalSet) -> int:
    """Count the queries that no image of the database matches."""
    if places.matches.table is not None:
        return sum(not row for row in places.matches.table)
    database, queries = _axes(places, places.database), _axes(places, places.queries)
    limit = places.matches.metres if places.matches.frames is None else places.matches.frames
    distances, _ = cKDTree(database.numpy()).query(queries.numpy())
    return int((distances > limit).sum())


def _axes(places: RetrievalSet, recording: Recording) -> Float64[Tensor, "n c"]:
    """Return what the rule measures distances of: positions, or numbers of frames."""
    positions = recording.positions() if places.matches.frames is None else None
    return torch.tensor(recording.frames, dtype=torch.float64)[:, None] if positions is None else positions
