"""Write what is wanted beside the cloud: a mesh, the cameras, depth images, COLMAP's dense workspace."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.depth_map import PosedDepthMap
from vo3d.formats.colmap_dense import DenseView, check_workspace, write_workspace
from vo3d.formats.glb import write_glb
from vo3d.formats.images import write_counts, write_image
from vo3d.formats.nerf import write_transforms
from vo3d.formats.ply import write_mesh
from vo3d.fusion.filtering import confident_pixels, filter_map
from vo3d.fusion.fuse import Fused, normals_from_depth
from vo3d.fusion.tsdf import tsdf_mesh
from vo3d.geometry import pixel_grid, rays
from vo3d.pipelines.reconstruct.job import Job, Reconstruction, beside
from vo3d.report.clouds import upright_axes

CAMERAS = "cameras.json"  # in the folder of the depth maps: a transforms.json
COUNTS = 65535  # of 16 bits


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Choose the files beside the cloud: `check` them before the work, `write` them after it."""

    mesh: bool = False
    colmap: bool = False
    depth_png: bool = False

    def check(self, cloud: Path) -> None:
        """Raise Vo3dError where one of them cannot be written."""
        if self.colmap:
            check_workspace(beside(cloud, "colmap"))

    def write(self, job: Job, made: Reconstruction, fused: Fused) -> dict[str, str]:
        """Write what is wanted, and say where each is; `made.stages` gets the seconds of each.

        The cameras of the depth maps are always written (`CAMERAS`).
        """
        write: dict[str, Callable[[], str]] = {
            "mesh": lambda: _write_mesh(job, filtered),
            "colmap": lambda: _write_colmap(job, made, filtered, fused),
            "depth_png": lambda: _write_depth_png(job, filtered),
        }
        write_cameras(job.folder / CAMERAS, made.maps)
        wanted = [name for name in write if getattr(self, name)]
        rows = range(len(made.maps)) if wanted else ()
        filtered = [filter_map(made.maps, index, job.rules) for index in rows]
        said = {}
        for name in wanted:
            began = perf_counter()
            said[name] = write[name]()
            made.stages[name] = perf_counter() - began
        return said


def write_cameras(path: Path, maps: Sequence[PosedDepthMap], metres: float | None = None) -> None:
    """Write the cameras of depth maps as a transforms.json; with their images, if counts of these have a unit."""
    depth, image = ("depth.pfm", "depth.pfm") if metres is None else ("depth.png", "image.png")
    write_transforms(
        path,
        [f"{view.name}_{image}" for view in maps],
        [(view.depth.shape[0], view.depth.shape[1]) for view in maps],
        torch.stack([view.K for view in maps]).double(),
        torch.stack([view.world_T_cam for view in maps]),
        depth_files=None if metres is None else [f"{view.name}_{depth}" for view in maps],
        depth_unit=metres or 1.0,
    )


def _write_mesh(job: Job, filtered: Sequence[PosedDepthMap]) -> str:
    path, mesh = beside(job.cloud, "mesh.ply"), tsdf_mesh(filtered)
    write_mesh(path, mesh)
    up = upright_axes(None, torch.stack([view.world_T_cam for view in filtered]))
    write_glb(path.with_suffix(".glb"), mesh, up.numpy())
    return f"{path}, and the same as .glb"


def _write_colmap(job: Job, made: Reconstruction, filtered: Sequence[PosedDepthMap], fused: Fused) -> str:
    folder = beside(job.cloud, "colmap")
    views = _dense_views(job, made.maps, filtered)
    write_workspace(folder, views, fused.cloud, fused.num_seen, fused.seen_by, stride=job.model.stride)
    return f"{folder} (README.txt there says how to go on)"


def _write_depth_png(job: Job, filtered: Sequence[PosedDepthMap]) -> str:
    """Write depth in whole numbers: millimetres, or a power of ten of the scene's unit that holds the farthest one."""
    farthest = max(float(view.depth.max()) for view in filtered)
    counts = 1000.0 if job.scene.metric else 10.0 ** math.floor(math.log10(COUNTS / farthest))  # a unit
    beyond = 0
    for view in filtered:
        numbers = (view.depth.double() * counts).round()
        fits = numbers <= COUNTS
        beyond += int((~fits).sum())
        write_counts(job.folder / f"{view.name}_depth.png", torch.where(fits, numbers, 0.0).int(), bits=16)
        write_image(job.folder / f"{view.name}_image.png", view.image)
    write_cameras(job.folder / CAMERAS, filtered, 1 / counts)
    unit = "millimetres" if job.scene.metric else f"{counts:g} counts are 1 of the poses' unit"
    left_out = f"; {beyond:,} depths beyond {COUNTS / counts:g} m do not fit and are 0" if beyond else ""
    return f"{job.folder / 'NAME_depth.png'}: {unit}, 0 is none{left_out}"


def _dense_views(job: Job, maps: Sequence[PosedDepthMap], filtered: Sequence[PosedDepthMap]) -> Iterator[DenseView]:
    """Give each view with its whole image, and its depths before and after the others were asked."""
    for index, view, confirmed in zip(job.references, maps, filtered, strict=True):
        sample = job.scene.clip((index,))
        if sample.K is None:
            raise AssertionError("views of depth maps have K")
        sure = view.with_depth(torch.where(confident_pixels(view, job.rules), view.depth, 0.0))
        yield DenseView(
            name=view.name,
            image=sample.image[0],
            K=sample.K[0].double(),
            world_T_cam=view.world_T_cam,
            maps={
                "geometric": (confirmed.depth, _normals(confirmed)),
                "photometric": (sure.depth, _normals(sure)),
            },
            sources=view.sources,
        )


def _normals(view: PosedDepthMap) -> Float[Tensor, "h w 3"]:
    """Find the normal of each pixel that has a depth, to the camera where its neighbours do not tell."""
    h, w = view.depth.shape
    normals = normals_from_depth(view.depth, view.K)
    to_camera = -torch.nn.functional.normalize(rays(view.K, pixel_grid(h, w, dtype=view.K.dtype)), dim=-1)
    told = (normals != 0).any(-1, keepdim=True)
    return torch.where(told, normals, to_camera) * view.known[..., None]
