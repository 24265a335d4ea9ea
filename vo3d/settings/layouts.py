"""Scenes for multi-view stereo by their path alone, whatever layout they are in."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vo3d.errors import Vo3dError
from vo3d.recording import MultiViewScene

LAYOUTS = {  # module of vo3d.datasets -> what it reads; the first that recognises a path takes it
    "mvs_folder": "MVSNet's layout (images/, cams/, pair.txt)",
    "colmap": "a COLMAP model (cameras, images, points3D; beside images/)",
    "dtu": "a scan of DTU's training layout (Rectified/scan1_train)",
    "sevenscenes": "a sequence of 7-Scenes (frame-000000.color.png, .pose.txt)",
    "posed_images": "images with a file of poses (poses.txt, trajectory.txt, groundtruth.txt, or --poses)",
}
POSED = "posed_images"
MAX_SIDE = 1600  # pixels of the longer side unless another size is asked for, that of MVSNet's published results
OPTIONS = {"trajectory": "poses", "depth_range": "depth-range", "max_side": "max-side"}  # as the command line has them


def open_scene(path: Path, reading: Mapping[str, Any]) -> tuple[str, MultiViewScene]:
    """The scene in a folder, and the name of its layout among `LAYOUTS`.

    Raises Vo3dError when no layout fits, or the layout that does has no use for an option.
    """
    if not path.exists():
        raise Vo3dError(f"{path}: no such file or folder: expected a scene")
    given = {key: value for key, value in reading.items() if value is not None}
    for name, what in LAYOUTS.items():
        module = import_module(f"vo3d.datasets.{name}")
        if not module.recognises(path) and not (name == POSED and "trajectory" in given):
            continue
        known = inspect.signature(module.scene).parameters
        strange = [f"--{OPTIONS.get(key, key)}" for key in given if key not in known]
        if strange:
            raise Vo3dError(f"{path}: is {what}, which has no use for {', '.join(strange)}: leave them out")
        if "max_side" in known and not {"size", "max_side"} & set(given):
            given["max_side"] = MAX_SIDE
        return name, module.scene(path, **given)
    raise Vo3dError(f"{path}: no scene: expected {'; or '.join(LAYOUTS.values())}")


def find_references(scene: MultiViewScene, names: Sequence[str]) -> list[int]:
    """Places of the views to make depth maps of."""
    able = scene.references
    if not able:
        raise Vo3dError(
            f"{scene.name}: no view has a source to be matched with: in MVSNet's layout name "
            "them in pair.txt, else give more photographs of the same place, or a smaller --every"
        )
    places = {name: index for index, name in enumerate(scene.names)}
    numbers = {int(name): index for name, index in places.items() if name.isdecimal()}
    chosen = []
    for name in names:
        place = places.get(name, numbers.get(int(name)) if name.isdecimal() else None)
        if place is None:
            some = ", ".join(list(scene.names)[:3])
            raise Vo3dError(f"--views {name}: {scene.name} has no view of that name: its views are {some} and so on")
        if place not in able:
            raise Vo3dError(f"--views {name}: has no sources to be matched with: leave it out, or name some")
        chosen.append(place)
    if chosen and not any(source in chosen for place in chosen for source in scene.sources(place)):
        raise Vo3dError(
            f"--views {' '.join(names)}: none of these is a source of another, so that nothing can confirm their "
            f"depths: add some, such as {scene.names[scene.sources(chosen[0])[0]]}"
        )
    return list(dict.fromkeys(chosen)) or able
