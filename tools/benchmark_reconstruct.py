"""Score what `vo3d reconstruct` makes of scenes by itself, told its weights alone, before and after a change.

    python tools/benchmark_reconstruct.py --mvs data/mvs --kitchen data/redkitchen/seq-01 --before OLD/bin/vo3d

Each scene is reconstructed by the command line of this checkout, and with `--before` by that of another one too, by
each of `--methods`, in processes that take turns. The table tells, of the depths before any filter, the shares within
1, 5 and 10 % of the truth, and the same of those that the method is sure of; the points of the cloud; of a street the
percentage of points beyond what is built; seconds a view; and the highest memory of the process.

A point lies beyond what is built if no view has a surface at its pixel that is as far or farther (but for 10 %), and
some view has nothing but sky there.

The truth: of `templeRing` and `tagboard` in `--mvs` key points that match between views, triangulated with the known
poses (`vo3d.mapping.sparse_points`), so no truth of what has no texture; of `--kitchen`, a sequence of 7-Scenes, every
20th frame from 10 on, the sensor; of rendered tables, rooms and streets their exact depth. `--slow` views alone of each
scene are made by plane sweeping, which takes long, and their clouds do not count.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmark_adapool import aligned
from vo3d.datasets.multiview import RenderedScene
from vo3d.datasets.sevenscenes import SevenScenesScene
from vo3d.datasets.street_views import StreetScene
from vo3d.datasets.tabletop import TabletopScene
from vo3d.formats.images import write_image
from vo3d.formats.mvsnet import MVSCamera, ViewSources, write_cam, write_pairs
from vo3d.formats.pfm import read_pfm
from vo3d.formats.ply import read_cloud
from vo3d.geometry import sample_image, se3, subsample
from vo3d.geometry.camera import project
from vo3d.geometry.grey import grey_image
from vo3d.geometry.view_selection import best_sources, frustum_scores
from vo3d.mapping.sparse_points import sparse_points
from vo3d.recording import MultiViewScene
from vo3d.settings.layouts import open_scene
from vo3d.world.recorder import Recorder
from vo3d.world.room_files import HAND_HELD
from vo3d.world.stills import Stills

SIDE, KITCHEN_SIDE = 480, 320  # pixels of the longer side of photographs, and of those of the kitchen
STRIDE = 4  # of the maps of all methods but IterMVS, of which every fourth pixel is scored
SLOW = "plane_sweep"
METHODS = ("itermvs_blendedmvs", "mvsnet_dtu_port", "mvsnet_tabletop", "rmvsnet_tabletop", SLOW)
SURE = dict(zip(METHODS, (0.3, 0.8, 0.8, 0.3, 0.4), strict=True))  # least confidence
WITHIN = (1, 5, 10)  # percent
KITCHEN_FIRST, KITCHEN_STEP = 10, 20
ROOM_RANGE = (0.5, 6.0)  # metres
BEHIND = 1.1  # times the depth of a surface from which on a point lies behind it


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene on disk: its name in the table, its folder, options of the command, and the true depth of its views."""

    name: str
    folder: Path
    options: list[str] = field(default_factory=list)
    truth: dict[str, Tensor]  # by the names of the views, on the grid of the maps; 0 = none
    street: StreetScene | None = None  # what is built, and where the sky is


class RoomScene(RenderedScene):
    """Frames of a walk through a rendered room as views of one scene."""

    def __init__(self, seed: int, size: tuple[int, int], frames: Sequence[int]) -> None:
        self.recorder, self.chosen = Recorder("room", seed, max(frames) + 1, size, HAND_HELD), frames
        K, poses = self.recorder.camera.K, self.recorder.poses()[list(frames)]
        scores = frustum_scores(K.expand(len(poses), 3, 3), poses, [size] * len(poses), 2.0)
        super().__init__(f"room-{seed}", K, poses, [best for best, _ in best_sources(scores, 10)], ROOM_RANGE)

    def view(self, index: int) -> tuple[Tensor, Tensor]:
        """Take a frame."""
        frame = self.recorder.frame(self.chosen[index])
        return frame.image, frame.depth


