"""Choosing by name among what there is."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from vo3d.errors import Vo3dError

T = TypeVar("T")


def choose(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """Return the one of `choices` that is called `name`.

    Raises Vo3dError for a name that is not among them, with the nearest one that is.
    """
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Vo3dError(f"{kind} {name!r}: expected one of {', '.join(choices)}{hint}")
    return choices[name]
