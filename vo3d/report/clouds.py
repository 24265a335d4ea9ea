"""Pictures of point clouds, drawn in software: one view with its depth, and a turntable all around."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.ply import Mesh, PointCloud
from vo3d.geometry import camera, se3
from vo3d.report.canvas import write_gif

CHUNK = 1 << 20  # points that are projected at a time: bounds the memory, whatever the cloud
NOTHING = torch.iinfo(torch.int64).max
GROUND = 1.0  # white where no point is seen
CLAY = 0.82  # the grey of a cloud without colours
LIGHT = (-0.35, -0.5, -1.0)  # to the light, in the camera's axes: from above its left shoulder
UP = (0.0, -1.0, 0.0)  # y points down in every camera, and in the rendered worlds
FIELD = math.radians(40)  # of view of a turntable's camera, across the shorter side
ELEVATION = math.radians(22)  # of its camera over the horizon
EDGE = 2.0  # how dark a step in depth is drawn where there are neither colours nor normals


def render_cloud(
    cloud: PointCloud,
    K: Float[Tensor, "3 3"],
    cam_T_world: Float[Tensor, "4 4"],
    size: tuple[int, int],
    point_size: int = 1,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"]]:
    """Draw what a camera sees of a cloud: RGB in [0, 1] on white, and z in the cloud's unit, 0 where no point is seen.

    Every point in front of the camera is a square of `point_size` pixels at its depth; the nearest one is seen.
    Colours are the cloud's; without them points are grey, lit by their normals, and without normals shaded where the
    depth steps (Boucheny, "Visualisation scientifique de grands volumes de données", 2009, "eye-dome lighting").

    Raises:
        Vo3dError: the point size is not 1 or more.
    """
    if point_size < 1:
        raise Vo3dError(f"points of {point_size} pixels were asked for: expected 1 or more")
    K, cam_T_world = K.double(), cam_T_world.double()
    nearest = _nearest(cloud, K, cam_T_world, size, point_size)
    seen = nearest != NOTHING
    depth = torch.where(seen, nearest >> 32, 0).int().view(torch.float32)
    index = (nearest[seen] & 0xFFFFFFFF).numpy()  # points seen, one a pixel
    image = torch.full((3, *size), GROUND)
    if cloud.colours is not None:
        image[:, seen] = torch.from_numpy(cloud.colours[index]).T / 255
    elif cloud.normals is not None:
        image[:, seen] = CLAY * _lit(cloud.normals[index], cam_T_world)
    else:
        image[:, seen] = CLAY * _edges(depth)[seen]
    return image, depth


def turntable(
    cloud: PointCloud,
    frames: int = 36,
    size: tuple[int, int] = (360, 480),
    *,
    up: Sequence[float] | None = None,
    world_T_cam: Float[Tensor, "n 4 4"] | None = None,
    point_size: int | None = None,
) -> list[Float[Tensor, "3 h w"]]:
    """Draw pictures from a camera that goes once around the cloud, a little above its middle.

    `up` is the direction of the axis in the cloud's frame; unstated, it is the axis that the cameras turn around where
    they do so, as on a turntable, else their mean up, and -y where no camera is known. With cameras, the first picture
    is taken from their side. Middle and distance leave single points far outside aside. Points are as large as it takes
    to close the gaps between them, 1 to 4 pixels, unless stated.

    Raises:
        Vo3dError: the cloud is empty, there is less than one frame, or `up` has no direction.
    """
    if not len(cloud) or frames < 1:
        raise Vo3dError(f"{frames} pictures of {len(cloud)} points were asked for: expected at least one of each")
    h, w = size
    focal = 0.5 * min(size) / math.tan(FIELD / 2)
    K = torch.tensor([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]], dtype=torch.float64)
    if point_size is None:  # four points or more a pixel of what is seen, so that few pixels have none
        point_size = max(1, min(4, math.ceil(2 * min(size) / math.sqrt(len(cloud)))))
    axes = facing_axes(cloud, up, world_T_cam)
    poses = _around(cloud, axes, np.linspace(0, 2 * math.pi, frames, endpoint=False), K, size)
    return [render_cloud(cloud, K, pose, size, point_size)[0] for pose in poses]


def upright_axes(
    up: Sequence[float] | None = None, world_T_cam: Float[Tensor, "n 4 4"] | None = None
) -> Float64[Tensor, "3 3"]:
    """Find as rows two level directions and up, right-handed, in the cloud's frame; `turntable` says what up is.

    Raises:
        Vo3dError: `up` is not three numbers with a direction.
    """
    if up is None and world_T_cam is not None:
        up = _common_up(world_T_cam[:, :3, :3].double().cpu())
    vertical = torch.tensor(UP if up is None else tuple(up), dtype=torch.float64)
    if vertical.shape != (3,) or not 0 < float(vertical.norm()) < math.inf:
        raise Vo3dError(f"up {list(up or UP)}: expected three numbers, not all 0")
    vertical = vertical / vertical.norm()
    # the level direction that the first picture is taken from: -z, where a camera at the origin stands, or what is left
    toward = torch.tensor([0.0, 0.0, -1.0] if abs(float(vertical[2])) < 0.9 else [0.0, -1.0, 0.0], dtype=torch.float64)
    toward = toward - (toward @ vertical) * vertical
    toward = toward / toward.norm()
    return torch.stack((toward, torch.linalg.cross(vertical, toward), vertical))


def _common_up(world_R_cam: Float64[Tensor, "n 3 3"]) -> tuple[float, float, float] | None:
    """Find the up of cameras: `turntable` says which; None where they point every way."""
    cam_R_world = world_R_cam.mT.mean(0)
    # the direction that the cameras see most alike, how alike (1: all the same), and how alike the next one
    _, alike, directions = torch.linalg.svd(cam_R_world)
    if alike[0] > 0.995 and alike[1] < 0.97:
        axis = directions[0]
        seen = cam_R_world @ axis
        up = axis if seen[1] + seen[2] < 0 else -axis  # cameras stand upright, or else look down
    else:
        up = -world_R_cam[:, :, 1].mean(0)
    x, y, z = up.tolist()
    return (x, y, z) if up.norm() > 0.1 else None


def up_comment(world_T_cam: Float[Tensor, "n 4 4"]) -> str:
    """Write the up of cameras as a line for a PLY file's header, by which `vo3d.report.viewer` sets a cloud upright."""
    return "up " + " ".join(f"{value:.6g}" for value in upright_axes(None, world_T_cam)[2].tolist())


