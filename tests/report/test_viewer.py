"""`view_cloud` takes the best viewer that is there, hands it the whole shape, and says in one line what it did."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.images import read_image
from vo3d.formats.nerf import write_transforms
from vo3d.formats.ply import Mesh, PointCloud, write_cloud, write_mesh
from vo3d.formats.trajectories import Trajectory, write_trajectory
from vo3d.fusion.open3d_library import load_open3d
from vo3d.geometry import se3
from vo3d.report import viewer
from vo3d.report.clouds import up_comment
from vo3d.report.drawn_path import DrawnPath, read_path
from vo3d.report.layers import read_layers
from vo3d.report.viewer import open3d_geometry, open3d_lines, view_cloud

POINTS = np.random.default_rng(0).normal(size=(200, 3))
COLOURS = np.arange(600).reshape(200, 3).astype(np.uint8)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
CLOUD = PointCloud(points=POINTS, colours=COLOURS, normals=NORMALS)
MESH = Mesh(vertices=PointCloud(points=POINTS[:4], colours=COLOURS[:4]), faces=np.array([[0, 1, 2], [0, 2, 3]]))


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    write_cloud(tmp_path / "temple.ply", CLOUD)
    return tmp_path / "temple.ply"


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    write_mesh(tmp_path / "vase.ply", MESH)
    return tmp_path / "vase.ply"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a display, without rerun."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setitem(sys.modules, "rerun", None)


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A module in rerun's place, on a machine with a display; returns what it was asked."""
    monkeypatch.setenv("DISPLAY", ":0")
    calls: list[tuple[Any, ...]] = []

    def note(name: str) -> Any:
        return lambda *args, **named: calls.append((name, args, named))

    axes = {f"RIGHT_HAND_{axis}_{way}": f"{axis} {way}" for axis in "XYZ" for way in ("UP", "DOWN")}
    fake = SimpleNamespace(
        init=note("init"),
        save=note("save"),
        log=note("log"),
        Points3D=lambda *args, **named: ("points", args, named),
        Mesh3D=lambda **named: ("mesh", named),
        LineStrips3D=lambda *args, **named: ("lines", args, named),
        ViewCoordinates=SimpleNamespace(**axes),
    )
    monkeypatch.setitem(sys.modules, "rerun", fake)
    return calls


class Window:
    """In the place of open3d's Visualizer: remembers what it was given."""

    opens = True
    shown: list["Window"] = []  # noqa: RUF012  one list for all windows of a test

    def __init__(self) -> None:
        self.title, self.shapes, self.steps = "", [], []  # type: ignore[var-annotated]

    def create_window(self, window_name: str) -> bool:
        self.title = window_name
        return self.opens

    def add_geometry(self, shape: object) -> None:
        self.shapes.append(shape)

    def get_view_control(self) -> Any:
        return SimpleNamespace(set_up=lambda up: self.steps.append(("up", tuple(up))), set_front=lambda front: None)

    def run(self) -> None:
        self.steps.append(("run",))

    def destroy_window(self) -> None:
        self.steps.append(("closed",))
        Window.shown.append(self)


@pytest.fixture
def open3d(monkeypatch: pytest.MonkeyPatch) -> type[Window]:
    """A display, and a module in open3d's place whose geometry is what it was made of."""
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(Window, "opens", True)
    monkeypatch.setattr(Window, "shown", [])
    fake = SimpleNamespace(visualization=SimpleNamespace(Visualizer=Window))
    monkeypatch.setattr(viewer, "load_open3d", lambda: fake)
    monkeypatch.setattr(viewer, "open3d_geometry", lambda module, shape: shape)
    monkeypatch.setattr(viewer, "open3d_lines", lambda module, path: path)
    return Window


def test_without_a_display_there_are_pictures_and_a_page(cloud: Path) -> None:
    said = view_cloud(cloud, frames=5)
    folder = cloud.parent / "temple_view"
    assert {path.name for path in folder.iterdir()} == {
        "temple.html", "turntable.gif", *(f"turntable_00{number}.png" for number in range(5))
    }  # fmt: skip
    assert "<title>temple</title>" in (folder / "temple.html").read_text()
    assert said == (
        f"{cloud}: 200 points; wrote {folder / 'temple.html'}, to be turned in a browser, with turntable.gif and its 5 "
        "pictures beside it"
    )


def test_a_mesh_is_shown_as_points_on_its_triangles(mesh: Path) -> None:
    said = view_cloud(mesh, out=mesh.parent / "new" / "folder", viewer="pictures", frames=2)
    assert said.startswith(f"{mesh}: a mesh of 2 triangles; wrote ")
    assert "300,000 of 500,000 points, chosen by chance" in (mesh.parent / "new" / "folder" / "vase.html").read_text()


