"""Draw the way of a value through `vo3d evaluate` and `vo3d reconstruct`: which room calls which, from a real run.

    python tools/draw_calls.py --out docs/images

A small DeepVO is trained for two steps and evaluated, and a rendered table is reconstructed, while every call between
rooms is noted. A call is an arrow, numbered in the order of its first time. Left out are functions that were handed
down to be called (a bar that is moved on, a source of samples that is read) and an object's calls of its own methods.
What `settings.build` makes out of a class path is made by whoever asked for it, and the method of an object that was
handed down by a higher room is that of its contract: a figure that asks a dataset's recording for a frame calls
`recording.Recording.clip`.
"""

import argparse
import inspect
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# A room may import and call rooms of an earlier row, never of a later one; rooms of one row do not know each other
# unless they are what every row stands on.
ROWS = (
    (
        "errors",
        "provenance",
        "geometry",
        "sample",
        "inertial",
        "recording",
        "every_nth",
        "known_truth",
        "retrieval_set",
        "depth_map",
        "model",
        "mapper",
        "weights",
        "configs",
    ),
    ("layers", "losses", "optim", "formats", "metrics", "world"),
    ("fusion", "mapping", "retrieval", "report"),
    ("models", "datasets"),
    ("settings",),
    ("inference",),
    ("training", "evaluation"),
    ("pipelines",),
    ("verbs",),
    ("cli",),
)
ROW = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
# What stands between a caller and what it calls: torch and its like (None), the maker of objects, a decorator.
BETWEEN = {None, "settings.build.build", "geometry.precision.full_precision"}


@dataclass(frozen=True)
class Call:
    """A function of one room that calls one of another."""

    caller: str  # module and function, without the package
    callee: str

    @property
    def rooms(self) -> tuple[str, str]:
        """Name the two rooms."""
        return self.caller.split(".")[0], self.callee.split(".")[0]

    @property
    def goes_down(self) -> bool:
        """Tell whether the room that is called lies below, or beside as one of those that all stand on."""
        above, below = (ROW[room] for room in self.rooms)
        return below < above or below == above == 0


