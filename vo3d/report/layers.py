"""Collect what is looked at together: clouds, meshes, cameras and their paths, from files or from a reconstruction."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from vo3d.errors import Vo3dError, first_few
from vo3d.formats.candidates import visible_paths
from vo3d.formats.nerf import read_transforms
from vo3d.formats.ply import Mesh, PointCloud, read_cloud, read_mesh
from vo3d.report.clouds import upright_axes
from vo3d.report.drawn_path import DrawnPath, draw_cameras, read_path, trajectory_at

Shape = PointCloud | Mesh
CAMERAS = "cameras.json"  # in the folder of a reconstruction's depth maps
DEPTH, MESH = "_depth", "_mesh"  # what such names end in, after that of the cloud
FACES = re.compile(rb"^element[ \t]+face[ \t]+0*[1-9]", re.MULTILINE)  # in the header of a file that holds some
NUMBER = rb"[ \t]+([-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)"
UPRIGHT = re.compile(rb"^comment up" + 3 * NUMBER + rb"[ \t]*\r?$", re.MULTILINE)
HEADER = 65536  # bytes, more than any header has


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A cloud, a mesh, or lines. `asked` tells whether it was named, or lay beside what was."""

    name: str
    thing: PointCloud | Mesh | DrawnPath
    up: list[float] | None = None  # as its source says it
    asked: bool = True

    @property
    def vertices(self) -> Float64[np.ndarray, "n 3"]:
        """Return all of its points, the ends of lines among them."""
        if isinstance(self.thing, DrawnPath):
            return self.thing.lines.reshape(-1, 3)
        cloud = self.thing.vertices if isinstance(self.thing, Mesh) else self.thing
        return np.asarray(cloud.points, dtype=np.float64)

    def moved(self, shift: Float64[np.ndarray, " 3"]) -> "Layer":
        """Return the same, moved."""
        thing = self.thing
        if isinstance(thing, DrawnPath):
            return replace(self, thing=thing.moved(shift))
        if isinstance(thing, Mesh):
            corners = replace(thing.vertices, points=thing.vertices.points + shift)
            return replace(self, thing=replace(thing, vertices=corners))
        return replace(self, thing=replace(thing, points=thing.points + shift))

    def words(self) -> str:
        """Say what it is."""
        if isinstance(self.thing, Mesh):
            return f"a mesh of {len(self.thing.faces):,} triangles"
        if isinstance(self.thing, PointCloud):
            return f"{len(self.thing):,} point{'' if len(self.thing) == 1 else 's'}"
        return self.thing.words()


def is_viewable(source: Path) -> bool:
    """Tell whether a path looks like something to show, rather than a sequence; one that is absent does too."""
    if source.is_dir():
        return trajectory_at(source) is not None or (source / CAMERAS).is_file() or bool(_clouds(source))
    return not source.is_file() or source.suffix.lower() in {".ply", ".json"} or trajectory_at(source) is not None


def read_layers(source: Path) -> list[Layer]:
    """Read what is at a path: a PLY file, a trajectory, cameras (transforms.json), or the folder of a reconstruction.

    The cameras of a reconstruction come with its cloud; of its folder, the mesh does too.

    Raises:
        Vo3dError: it is absent, empty or damaged, or none of these.
    """
    if trajectory_at(source) is not None:
        path = read_path(source)
        return [Layer(name=source.stem, thing=path, up=upright_axes(None, path.world_T_cam)[2].tolist())]
    if source.is_dir() and not (source / CAMERAS).is_file():
        cloud = _only_cloud(source)
        mesh = cloud.with_name(f"{cloud.stem}{MESH}.ply")
        shapes = [_read_shape(path) for path in (cloud, mesh) if path.is_file()]
        return [*shapes, *_cameras_beside(cloud)]
    if source.is_dir() or source.suffix.lower() == ".json":
        return [_read_cameras(source / CAMERAS if source.is_dir() else source)]
    return [_read_shape(source), *_cameras_beside(source)]


def _clouds(folder: Path) -> list[Path]:
    """List the clouds of reconstructions in a folder."""
    return [path for path in visible_paths(folder, "*.ply") if path.with_name(f"{path.stem}{DEPTH}").is_dir()]


def _only_cloud(folder: Path) -> Path:
    found = _clouds(folder)
    if len(found) != 1:
        there = f"holds several clouds, {first_few(path.name for path in found)}" if found else "a folder"
        raise Vo3dError(
            f"{folder}: {there}: expected a PLY file, a trajectory, or a folder that vo3d reconstruct wrote"
        )
    return found[0]


def _cameras_beside(shape: Path) -> list[Layer]:
    """Read the cameras that a cloud or a mesh was made from, where they lie beside it."""
    path = shape.with_name(f"{shape.stem.removesuffix(MESH)}{DEPTH}") / CAMERAS
    return [replace(_read_cameras(path), asked=False)] if path.is_file() else []


def _read_cameras(path: Path) -> Layer:
    """Read the cameras in a transforms.json; of images whose size it does not say, square ones are drawn."""
    frames = read_transforms(path)
    sizes = [frame.camera.size or (1000, 1000) for frame in frames]
    K = torch.stack([frame.camera.intrinsics(size) for frame, size in zip(frames, sizes, strict=True)])
    world_T_cam = torch.stack([frame.world_T_cam for frame in frames])
    up = upright_axes(None, world_T_cam)[2].tolist()
    return Layer(name="cameras", thing=draw_cameras(K, sizes, world_T_cam), up=up)


def _read_shape(path: Path) -> Layer:
    """Read a mesh where the file holds faces, else a cloud; and the up that its header may state."""
    if not path.is_file():
        return Layer(name=path.stem, thing=read_cloud(path))  # which says that there is none
    with path.open("rb") as file:
        header, end, _ = file.read(HEADER).partition(b"end_header")
    if not end:
        return Layer(name=path.stem, thing=read_cloud(path))  # which says what is wrong
    up = UPRIGHT.search(header)
    stated = None if up is None else [float(value) for value in up.groups()]
    return Layer(name=path.stem, thing=read_mesh(path) if FACES.search(header) else read_cloud(path), up=stated)
