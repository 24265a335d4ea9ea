"""What methods, sources and tasks say of themselves: nobody keeps a list of them."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import TypeVar

from vo3d.model import Model
from vo3d.recording import Layout, LiveLayout, SequenceLayout

Kind = TypeVar("Kind", Layout, SequenceLayout, LiveLayout)


def names_in(package: str) -> Iterator[tuple[str, object]]:
    """Yield every name in the modules of a package, as `package.module.name`, with its value."""
    for file in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        yield from ((f"{file.name}.{name}", value) for name, value in vars(import_module(file.name)).items())


def known_layouts() -> list[Layout]:
    """List the layouts of scenes that the datasets declare, in the order in which a folder is held against them."""
    return _declared(Layout)


def known_sequence_layouts() -> list[SequenceLayout]:
    """List the layouts of frames in time order that the datasets declare, in the order in which they are tried."""
    return _declared(SequenceLayout)


def known_live_layouts() -> list[LiveLayout]:
    """List the kinds of places where frames are being made that the datasets declare, in the order of trying them."""
    return _declared(LiveLayout)


def _declared(kind: type[Kind]) -> list[Kind]:
    """List what the datasets declare of a kind, by rank."""
    declared = {id(value): value for _, value in names_in("vo3d.datasets") if isinstance(value, kind)}
    return sorted(declared.values(), key=lambda layout: layout.rank)


def known_baselines() -> dict[str, str]:
    """Find the methods that others are measured against: their class paths by the short names that they declare."""
    return {
        kind.baseline: path
        for path, kind in names_in("vo3d.models")
        if isinstance(kind, type)
        and issubclass(kind, Model)
        and vars(kind).get("baseline")
        and path == f"{kind.__module__}.{kind.__qualname__}"  # where it is at home, not where others import it
    }
