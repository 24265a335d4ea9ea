"""Maps of places: the descriptors of images with the model that made them, in one folder that only ever grows whole.

map.yaml            the model, and the rules by which images are seen
model.safetensors   what the model holds; absent where it holds nothing
descriptors/        of every image, see `vo3d.retrieval.descriptors.Descriptors`
images.csv          which images are in the map, and in which row their descriptors are: what it lists is the map
thumbnails/         a small JPEG of each, by its row
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_image
from vo3d.formats.weights import load_weights, save_weights, sha256_of
from vo3d.model import Model
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval.search import Nearest, search
from vo3d.settings.build import build
from vo3d.settings.files import read_settings

VERSION = 1
SETTINGS, WEIGHTS, TABLE, ROWS, THUMBNAILS = "map.yaml", "model.safetensors", "images.csv", "descriptors", "thumbnails"
COLUMNS = ("name", "path", "bytes", "modified_ns", "sha256", "x_m", "y_m", "z_m", "row")
THUMBNAIL = 160  # pixels of the longer side


@dataclass(frozen=True, kw_only=True)
class Place:
    """An image of a map.

    Args:
        name: for people.
        path: of its file, or of the video or sequence that it is a frame of.
        stat: bytes and time of change (ns) of the file; None of a frame.
        sha256: of the file; of the pixels of a frame.
        position: x, y, z, metres (of GPS east, north, 0); None where unknown.
        row: of its descriptor.
    """

    name: str
    path: str
    stat: tuple[int, int] | None
    sha256: str
    position: tuple[float, float, float] | None
    row: int

    @property
    def key(self) -> tuple[str, str]:
        """Return what no other image of the map has."""
        return self.path, self.name


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """Describe the model of a map.

    Args:
        class_path, init_args: of the model.
        origin: the weights that it was loaded with, name and SHA-256; empty where it comes as it is built.
        max_side: pixels of the longer side to which images are reduced.
        dim: width of a descriptor.
        fitted_on: images that the model was fitted on.
    """

    class_path: str
    init_args: Mapping[str, Any]
    origin: Mapping[str, str | None]
    max_side: int
    dim: int
    fitted_on: int = 0


class PlaceMap:
    """The map in a folder.

    Args:
        folder: as `create` wrote it.

    Raises:
        Vo3dError: there is no map, or its files do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / SETTINGS).is_file():
            what = "no map of places" if folder.is_dir() else "no such folder"
            raise Vo3dError(f"{folder}: {what}: expected a folder that `vo3d places build` made")
        self.folder = folder
        self.settings, self._weights_sha256 = _read_settings(folder / SETTINGS)
        self.descriptors = Descriptors(folder / ROWS)
        self.places = _read_table(folder / TABLE)
        rows = [place.row for place in self.places]
        if rows and not 0 <= min(rows) <= max(rows) < len(self.descriptors):
            raise self._edited(f"{TABLE} names row {max(rows)} of {len(self.descriptors)} descriptors")
        if len(set(rows)) < len(rows) or len({place.key for place in self.places}) < len(rows):
            raise self._edited(f"{TABLE} has an image or a row twice")
        if rows and self.descriptors.dim != self.settings.dim:
            raise self._edited(
                f"descriptors have {self.descriptors.dim} values, and {SETTINGS} says {self.settings.dim}"
            )

    @classmethod
    def create(cls, folder: Path, settings: MapSettings, model: Model) -> "PlaceMap":
        """Begin a map with no image in it; the settings come last, and without them a folder holds no map."""
        weights = None
        if model.state_dict():
            save_weights(folder / WEIGHTS, model, {})
            weights = sha256_of(folder / WEIGHTS)
        _write_table(folder / TABLE, [])
        (folder / ROWS).mkdir(exist_ok=True)
        text = yaml.safe_dump({"version": VERSION, "weights_sha256": weights, **asdict(settings)}, sort_keys=False)
        write_whole(folder / SETTINGS, text)
        return cls(folder)

    def model(self) -> Model:
        """Build the model that the images were described by; Vo3dError where its weights are others than then."""
        own = self.settings
        spec = {"class_path": own.class_path, "init_args": dict(own.init_args)}
        net: Model = build(Model, spec, str(self.folder / SETTINGS))
        if self._weights_sha256 is not None:
            path = self.folder / WEIGHTS
            if not path.is_file() or sha256_of(path) != self._weights_sha256:
                raise self._edited(f"{WEIGHTS} is missing or another one than {SETTINGS} names")
            load_weights(net, path)
        return net

    def add(
        self, places: Sequence[Place], rows: Float[Tensor, "m c"], thumbnails: Sequence[Float[Tensor, "3 _ _"]]
    ) -> None:
        """Add images, in the rows from `free_row` on; one of the same key takes the place of the earlier one."""
        for place, thumbnail in zip(places, thumbnails, strict=True):
            write_image(self.thumbnail(place), thumbnail)
        self.descriptors.append(rows)
        self.put(places)

    def put(self, places: Sequence[Place]) -> None:
        """Write the table with these images in it, each where one of its key or of its row was, or at the end."""
        table = {place.row: place for place in self.places}
        row_of = {place.key: place.row for place in self.places}
        for place in places:
            before = row_of.get(place.key, place.row)
            table[before] = place
        self.places = list(table.values())
        _write_table(self.folder / TABLE, self.places)

    def drop(self, gone: Sequence[Place]) -> None:
        """Take images out of the table; their descriptors stay on disk and are found no more."""
        keys = {place.key for place in gone}
        for place in gone:
            self.thumbnail(place).unlink(missing_ok=True)
        self.places = [place for place in self.places if place.key not in keys]
        _write_table(self.folder / TABLE, self.places)

    @property
    def free_row(self) -> int:
        """Return the row of the next image; rows that an interrupted build left without an image are not used again."""
        return len(self.descriptors)

    def thumbnail(self, place: Place) -> Path:
        """Name the small picture of an image."""
        return self.folder / THUMBNAILS / f"{place.row:06d}.jpg"

    def nearest(self, queries: Float[Tensor, "q c"], num: int) -> Nearest:
        """Find the nearest images for each query, as indices into `places`; fewer where the map has fewer."""
        if not self.places:
            raise Vo3dError(f"{self.folder}: holds no image: build it again with images that can be read")
        if queries.shape[1] != self.settings.dim:
            raise self._edited(f"its model gives {queries.shape[1]} values, and the map holds {self.settings.dim}")
        num = min(num, len(self.places))
        dead = len(self.descriptors) - len(self.places)  # rows that are no image of the map any more
        found = search(queries, self.descriptors, num + dead)
        place_of_row = torch.full((len(self.descriptors),), -1)
        place_of_row[[place.row for place in self.places]] = torch.arange(len(self.places))
        index = place_of_row[found.index]
        order = (index < 0).long().sort(dim=1, stable=True).indices[:, :num]  # those that are, in their order
        return Nearest(index.gather(1, order), found.squared.gather(1, order))

    def descriptors_of(self, places: Sequence[int]) -> Float32[Tensor, "n c"]:
        """Read the descriptors of some images."""
        rows = [self.places[place].row for place in places]
        return torch.cat([self.descriptors.rows(row, row + 1) for row in rows])

    def positions(self) -> Float64[Tensor, "n 3"] | None:
        """Give the positions of all images, metres; None unless all are known."""
        found = [place.position for place in self.places if place.position is not None]
        return torch.tensor(found, dtype=torch.float64) if found and len(found) == len(self.places) else None

    def _edited(self, fault: str) -> Vo3dError:
        return Vo3dError(f"{self.folder}: {fault}: the files are not of one map: build it anew in another folder")


