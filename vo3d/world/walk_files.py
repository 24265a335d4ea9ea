"""Rendered walks as files: a folder of a database and one of queries, with the position of each image."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import UInt8
from rich.progress import track
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_image
from vo3d.world.drive_files import contact_sheet
from vo3d.world.walk import Pass, Walk

SHEET_COLUMNS = 6  # views of each pass


def render_to_places(walk: Walk, places: Sequence[int], seed: int, out: Path, size: tuple[int, int]) -> None:
    """Render walks along places as a set of places in two folders, which `PlaceFolders` reads.

    Writes `out/database/0007-day-1/0000m.png`, `out/queries/0007-night-1/0002m.png` and so on, and at the end
    `contact_sheet.png` (of the first place: a row for each pass, first those of the database), `scene.json` and a
    `positions.csv` in both folders: a set that was interrupted lacks them. Positions are metres in the world of the
    first place, x right, y down, z ahead; each further place lies 10 km from the one before. `size` is height, width.

    Raises Vo3dError for no place, a folder that holds files already, and as `Walk`.
    """
    if not places:
        raise Vo3dError("no place to walk along: expected at least one")
    for folder in (out / "database", out / "queries"):
        if visible_paths(folder):
            raise Vo3dError(f"{folder}: holds files already: remove the folder or choose another")
    roles = {"database": walk.database, "queries": walk.queries}
    passes = [(role, i, one) for role, drawn in roles.items() for i, at in enumerate(places) for one in drawn(at, seed)]
    content = {
        "seed": seed,
        "places": list(places),
        "size": list(size),
        "walk": asdict(walk),
        "passes": {f"{role}/{one.name}": _content(one, size) for role, _, one in passes},
        "vo3d": version("vo3d"),
    }
    sheet: list[UInt8[Tensor, "3 h w"]] = []
    rows: dict[str, list[str]] = {role: ["name,x,y,z"] for role in roles}
    for role, number, one in track(passes, f"walks along places ({len(places)})"):
        images = list(_write(out / role / one.name, one, size))
        for name, where in zip(one.names, (one.poses[:, :3, 3] + walk.offset(number)).tolist(), strict=True):
            rows[role].append(f"{one.name}/{name}.png,{','.join(map(repr, where))}")
        if number == 0:
            sheet += [images[view] for view in torch.linspace(0, len(images) - 1, SHEET_COLUMNS).round().int().tolist()]
    write_image(out / "contact_sheet.png", contact_sheet(sheet, SHEET_COLUMNS).float() / 255)
    write_whole(out / "scene.json", json.dumps(content, indent=2) + "\n")
    for role, lines in rows.items():
        write_whole(out / role / "positions.csv", "\n".join(lines) + "\n")


def _write(folder: Path, one: Pass, size: tuple[int, int]) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """Write the views of a pass, and hand on their images."""
    recorder = one.recorder(size)
    for name, index in zip(one.names, one.indices, strict=True):
        image = recorder.frame(index).image
        write_image(folder / f"{name}.png", image.float() / 255)
        yield image


def _content(one: Pass, size: tuple[int, int]) -> dict[str, object]:
    """Collect what it takes to draw the views of a pass again."""
    recorder = one.recorder(size)
    return {
        "frames": recorder.frames,
        "views": one.indices,
        "metres": one.metres,
        "K": recorder.camera.K.tolist(),
        "visit": asdict(one.visit),
        "sensor": asdict(one.sensor),
    }
