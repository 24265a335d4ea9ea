"""Rendered tables as files, in the layouts of DTU and MVSNet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from rich.progress import track
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.images import write_image
from vo3d.formats.mvsnet import MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.pfm import write_pfm
from vo3d.formats.ply import PointCloud, write_cloud
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, subsample_intrinsics
from vo3d.world.dome import DEPTH_RANGE, DIFFUSE, LIGHTS, VIEWS
from vo3d.world.stills import Still, Stills
from vo3d.world.visit import Visit

MILLIMETRES = 1000.0  # in a metre: the unit of DTU's files
DEPTH_INTERVAL, NUM_DEPTHS = 2.5, 205  # millimetres, and how many of them lead from 425 to 935 mm
STRIDE = 4  # from one pixel of DTU's true depth for training to the next, in pixels of the image


def render_to_dtu(
    seeds: int | Sequence[int],
    out: Path,
    size: tuple[int, int] = (1200, 1600),
    *,
    views: int = VIEWS,
    light: int = DIFFUSE,
    samples: int = 2,
    spacing: float = 0.5,
    visit: Visit | None = None,
) -> None:
    """Render tables, each as a scan of its seed's number in the layout of MVSNet, with the true depth and cloud.

    Writes `out/scan7/{images/00000000.png,cams/00000000_cam.txt,depths/00000000.pfm,pair.txt}` and
    `out/Points/stl/stl007_total.ply`, lengths in millimetres. `size` is height, width; `light` is 0 to 6, 3 having all
    lamps on. Depth and cloud hold the surfaces within 425 to 935 mm of a view; the cloud has the first point that falls
    into each cube of `spacing` millimetres. pair.txt is written last: a scan that was interrupted lacks it.

    Raises Vo3dError for a folder that holds images already, and as `vo3d.world.stills.Stills`.
    """
    for seed in [seeds] if isinstance(seeds, int) else seeds:
        stills = Stills(seed, size, views=views, samples=samples, visit=visit)
        folder = out / f"scan{seed}"
        _check_empty(folder / "images")
        cloud = _GrowingCloud(spacing)
        for index in track(range(views), f"table {seed}"):
            still = stills.take(index, light)
            depth = _in_range(still)
            write_image(folder / "images" / f"{index:08d}.png", still.image.float() / 255)
            write_pfm(folder / "depths" / f"{index:08d}.pfm", depth)
            camera = _mvs_camera(stills, index)
            write_cam(folder / "cams" / f"{index:08d}_cam.txt", camera)
            points = se3.transform(se3.inverse(camera.cam_T_world), backproject(camera.K, depth.double()))
            cloud.add(points[depth > 0].float(), still.image[:, depth > 0].T)
        write_cloud(out / "Points" / "stl" / f"stl{seed:03d}_total.ply", cloud.build())
        write_pairs(folder / "pair.txt", _pairs(stills))


def render_to_dtu_training(
    seeds: int | Sequence[int],
    out: Path,
    size: tuple[int, int] = (512, 640),
    *,
    views: int = VIEWS,
    lights: Sequence[int] = tuple(range(LIGHTS)),
    samples: int = 1,
    visit: Visit | None = None,
) -> None:
    """Render tables in DTU's layout for training; all tables share the cameras, which are those of the first seed.

    Writes `out/Rectified/scan7_train/rect_001_0_r5000.png`, `out/Depths/scan7_train/{depth_map_0000.pfm,
    depth_visual_0000.png}` and `out/Cameras/{train/00000000_cam.txt,pair.txt}`, lengths in millimetres. Depth and
    cameras have a quarter of the images' size: pixel (x, y) of a depth map sits on pixel (4 x, 4 y) of its image.
    pair.txt is written last. Raises Vo3dError for no seed, for sides that are no multiples of 4, and as
    `render_to_dtu`.
    """
    seeds = [seeds] if isinstance(seeds, int) else list(seeds)
    if not seeds or not lights or size[0] % STRIDE or size[1] % STRIDE:
        raise Vo3dError(
            f"{len(seeds)} seeds, {len(lights)} lights, images of {size[0]}x{size[1]}: expected at least one of each, "
            f"and sides that are multiples of {STRIDE}"
        )
    for seed in seeds:
        stills = Stills(seed, size, views=views, cameras=seeds[0], samples=samples, visit=visit)
        images, truth = (out / name / f"scan{seed}_train" for name in ("Rectified", "Depths"))
        _check_empty(images)
        for index in track(range(views), f"table {seed}"):
            for light in lights:
                still = stills.take(index, light)
                write_image(images / f"rect_{index + 1:03d}_{light}_r5000.png", still.image.float() / 255)
            depth = _in_range(still)[::STRIDE, ::STRIDE]
            write_pfm(truth / f"depth_map_{index:04d}.pfm", depth)
            write_image(truth / f"depth_visual_{index:04d}.png", (depth > 0).float())
    for index in range(views):
        write_cam(out / "Cameras" / "train" / f"{index:08d}_cam.txt", _mvs_camera(stills, index, STRIDE))
    write_pairs(out / "Cameras" / "pair.txt", _pairs(stills))


class _GrowingCloud:
    """Points of many views, the first that falls into each cube of `spacing`."""

    def __init__(self, spacing: float) -> None:
        if not spacing > 0:
            raise Vo3dError(f"spacing {spacing}: expected a length above 0, in millimetres")
        self.spacing = spacing
        self._cubes: Int64[np.ndarray, " n"] = np.empty(0, dtype=np.int64)
        self._points: list[Tensor] = []
        self._colours: list[Tensor] = []

    def add(self, points: Float[Tensor, "n 3"], colours: UInt8[Tensor, "n 3"]) -> None:
        cell = (points / self.spacing).floor().long() + (1 << 20)  # 21 bits an axis
        key = (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]
        cubes, first = np.unique(key.numpy(), return_index=True)
        fresh = first[~np.isin(cubes, self._cubes)]
        self._points.append(points[fresh])
        self._colours.append(colours[fresh])
        self._cubes = np.union1d(self._cubes, cubes)

    def build(self) -> PointCloud:
        return PointCloud(points=torch.cat(self._points).numpy(), colours=torch.cat(self._colours).numpy())


def _in_range(still: Still) -> Float[Tensor, "h w"]:
    """Return the depth in millimetres; 0 beyond DTU's range."""
    near, far = DEPTH_RANGE
    return torch.where((still.depth >= near) & (still.depth <= far), still.depth * MILLIMETRES, 0.0)


def _mvs_camera(stills: Stills, index: int, stride: int = 1) -> MVSCamera:
    """Describe a camera in millimetres, K for every `stride`-th pixel."""
    cam_T_world = se3.inverse(stills.world_T_cam[index])
    cam_T_world[:3, 3] *= MILLIMETRES
    near, far = (depth * MILLIMETRES for depth in DEPTH_RANGE)
    return MVSCamera(
        K=subsample_intrinsics(stills.camera.K, stride),
        cam_T_world=cam_T_world,
        depth_min=near,
        depth_interval=DEPTH_INTERVAL,
        num_depths=NUM_DEPTHS,
        depth_max=far,
    )


def _pairs(stills: Stills) -> list[ViewSources]:
    return [
        ViewSources(view=view, sources=tuple(sources), scores=tuple(scores))
        for view, (sources, scores) in enumerate(stills.sources)
    ]


def _check_empty(folder: Path) -> None:
    if visible_paths(folder):
        raise Vo3dError(f"{folder}: holds images already: remove the folder or choose another")
