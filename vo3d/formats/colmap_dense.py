"""The dense workspace of COLMAP: undistorted images, a sparse model, depth and normal maps, a cloud with visibility.

COLMAP's `stereo_fusion`, `poisson_mesher` and `delaunay_mesher` and OpenMVS's `InterfaceCOLMAP` go on from it. Both
scale the cameras of the images to depth maps of another size, so that images keep theirs; COLMAP holds poses and points
in single precision. Source: COLMAP's "Output Format", and what its readers expect (`mvs/mat.h`, `mvs/workspace.cc`,
`mvs/fusion.cc`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.colmap import write_model
from vo3d.formats.colmap_model import HALF_PIXEL, ColmapCamera, ColmapImage, ColmapModel, SparsePoints
from vo3d.formats.files import make_folder, write_whole
from vo3d.formats.images import write_image
from vo3d.formats.ply import PointCloud, write_cloud
from vo3d.geometry import se3

MOST_POINTS = 20_000  # of the sparse model: enough to tell which images overlap
NAMED = "README.txt"
FIRST_LINE = "A dense workspace of COLMAP, written by vo3d reconstruct."
README = """
images/ and sparse/ are the photographs as the depth maps were made from them, without distortion, and their cameras.
stereo/depth_maps/*.geometric.bin are the depths that other views confirm, *.photometric.bin those that the network is
sure of; fused.ply and fused.ply.vis are the cloud and the images that see each point.

colmap stereo_fusion --workspace_path . --StereoFusion.min_num_pixels 3 --output_path fused_by_colmap.ply
colmap poisson_mesher --input_path fused.ply --PoissonMeshing.trim 5 --output_path meshed_poisson.ply
colmap delaunay_mesher --input_path . --output_path meshed_delaunay.ply
InterfaceCOLMAP -i . -o scene.mvs --image-folder images
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseView:
    """One image with what is known of its pixels; the maps are `stride` times smaller, from pixel (0, 0) on.

    Normals are unit vectors in the camera's frame, towards it; they and depths (z) are 0 where there is none.
    """

    name: str  # of the image, without a suffix
    image: Float[Tensor, "3 hi wi"]  # RGB in [0, 1]
    K: Float64[Tensor, "3 3"]  # of the image
    world_T_cam: Float64[Tensor, "4 4"]
    maps: dict[str, tuple[Float[Tensor, "h w"], Float[Tensor, "h w 3"]]]  # depth and normals: geometric, photometric
    sources: tuple[int, ...]  # places of other views

    @property
    def file(self) -> str:
        """Name the image's file."""
        return f"{self.name}.jpg"

    def cut(self, stride: int) -> "DenseView":
        """Leave out the last columns and rows of which a map has a pixel and the image has fewer than `stride`.

        Readers take the ratio of both sizes for the scale, which it is exactly then.
        """
        h, w = (side // stride for side in self.image.shape[-2:])
        maps = {kind: (depth[:h, :w], normals[:h, :w]) for kind, (depth, normals) in self.maps.items()}
        return replace(self, image=self.image[:, : h * stride, : w * stride], maps=maps)


def check_workspace(folder: Path) -> Path:
    """Return the folder; raise Vo3dError where it holds what no earlier run has written: it may be a project."""
    path = folder / NAMED
    ours = path.is_file() and path.read_bytes().startswith(FIRST_LINE.encode())
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise Vo3dError(f"{folder}: is there, and not a workspace that vo3d wrote: remove it, or choose another --out")
    return folder


def write_workspace(
    folder: Path,
    views: Iterable[DenseView],
    cloud: PointCloud,
    num_seen: Int64[np.ndarray, " n"],
    seen_by: Int64[np.ndarray, " m"],
    *,
    stride: int,
) -> None:
    """Write the whole workspace; `num_seen` and `seen_by` (places of the views) are as in `vo3d.fusion.fuse.Fused`.

    A cloud in double precision is one that single precision would move: all positions are then told from the first
    camera on, rounded, and README.txt says from where. Images are JPEG files, as COLMAP's own are.

    Raises:
        Vo3dError: as `check_workspace`; K has skew; the system refuses.
    """
    check_workspace(folder)
    make_folder(folder)
    write_whole(folder / NAMED, FIRST_LINE + "\n")  # first, so that a run after an interruption knows its folder
    origin = torch.zeros(3, dtype=torch.float64)
    light: list[DenseView] = []  # without their pixels
    for view in views:
        if not light and cloud.points.dtype == np.float64:
            origin = view.world_T_cam[:3, 3].round()
        whole = view.cut(stride)
        write_image(folder / "images" / view.file, whole.image)
        for kind, (depth, normals) in whole.maps.items():
            write_map(folder / "stereo" / "depth_maps" / f"{view.file}.{kind}.bin", depth[..., None])
            write_map(folder / "stereo" / "normal_maps" / f"{view.file}.{kind}.bin", normals)
        pose = view.world_T_cam.clone()
        pose[:3, 3] -= origin
        nothing = whole.image.new_zeros(()).expand(whole.image.shape)  # takes no memory
        light.append(replace(whole, image=nothing, maps={}, world_T_cam=pose))
    points = PointCloud(
        points=(cloud.points - origin.numpy()).astype(np.float32), colours=cloud.colours, normals=cloud.normals
    )
    write_model(folder / "sparse", _sparse_model(folder / "sparse", light, points, num_seen, seen_by))
    write_whole(folder / "stereo" / "fusion.cfg", "".join(f"{view.file}\n" for view in light))
    partners = (f"{view.file}\n{', '.join(light[k].file for k in view.sources) or '__auto__, 20'}\n" for view in light)
    write_whole(folder / "stereo" / "patch-match.cfg", "".join(partners))
    write_cloud(folder / "fused.ply", points)
    write_visibility(folder / "fused.ply.vis", num_seen, seen_by)
    moved = "\nAdd {:.0f} {:.0f} {:.0f} to positions here for those of the poses given.\n".format(*origin.tolist())
    write_whole(folder / NAMED, FIRST_LINE + "\n" + README + (moved if bool(origin.any()) else ""))


def write_map(path: Path, pixels: Float[Tensor, "h w c"]) -> None:
    """Write a depth or normal map: width, height and channels as text, then float32, one channel after the other."""
    h, w, c = pixels.shape
    content = pixels.movedim(-1, 0).float().cpu().contiguous().numpy().astype("<f4").tobytes()
    write_whole(path, f"{w}&{h}&{c}&".encode() + content)


def write_visibility(path: Path, num_seen: Int64[np.ndarray, " n"], seen_by: Int64[np.ndarray, " m"]) -> None:
    """Write who sees each point: the number of points (64 bits), then of each how many images, and which (32 bits)."""
    content = np.empty(len(num_seen) + len(seen_by), "<u4")
    heads = np.cumsum(num_seen) - num_seen + np.arange(len(num_seen))
    rest = np.ones(len(content), bool)
    rest[heads] = False
    content[heads], content[rest] = num_seen, seen_by
    write_whole(path, len(num_seen).to_bytes(8, "little") + content.tobytes())


def _sparse_model(
    folder: Path,
    views: Sequence[DenseView],
    cloud: PointCloud,
    num_seen: Int64[np.ndarray, " n"],
    seen_by: Int64[np.ndarray, " m"],
) -> ColmapModel:
    """Make a model of cameras, images by their places (id 1 is place 0), and some points of the cloud."""
    cameras: dict[tuple[int | float, ...], ColmapCamera] = {}
    images = []
    point, view = _some_observations(num_seen, seen_by)  # m: rows of the cloud, places
    for place, one in enumerate(views):
        h, w = one.image.shape[-2:]
        if float(one.K[0, 1]) != 0:
            raise Vo3dError(f"{one.name}: K has a skew of {float(one.K[0, 1]):g}, which COLMAP has no place for")
        (fx, _, cx), (_, fy, cy), _ = one.K.tolist()
        params = (fx, fy, cx + HALF_PIXEL, cy + HALF_PIXEL)
        camera = ColmapCamera(id=len(cameras) + 1, model="PINHOLE", width=w, height=h, params=params)
        camera = cameras.setdefault((w, h, *params), camera)
        cam_T_world = se3.inverse(one.world_T_cam)
        rows = point[view == place]
        seen = se3.transform(cam_T_world, torch.from_numpy(cloud.points[rows]).double()) @ one.K.T
        images.append(
            ColmapImage(
                id=place + 1,
                name=one.file,
                camera_id=camera.id,
                cam_T_world=cam_T_world,
                keypoints=seen[:, :2] / seen[:, 2:],
                point_ids=torch.from_numpy(rows) + 1,
            )
        )
    chosen, row = np.unique(point, return_inverse=True)
    keypoint = np.zeros(len(point), np.int64)
    for place in range(len(views)):
        keypoint[view == place] = np.arange(int((view == place).sum()))
    colours = cloud.colours if cloud.colours is not None else np.full((len(cloud), 3), 128, np.uint8)
    points = SparsePoints(
        id=torch.from_numpy(chosen) + 1,
        xyz=torch.from_numpy(cloud.points[chosen]).double(),
        rgb=torch.from_numpy(colours[chosen]),
        error=torch.full((len(chosen),), -1.0, dtype=torch.float64),  # COLMAP's sign of none
        point=torch.from_numpy(row),
        image_id=torch.from_numpy(view) + 1,
        keypoint=torch.from_numpy(keypoint),
    )
    return ColmapModel(folder=folder, cameras={one.id: one for one in cameras.values()}, images=images, points=points)


def _some_observations(
    num_seen: Int64[np.ndarray, " n"], seen_by: Int64[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Choose points evenly among those that two views or more see; give point and view of each observation."""
    able = np.flatnonzero(num_seen >= 2)
    chosen = able[:: max(1, -(-len(able) // MOST_POINTS))]
    wanted = np.zeros(len(num_seen), bool)
    wanted[chosen] = True
    point = np.repeat(np.arange(len(num_seen)), num_seen)
    return point[wanted[point]], seen_by[wanted[point]]
