"""Elements of MATLAB files of version 5 (to 7): what the readers of arrays, structures, cells and text share.

Source: The MathWorks, "MAT-File Format", version 5: after a header of 128 bytes come elements, each with its type and
its size before it; an array is an element of elements (flags, sizes, name, values), which may be compressed as a whole.

Every function raises ValueError, struct.error or zlib.error where the file makes no sense.
"""

import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vo3d.errors import Vo3dError

Array = NDArray[Any]

FAULTS = (ValueError, struct.error, zlib.error)
HEADER = 128
HEAD = 512  # bytes in which flags, sizes and name lie
INTEGER_SIZES, FLAGS, MATRIX, COMPRESSED = 5, 6, 14, 15  # types of elements
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes of arrays, from double to uint64; others are cells, structures, text, sparse arrays
_COMPLEX = 0x800


class Head(NamedTuple):
    """The flags, sizes and name of an array, which stand before its values."""

    flags: int
    shape: tuple[int, ...]
    name: str
    values: int  # where they begin

    @property
    def kind(self) -> int:
        """Tell its class: cell, structure, text, double and so on."""
        return self.flags & 0xFF

    @property
    def is_numeric(self) -> bool:
        """Tell whether it is a full array of real numbers or truth values."""
        return self.kind in _NUMERIC and not self.flags & _COMPLEX


def read_content(path: Path, expected: str) -> bytes:
    """Read a file of version 5; Vo3dError, which names what was `expected`, where it is absent or of version 7.3."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected a MATLAB file with {expected}")
    content = path.read_bytes()
    if content.startswith((b"MATLAB 7.3", b"\x89HDF")):
        raise Vo3dError(
            f"{path}: a MATLAB file of version 7.3: expected version 5: save it again with -v7, without -v7.3"
        )
    return content


def not_whole(path: Path, error: Exception, expected: str) -> Vo3dError:
    """Return the error of a damaged file."""
    return Vo3dError(f"{path}: no whole MATLAB file of version 5 ({error}): expected {expected}: copy it again")


def byte_order(content: bytes) -> str:
    """Return the order of bytes as `struct` spells it."""
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("no header of version 5")
    return order


def unpack(packed: memoryview, order: str, most: int, largest: int) -> memoryview:
    """Return at most the first `most` bytes of a compressed array of up to `largest`, without its type and size."""
    unpacker = zlib.decompressobj()
    kind, size = struct.unpack(order + "II", unpacker.decompress(packed, 8))
    if kind != MATRIX or size > largest:
        raise ValueError(f"a compressed element of type {kind} and {size} bytes: expected an array of up to {largest}")
    body = unpacker.decompress(unpacker.unconsumed_tail, min(size, most)) if size else b""
    too_long = size <= most and unpacker.decompress(unpacker.unconsumed_tail, 1)  # which also compares the checksum
    if len(body) < min(size, most) or too_long or (size <= most and not unpacker.eof):
        raise ValueError(f"a compressed array is not of the {size} bytes that it should have")
    return memoryview(body)


def read_element(data: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    """Return type and content of the element at `start`, and where the next one begins."""
    kind, size = struct.unpack_from(order + "II", data, start)
    begin, after = start + 8, start + 8 + size + -size % 8
    if kind >> 16:  # four bytes or less stand beside their type
        kind, size = kind & 0xFFFF, kind >> 16
        begin, after = start + 4, start + 8
    if begin + size > min(len(data), after):
        raise ValueError(f"an element ends at byte {begin + size} of {len(data)}")
    return kind, data[begin : begin + size], after


def read_head(body: memoryview, order: str) -> Head:
    """Read flags, sizes and name of an array."""
    kind, flags, position = read_element(body, 0, order)
    sizes_kind, sizes, position = read_element(body, position, order)
    _, name, position = read_element(body, position, order)
    if (kind, len(flags), sizes_kind) != (FLAGS, 8, INTEGER_SIZES) or len(sizes) % 4 or len(sizes) < 8:
        raise ValueError("an array without flags and sizes")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    return Head(struct.unpack_from(order + "I", flags)[0], shape, bytes(name).decode("utf-8", "replace"), position)


def read_values(body: memoryview, head: Head, order: str) -> Array:
    """Read the numbers of an array, with the type that they are stored in."""
    kind, values, _ = read_element(body, head.values, order)
    item = _TYPES.get(kind)
    if item is None or min(head.shape) < 0 or len(values) != prod(head.shape) * np.dtype(item).itemsize:
        raise ValueError(f"{len(values)} bytes of type {kind} for an array of shape {head.shape}")
    return np.frombuffer(values, order + item).reshape(head.shape, order="F")  # the first axis runs fastest
