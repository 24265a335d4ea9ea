"""GLB, read back by open3d's own reader, which is another's program."""

import json
from pathlib import Path

import numpy as np
import pytest

from vo3d.formats.glb import write_glb
from vo3d.formats.ply import Mesh, PointCloud
from vo3d.fusion.open3d_library import load_open3d
from vo3d.report.clouds import upright_axes

POINTS = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 4]])
MESH = Mesh(
    vertices=PointCloud(
        points=POINTS,
        colours=np.array([[255, 0, 0], [0, 128, 0], [10, 10, 10], [0, 0, 255]], np.uint8),
        normals=np.array([[0.0, 0, 2], [1, 0, 0], [0, 0, 0], [0, 1, 0]]),
    ),
    faces=np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1]]),
)


@pytest.mark.parametrize("offset", [np.zeros(3), np.array([500_000.0, 5_400_000.0, 300.0])])
def test_another_reader_finds_the_mesh_upright_and_in_its_place(tmp_path: Path, offset: np.ndarray) -> None:
    moved = PointCloud(points=POINTS + offset, colours=MESH.vertices.colours, normals=MESH.vertices.normals)
    write_glb(tmp_path / "mesh.glb", Mesh(vertices=moved, faces=MESH.faces), upright_axes().numpy())
    open3d = load_open3d()
    found = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.glb"))
    faces, points = np.asarray(found.triangles), np.asarray(found.vertices)
    assert len(faces) == 3
    turn = np.diag([1.0, -1, -1])  # y is down in the mesh's frame and up in glTF's, without a mirror
    expected = (POINTS + offset)[MESH.faces] @ turn
    np.testing.assert_allclose(points[faces], expected, atol=1e-6 + 1e-7 * offset.max())  # it reads single precision
    content = json.loads(
        (tmp_path / "mesh.glb").read_bytes()[20:][
            : int.from_bytes((tmp_path / "mesh.glb").read_bytes()[12:16], "little")
        ]
    )
    matrix = np.reshape(content["nodes"][0]["matrix"], (4, 4)).T  # which holds doubles
    np.testing.assert_allclose(matrix[:3, 3], turn @ (offset + np.array([1, 1.5, 2])), rtol=1e-12)
    colours = np.asarray(found.vertex_colors)[faces]
    linear = np.array([[1, 0, 0], [0, ((128 / 255 + 0.055) / 1.055) ** 2.4, 0], [10 / 255 / 12.92] * 3, [0, 0, 1]])
    np.testing.assert_allclose(colours, linear[MESH.faces], atol=2e-3)
