"""Show clouds, meshes and cameras together: in rerun, in a window of open3d, or as pictures and a page."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from vo3d.errors import Vo3dError
from vo3d.formats.files import make_folder
from vo3d.formats.ply import Mesh, PointCloud
from vo3d.fusion.open3d_library import load_open3d
from vo3d.report.cloud_page import cloud_page
from vo3d.report.clouds import CLAY, extent, points_on_mesh, turntable, upright_axes, write_turntable
from vo3d.report.drawn_path import DrawnPath, joined, trajectory_at
from vo3d.report.layers import Layer, Shape, read_layers

Viewer = Literal["auto", "rerun", "open3d", "pictures"]
NO_DISPLAY = "no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set)"
SINGLE = 1e-5  # of a shape's radius, by which rounding to single precision may move a point


class _Unavailable(Vo3dError):
    """A viewer cannot be opened here."""


def view_cloud(
    sources: Path | Sequence[Path],
    *,
    out: Path | None = None,
    viewer: Viewer = "auto",
    frames: int = 36,
    up: Sequence[float] | None = None,
    path: Path | None = None,
) -> str:
    """Show one or several sources together (see `vo3d.report.layers`), and return one line that says what was done.

    Points and triangles are shown as they are, cameras as lines with frusta; `path` is one more source, a trajectory.

    `auto` takes rerun where it is installed, else a window of open3d, else pictures; it takes pictures too where there
    is no display, and where `out` is given. `pictures` writes a turntable of `frames` pictures, PNG and one
    GIF, and a page to turn it all in a browser, into `out` (by default `<name>_view` beside the first source). `rerun`
    with `out` writes `<name>.rrd` there instead of opening the viewer. `up` is as in `turntable`; unstated,
    it is what a line `comment up x y z` of a file says, else that of the cameras, and -y without any.

    Raises:
        Vo3dError: a file is absent, empty or of another kind; there is no frame; the viewer that was asked for cannot
            open.
    """
    if frames < 1:
        raise Vo3dError(f"a turntable of {frames} pictures: expected at least 1")
    named = [sources] if isinstance(sources, Path) else list(sources)
    if path is not None:
        if all(trajectory_at(one) is not None for one in named):
            raise Vo3dError(f"{named[0]} is a trajectory already: leave --path out, or name a cloud first")
        named.append(path)
    layers = _unlike([layer for one in named for layer in read_layers(one)])
    if up is None:  # files say it more surely than paths do
        ups = sorted((layer for layer in layers if layer.up), key=lambda layer: isinstance(layer.thing, DrawnPath))
        up = ups[0].up if ups else None
    shown, moved = _near_origin(layers)
    name = named[0].absolute().stem
    folder = named[0].absolute().with_name(f"{name}_view") if out is None else out
    show: dict[str, Callable[[], str]] = {
        "rerun": lambda: _in_rerun(shown, name, upright_axes(up).numpy(), out),
        "open3d": lambda: _in_open3d(shown, str(named[0]), upright_axes(up).numpy()),
        "pictures": lambda: _as_pictures(shown, name, folder, frames, up),
    }
    possible = [*show] if out is None else ["pictures"]
    for kind in possible if viewer == "auto" else [viewer]:
        try:
            done = show[kind]()
            words = ", ".join(layer.words() for layer in layers)
            return f"{named[0]}: {words}; {done}{moved if kind != 'pictures' else ''}"
        except _Unavailable:
            if viewer != "auto":
                raise
    raise AssertionError("pictures are always possible")


def _unlike(layers: list[Layer]) -> list[Layer]:
    """Drop what is there twice, such as the cameras of a cloud and of its mesh, and give names that differ."""
    kept: dict[str, Layer] = {}
    for layer in layers:
        if not layer.asked and any(np.array_equal(layer.vertices, one.vertices) for one in kept.values()):
            continue
        names = chain([layer.name], (f"{layer.name} {number}" for number in count(2)))
        name = next(name for name in names if name not in kept)
        kept[name] = replace(layer, name=name)
    return [*kept.values()]


def _near_origin(layers: list[Layer]) -> tuple[list[Layer], str]:
    """Return what is shown where the single precision of viewers holds it, around its middle if need be; what to say.

    At UTM coordinates single precision moves points by half a metre.
    """
    points = np.concatenate([layer.vertices for layer in layers])
    middle, radius = extent(PointCloud(points=points))
    if np.abs(points - points.astype(np.float32)).max() <= SINGLE * radius:
        return layers, ""
    centre = middle.round().numpy()
    said = "; shown from {:.0f} {:.0f} {:.0f} on, because viewers have single precision".format(*centre)
    return [layer.moved(-centre) for layer in layers], said


def _as_pictures(layers: list[Layer], name: str, folder: Path, frames: int, up: Sequence[float] | None) -> str:
    """Write the turntable and the page, and say what was done, as the following functions do.

    The pictures show what was asked for; cameras that lie beside a cloud are on the page alone.
    """
    make_folder(folder)
    solid = [(layer, _as_points(layer.thing)) for layer in layers if not isinstance(layer.thing, DrawnPath)]
    lines = {layer.name: layer.thing for layer in layers if isinstance(layer.thing, DrawnPath)}
    drawn = [
        layer.thing.points() for layer in layers if isinstance(layer.thing, DrawnPath) and (layer.asked or not solid)
    ]
    grey = round(255 * CLAY)
    thin = None if solid else 2  # pixels of a line
    pictured = joined([*(points for _, points in solid), *drawn], grey)
    write_turntable(folder, turntable(pictured, frames, up=up, point_size=thin))
    parts = [(layer.name, len(points), True) for layer, points in solid]
    ends = [one.places() for one in lines.values()]
    whole = joined([points for _, points in solid] or ends, grey)
    page = cloud_page(whole, folder / f"{name}.html", name, up=up, parts=parts, lines=lines)
    return f"wrote {page}, to be turned in a browser, with turntable.gif and its {frames} pictures beside it"


def _as_points(shape: Shape) -> PointCloud:
    return points_on_mesh(shape) if isinstance(shape, Mesh) else shape


def _in_rerun(layers: list[Layer], name: str, axes: np.ndarray, out: Path | None) -> str:
    """Send the layers to rerun's viewer or into its file."""
    if out is None and not _has_display():
        raise _Unavailable(f"{NO_DISPLAY}: choose the viewer pictures, or name a folder (out) for rerun's file")
    try:
        rerun: Any = importlib.import_module("rerun")
    except ImportError as error:
        raise _Unavailable(
            f'rerun cannot be loaded ({error}): pip install "vo3d[view]", or choose another viewer (open3d, pictures)'
        ) from error
    rerun.init("vo3d", spawn=out is None)
    if out is not None:
        make_folder(out)
        rerun.save(out / f"{name}.rrd")
    main = int(np.abs(axes[2]).argmax())  # rerun knows an up along an axis only
    upright = f"RIGHT_HAND_{'XYZ'[main]}_{'UP' if axes[2][main] > 0 else 'DOWN'}"
    rerun.log("/", getattr(rerun.ViewCoordinates, upright), static=True)
    for layer in layers:
        rerun.log(layer.name, _rerun_geometry(rerun, layer.thing), static=True)
    return "sent to rerun's viewer" if out is None else f"wrote {out / f'{name}.rrd'}: open it with rerun"