def write_scene(scene: RenderedScene, folder: Path) -> Scene:
    """Write the views of a rendered scene in MVSNet's layout, without their depth, which is returned."""
    truth = {}
    near, far = scene.depth_range
    for index in range(len(scene)):
        clip = scene.clip([index])
        if clip.K is None or clip.world_T_cam is None or clip.depth is None:
            raise TypeError(f"{scene.name}: a view lacks its camera or its depth")
        name = f"{index:08d}"
        write_image(folder / "images" / f"{name}.png", clip.image[0])
        camera = MVSCamera(
            K=clip.K[0].double(),
            cam_T_world=se3.inverse(clip.world_T_cam[0]),
            depth_min=near,
            depth_interval=(far - near) / 191,
            num_depths=192,
            depth_max=far,
        )
        write_cam(folder / "cams" / f"{name}_cam.txt", camera)
        truth[name] = subsample(clip.depth[0], STRIDE)
    pairs = []
    for index in range(len(scene)):
        sources = tuple(scene.sources(index))
        pairs.append(ViewSources(view=index, sources=sources, scores=(1.0,) * len(sources)))
    write_pairs(folder / "pair.txt", pairs)
    return Scene(name=scene.name, folder=folder, truth=truth)


def percent_beyond(points: Tensor, street: StreetScene) -> float:
    """Compute the percentage of points (n 3) that lie beyond what is built."""
    K = street.recorder.camera.K.double()
    before_sky, built = torch.zeros(2, len(points), dtype=torch.bool)
    for index, world_T_cam in enumerate(street.poses()):
        pixels, z = project(K, se3.transform(se3.inverse(world_T_cam), points))
        surface = street.recorder.frame(index).depth.double()
        far = torch.nn.functional.max_pool2d(surface[None], 3, stride=1, padding=1)  # an edge is as wide as a pixel
        farthest, inside = sample_image(far, pixels[None], mode="nearest")  # 1 1 n, 1 n
        before_sky |= (inside & (farthest[0] == 0))[0]
        built |= (inside & (farthest[0] * BEHIND >= z))[0]
    return 100 * float((before_sky & ~built).double().mean())


