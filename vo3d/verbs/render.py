"""The verb of the rendered world: its scenes as files."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from vo3d.errors import Vo3dError
from vo3d.verbs.scenes import rows_and_columns
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Motion, Time, Visit

Layout = Literal["kitti", "dtu", "dtu-training", "7scenes", "places", "mvsnet"]
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "tabletop": ("dtu", "dtu-training"),
    "room": ("7scenes",),
    "walk": ("places",),
    "views": ("mvsnet",),
}  # of the other kinds: kitti
CAMERAS: dict[Layout, str] = {  # of what is no drive
    "dtu": ", which the camera of DTU sees in its layout",
    "dtu-training": ", which the camera of DTU sees in its layout",
    "7scenes": ", which the camera of 7-Scenes sees in its layout",
    "places": "",
    "mvsnet": "",
}
OF_WALKS = ("place_seed", "traffic", "photographs")  # that is obeyed of a visit
OF_VIEWS = ("photographs",)


def render(
    kind: str,
    frames: int | None = None,
    seed: int = 0,
    out: Path = Path("rendered"),
    size: str | None = None,
    layout: Layout | None = None,
    sequences: list[int] = [],  # noqa: B006 (read only)
    stereo: bool = True,
    imu: bool = True,
    truth: bool = True,
    time: Time = "day",
    motion: Motion = "car",
    traffic: float = 1.0,
    photographs: bool = False,
    sensor: Sensor | Literal["drawn"] | None = None,
    imu_errors: Literal["mems"] | None = None,
    place_seed: int | None = None,
    time_seed: int | None = None,
    movers_seed: int | None = None,
    path_seed: int | None = None,
    start: float = 0.0,
    lateral: float | None = None,
    places: int | None = None,
    length: float | None = None,
    spacing: float | None = None,
    turn: float | None = None,
    passes: int | None = None,
    database_times: list[Time] = [],  # noqa: B006 (read only)
    query_times: list[Time] = [],  # noqa: B006 (read only)
) -> None:
    """Write one scene of the rendered world: a drive as KITTI's, a table as DTU's or MVSNet's, a room as 7-Scenes'.

    A walk is a street that is driven along at other times, as a set of places: a database and queries with positions.
    Views are many scenes of tables, rooms and streets, to train multi-view stereo on: random cameras, true depth.

    Example: vo3d render street --frames 400 --seed 7 --out data/street

    Example: vo3d render street --place-seed 7 --seed 8 --time night --motion walking --sensor '{"height": 1.5}'

    Example: vo3d render tabletop --seed 7 --size 480x640 --out data/tables

    Example: vo3d render room --place-seed 7 --frames 300 --sequences 3 2 --out data/rooms

    Example: vo3d render walk --place-seed 7 --query-times night fog --out data/walks

    Example: vo3d render views --places 72 --photographs --out data/views

    Args:
        kind: The kind of scene: street, tabletop, room or walk; or views, of all of these in turn.
        frames: Number of frames of a drive (400), of each sequence of a room (500), of views of a table (49), of a
            scene of views (24).
        seed: What the scene and the path are drawn from; equal seeds give equal files.
        out: The folder that will hold sequences/ and poses/ (kitti), scan7/ (dtu), Rectified/ and so on (dtu-training),
            room-0007/ (7scenes), database/ and queries/ (places), tabletop-0000/ and so on (mvsnet).
        size: Rows and columns of the images, such as 480x640; without it 128x416 of a drive, 120x160 of a walk, 192x256
            of views, as in DTU of a table, as in 7-Scenes of a room.
        layout: kitti for a drive; for a table dtu (MVSNet's, with true depth and cloud), or dtu-training; 7scenes for a
            room; places for a walk; mvsnet for views.
        sequences: Of a room, how many for training and how many for testing; without it 3 2.
        stereo: Of a drive, also write the right camera.
        imu: Of a drive, also write inertial readings, ten between two frames.
        truth: Of a drive, also write depth, ids and motions of what moves, classes, its seeds and a contact sheet.
        time: Of a drive or a room, its light and weather; any draws one.
        motion: Of a drive, the camera's; any draws one.
        traffic: Of a drive or a walk, how much moves, as a multiple of the usual; 0 for nothing.
        photographs: Put pictures and textures of photographs into the scene; they come with the extra textures.
        sensor: Of a drive, the camera, such as '{"focal": 0.9, "height": 1.2}' (see docs/world.md), or drawn.
        imu_errors: Of a drive, those of its inertial readings: mems for a small sensor's; without it none.
        place_seed: What the place is drawn from, instead of the seed: for several visits to one place.
        time_seed: What light and weather are drawn from, instead of the seed.
        movers_seed: What moves is drawn from this instead of the seed.
        path_seed: What the camera's path is drawn from, instead of the seed.
        start: Of a drive, metres along the road at which the path begins.
        lateral: Of a drive, metres right of the road's middle; without it the motion's own lane or side walk.
        places: Of a walk, how many, of seeds from that of the place on; without it 1. Of views, how many scenes;
            without it 8.
        length: Of a walk, metres of road; without it 200.
        spacing: Of a walk, metres between two views; without it 5.
        turn: Of a walk, degrees by which the camera of queries is turned at most; without it 15.
        passes: Of a walk, how often queries are taken at each time; without it 1.
        database_times: Of a walk, times of the database; without it day.
        query_times: Of a walk, times of the queries; without it low-sun night rain fog.
    """
    layout, named = _layout(kind, layout), kind if kind == "views" else f"a {kind}"
    if sequences and (layout != "7scenes" or len(sequences) != 2):
        raise Vo3dError(f"--sequences {sequences}: of {named}: expected two numbers, of a room alone: or leave it out")
    chosen: dict[str, Any] = {} if size is None else {"size": rows_and_columns(size)}
    visit = Visit(place_seed, time_seed, movers_seed, path_seed, time, motion, start, lateral, traffic, photographs)
    walk = {"places": None if layout == "mvsnet" else places, "length": length, "spacing": spacing, "turn": turn,
            "passes": passes, "database_times": tuple(database_times) or None,
            "query_times": tuple(query_times) or None}  # fmt: skip
    walk = {name: value for name, value in walk.items() if value is not None}
    if walk and layout != "places":
        raise Vo3dError(f"--{next(iter(walk)).replace('_', '-')} is of a walk, not of {named}: leave it out")
    if layout == "kitti":
        from vo3d.world.drive_files import render_to_kitti

        drive = {"size": (128, 416)} | chosen
        render_to_kitti(
            kind,
            400 if frames is None else frames,
            seed,
            out,
            stereo=stereo,
            imu=imu,
            truth=truth,
            visit=visit,
            sensor=sensor,
            imu_errors=imu_errors,
            **drive,
        )
        return
    drives = (("sensor", sensor is None), ("imu-errors", imu_errors is None), ("stereo", stereo), ("imu", imu),
              ("truth", truth))  # fmt: skip
    for name, absent in drives:
        if not absent:
            raise Vo3dError(f"--{name} is of a drive, not of {named}{CAMERAS[layout]}: leave it out")
    if layout == "mvsnet":
        _check_visit(visit, OF_VIEWS, "of views, whose scenes draw their own from --seed")
        from vo3d.world.view_files import render_to_views

        if frames is not None:
            chosen["views"] = frames
        chosen = {"size": (192, 256)} | chosen
        render_to_views(8 if places is None else places, seed, out, photographs=photographs, **chosen)
        return
    if layout == "places":
        _render_walk(walk, frames, seed, out, visit, chosen)
        return
    if layout == "7scenes":
        from vo3d.world.room_files import render_to_7scenes

        if sequences:
            chosen["sequences"] = tuple(sequences)
        render_to_7scenes(kind, 500 if frames is None else frames, seed, out, visit=visit, **chosen)
        return
    from vo3d.world.table_files import render_to_dtu, render_to_dtu_training

    if frames is not None:
        chosen["views"] = frames
    (render_to_dtu if layout == "dtu" else render_to_dtu_training)(seed, out, visit=visit, **chosen)


def _layout(kind: str, layout: Layout | None) -> Layout:
    """Return the layout of a kind's files, the given one if it is one of them."""
    from vo3d.world.scene import scene_kinds

    kinds = sorted({*scene_kinds(), *LAYOUTS})
    if kind not in kinds:
        raise Vo3dError(f"no scene kind {kind!r}: expected one of {', '.join(kinds)}")
    layouts: tuple[Layout, ...] = LAYOUTS.get(kind, ("kitti",))
    if layout and layout not in layouts:
        raise Vo3dError(
            f"--layout {layout} is not for {kind}: tables go to dtu or dtu-training, rooms to 7scenes, "
            "drives to kitti, walks to places, views to mvsnet"
        )
    return layout or layouts[0]


def _render_walk(
    walk: dict[str, Any], frames: int | None, seed: int, out: Path, visit: Visit, chosen: dict[str, Any]
) -> None:
    """Write walks along places whose seeds follow each other; the visit may choose what all passes have in common."""
    from vo3d.world.walk import Walk
    from vo3d.world.walk_files import render_to_places

    if frames is not None:
        raise Vo3dError(f"--frames {frames} of a walk: its length and spacing say how many: leave it out")
    _check_visit(visit, OF_WALKS, "of a walk, whose passes draw their own from --seed, at --query-times")
    first, num = visit.seeds(seed).place, walk.pop("places", 1)
    plan = Walk(**walk, traffic=visit.traffic, photographs=visit.photographs)
    render_to_places(plan, range(first, first + num), seed, out, **({"size": (120, 160)} | chosen))


def _check_visit(visit: Visit, obeyed: Sequence[str], whose: str) -> None:
    """Raise Vo3dError for a choice of a visit that is none of those that are `obeyed`."""
    for field in fields(Visit):
        if field.name not in obeyed and getattr(visit, field.name) != field.default:
            raise Vo3dError(f"--{field.name.replace('_', '-')} is not {whose}: leave it out")
