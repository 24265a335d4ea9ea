"""Show a point cloud or a mesh: in rerun, in a window of open3d, or as pictures and a page where neither can be."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from vo3d.errors import Vo3dError
from vo3d.formats.files import make_folder
from vo3d.formats.ply import Mesh, PointCloud, read_cloud, read_mesh
from vo3d.fusion.open3d_library import load_open3d
from vo3d.report.cloud_page import cloud_page
from vo3d.report.clouds import CLAY, extent, points_on_mesh, turntable, upright_axes, write_turntable
from vo3d.report.drawn_path import DrawnPath, read_path, trajectory_at, with_path

Viewer = Literal["auto", "rerun", "open3d", "pictures"]
Shape = PointCloud | Mesh
FACES = re.compile(rb"^element[ \t]+face[ \t]+0*[1-9]", re.MULTILINE)  # in the header of a file that holds some
NUMBER = rb"[ \t]+([-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)"
UPRIGHT = re.compile(rb"^comment up" + 3 * NUMBER + rb"[ \t]*\r?$", re.MULTILINE)
NO_DISPLAY = "no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set)"
SINGLE = 1e-5  # of a shape's radius, by which rounding to single precision may move a point
HEADER = 65536  # bytes, more than any header has


@dataclass(frozen=True)
class _Shown:
    """A cloud or a mesh, the path of a camera, or both."""

    shape: Shape | None
    path: DrawnPath | None = None

    def vertices(self) -> PointCloud:
        """Return the points of it all."""
        own = self.shape.vertices if isinstance(self.shape, Mesh) else self.shape
        return self.points(own)

    def points(self, own: PointCloud | None) -> PointCloud:
        """Return `own` points with those of the path."""
        if self.path is not None:
            return with_path(own, self.path, round(255 * CLAY))
        if own is None:
            raise AssertionError("there is a shape or a path")
        return own

    def moved(self, shift: Float64[np.ndarray, " 3"]) -> "_Shown":
        """Return the same, moved."""
        path = None if self.path is None else self.path.moved(shift)
        if isinstance(self.shape, Mesh):
            corners = replace(self.shape.vertices, points=self.shape.vertices.points + shift)
            return _Shown(replace(self.shape, vertices=corners), path)
        return _Shown(None if self.shape is None else replace(self.shape, points=self.shape.points + shift), path)

    def words(self) -> str:
        """Say what it is."""
        found = []
        if isinstance(self.shape, Mesh):
            found.append(f"a mesh of {len(self.shape.faces):,} triangles")
        elif self.shape is not None:
            found.append(f"{len(self.shape):,} point{'' if len(self.shape) == 1 else 's'}")
        if self.path is not None:
            poses = len(self.path.world_T_cam)
            found.append(f"a path of {poses:,} pose{'' if poses == 1 else 's'}")
        return ", ".join(found)


class _Unavailable(Vo3dError):
    """A viewer cannot be opened here."""


def view_cloud(
    cloud: Path,
    *,
    out: Path | None = None,
    viewer: Viewer = "auto",
    frames: int = 36,
    up: Sequence[float] | None = None,
    path: Path | None = None,
) -> str:
    """Show the PLY file `cloud`, points or triangles, and return one line that says what was done.

    `cloud` may be a trajectory instead (see `vo3d.report.drawn_path`), which is drawn as lines with frusta; `path` is
    one that is drawn beside the cloud.

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
    if trajectory_at(cloud) is not None:
        if path is not None:
            raise Vo3dError(f"{cloud} is a trajectory already: leave --path out, or name a cloud first")
        whole, stated, path = None, None, cloud
    else:
        whole, stated = _read(cloud)
    drawn = None if path is None else read_path(path)
    up = stated if up is None else up
    if up is None and drawn is not None:
        up = upright_axes(None, drawn.world_T_cam)[2].tolist()
    shown, moved = _near_origin(_Shown(whole, drawn))
    folder = cloud.with_name(f"{cloud.stem}_view") if out is None else out
    show: dict[str, Callable[[], str]] = {
        "rerun": lambda: _in_rerun(shown, cloud.stem, upright_axes(up).numpy(), out),
        "open3d": lambda: _in_open3d(shown, str(cloud), upright_axes(up).numpy()),
        "pictures": lambda: _as_pictures(shown, cloud.stem, folder, frames, up),
    }
    possible = [*show] if out is None else ["pictures"]
    for name in possible if viewer == "auto" else [viewer]:
        try:
            return f"{cloud}: {shown.words()}; {show[name]()}{moved if name != 'pictures' else ''}"
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


def _near_origin(shown: _Shown) -> tuple[_Shown, str]:
    """Return what is shown where the single precision of viewers holds it, around its middle if need be; what to say.

    At UTM coordinates single precision moves points by half a metre.
    """
    cloud = shown.vertices()
    middle, radius = extent(cloud)
    if np.abs(cloud.points - cloud.points.astype(np.float32)).max() <= SINGLE * radius:
        return shown, ""
    centre = middle.round().numpy()
    said = "; shown from {:.0f} {:.0f} {:.0f} on, because viewers have single precision".format(*centre)
    return shown.moved(-centre), said


def _as_pictures(shown: _Shown, name: str, folder: Path, frames: int, up: Sequence[float] | None) -> str:
    """Write the turntable and the page, and say what was done, as the following functions do."""
    make_folder(folder)
    points = shown.points(points_on_mesh(shown.shape) if isinstance(shown.shape, Mesh) else shown.shape)
    thin = None if shown.shape is not None else 2  # pixels of a line
    write_turntable(folder, turntable(points, frames, up=up, point_size=thin))
    page = cloud_page(points, folder / f"{name}.html", name, up=up)
    return f"wrote {page}, to be turned in a browser, with turntable.gif and its {frames} pictures beside it"


def _in_rerun(shown: _Shown, name: str, axes: np.ndarray, out: Path | None) -> str:
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
    shape = shown.shape
    if isinstance(shape, Mesh):
        drawn = rerun.Mesh3D(
            vertex_positions=shape.vertices.points,
            triangle_indices=shape.faces,
            vertex_normals=shape.vertices.normals,
            vertex_colors=shape.vertices.colours,
        )
    elif shape is not None:
        drawn = rerun.Points3D(shape.points, colors=shape.colours)
    if shape is not None:
        rerun.log(name, drawn, static=True)
    if shown.path is not None:
        rerun.log(f"{name}/path", rerun.LineStrips3D(shown.path.lines, colors=shown.path.colours), static=True)
    return "sent to rerun's viewer" if out is None else f"wrote {out / f'{name}.rrd'}: open it with rerun"


def _has_display() -> bool:
    """Tell whether a window can be expected to open."""
    return sys.platform in {"win32", "darwin"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _in_open3d(shown: _Shown, title: str, axes: np.ndarray) -> str:
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
    if shown.shape is not None:
        window.add_geometry(open3d_geometry(open3d, shown.shape))
    if shown.path is not None:
        window.add_geometry(open3d_lines(open3d, shown.path))
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
