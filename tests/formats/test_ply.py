"""PLY files against bytes made by hand, there and back in all forms, and the one line that each damaged file gets."""

import struct
from pathlib import Path

import numpy as np
import pytest

from vo3d.errors import Vo3dError
from vo3d.formats.ply import Mesh, PointCloud, read_cloud, read_mesh, write_cloud, write_mesh
from vo3d.formats.ply_elements import ListColumn, PlyForm, read_elements, write_elements

FORMS: tuple[PlyForm, ...] = ("ascii", "binary_little_endian", "binary_big_endian")
QUAD_AND_TRIANGLE = """ply
format {form} 1.0
comment a square and a triangle
obj_info made by hand
element vertex 5
property double x
property double y
property float z
property list uchar short neighbours
property uchar red
property uchar green
property uchar blue
element face 2
property uchar flag
property list int uint vertex_index
end_header
"""
VERTICES = [(0, 0, 0, [], 9), (1, 0, 0, [-1], 8), (1, 1, 0, [2, 3], 7), (0, 1, 0, [], 6), (2.5, 0, -1, [300], 5)]
FACES = [(1, [0, 1, 2, 3]), (0, [1, 4, 2])]


def by_hand(form: PlyForm) -> bytes:
    header = QUAD_AND_TRIANGLE.format(form=form).encode()
    if form == "ascii":
        lines = [" ".join(map(str, [x, y, z, len(near), *near, red, 20, 30])) for x, y, z, near, red in VERTICES] + [
            " ".join(map(str, [flag, len(corners), *corners])) for flag, corners in FACES
        ]
        return header + "\n".join(lines).encode()
    order = "<" if form == "binary_little_endian" else ">"
    body = b""
    for x, y, z, near, red in VERTICES:
        body += struct.pack(f"{order}ddfB{len(near)}h3B", x, y, z, len(near), *near, red, 20, 30)
    for flag, corners in FACES:
        body += struct.pack(f"{order}Bi{len(corners)}I", flag, len(corners), *corners)
    return header + body


def random_cloud(dtype: type) -> PointCloud:
    rng = np.random.default_rng(0)
    return PointCloud(
        points=rng.normal(size=(50, 3)).astype(dtype),
        colours=rng.integers(0, 256, (50, 3), dtype=np.uint8),
        normals=rng.normal(size=(50, 3)).astype(np.float32),
        scalars={"confidence": rng.random(50), "views": rng.integers(-9, 9, 50).astype(np.int16)},
    )


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_many_lengths_and_several_elements(tmp_path: Path, form: PlyForm) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(by_hand(form))
    elements = read_elements(path)
    assert list(elements) == ["vertex", "face"]
    near = elements["vertex"]["neighbours"]
    assert isinstance(near, ListColumn)
    assert near.counts.tolist() == [0, 1, 2, 0, 1]
    assert near.values.tolist() == [-1, 2, 3, 300]
    assert near.values.dtype == np.int16
    mesh = read_mesh(path)
    assert mesh.vertices.points.dtype == np.float64
    assert mesh.vertices.points.tolist() == [[x, y, z] for x, y, z, _, _ in VERTICES]
    assert mesh.vertices.colours is not None
    assert mesh.vertices.colours[:, 0].tolist() == [9, 8, 7, 6, 5]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2]]  # the square as a fan


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_a_cloud_there_and_back_loses_nothing(tmp_path: Path, form: PlyForm, dtype: type) -> None:
    cloud = random_cloud(dtype)
    path = tmp_path / "deep" / "a.ply"
    write_cloud(path, cloud, form=form)
    back = read_cloud(path)
    assert len(back) == 50
    for name in ("points", "colours", "normals"):
        assert getattr(back, name).dtype == getattr(cloud, name).dtype
        assert np.array_equal(getattr(back, name), getattr(cloud, name))
    assert back.scalars.keys() == cloud.scalars.keys()
    for name, values in cloud.scalars.items():
        assert back.scalars[name].dtype == values.dtype
        assert np.array_equal(back.scalars[name], values)


@pytest.mark.parametrize("form", FORMS)
def test_a_mesh_there_and_back(tmp_path: Path, form: PlyForm) -> None:
    faces = np.random.default_rng(1).integers(0, 50, (80, 3))
    path = tmp_path / "a.ply"
    write_mesh(path, Mesh(vertices=random_cloud(np.float32), faces=faces), form=form)
    back = read_mesh(path)
    assert np.array_equal(back.faces, faces)
    assert np.array_equal(back.vertices.points, read_cloud(path).points)  # a cloud reader leaves faces alone