def test_rerun_comes_first_and_gets_the_whole_cloud(
    cloud: Path, rerun: list[tuple[Any, ...]], open3d: type[Window]
) -> None:
    said = view_cloud(cloud)
    assert said == f"{cloud}: 200 points; sent to rerun's viewer"
    assert open3d.shown == []
    begin, axes, drawn = rerun
    assert begin == ("init", ("vo3d",), {"spawn": True})
    assert axes == ("log", ("/", "Y DOWN"), {"static": True})
    name, (kind, (points,), named) = drawn[1]
    assert (name, kind, drawn[2]) == ("temple", "points", {"static": True})
    np.testing.assert_array_equal(points, POINTS)
    np.testing.assert_array_equal(named["colors"], COLOURS)


def test_viewers_of_single_precision_get_points_near_the_origin(
    tmp_path: Path, rerun: list[tuple[Any, ...]], open3d: type[Window]
) -> None:
    """At UTM coordinates single precision would move points by half a metre."""
    shift = np.array([500_000.0, 5_400_000.0, 300.0])
    write_cloud(tmp_path / "cloud.ply", replace(CLOUD, points=POINTS + shift))
    write_mesh(tmp_path / "mesh.ply", replace(MESH, vertices=replace(MESH.vertices, points=POINTS[:4] + shift)))
    said = view_cloud(tmp_path / "cloud.ply", viewer="rerun"), view_cloud(tmp_path / "mesh.ply", viewer="open3d")
    _, (_, (points,), _) = rerun[-1][1]
    for line, shown in zip(said, (points, open3d.shown[0].shapes[0].vertices.points), strict=True):
        found = re.search(r"; shown from (\S+) (\S+) (\S+) on, because viewers have single precision$", line)
        assert found
        centre = np.array(found.groups(), float)
        np.testing.assert_allclose(centre, shift, atol=2)
        near = shown.astype(np.float32).astype(float)
        np.testing.assert_allclose(near + (centre - shift), POINTS[: len(near)], atol=1e-6)
    assert "shown from" not in view_cloud(tmp_path / "cloud.ply", viewer="pictures", frames=1)


def test_rerun_writes_its_file_where_a_folder_is_named(mesh: Path, rerun: list[tuple[Any, ...]]) -> None:
    out = mesh.parent / "out"
    said = view_cloud(mesh, out=out, viewer="rerun", up=(0.1, 0.0, 1.0))
    assert said.endswith(f"wrote {out / 'vase.rrd'}: open it with rerun")
    begin, save, axes, drawn = rerun
    assert begin[2] == {"spawn": False}
    assert save[1] == (out / "vase.rrd",)
    assert out.is_dir()
    assert axes[1] == ("/", "Z UP")
    kind, named = drawn[1][1]
    assert kind == "mesh"
    np.testing.assert_array_equal(named["vertex_positions"], POINTS[:4])
    np.testing.assert_array_equal(named["triangle_indices"], MESH.faces)


def test_a_folder_asks_for_pictures(cloud: Path, rerun: list[tuple[Any, ...]], open3d: type[Window]) -> None:
    view_cloud(cloud, out=cloud.parent / "here", frames=1)
    assert (cloud.parent / "here" / "turntable.gif").is_file()
    assert rerun == open3d.shown == []


def test_open3d_shows_a_window_where_rerun_is_absent(cloud: Path, open3d: type[Window]) -> None:
    said = view_cloud(cloud, up=(2.0, 0.0, 0.0))
    assert said == f"{cloud}: 200 points; shown in a window of open3d, now closed"
    (window,) = open3d.shown
    assert window.title == str(cloud)
    np.testing.assert_array_equal(window.shapes[0].points, POINTS)
    assert window.steps == [("up", (1.0, 0.0, 0.0)), ("run",), ("closed",)]
    assert not (cloud.parent / "temple_view").exists()


def test_the_file_says_what_is_up(cloud: Path, open3d: type[Window]) -> None:
    rolled = se3.exp(torch.tensor([[0, 0, 0, 0, 0, math.pi / 2]]))  # y of this camera points along -x
    write_cloud(cloud, CLOUD, comments=["made by hand", up_comment(rolled)])
    assert b"comment up 1 " in cloud.read_bytes()
    view_cloud(cloud)
    view_cloud(cloud, up=(0.0, 0.0, 5.0))
    write_cloud(cloud, CLOUD, comments=["up to here"])
    view_cloud(cloud)
    ups = [window.steps[0][1] for window in open3d.shown]
    np.testing.assert_allclose(ups, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-6)