def matched_truth(scene: MultiViewScene) -> dict[str, Tensor]:
    """Find depths of each view by key points that match, at the nearest pixel of its map."""
    cameras, world_T_cam = scene.cameras(), scene.poses()
    if world_T_cam is None:
        raise TypeError(f"{scene.name}: has no poses")
    images = (grey_image(scene.clip([index]).image[0]) for index in range(len(scene)))
    found = sparse_points(images, cameras.K.double().numpy(), world_T_cam.numpy())
    xyz, point, view = map(torch.from_numpy, (found.xyz, found.point, found.view))
    truth = {}
    for index in range(len(scene)):
        points = se3.transform(se3.inverse(world_T_cam[index]), xyz[point[view == index]]) @ cameras.K[index].double().T
        h, w = (-(-side // STRIDE) for side in cameras.size)
        column, row = (points[:, :2] / points[:, 2:] / STRIDE).round().long().unbind(-1)
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
        depth = torch.zeros(h, w)
        depth[row[inside], column[inside]] = points[inside, 2].float()
        truth[scene.names[index]] = depth
    return truth


def kitchen(sequence: Path, folder: Path) -> Scene:
    """Link every 20th frame of a sequence into a folder of its own, numbered from 0 on."""
    folder.mkdir(parents=True)
    for index, number in enumerate(range(KITCHEN_FIRST, 1000, KITCHEN_STEP)):
        for path in sequence.glob(f"frame-{number:06d}.*"):
            (folder / path.name.replace(f"{number:06d}", f"{index:06d}")).symlink_to(path.resolve())
    scene = SevenScenesScene(folder, every=1, depth="where present", max_side=KITCHEN_SIDE)
    depths = (scene.clip([index]).depth for index in range(len(scene)))
    truth = {name: subsample(d[0], STRIDE) for name, d in zip(scene.names, depths, strict=True) if d is not None}
    return Scene(
        name="redkitchen", folder=folder, options=["--every", "1", "--max-side", str(KITCHEN_SIDE)], truth=truth
    )


def scored(scene: Scene, maps: Path, sure: float) -> dict[str, float]:
    """Compute the shares of depths within so many percent of the truth, over all pixels with truth of all views."""
    errors, confident = [], []
    for name, truth in scene.truth.items():
        if not (maps / f"{name}_depth.pfm").is_file():
            continue
        depth, confidence = (read_pfm(maps / f"{name}_{kind}.pfm") for kind in ("depth", "confidence"))
        if depth.shape != truth.shape:
            depth, confidence = subsample(depth, STRIDE), subsample(confidence, STRIDE)
        known = truth > 0
        errors.append(100 * (depth[known] / truth[known] - 1).abs())
        confident.append(confidence[known] >= sure)
    error, is_sure = torch.cat(errors), torch.cat(confident)
    found = {f"{within}": 100 * float((error < within).float().mean()) for within in WITHIN}
    if bool(is_sure.any()):
        found |= {f"sure {within}": 100 * float((error[is_sure] < within).float().mean()) for within in WITHIN}
    return found | {"sure": 100 * float(is_sure.float().mean())}


def reconstructed(program: str, scene: Scene, method: str, slow: int, out: Path) -> dict[str, float]:
    """Run the command once and collect its figures; points are NaN where it refuses or nothing is left."""
    command = [program, "reconstruct", str(scene.folder), "--weights", method, "--out", str(out), "--no-report"]
    if method == SLOW:
        names = list(scene.truth)
        middle = len(names) // 2
        command += ["--views", *names[middle - slow // 2 :][:slow]]
    ended = subprocess.run([*command, *scene.options], capture_output=True, text=True, check=False)
    maps = out.with_name(f"{out.stem}_depth")
    if not list(maps.glob("*_depth.pfm")):
        sys.stderr.write(f"{scene.name}, {method}: {ended.stderr[-500:]}\n")
        return {}
    found = scored(scene, maps, SURE[method]) | {"points": math.nan}
    if (maps / "reconstruction.json").is_file():
        result: dict[str, Any] = json.loads((maps / "reconstruction.json").read_text(encoding="utf-8"))
        found |= {
            "points": math.nan if method == SLOW else result["points"],
            "s a view": result["seconds"]["a_view"],
            "peak MB": result["peak_memory_bytes"] / 1e6,
        }
    if scene.street is not None and out.is_file():
        found["beyond"] = percent_beyond(torch.from_numpy(read_cloud(out).points).double(), scene.street)
    return found


def scenes_of(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], Scene]]:
    """List what makes each scene, by its name."""

    def layout(path: Path) -> Scene:
        _, opened = open_scene(path, {"max_side": SIDE})
        return Scene(name=path.name, folder=path, options=["--max-side", str(SIDE)], truth=matched_truth(opened))

    def table() -> Scene:
        return write_scene(TabletopScene(Stills(2000, (384, 512), views=12), 3), folder / "table")

    def street() -> Scene:
        drive = StreetScene(2000, (192, 640), frames=16)
        return replace(write_scene(drive, folder / "street"), street=drive)

    makers: dict[str, Callable[[], Scene]] = {}
    if options.mvs is not None:
        makers |= {name: lambda name=name: layout(options.mvs / name) for name in ("templeRing", "tagboard")}  # type: ignore[misc]
    if options.kitchen is not None:
        makers["redkitchen"] = lambda: kitchen(options.kitchen, folder / "kitchen")
    return makers | {
        "table": table,
        "room": lambda: write_scene(RoomScene(7, (384, 512), range(0, 240, 15)), folder / "room"),
        "street": street,
    }


def main() -> None:
    """Read the options, run, and print a row when it is ready."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--mvs", type=Path, metavar="FOLDER", help="holds templeRing/ and tagboard/")
    parser.add_argument("--kitchen", type=Path, metavar="FOLDER", help="a sequence of 7-Scenes")
    parser.add_argument("--before", metavar="PROGRAM", help="vo3d of another checkout (default: none)")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--only", nargs="+", metavar="SCENE")
    parser.add_argument("--slow", type=int, default=3, help="views of each scene by plane sweeping")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    programs = ({"before": options.before} if options.before else {}) | {
        "after": str(Path(sys.executable).with_name("vo3d"))
    }
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    columns = ["1", "5", "10", "sure", "sure 1", "sure 5", "sure 10", "points", "beyond", "s a view", "peak MB"]
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        for place, make in scenes_of(options, folder).items():
            if options.only and place not in options.only:
                continue
            scene = make()
            for method in options.methods:
                for when, program in programs.items():
                    out = folder / f"{place}_{method}_{when}.ply"
                    found = reconstructed(program, scene, method, options.slow, out)
                    rows.append({"scene": place, "method": method, "when": when} | found)
                    print(
                        place,
                        method,
                        when,
                        *(f"{column}: {found.get(column, math.nan):.4g}" for column in columns),
                        flush=True,
                    )
                    if options.json:
                        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = [["scene", "method", "", *columns]]
    table += [
        [row["scene"], row["method"], row["when"], *(f"{row.get(column, math.nan):.4g}" for column in columns)]
        for row in rows
    ]
    print("\n".join(aligned(table)))


if __name__ == "__main__":
    main()
