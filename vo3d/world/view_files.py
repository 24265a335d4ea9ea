"""Rendered views as files, to train multi-view stereo on: random cameras and baselines, in the layout of MVSNet."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Float64, UInt8
from rich.progress import track
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_image
from vo3d.formats.mvsnet import NUM_DEPTHS, MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.pfm import write_pfm
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, project, subsample, subsample_intrinsics
from vo3d.geometry.view_selection import PERCENTILES, angle_weight
from vo3d.world.drive_files import contact_sheet
from vo3d.world.view_sets import FULL, WORLDS, ViewSet, World, draw_views

STEP = 6  # from one pixel to the next of those by which views are held against each other
SAME = 0.02  # of the depth, by which two views may differ where they see one point
LEAST_SHARED = 0.3  # of the depths of a view that a source has to see
PARALLAX = (0.015, 0.25)  # of the image's width: the median shift between a view and a source, without turns
LEAST_KNOWN = 0.25  # of the pixels of a view that have a depth
SHEET_COLUMNS = 6


def render_to_views(
    places: int,
    seed: int,
    out: Path,
    size: tuple[int, int],
    *,
    worlds: Sequence[World] = WORLDS,
    views: int = FULL,
    photographs: bool = False,
) -> None:
    """Render scenes of the `worlds` in turn, each in a folder that `MVSFolder` reads with its true depth.

    Writes `out/room-0001/{images/00000000.png,cams/00000000_cam.txt,depths/00000000.pfm,pair.txt}` and so on, and at
    the end `out/contact_sheet.png` (a row for each of the first scenes) and `out/scene.json`. Lengths are metres; depth
    is 0 in the sky and on what moves. A view's range holds its depths but for one percent at either end. pair.txt names
    all views that see at least three tenths of its depths from places that are neither too near nor too far: median
    shifts of 1.5 to 25 % of the width; best first by the angles between rays, as `vo3d.geometry.view_selection` scores
    them. Scene i is drawn from seed 1000 `seed` + i. `size` is height, width.

    Raises Vo3dError for no scene or more than 1000, fewer than two views, a folder that holds files already, and as
    `draw_views`.
    """
    if not 1 <= places <= 1000 or not worlds or views < 2:
        raise Vo3dError(
            f"{places} scenes of {len(worlds)} worlds, {views} views each: expected 1 to 1000, at least one, at least 2"
        )
    if visible_paths(out):
        raise Vo3dError(f"{out}: holds files already: remove the folder or choose another")
    rows: list[UInt8[Tensor, "3 h w"]] = []
    content = {}
    for number in track(range(places), "views of rendered scenes"):
        drawn = draw_views(worlds[number % len(worlds)], 1000 * seed + number, size, views, photographs=photographs)
        images = write_views(drawn, out / drawn.name)
        content[drawn.name] = {"views": len(images), "sensor": asdict(drawn.sensor), "K": drawn.camera.K.tolist()}
        if number < 2 * len(worlds):
            shown = torch.linspace(0, len(images) - 1, SHEET_COLUMNS).round().int().tolist()
            rows += [images[index] for index in shown]
    write_image(out / "contact_sheet.png", contact_sheet(rows, SHEET_COLUMNS).float() / 255)
    about = {"seed": seed, "size": list(size), "views": views, "photographs": photographs, "scenes": content}
    write_whole(out / "scene.json", json.dumps(about | {"vo3d": version("vo3d")}, indent=2) + "\n")


def write_views(drawn: ViewSet, folder: Path) -> list[UInt8[Tensor, "3 h w"]]:
    """Write the views of a set that see enough, and return their images."""
    taken = [(*drawn.take(index), pose) for index, pose in enumerate(drawn.world_T_cam)]
    kept = [view for view in taken if float((view[1] > 0).double().mean()) >= LEAST_KNOWN]
    if len(kept) < 2:
        raise Vo3dError(f"{drawn.name}: {len(kept)} of {len(taken)} views see anything: take another seed")
    images, depths, poses = zip(*kept, strict=True)
    for index, (image, depth, pose) in enumerate(kept):
        name = f"{index:08d}"
        write_image(folder / "images" / f"{name}.png", image.float() / 255)
        write_pfm(folder / "depths" / f"{name}.pfm", depth)
        near, far = depth[depth > 0].double().quantile(torch.tensor(PERCENTILES, dtype=torch.float64)).tolist()
        camera = MVSCamera(
            K=drawn.camera.K,
            cam_T_world=se3.inverse(pose),
            depth_min=near,
            depth_interval=(far - near) / (NUM_DEPTHS - 1),
            num_depths=NUM_DEPTHS,
            depth_max=far,
        )
        write_cam(folder / "cams" / f"{name}_cam.txt", camera)
    write_pairs(folder / "pair.txt", useful_pairs(drawn.camera.K, torch.stack(depths), torch.stack(poses)))
    return list(images)


def useful_pairs(
    K: Float64[Tensor, "3 3"], depth: Float[Tensor, "v h w"], world_T_cam: Float64[Tensor, "v 4 4"]
) -> list[ViewSources]:
    """Find the sources of each view by its true depth: those that see the same surfaces under a useful angle."""
    depth, K = subsample(depth, STEP).double(), subsample_intrinsics(K, STEP)
    points = se3.transform(world_T_cam, backproject(K.expand(len(depth), 3, 3), depth).flatten(1, 2))  # v p 3
    known, width = (depth > 0).flatten(1), depth.shape[-1]
    pairs = []
    for view, (here, there) in enumerate(zip(points, known, strict=True)):
        found, z = project(K, se3.transform(se3.inverse(world_T_cam), here[there].expand(len(depth), -1, 3)))
        shared = _sees(depth, found, z)  # v p
        rays = torch.nn.functional.normalize(world_T_cam[:, None, :3, 3] - here[there], dim=-1)
        cosine = (rays * rays[view]).sum(-1).clamp(-1, 1)
        angle = torch.where(shared, cosine.acos(), torch.nan).nanmedian(1).values
        parallax = K[0, 0] * angle / width
        useful = (shared.double().mean(1) >= LEAST_SHARED) & (parallax >= PARALLAX[0]) & (parallax <= PARALLAX[1])
        scores = (angle_weight(cosine) * shared).sum(1) * useful
        best = [index for index in scores.argsort(descending=True, stable=True).tolist() if useful[index]]
        pairs.append(ViewSources(view=view, sources=tuple(best), scores=tuple(float(scores[index]) for index in best)))
    return pairs


def _sees(
    depth: Float64[Tensor, "v h w"], pixel: Float64[Tensor, "v p 2"], z: Float64[Tensor, "v p"]
) -> Bool[Tensor, "v p"]:
    """Tell which points each view sees, by what it has at the nearest pixel."""
    height, width = depth.shape[-2:]
    x, y = pixel.nan_to_num(-1.0).round().long().unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    nearest = depth.flatten(1).gather(1, (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)))
    return inside & (nearest > 0) & ((nearest - z).abs() <= SAME * z)