@pytest.mark.parametrize("fault", ["window", "library"])
def test_pictures_are_made_where_no_window_opens(
    cloud: Path, open3d: type[Window], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def fail() -> None:
        raise OSError("libGL.so.1 is missing")

    if fault == "library":
        monkeypatch.setattr(viewer, "load_open3d", fail)
    monkeypatch.setattr(open3d, "opens", False)
    assert "turntable.gif" in view_cloud(cloud, frames=1)
    with pytest.raises(Vo3dError, match=r"cannot (open a window|be loaded \(libGL).*: choose the viewer pictures"):
        view_cloud(cloud, viewer="open3d")
    assert open3d.shown == []


def test_a_viewer_that_was_asked_for_and_cannot_open_is_said(cloud: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rerun", "open3d"):
        with pytest.raises(Vo3dError, match="no display to open a window on"):
            view_cloud(cloud, viewer=name)  # type: ignore[arg-type]
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(Vo3dError, match=r'pip install "vo3d\[view\]"'):
        view_cloud(cloud, viewer="rerun")
    assert list(cloud.parent.iterdir()) == [cloud]


def test_open3d_gets_points_colours_normals_and_triangles() -> None:
    library = load_open3d()
    points = open3d_geometry(library, CLOUD)
    np.testing.assert_array_equal(np.asarray(points.points), POINTS)
    np.testing.assert_array_equal(np.asarray(points.colors), COLOURS / 255)
    np.testing.assert_array_equal(np.asarray(points.normals), NORMALS)
    triangles = open3d_geometry(library, MESH)
    np.testing.assert_array_equal(np.asarray(triangles.triangles), MESH.faces)
    np.testing.assert_array_equal(np.asarray(triangles.vertex_colors), COLOURS[:4] / 255)
    plain = open3d_geometry(library, PointCloud(points=POINTS.astype(np.float32)))
    assert (plain.has_points(), plain.has_colors(), plain.has_normals()) == (True, False, False)


def test_a_file_of_faces_without_rows_is_a_cloud(cloud: Path) -> None:
    text = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    cloud.write_text(text + "element face 0\nproperty list uchar int vertex_indices\nend_header\n1 2 3\n")
    assert view_cloud(cloud, frames=1).startswith(f"{cloud}: 1 point; wrote ")


def test_what_is_no_cloud_is_said_in_one_line(cloud: Path) -> None:
    folder = cloud.parent
    (folder / "empty.ply").touch()
    (folder / "photo.ply").write_bytes(b"\x89PNG\r\n\x1a\n")
    head = "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    (folder / "none.ply").write_text(head)
    for name, word in (
        ("absent.ply", "no such file"), ("empty.ply", "not a PLY"), ("photo.ply", "not a PLY"),
        ("none.ply", "holds no points"), (".", "a folder"),
    ):  # fmt: skip
        with pytest.raises(Vo3dError, match=word) as error:
            view_cloud(folder / name)
        assert "\n" not in str(error.value)
    with pytest.raises(Vo3dError, match="turntable of 0 pictures"):
        view_cloud(cloud, frames=0)
    assert {path.name for path in folder.iterdir()} == {"temple.ply", "empty.ply", "photo.ply", "none.ply"}


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """A folder with a path of three metres along z, as a verb leaves it."""
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    world_T_cam[:, 2, 3] = torch.arange(4)
    found = Trajectory(world_T_cam=world_T_cam, time=torch.arange(4.0, dtype=torch.float64))
    (tmp_path / "walk").mkdir()
    write_trajectory(tmp_path / "walk" / "poses.tum", found, "tum")
    return tmp_path / "walk"


def test_a_path_is_drawn_from_camera_to_camera_with_frusta_that_look_ahead(walk: Path) -> None:
    path = read_path(walk)
    assert np.array_equal(path.lines[:3, :, 2], [[0, 1], [1, 2], [2, 3]])
    frusta = path.lines[3:].reshape(4, 8, 2, 3)
    assert np.allclose(frusta[:, :, :, 2].max((1, 2)) - np.arange(4), 0.04 * 3)  # along z, where the cameras look
    assert np.allclose(frusta[:, :4, 0], path.world_T_cam[:, None, :3, 3])
    points = path.points()
    assert np.allclose(points.points[0], 0)
    first = points.points[: len(points) // 100]
    assert np.allclose(np.diff(first[:, 2]), np.diff(first[:, 2])[0])  # evenly
    assert points.colours[0, 2] > points.colours[0, 0]  # blue where it begins


def test_a_path_alone_and_one_beside_a_cloud(
    walk: Path, cloud: Path, tmp_path: Path, rerun: list[tuple[Any, ...]]
) -> None:
    assert "walk: a path of 4 poses; sent to rerun" in view_cloud(walk)
    assert [args[0] for name, args, _ in rerun if name == "log"] == ["/", "walk"]
    rerun.clear()
    assert "temple.ply: 200 points, a path of 4 poses; sent" in view_cloud(cloud, path=walk / "poses.tum")
    logged = [args for name, args, _ in rerun if name == "log"]
    assert [name for name, _ in logged] == ["/", "temple", "poses"]
    assert np.array_equal(logged[2][1][1][0], read_path(walk).lines)
    assert "wrote" in view_cloud(walk, out=tmp_path / "seen", frames=1)
    image = read_image(tmp_path / "seen" / "turntable_000.png")
    assert 0.005 < float((image.amin(0) < 0.8).float().mean()) < 0.3  # lines, not a cloud
    with pytest.raises(Vo3dError, match="is a trajectory already"):
        view_cloud(walk, path=walk)


@pytest.fixture
def reconstruction(cloud: Path) -> Path:
    """The folder of a cloud with its mesh and the cameras of its depth maps, looking along z from x = 0, 1, 2."""
    world_T_cam = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    world_T_cam[:, 0, 3] = torch.arange(3)
    K = torch.tensor([[[20.0, 0, 19.5], [0, 20, 9.5], [0, 0, 1]]], dtype=torch.float64).repeat(3, 1, 1)
    write_transforms(cloud.parent / "temple_depth/cameras.json", ["a", "b", "c"], [(20, 40)] * 3, K, world_T_cam)
    write_mesh(cloud.parent / "temple_mesh.ply", MESH)
    return cloud.parent


def test_frusta_are_as_wide_as_the_images(reconstruction: Path) -> None:
    (layer,) = read_layers(reconstruction / "temple_depth")
    assert isinstance(layer.thing, DrawnPath)
    frusta = layer.thing.lines.reshape(3, 8, 2, 3)
    deep = 0.04 * 2
    for number, frustum in enumerate(frusta):  # of 90 degrees from left to right, half of that in height
        assert np.allclose(frustum[:4, 0], [number, 0, 0])
        across = np.array([[-1, -0.5, 1], [1, -0.5, 1], [1, 0.5, 1], [-1, 0.5, 1]])
        assert np.allclose(frustum[:4, 1] - [number, 0, 0], deep * across)


def test_a_reconstruction_is_shown_with_its_cameras(reconstruction: Path, rerun: list[tuple[Any, ...]]) -> None:
    cloud, mesh = reconstruction / "temple.ply", reconstruction / "temple_mesh.ply"
    for sources in (reconstruction, [cloud, mesh]):
        rerun.clear()
        said = view_cloud(sources)
        assert all(words in said for words in ("200 points", "a mesh of 2 triangles", "3 cameras"))
        drawn = {args[0]: args[1][0] for name, args, _ in rerun if name == "log" and args[0] != "/"}
        assert drawn == {"temple": "points", "temple_mesh": "mesh", "cameras": "lines"}
    write_cloud(reconstruction / "other.ply", CLOUD)
    assert "200 points, 3 cameras, 200 points; sent" in view_cloud([cloud, reconstruction / "other.ply"])
    (reconstruction / "other_depth").mkdir()
    with pytest.raises(Vo3dError, match=r"holds several clouds, other.ply, temple.ply: expected a PLY file"):
        view_cloud(reconstruction)


def test_the_page_has_a_layer_for_each(reconstruction: Path, walk: Path) -> None:
    view_cloud([reconstruction / "temple.ply", walk], out=reconstruction / "seen", frames=1)
    page = (reconstruction / "seen" / "temple.html").read_text()
    about = json.loads(page.split('id="about">')[1].split("</script>")[0])
    assert [layer["name"] for layer in about["layers"]] == ["temple", "cameras", "walk"]
    points, cameras, path = about["layers"]
    assert (points["first"], points["count"]) == (0, 200)
    assert (len(cameras["lines"]), len(path["lines"])) == (6 * 3 * 8, 6 * (3 + 4 * 8))
    assert len(cameras["colours"]) == len(cameras["lines"])
    shift = np.array(cameras["lines"]).reshape(-1, 2, 3)[0, 0]  # of the page's middle, seen from the first camera
    low = np.array(about["low"]) - shift
    np.testing.assert_allclose(low, POINTS.min(0), atol=1e-4)


def test_open3d_gets_the_lines_of_a_path(walk: Path) -> None:
    path = read_path(walk)
    lines = open3d_lines(load_open3d(), path)
    ends = np.asarray(lines.points)[np.asarray(lines.lines)]
    assert np.array_equal(ends, path.lines)