def test_the_file_is_as_others_write_it(tmp_path: Path) -> None:
    """The bytes of one coloured point in the form that every viewer reads."""
    path = tmp_path / "a.ply"
    write_cloud(path, PointCloud(points=np.array([[1, 2, 3]], np.float32), colours=np.array([[4, 5, 6]], np.uint8)))
    assert path.read_bytes() == (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\n"
        b"property float x\nproperty float y\nproperty float z\n"
        b"property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
        + struct.pack("<3f3B", *range(1, 7))
    )


def test_windows_lines_and_colours_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    head = (
        "ply\r\nformat ascii 1.0\r\nelement vertex 1\r\nproperty float32 x\r\nproperty float32 y\r\nproperty int8 z\r\n"
    )
    for kind, name, values, expected in (
        ("ushort", "diffuse_{}", "65535 0 257", [255, 0, 1]),
        ("float", "{}", "1 0 0.5", [255, 0, 128]),
        ("float", "{}", "255 0 127.6", [255, 0, 128]),
        ("int", "{}", "255 0 7", [255, 0, 7]),
    ):
        names = "".join(f"property {kind} {name.format(colour)}\r\n" for colour in ("red", "green", "blue"))
        path.write_bytes(f"{head}{names}end_header\r\n1.5 2 -3 {values}\r\n".encode())
        cloud = read_cloud(path)
        assert cloud.points.tolist() == [[1.5, 2, -3]]
        assert cloud.colours is not None
        assert cloud.colours.tolist() == [expected]
        assert not cloud.scalars
    path.write_bytes(f"{head}{names}end_header\r\n1.5 2 -3 255 0 256\r\n".encode())
    with pytest.raises(Vo3dError, match=r"colours from 0 to 256"):
        read_cloud(path)


HEAD = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
BAD_TEXT = {
    "no ply": ("solid\n", "not a PLY file"),
    "no end": (HEAD, "no end_header"),
    "no format": ("ply\nelement vertex 1\nproperty float x\nend_header\n1\n", "names no format"),
    "form": (HEAD.replace("ascii", "binary") + "end_header\n", ":2: 'format binary 1.0'"),
    "type": (HEAD + "property half w\nend_header\n", ":7: 'property half w'"),
    "twice": (HEAD + "property float x\nend_header\n", ":7: a second property 'x'"),
    "float length": (HEAD + "property list float int k\nend_header\n", ":7: the length of the list 'k'"),
    "row count": (HEAD.replace("vertex 2", "vertex two") + "end_header\n", ":3: 'element vertex two'"),
    "short": (HEAD + "end_header\n1 2 3\n4 5\n", "truncated: 1 whole rows of 'vertex', expected 2"),
    "long": (HEAD + "end_header\n1 2 3\n4 5 6\n7\n", "1 numbers left after the last row"),
    "word": (HEAD + "end_header\n1 2 3\n4 five 6\n", ":9: 'five' is not a number"),
    "range": (HEAD + "property uchar a\nend_header\n1 2 3 4\n5 6 7 256\n", "256 as 'a' of 'vertex'"),
    "fraction": (HEAD + "property int a\nend_header\n1 2 3 4.5\n5 6 7 8\n", "4.5 as 'a' of 'vertex'"),
    "nan": (HEAD + "end_header\n1 2 3\n4 nan 6\n", "1 of 2 points are NaN or infinite, the first is number 1"),
    "overflow": (HEAD + "end_header\n1 2 3\n4 1e300 6\n", "1 of 2 points are NaN or infinite"),
    "far": (HEAD.replace("float", "double") + "end_header\n1 2 3\n4 1e300 6\n", "1 of 2 points are beyond 1e+12"),
    "infinite normal": (
        HEAD + "".join(f"property float n{axis}\n" for axis in "xyz") + "end_header\n1 2 3 0 0 1\n4 5 6 0 inf 0\n",
        "1 of 2 normals are NaN or infinite, the first is number 1",
    ),
    "digits": (
        HEAD.replace("vertex 2", "vertex " + "1" * 5000) + "end_header\n",
        f":3: '{'1' * 115}...' as a number of",
    ),
    "unequal rows": (HEAD + "end_header\n1 2 3 4\n\n5 6\n", ":8: 4 numbers: expected the 3 of one row"),
    "one line": (HEAD + "end_header\n1 2 3 4 5 6\n", ":8: 6 numbers: expected the 3 of one row"),
    "unequal lists": (
        HEAD + "property list uchar int k\nend_header\n1 2 3 1 9\n4 5 6 2 9\n9\n",
        ":10: 5 numbers: expected the 6 of one row",
    ),
    "word of control": (HEAD + "\x1b[31m" + "x" * 999 + "\nend_header\n", r":7: '\x1b[31mxxx"),
    "no z": (HEAD.replace("property float z\n", "") + "end_header\n1 2\n3 4\n", "lacks z"),
    "empty": (HEAD.replace("vertex 2", "vertex 0") + "end_header\n", "holds no points"),
    "list": (HEAD + "property list char int k\nend_header\n1 2 3 -1\n4 5 6 0\n", "a list of length -1"),
}