@contextmanager
def traced() -> Iterator[dict[Call, None]]:
    """Collect the calls between rooms in the order of their first time."""
    calls: dict[Call, None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or (callee := _place(frame)) is None or _handed_down(frame):
            return
        caller = frame.f_back
        while caller is not None and _place(caller) in BETWEEN and caller.f_code.co_name != "<module>":
            caller = caller.f_back
        if caller is None or caller.f_code.co_name == "<module>" or _of_one_object(caller, frame):
            return
        call = Call(str(_place(caller)), callee)
        if not call.goes_down:
            call = Call(call.caller, _contract(frame) or callee)
        if call.rooms[0] != call.rooms[1]:
            calls[call] = None

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _place(frame: FrameType) -> str | None:
    """Name module and function, such as `formats.pfm.read_pfm`; None outside of vo3d, and of code that imports."""
    module = str(frame.f_globals.get("__name__", ""))
    name = frame.f_code.co_qualname
    if not module.startswith("vo3d.") or name == "<module>" or not Path(frame.f_code.co_filename).exists():
        return None
    return f"{module.removeprefix('vo3d.')}.{name.split('.<locals>')[0]}"


def _handed_down(frame: FrameType) -> bool:
    """Tell whether a frame is of a function within a function, of a generator that goes on, or of a class's body."""
    code = frame.f_code
    nested = "<" in code.co_qualname  # <locals>, <lambda>, <listcomp>
    goes_on = bool(code.co_flags & inspect.CO_GENERATOR) and frame.f_lasti > 0
    return nested or goes_on or not code.co_flags & inspect.CO_OPTIMIZED


def _of_one_object(caller: FrameType, frame: FrameType) -> bool:
    own = frame.f_locals.get("self")
    return own is not None and own is caller.f_locals.get("self")


def _contract(frame: FrameType) -> str | None:
    """Name the method of the lowest class of vo3d that the called method stands for."""
    name = frame.f_code.co_name
    family = [kind for kind in type(frame.f_locals.get("self")).__mro__ if name in vars(kind)]
    ours = [kind for kind in family if kind.__module__.startswith("vo3d.")]
    return f"{ours[-1].__module__.removeprefix('vo3d.')}.{ours[-1].__qualname__}.{name}" if ours else None


def draw(calls: Sequence[Call], title: str, path: Path) -> None:
    """Draw rooms in their rows, an arrow for each pair of rooms, and the calls by number beside them."""
    import matplotlib  # noqa: PLC0415 (the rest works without)

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    pairs = list(dict.fromkeys(call.rooms for call in calls))
    rooms = sorted({room for pair in pairs for room in pair}, key=lambda room: ROW[room])
    rows = sorted({ROW[room] for room in rooms})
    figure, axes = pyplot.subplots(figsize=(15, 9.5))
    axes.set_axis_off()
    axes.set_xlim(0, 15)
    axes.set_ylim(-0.6, len(rows) - 0.2)
    places: dict[str, tuple[float, float]] = {}
    for height, row in enumerate(rows):
        inside = [room for room in rooms if ROW[room] == row]
        for index, room in enumerate(inside):
            places[room] = ((index + 0.5 + 0.12 * (height % 3)) * 8.6 / max(len(inside), 1.3), height)
    for number, (above, below) in enumerate(pairs, start=1):
        (x, y), (end_x, end_y) = places[above], places[below]
        bend = 0.08 if abs(y - end_y) <= 1 else 0.16
        axes.annotate(
            "",
            (end_x, end_y + 0.17),
            (x, y - 0.17),
            arrowprops={"arrowstyle": "-|>", "color": "0.45", "connectionstyle": f"arc3,rad={bend}", "shrinkB": 2},
        )
        share = 0.3 + 0.12 * (number % 4)
        axes.text(x + share * (end_x - x), y + share * (end_y - y), str(number), fontsize=8, color="tab:blue")
    for room, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "black"}
        axes.text(x, y, room, ha="center", va="center", fontsize=11, bbox=box)
    first = {pair: next(call for call in calls if call.rooms == pair) for pair in pairs}
    lines = [f"{number:>2}  {first[pair].caller} > {first[pair].callee}" for number, pair in enumerate(pairs, start=1)]
    axes.text(8.7, len(rows) - 0.4, "\n".join(lines), va="top", fontsize=6.8, family="monospace")
    axes.set_title(title, loc="left", fontsize=12)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def evaluate(folder: Path) -> list[Call]:
    """Train for two steps, then note the calls of an evaluation."""
    from vo3d.cli import main  # noqa: PLC0415 (the tests read ROWS alone)

    words = ["fit", "-c", "smoke_deepvo.yaml", "-c", "optim_adam.yaml", "--out", str(folder / "run")]
    if main(words) != 0:
        raise SystemExit("the training failed")
    with traced() as calls:
        status = main(["evaluate", str(folder / "run"), "--weights", "last", "--device", "cpu"])
    if status != 0:
        raise SystemExit("the evaluation failed")
    return list(calls)


def reconstruct(folder: Path) -> list[Call]:
    """Render a table, then note the calls of its reconstruction."""
    from vo3d.cli import main  # noqa: PLC0415 (as above)

    table = folder / "tables"
    if main(["render", "tabletop", "--seed", "7", "--frames", "4", "--size", "96x128", "--out", str(table)]) != 0:
        raise SystemExit("the table was not rendered")
    scene, cloud = str(table / "scan7"), str(folder / "cloud.ply")
    with traced() as calls:
        words = ["reconstruct", scene, "--weights", "mvsnet_tabletop", "--out", cloud, "--num-depths", "32"]
        status = main([*words, "--device", "cpu", "--min-confidence", "0", "--min-consistent", "1"])
    if status != 0:
        raise SystemExit("the reconstruction failed")
    return list(calls)


def main() -> None:
    """Draw both pictures, and fail where a call goes up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="the folder of the pictures")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for run in (evaluate, reconstruct):
        with tempfile.TemporaryDirectory() as folder:
            calls = run(Path(folder))
        up = [call for call in calls if not call.goes_down]
        for call in up:
            print(f"{run.__name__}: a call goes up: {call.caller} > {call.callee}")
        title = f"vo3d {run.__name__}: each arrow is a call, numbered as they first come"
        draw(calls, title, out / f"calls_{run.__name__}.png")
        rooms = {call.rooms for call in calls}
        print(f"{run.__name__}: {len(calls)} calls between {len(rooms)} pairs of rooms, {len(up)} upwards")
        if up:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
