"""Arrays of numbers in MATLAB files of version 5 (to 7), read without a library that a damaged file can crash.

Structures, cells and text: `vo3d.formats.matlab_tree`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vo3d.errors import Vo3dError, shown
from vo3d.formats.matlab_elements import (
    COMPRESSED,
    FAULTS,
    HEAD,
    HEADER,
    MATRIX,
    Array,
    byte_order,
    not_whole,
    read_content,
    read_element,
    read_head,
    read_values,
    unpack,
)

Shape = tuple[int | None, ...]  # None: any size but 0

LARGEST = 2**28  # bytes of an array: more are refused before they are unpacked


def read_arrays(path: Path, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Read the arrays of these names, each of the shape that is given, with the type that they are stored in.

    Raises:
        Vo3dError: the file is absent, damaged or of another version, lacks an array, or one is of another shape, too
            large, or holds no numbers, NaN or infinity.
    """
    expected = ", ".join(f"{name} ({_spell(shape)})" for name, shape in shapes.items())
    content = read_content(path, expected)
    found: dict[str, Array | None] = {}
    try:
        found.update(_arrays(content, {*shapes}))
    except FAULTS as error:
        raise not_whole(path, error, expected) from error
    arrays = {}
    for name, shape in shapes.items():
        if name not in found:
            raise Vo3dError(f"{path}: holds {shown(', '.join(found)) or 'nothing'}: expected {expected}")
        array = found[name]
        right = array is not None and _fits(array, shape)
        if array is None or not right or not np.isfinite(array).all():
            what = "no array of numbers" if array is None else f"of shape {array.shape}"
            raise Vo3dError(
                f"{path}: {name} is {what}{' with NaN or infinity' if right else ''}: expected {expected}, finite "
                "numbers"
            )
        arrays[name] = array
    return arrays


def _fits(array: Array, shape: Shape) -> bool:
    same_axes = array.ndim == len(shape) and array.size > 0
    return same_axes and all(wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True))


def _spell(shape: Shape) -> str:
    return "x".join(letter if size is None else str(size) for letter, size in zip("nmkl", shape, strict=False))


def _arrays(content: bytes, names: set[str]) -> Iterator[tuple[str, Array | None]]:
    """Yield all arrays with their names; None is the value of those not in `names`, or that are no numbers.

    Raises ValueError, struct.error or zlib.error where the file makes no sense.
    """
    order = byte_order(content)
    position, whole = HEADER, memoryview(content)
    while position < len(whole):
        kind, body, _ = read_element(whole, position, order)
        position += 8 + len(body)  # not rounded up: compressed elements are as long as they are
        if kind == COMPRESSED:
            head = read_head(unpack(body, order, HEAD, LARGEST), order)
            body = unpack(body, order, LARGEST, LARGEST) if head.name in names and head.is_numeric else memoryview(b"")
        elif kind == MATRIX:
            head = read_head(body, order)
        else:
            raise ValueError(f"an element of type {kind} where an array should be")
        yield head.name, read_values(body, head, order) if head.name in names and head.is_numeric else None