@pytest.mark.parametrize(("text", "words"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_a_bad_text_is_one_line_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.ply"
    path.write_text(text)
    with pytest.raises(Vo3dError) as caught:
        read_cloud(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("form", FORMS[1:])
def test_wherever_a_binary_file_ends_too_early_it_is_refused(tmp_path: Path, form: PlyForm) -> None:
    whole = by_hand(form)
    path = tmp_path / "a.ply"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(Vo3dError, match=r"truncated|not a PLY|no end_header"):
            read_elements(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(Vo3dError, match=r"1 bytes left after the last row: expected .* \(5 vertex, 2 face\)"):
        read_elements(path)


def test_faces_must_be_there_and_name_points(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    cloud = random_cloud(np.float32)
    write_cloud(path, cloud)
    with pytest.raises(Vo3dError, match="holds no faces"):
        read_mesh(path)
    points = dict(zip("xyz", cloud.points.T, strict=True))
    write_elements(path, {"vertex": points, "face": {"vertex_indices": np.array([[0, 1]])[:, :2].astype(np.int32)}})
    with pytest.raises(Vo3dError, match="face 0 has 2 corners"):
        read_mesh(path)
    write_elements(path, {"vertex": points, "face": {"vertex_indices": np.array([[0, 1, 50]], np.int32)}})
    with pytest.raises(Vo3dError, match="faces name points 0 to 50: expected whole numbers from 0 to 49"):
        read_mesh(path)
    with pytest.raises(Vo3dError, match="no face to write"):
        write_mesh(path, Mesh(vertices=cloud, faces=np.array([[0, 1, 50]])))


def test_what_has_no_place_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    points = np.zeros((2, 3))
    with pytest.raises(Vo3dError, match="no point to write"):
        write_cloud(path, PointCloud(points=points[:0]))
    with pytest.raises(Vo3dError, match="2 of 2 points are NaN"):
        write_cloud(path, PointCloud(points=points * np.nan))
    with pytest.raises(Vo3dError, match="'id' is int64"):
        write_cloud(path, PointCloud(points=points, scalars={"id": np.array([1, 2])}))
    with pytest.raises(Vo3dError, match="scalars named x"):
        write_cloud(path, PointCloud(points=points, scalars={"x": np.array([1.0, 2.0])}))
    with pytest.raises(Vo3dError, match=r"lengths \[1, 2\]"):
        write_elements(path, {"vertex": {"x": np.zeros(1), "y": np.zeros(2)}})
    with pytest.raises(Vo3dError, match="no such file"):
        read_cloud(path)
    assert not path.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_may_end_after_the_data(tmp_path: Path, form: PlyForm, end: bytes) -> None:
    path = tmp_path / "a.ply"
    write_cloud(path, PointCloud(points=np.array([[1.0, 2, 3], [4, 5, 6]])), form=form)
    path.write_bytes(path.read_bytes() + end)
    assert read_cloud(path).points.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [1.0, 1.2345678e-5, 7.0e-310])
def test_headers_whose_lines_end_with_a_carriage_return(tmp_path: Path, form: PlyForm, first: float) -> None:
    path = tmp_path / "a.ply"
    points = np.array([[first, 2, 3], [4, 5, 6]])
    points[0, 0] = np.frombuffer(b"\n" + points[:1, 0].tobytes()[1:], "<f8")[0]  # data that begin like an end of line
    write_cloud(path, PointCloud(points=points), form=form)
    head, end, body = path.read_bytes().partition(b"end_header\n")
    if form == "ascii":
        body = body.replace(b"\n", b"\r")
    path.write_bytes((head + end).replace(b"\n", b"\r") + body)
    np.testing.assert_array_equal(read_cloud(path).points, points)