def facing_axes(
    cloud: PointCloud, up: Sequence[float] | None = None, world_T_cam: Float[Tensor, "n 4 4"] | None = None
) -> Float64[Tensor, "3 3"]:
    """Turn `upright_axes` so that the first one leads from the middle of the cloud to the cameras' side."""
    axes = upright_axes(up, world_T_cam)
    if world_T_cam is None:
        return axes
    centre, radius = extent(cloud, axes)
    side = axes[:2] @ (world_T_cam[:, :3, 3].double().mean(0).cpu() - centre)
    if not side.norm() > 0.05 * radius:  # the cameras stand all around
        return axes
    toward, across = side / side.norm()
    return torch.stack((toward * axes[0] + across * axes[1], toward * axes[1] - across * axes[0], axes[2]))


def extent(cloud: PointCloud, axes: Float64[Tensor, "3 3"] | None = None) -> tuple[Float64[Tensor, "3"], float]:
    """Find the middle of a cloud and the radius around it that holds 98 % of the points: strays do not count."""
    points = _some_points(cloud)
    axes = torch.eye(3, dtype=torch.float64) if axes is None else axes
    low, high = torch.quantile(points @ axes.T, torch.tensor([0.02, 0.98], dtype=torch.float64), dim=0)
    centre = (low + high) / 2 @ axes
    radius = float(torch.quantile((points - centre).norm(dim=-1), 0.98))
    return centre, 1.05 * radius or 1.0  # any radius shows a single point


def points_on_mesh(mesh: Mesh, count: int = 500_000, seed: int = 0) -> PointCloud:
    """Strew points evenly over the triangles of a mesh, with their colours and normals (the triangle's own).

    Raises:
        Vo3dError: no triangle has an area.
    """
    corners = mesh.vertices.points[mesh.faces].astype(np.float64)  # m 3 3
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=-1)
    if not area.sum() > 0:
        raise Vo3dError(f"a mesh of {len(mesh.faces)} triangles without area: expected a surface")
    random = np.random.default_rng(seed)
    face = random.choice(len(area), count, p=area / area.sum())
    weights = random.dirichlet((1.0, 1.0, 1.0), count)  # uniform over a triangle
    colours = None
    if mesh.vertices.colours is not None:
        mixed = np.einsum("nk,nkc->nc", weights, mesh.vertices.colours[mesh.faces[face]].astype(np.float64))
        colours = np.rint(mixed).astype(np.uint8)
    return PointCloud(
        points=np.einsum("nk,nkc->nc", weights, corners[face]),
        colours=colours,
        normals=across[face] / area[face, None],
    )