def small(image: Float[Tensor, "3 h w"], most: int = THUMBNAIL) -> Float32[Tensor, "3 _ _"]:
    """Reduce an image until its longer side has at most so many pixels, averaging what falls together."""
    h, w = image.shape[-2:]
    scale = most / max(h, w)
    if scale >= 1:
        return image
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    return interpolate(image[None], size=size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _read_settings(path: Path) -> tuple[MapSettings, str | None]:
    """Read the settings and the SHA-256 of the weights; Vo3dError where they are of another shape or version."""
    found = read_settings(path)
    if (version := found.pop("version", None)) != VERSION:
        raise Vo3dError(f"{path}: version {quoted(version)} of a map: expected {VERSION}: build the map anew")
    weights = found.pop("weights_sha256", None)
    kinds = {"class_path": str, "init_args": dict, "origin": dict, "max_side": int, "dim": int, "fitted_on": int}
    if set(found) != set(kinds) or not all(isinstance(found[key], kind) for key, kind in kinds.items()):
        raise Vo3dError(f"{path}: not the settings of a map: expected {', '.join(kinds)}: build the map anew")
    return MapSettings(**found), weights


def _read_table(path: Path) -> list[Place]:
    """Read the images of a map; Vo3dError naming the line that is none."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: the map is not whole: build it anew")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise Vo3dError(
                f"{path}: another header than {','.join(COLUMNS)}: the table was edited: build the map anew"
            )
        places = []
        for number, row in enumerate(rows, 2):
            try:
                name, where, size, changed, sha256, x, y, z, at = row
                places.append(
                    Place(
                        name=name,
                        path=where,
                        stat=(int(size), int(changed)) if size else None,
                        sha256=sha256,
                        position=(float(x), float(y), float(z)) if x else None,
                        row=int(at),
                    )
                )
            except ValueError as error:
                raise Vo3dError(
                    f"{path}: line {number} is no image of a map: the table was edited: build the map anew"
                ) from error
    return places


def _write_table(path: Path, places: Sequence[Place]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for place in places:
        position = ("", "", "") if place.position is None else tuple(map(repr, place.position))
        table.writerow((place.name, place.path, *(place.stat or ("", "")), place.sha256, *position, place.row))
    write_whole(path, text.getvalue().encode(errors="surrogateescape"))
