"""Triangle meshes as GLB, the binary form of glTF 2.0: what browsers, phones, Blender and game engines open.

Convention: glTF has y up and metres. The node of the mesh turns it upright and puts it in its place, in double
precision; its vertices are in the frame of the poses, from the middle of the mesh on, in single precision.
Source: Khronos, "glTF 2.0 Specification", chapters 3 and 4; the extension KHR_materials_unlit.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.ply import Mesh

FLOAT, UINT16, UINT32 = 5126, 5123, 5125  # glTF's numbers for kinds of components
VERTICES, INDICES = 34962, 34963  # and for what a buffer is bound to
JSON, BINARY = 0x4E4F534A, 0x004E4942  # kinds of chunks


def write_glb(path: Path, mesh: Mesh, up: Float64[np.ndarray, "3 3"]) -> None:
    """Write a mesh with its colours and normals; the rows of `up` are two level directions and up, right-handed.

    Colours are shown as they are, without a light: photographs have theirs. The file is whole or absent.

    Raises:
        Vo3dError: there is no triangle, or the system refuses.
    """
    if not len(mesh.faces):
        raise Vo3dError(f"{path}: no triangle to write: expected at least one")
    vertices = mesh.vertices
    points = vertices.points.astype(np.float64)
    middle = (points.min(0) + points.max(0)) / 2
    glb = _Buffer()
    attributes = {"POSITION": glb.add((points - middle).astype("<f4"), "VEC3", FLOAT, VERTICES, bounds=True)}
    if vertices.normals is not None:
        lengths = np.linalg.norm(vertices.normals, axis=-1, keepdims=True)
        unit = np.where(lengths > 0, vertices.normals / np.where(lengths > 0, lengths, 1), [0.0, 0.0, 1.0])
        attributes["NORMAL"] = glb.add(unit.astype("<f4"), "VEC3", FLOAT, VERTICES)
    if vertices.colours is not None:
        linear = np.concatenate((_linear(vertices.colours / 255), np.ones((len(points), 1))), axis=-1)
        rgba = np.rint(65535 * linear).astype("<u2")  # with 8 bits dark colours would become few
        attributes["COLOR_0"] = glb.add(rgba, "VEC4", UINT16, VERTICES, normalized=True)
    faces = glb.add(mesh.faces.astype("<u4").reshape(-1), "SCALAR", UINT32, INDICES)
    gltf_T_world = np.eye(4)
    gltf_T_world[:3, :3] = np.stack((up[1], up[2], up[0]))  # z to the side that the first picture is taken from
    gltf_T_world[:3, 3] = gltf_T_world[:3, :3] @ middle
    content = {
        "asset": {"version": "2.0", "generator": "vo3d"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "matrix": gltf_T_world.T.ravel().tolist()}],  # column by column
        "meshes": [{"primitives": [{"attributes": attributes, "indices": faces, "material": 0}]}],
        "materials": [
            {
                "doubleSided": True,
                "pbrMetallicRoughness": {"metallicFactor": 0.0},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        **glb.tables(),
    }
    text = json.dumps(content).encode()
    chunks = [(JSON, text + b" " * (-len(text) % 4)), (BINARY, bytes(glb.content))]
    body = b"".join(struct.pack("<II", len(part), kind) + part for kind, part in chunks)
    write_whole(path, struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def _linear(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Convert sRGB in [0, 1] into the linear light that glTF's vertex colours are in (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


class _Buffer:
    """The numbers of the file, and where each array of them lies."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(
        self,
        values: NDArray[Any],
        shape: str,
        kind: int,
        target: int,
        *,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Append an array whose rows fill whole words of four bytes; return its number."""
        self.views.append({"buffer": 0, "byteOffset": len(self.content), "byteLength": values.nbytes, "target": target})
        self.content += values.tobytes()
        accessor = {"bufferView": len(self.views) - 1, "componentType": kind, "count": len(values), "type": shape}
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor | ({"normalized": True} if normalized else {}))
        return len(self.accessors) - 1

    def tables(self) -> dict[str, Any]:
        """Return the entries of the file's JSON that say where the arrays lie."""
        return {
            "buffers": [{"byteLength": len(self.content)}],
            "bufferViews": self.views,
            "accessors": self.accessors,
        }
