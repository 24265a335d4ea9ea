"""Point clouds and triangle meshes in PLY files, text or binary, with colours, normals and any further numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from numpy.typing import NDArray

from vo3d.errors import Vo3dError
from vo3d.formats.ply_elements import Column, ListColumn, PlyForm, read_elements, write_elements
from vo3d.formats.text import FARTHEST

Array = NDArray[Any]

_POSITION, _NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_FACES = ("vertex_indices", "vertex_index")


@dataclass(frozen=True, kw_only=True, eq=False)
class PointCloud:
    """Points with what is known of each; positions keep the precision of their file, float32 or float64.

    Lengths are in the file's unit. Colours are RGB from 0 to 255. `scalars` are further numbers, one a point, by name.
    """

    points: Float[np.ndarray, "n 3"]
    colours: UInt8[np.ndarray, "n 3"] | None = None
    normals: Float[np.ndarray, "n 3"] | None = None
    scalars: Mapping[str, Shaped[np.ndarray, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """Triangles between points; the colours, normals and scalars of `vertices` are those of the corners."""

    vertices: PointCloud
    faces: Int[np.ndarray, "m 3"]  # rows of `vertices`


def read_cloud(path: Path) -> PointCloud:
    """Read the points of a PLY file; faces, where there are some, are left alone.

    Colours may be called red, diffuse_red or r, in 8 or 16 bits, or as fractions from 0 to 1 or, where one is above 1,
    from 0 to 255.

    Raises:
        Vo3dError: as `read_elements`; the file holds no points, or a position or a normal that is NaN, infinite or
            beyond `FARTHEST`.
    """
    return _cloud_of(path, read_elements(path))


def read_mesh(path: Path) -> Mesh:
    """Read the points and faces of a PLY file; a face with more than three corners becomes a fan of triangles.

    Raises:
        Vo3dError: as `read_cloud`; there are no faces, one has less than three corners or one that does not exist.
    """
    elements = read_elements(path)
    vertices = _cloud_of(path, elements)
    faces = next((column for name, column in elements.get("face", {}).items() if name in _FACES), None)
    if not isinstance(faces, ListColumn) or not len(faces.counts):
        raise Vo3dError(f"{path}: holds no faces: expected an element 'face' with lists {' or '.join(_FACES)}")
    if int(faces.counts.min()) < 3:
        number = int(faces.counts.argmin())
        raise Vo3dError(f"{path}: face {number} has {faces.counts[number]} corners: expected three or more")
    corners = faces.values
    if corners.dtype.kind not in "iu" or corners.min() < 0 or corners.max() >= len(vertices):
        raise Vo3dError(
            f"{path}: faces name points {corners.min()} to {corners.max()}: expected whole numbers from 0 to "
            f"{len(vertices) - 1}"
        )
    return Mesh(vertices=vertices, faces=_triangles(faces.counts, corners.astype(np.int64)))


def write_cloud(
    path: Path, cloud: PointCloud, *, form: PlyForm = "binary_little_endian", comments: Sequence[str] = ()
) -> None:
    """Write points with all that is known of them; positions keep their precision. The file is whole or absent.

    `comments` are lines for the header; `vo3d.report.viewer` takes the upright direction from the line `up x y z`.

    Raises:
        Vo3dError: there is no point, a position is NaN or infinite, or a type has no place in PLY (int64).
    """
    write_elements(path, {"vertex": _vertex_columns(path, cloud)}, form=form, comments=comments)


def write_mesh(path: Path, mesh: Mesh, *, form: PlyForm = "binary_little_endian") -> None:
    """Write points and triangles; the file is whole or absent.

    Raises:
        Vo3dError: as `write_cloud`; there is no face, or one names a point that does not exist.
    """
    vertices = _vertex_columns(path, mesh.vertices)
    if not mesh.faces.size or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise Vo3dError(
            f"{path}: no face to write, or one beyond the points: expected rows from 0 to {len(mesh.vertices)}"
        )
    write_elements(path, {"vertex": vertices, "face": {_FACES[0]: mesh.faces.astype(np.int32)}}, form=form)


def check_finite(points: Float[np.ndarray, "n 3"], what: str, place: str = "") -> None:
    """Raise Vo3dError with their number where points are NaN, infinite or beyond `FARTHEST`.

    `what` names them, `place` goes before.
    """
    bad = ~(np.abs(points) <= FARTHEST).all(axis=-1)
    if bad.any():
        fault = f"beyond {FARTHEST:g}" if np.isfinite(points).all() else "NaN or infinite"
        raise Vo3dError(
            f"{place}{int(bad.sum())} of {len(points)} {what} are {fault}, the first is number "
            f"{int(bad.argmax())}: expected finite numbers up to {FARTHEST:g}: remove these points"
        )


def _cloud_of(path: Path, elements: Mapping[str, Mapping[str, Column]]) -> PointCloud:
    columns = {
        name: column for name, column in elements.get("vertex", {}).items() if not isinstance(column, ListColumn)
    }
    absent = [name for name in _POSITION if name not in columns]
    if absent or not len(columns["x"]):
        what = f"lacks {', '.join(absent)}" if absent and columns else "holds no points"
        raise Vo3dError(f"{path}: {what}: expected an element 'vertex' with x, y, z and at least one row")
    points = _floats(_taken(columns, _POSITION))
    check_finite(points, "points", f"{path}: ")
    colours = next((_taken(columns, names) for names in _COLOURS if columns.keys() >= {*names}), None)
    normals = _floats(_taken(columns, _NORMAL)) if columns.keys() >= {*_NORMAL} else None
    if normals is not None:
        check_finite(normals, "normals", f"{path}: ")
    return PointCloud(
        points=points,
        colours=None if colours is None else _colours(path, colours),
        normals=normals,
        scalars=columns,
    )


def _taken(columns: dict[str, Array], names: tuple[str, ...]) -> Array:
    """Columns side by side, (rows, names), taken out of `columns`."""
    return np.stack([columns.pop(name) for name in names], axis=-1)


def _floats(values: Array) -> Array:
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _colours(path: Path, values: Array) -> Array:
    """Colours as bytes: as they are, from 16 bits, or from fractions of 1 or, where one is above 1, of 255."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    top = 1 if values.dtype.kind == "f" and values.max() <= 1 else 255
    if not ((values >= 0) & (values <= top)).all():
        raise Vo3dError(
            f"{path}: colours from {values.min()} to {values.max()}: expected numbers from 0 to 255, or from 0 to 1"
        )
    return np.asarray(np.rint(values * (255 // top)), dtype=np.uint8)


def _triangles(counts: Array, corners: Array) -> Array:
    """Faces of any number of corners as fans: corner 0 with each following pair. (triangles, 3)."""
    if (counts == 3).all():
        return corners.reshape(-1, 3)
    fans = counts - 2
    first = np.repeat(np.cumsum(counts) - counts, fans)
    second = first + 1 + np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
    return np.asarray(corners[np.stack((first, second, second + 1), axis=-1)])


def _vertex_columns(path: Path, cloud: PointCloud) -> dict[str, Array]:
    """Return the columns of the element 'vertex'."""
    if not len(cloud):
        raise Vo3dError(f"{path}: no point to write: expected at least one")
    check_finite(cloud.points, "points", f"{path}: ")
    columns: dict[str, Array] = {}
    for names, values in ((_POSITION, cloud.points), (_NORMAL, cloud.normals), (_COLOURS[0], cloud.colours)):
        if values is not None:
            columns |= zip(names, values.T, strict=True)
    if taken := columns.keys() & cloud.scalars.keys():
        raise Vo3dError(
            f"{path}: scalars named {', '.join(sorted(taken))}: these names are those of the points: rename"
        )
    return columns | dict(cloud.scalars)