def write_turntable(folder: Path, images: Sequence[Float[Tensor, "3 h w"]], seconds: float = 6.0) -> list[Path]:
    """Write `turntable.gif`, one round in `seconds`, and each picture as `turntable_<number>.png`.

    Returns their paths, that of the GIF first. Pictures of such names from an earlier round of more are removed.
    """
    from PIL import Image  # noqa: PLC0415  comes with matplotlib, and is imported as late

    paths = [folder / f"turntable_{number:03d}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    for old in set(folder.glob("turntable_[0-9][0-9][0-9].png")) - set(paths):
        old.unlink()
    pages = [Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in images]
    frugal = [page.quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for page in pages]
    return [write_gif(folder / "turntable.gif", frugal, max(20, round(1000 * seconds / len(images)))), *paths]


def _around(
    cloud: PointCloud, axes: Tensor, angles: np.ndarray, K: Tensor, size: tuple[int, int]
) -> Float64[Tensor, "n 4 4"]:
    """Place cameras (`cam_T_world`) to look at the middle of a cloud, as near as shows 98 % of its points from each."""
    centre, radius = extent(cloud, axes)
    level, rise = math.cos(ELEVATION), math.sin(ELEVATION)
    to_camera = (
        torch.tensor([[level * math.cos(angle), level * math.sin(angle), rise] for angle in angles]).double() @ axes
    )
    right = functional.normalize(torch.linalg.cross(axes[2].expand_as(to_camera), to_camera), dim=-1)
    world_R_cam = torch.stack((right, torch.linalg.cross(right, to_camera), -to_camera), dim=-1)  # n 3 3
    some = world_R_cam[:: max(1, len(angles) // 24)]
    x, y, z = ((_some_points(cloud) - centre) @ some).unbind(-1)  # views, points: in the cameras' axes
    fit = torch.maximum(x.abs() * K[0, 0] / (0.47 * size[1]), y.abs() * K[1, 1] / (0.47 * size[0])) - z
    distance = max(float(np.quantile(fit.numpy(), 0.98, axis=-1).max()), 0.1 * radius)
    return se3.inverse(se3.from_rotation_translation(world_R_cam, centre + distance * to_camera))


def _some_points(cloud: PointCloud) -> Float64[Tensor, "n 3"]:
    """Take points enough for percentiles."""
    return torch.from_numpy(np.asarray(cloud.points[:: max(1, len(cloud) // 20_000)], dtype=np.float64))


def _nearest(
    cloud: PointCloud, K: Tensor, cam_T_world: Tensor, size: tuple[int, int], point_size: int
) -> Int64[Tensor, "h w"]:
    """Find the nearest point of each pixel: depth (the bits of a float32 above 0 sort as it does), then its number."""
    h, w = size
    spread = point_size - 1
    wide = w + spread
    nearest = torch.full(
        ((h + spread) * wide,), NOTHING
    )  # of the squares that begin in each pixel, left of the image too
    for start in range(0, len(cloud), CHUNK):
        points = torch.from_numpy(np.asarray(cloud.points[start : start + CHUNK], dtype=np.float64))
        pixels, z = camera.project(K, se3.transform(cam_T_world, points))
        first = (pixels - spread / 2).round() + spread
        inside = (first >= 0).all(-1) & (first[:, 0] < wide) & (first[:, 1] < h + spread)  # NaN is not
        column, row = first[inside].long().unbind(-1)
        number = torch.arange(start, start + len(points))[inside]
        key = (z[inside].float().view(torch.int32).long() << 32) | number
        nearest.scatter_reduce_(0, row * wide + column, key, "amin")
    grid = nearest.view(h + spread, wide)
    for axis, length in ((0, h), (1, w)):  # each pixel sees the nearest of the squares that reach it
        grid = torch.stack([grid.narrow(axis, shift, length) for shift in range(point_size)]).amin(0)
    return grid


def _lit(normals: Float[np.ndarray, "n 3"], cam_T_world: Tensor) -> Float[Tensor, " n"]:
    """Compute how bright surfaces are in the light, the same for both of their sides: normals may point either way."""
    to_light = functional.normalize(torch.tensor(LIGHT, dtype=torch.float64), dim=0)
    unit = functional.normalize(torch.from_numpy(normals.astype(np.float64)), dim=-1)
    return (0.3 + 0.7 * (unit @ (cam_T_world[:3, :3].T @ to_light)).abs()).float()


def _edges(depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Compute a shade in (0, 1]: darker the farther a pixel lies behind its neighbours, in ratios of depth."""
    logarithm = torch.where(depth > 0, depth, torch.inf).log2()
    padded = functional.pad(logarithm, (1, 1, 1, 1), value=math.inf)
    around = torch.stack((padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]))
    seen = depth[depth > 0]
    scale = float((seen.max() / seen.min()).log2()) if len(seen) else 0.0
    behind = (logarithm - around).nan_to_num(0.0, neginf=0.0, posinf=0.0).clamp(min=0).mean(0)
    return torch.exp(-EDGE * 20 * behind / max(scale, 1e-3))
