"""Arrays of numbers in MATLAB files of version 5 (to 7), read without a library that a damaged file can crash.

Source: The MathWorks, "MAT-File Format", version 5: after a header of 128 bytes come elements, each with its type and
its size before it; an array is an element of elements (flags, sizes, name, values), which may be compressed as a whole.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vo3d.errors import Vo3dError, shown

Array = NDArray[Any]
Shape = tuple[int | None, ...]  # None: any size but 0

LARGEST = 2**28  # bytes of an array: more are refused before they are unpacked
_HEADER = 128
_HEAD = 512  # bytes in which flags, sizes and name lie
_INTEGER_SIZES, _FLAGS, _MATRIX, _COMPRESSED = 5, 6, 14, 15  # types of elements
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes of arrays, from double to uint64; others are cells, structures, text, sparse arrays
_COMPLEX = 0x800


class _Head(NamedTuple):
    """The flags, sizes and name of an array, which stand before its values."""

    flags: int
    shape: tuple[int, ...]
    name: str
    values: int  # where they begin

    @property
    def is_numeric(self) -> bool:
        """Tell whether it is a full array of real numbers or truth values."""
        return self.flags & 0xFF in _NUMERIC and not self.flags & _COMPLEX


def read_arrays(path: Path, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Read the arrays of these names, each of the shape that is given, with the type that they are stored in.

    Raises:
        Vo3dError: the file is absent, damaged or of another version, lacks an array, or one is of another shape, too
            large, or holds no numbers, NaN or infinity.
    """
    expected = ", ".join(f"{name} ({_spell(shape)})" for name, shape in shapes.items())
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a MATLAB file with {expected}")
    content = path.read_bytes()
    if content.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise Vo3dError(
            f"{path}: a MATLAB file of version 7.3: expected version 5: save it again with -v7, without -v7.3"
        )
    found: dict[str, Array | None] = {}
    try:
        found.update(_arrays(content, {*shapes}))
    except (ValueError, struct.error, zlib.error) as error:
        raise Vo3dError(
            f"{path}: no whole MATLAB file of version 5 ({error}): expected {expected}: copy it again"
        ) from error
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
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("no header of version 5")
    position, whole = _HEADER, memoryview(content)
    while position < len(whole):
        kind, body, _ = _element(whole, position, order)
        position += 8 + len(body)  # not rounded up: compressed elements are as long as they are
        if kind == _COMPRESSED:
            head = _head(_unpack(body, order, _HEAD), order)
            body = _unpack(body, order, LARGEST) if head.name in names and head.is_numeric else memoryview(b"")
        elif kind == _MATRIX:
            head = _head(body, order)
        else:
            raise ValueError(f"an element of type {kind} where an array should be")
        yield head.name, _values(body, head, order) if head.name in names and head.is_numeric else None


def _unpack(packed: memoryview, order: str, most: int) -> memoryview:
    """Return at most the first `most` bytes of a compressed array, without its type and size."""
    unpacker = zlib.decompressobj()
    kind, size = struct.unpack(order + "II", unpacker.decompress(packed, 8))
    if kind != _MATRIX or size > LARGEST:
        raise ValueError(f"a compressed element of type {kind} and {size} bytes: expected an array of up to {LARGEST}")
    body = unpacker.decompress(unpacker.unconsumed_tail, min(size, most)) if size else b""
    too_long = size <= most and unpacker.decompress(unpacker.unconsumed_tail, 1)  # which also compares the checksum
    if len(body) < min(size, most) or too_long or (size <= most and not unpacker.eof):
        raise ValueError(f"a compressed array is not of the {size} bytes that it should have")
    return memoryview(body)


def _element(data: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    """Return type and content of the element at `start`, and where the next one begins."""
    kind, size = struct.unpack_from(order + "II", data, start)
    begin, after = start + 8, start + 8 + size + -size % 8
    if kind >> 16:  # four bytes or less stand beside their type
        kind, size = kind & 0xFFFF, kind >> 16
        begin, after = start + 4, start + 8
    if begin + size > min(len(data), after):
        raise ValueError(f"an element ends at byte {begin + size} of {len(data)}")
    return kind, data[begin : begin + size], after


def _head(body: memoryview, order: str) -> _Head:
    """Read flags, sizes and name of an array."""
    kind, flags, position = _element(body, 0, order)
    sizes_kind, sizes, position = _element(body, position, order)
    _, name, position = _element(body, position, order)
    if (kind, len(flags), sizes_kind) != (_FLAGS, 8, _INTEGER_SIZES) or len(sizes) % 4 or len(sizes) < 8:
        raise ValueError("an array without flags and sizes")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    return _Head(struct.unpack_from(order + "I", flags)[0], shape, bytes(name).decode("utf-8", "replace"), position)


def _values(body: memoryview, head: _Head, order: str) -> Array:
    kind, values, _ = _element(body, head.values, order)
    item = _TYPES.get(kind)
    if item is None or min(head.shape) < 0 or len(values) != prod(head.shape) * np.dtype(item).itemsize:
        raise ValueError(f"{len(values)} bytes of type {kind} for an array of shape {head.shape}")
    return np.frombuffer(values, order + item).reshape(head.shape, order="F")  # the first axis runs fastest
