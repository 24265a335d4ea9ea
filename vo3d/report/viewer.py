"""Show a point cloud or a mesh: in rerun, in a window of open3d, or as pictures and a page where neither can be."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from vo3d.errors import Vo3dError
from vo3d.formats.files import make_folder
from vo3d.formats.ply import Mesh, PointCloud, read_cloud, read_mesh
from vo3d.fusion.open3d_library import load_open3d
from vo3d.report.cloud_page import cloud_page
from vo3d.report.clouds import extent, points_on_mesh, turntable, upright_axes, write_turntable

Viewer = Literal["auto", "rerun", "open3d", "pictures"]
Shape = PointCloud | Mesh
FACES = re.compile(rb"^element[ \t]+face[ \t]+0*[1-9]", re.MULTILINE)  # in the header of a file that holds some
NUMBER = rb"[ \t]+([-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)"
UPRIGHT = re.compile(rb"^comment up" + 3 * NUMBER + rb"[ \t]*\r?$", re.MULTILINE)
NO_DISPLAY = "no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set)"
SINGLE = 1e-5  # of a shape's radius, by which rounding to single precision may move a point
HEADER = 65536  # bytes, more than any header has


class _Unavailable(Vo3dError):
    """A viewer cannot be opened here."""


def view_cloud(
    cloud: Path,
    *,
    out: Path | None = None,
    viewer: Viewer = "auto",
    frames: int = 36,
    up: Sequence[float] | None = None,
) -> str:
    """Show the PLY file `cloud`, points or triangles, and return one line that says what was done.

    `auto` takes rerun where it is installed, else a window of open3d, else pictures; it takes pictures too where there
    is no display, and where `out` is given. `pictures` writes a turntable of `frames` pictures, PNG and one
    GIF, and a page to turn the cloud in a browser, into `out` (by default `<name>_view` beside the cloud). `rerun` with
    `out` writes `<name>.rrd` there instead of opening the viewer. `up` is as in `turntable`; unstated,
    it is what a line `comment up x y z` of the file says, and -y without one.

    Raises:
        Vo3dError: the file is absent, empty or no PLY; there is no frame; the viewer that was asked for cannot open.
    """
    if frames < 1:
        raise Vo3dError(f"a turntable of {frames} pictures: expected at least 1")
    whole, stated = _read(cloud)
    up = stated if up is None else up
    shape, moved = _near_origin(whole)
    folder = cloud.with_name(f"{cloud.stem}_view") if out is None else out
    show: dict[str, Callable[[], str]] = {
        "rerun": lambda: _in_rerun(shape, cloud.stem, upright_axes(up).numpy(), out),
        "open3d": lambda: _in_open3d(shape, str(cloud), upright_axes(up).numpy()),
        "pictures": lambda: _as_pictures(shape, cloud.stem, folder, frames, up),
    }
    possible = [*show] if out is None else ["pictures"]
    for name in possible if viewer == "auto" else [viewer]:
        try:
            return f"{cloud}: {_count(shape)}; {show[name]()}{moved if name != 'pictures' else ''}"
        except _Unavailable:
            if viewer != "auto":
                raise
    raise AssertionError("pictures are always possible")


def _read(path: Path) -> tuple[Shape, list[float] | None]:
    """Read a mesh where the file holds faces, else a cloud; and the up that its header may state."""
    if path.is_dir():
        raise Vo3dError(f"{path}: a folder: expected a PLY file")
    if not path.is_file():
        return read_cloud(path), None  # which says that there is none
    with path.open("rb") as file:
        header, end, _ = file.read(HEADER).partition(b"end_header")
    if not end:
        return read_cloud(path), None
    up = UPRIGHT.search(header)
    shape = read_mesh(path) if FACES.search(header) else read_cloud(path)
    return shape, None if up is None else [float(value) for value in up.groups()]


def _near_origin(shape: Shape) -> tuple[Shape, str]:
    """Return the shape where the single precision of viewers holds it, around its middle if need be, and what to say.

    At UTM coordinates single precision moves points by half a metre.
    """
    cloud = shape.vertices if isinstance(shape, Mesh) else shape
    middle, radius = extent(cloud)
    if np.abs(cloud.points - cloud.points.astype(np.float32)).max() <= SINGLE * radius:
        return shape, ""
    centre = middle.round().numpy()
    near = replace(cloud, points=cloud.points - centre)
    said = "; shown from {:.0f} {:.0f} {:.0f} on, because viewers have single precision".format(*centre)
    return (replace(shape, vertices=near) if isinstance(shape, Mesh) else near), said


def _count(shape: Shape) -> str:
    if isinstance(shape, Mesh):
        return f"a mesh of {len(shape.faces):,} triangles"
    return f"{len(shape):,} point{'' if len(shape) == 1 else 's'}"


def _as_pictures(shape: Shape, name: str, folder: Path, frames: int, up: Sequence[float] | None) -> str:
    """Write the turntable and the page, and say what was done, as the following functions do."""
    make_folder(folder)
    points = points_on_mesh(shape) if isinstance(shape, Mesh) else shape
    write_turntable(folder, turntable(points, frames, up=up))
    page = cloud_page(points, folder / f"{name}.html", name, up=up)
    return f"wrote {page}, to be turned in a browser, with turntable.gif and its {frames} pictures beside it"


def _in_rerun(shape: Shape, name: str, axes: np.ndarray, out: Path | None) -> str:
    """Send the shape to rerun's viewer or into its file."""
    if out is None and not _has_display():
        raise _Unavailable(f"{NO_DISPLAY}: choose the viewer pictures, or name a folder (out) for rerun's file")
    try:
        rerun: Any = importlib.import_module("rerun")
    except ImportError as error:
        raise _Unavailable(
            f"rerun cannot be loaded ({error}): pip install rerun-sdk, or choose another viewer (open3d, pictures)"
        ) from error
    rerun.init("vo3d", spawn=out is None)
    if out is not None:
        make_folder(out)
        rerun.save(out / f"{name}.rrd")
    main = int(np.abs(axes[2]).argmax())  # rerun knows an up along an axis only
    upright = f"RIGHT_HAND_{'XYZ'[main]}_{'UP' if axes[2][main] > 0 else 'DOWN'}"
    rerun.log("/", getattr(rerun.ViewCoordinates, upright), static=True)
    if isinstance(shape, Mesh):
        drawn = rerun.Mesh3D(
            vertex_positions=shape.vertices.points,
            triangle_indices=shape.faces,
            vertex_normals=shape.vertices.normals,
            vertex_colors=shape.vertices.colours,
        )
    else:
        drawn = rerun.Points3D(shape.points, colors=shape.colours)
    rerun.log(name, drawn, static=True)
    return "sent to rerun's viewer" if out is None else f"wrote {out / f'{name}.rrd'}: open it with rerun"


def _has_display() -> bool:
    """Tell whether a window can be expected to open."""
    return sys.platform in {"win32", "darwin"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _in_open3d(shape: Shape, title: str, axes: np.ndarray) -> str:
    """Show the shape until the window is closed."""
    if not _has_display():
        raise _Unavailable(f"{NO_DISPLAY}: choose the viewer pictures")
    try:
        open3d: Any = load_open3d()
    except (ImportError, OSError) as error:
        raise _Unavailable(f"open3d cannot be loaded ({error}): choose the viewer pictures") from error
    window = open3d.visualization.Visualizer()
    if not window.create_window(window_name=title):
        raise _Unavailable("open3d cannot open a window on this display: choose the viewer pictures")
    window.add_geometry(open3d_geometry(open3d, shape))
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