def _rerun_geometry(rerun: Any, thing: PointCloud | Mesh | DrawnPath) -> Any:
    """Make of a layer what rerun draws."""
    if isinstance(thing, DrawnPath):
        return rerun.LineStrips3D(thing.lines, colors=thing.colours)
    if isinstance(thing, PointCloud):
        return rerun.Points3D(thing.points, colors=thing.colours)
    return rerun.Mesh3D(
        vertex_positions=thing.vertices.points,
        triangle_indices=thing.faces,
        vertex_normals=thing.vertices.normals,
        vertex_colors=thing.vertices.colours,
    )


def _has_display() -> bool:
    """Tell whether a window can be expected to open."""
    return sys.platform in {"win32", "darwin"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _in_open3d(layers: list[Layer], title: str, axes: np.ndarray) -> str:
    """Show the layers until the window is closed."""
    if not _has_display():
        raise _Unavailable(f"{NO_DISPLAY}: choose the viewer pictures")
    try:
        open3d: Any = load_open3d()
    except (ImportError, OSError) as error:
        raise _Unavailable(f"open3d cannot be loaded ({error}): choose the viewer pictures") from error
    window = open3d.visualization.Visualizer()
    if not window.create_window(window_name=title):
        raise _Unavailable("open3d cannot open a window on this display: choose the viewer pictures")
    for layer in layers:
        thing = layer.thing
        drawn = open3d_lines(open3d, thing) if isinstance(thing, DrawnPath) else open3d_geometry(open3d, thing)
        window.add_geometry(drawn)
    control = window.get_view_control()
    control.set_up(axes[2])
    control.set_front(0.93 * axes[0] + 0.37 * axes[2])
    window.run()
    window.destroy_window()
    return "shown in a window of open3d, now closed"


def open3d_geometry(open3d: ModuleType, shape: Shape) -> Any:
    """Make of the shape an open3d PointCloud or TriangleMesh."""
    vector = open3d.utility.Vector3dVector
    if isinstance(shape, Mesh):
        faces = open3d.utility.Vector3iVector(shape.faces.astype(np.int32))
        mesh = open3d.geometry.TriangleMesh(vector(shape.vertices.points.astype(np.float64)), faces)
        if shape.vertices.colours is not None:
            mesh.vertex_colors = vector(shape.vertices.colours / 255)
        mesh.compute_vertex_normals()
        return mesh
    points = open3d.geometry.PointCloud(vector(shape.points.astype(np.float64)))
    if shape.colours is not None:
        points.colors = vector(shape.colours / 255)
    if shape.normals is not None:
        points.normals = vector(shape.normals.astype(np.float64))
    return points


def open3d_lines(open3d: ModuleType, path: DrawnPath) -> Any:
    """Make of a path an open3d LineSet."""
    pairs = np.arange(2 * len(path.lines), dtype=np.int32).reshape(-1, 2)
    lines = open3d.geometry.LineSet(
        open3d.utility.Vector3dVector(path.lines.reshape(-1, 3)), open3d.utility.Vector2iVector(pairs)
    )
    lines.colors = open3d.utility.Vector3dVector(path.colours / 255)
    return lines
