"""Everything that a MATLAB file of version 5 (to 7) holds, structures, cells and text among it, as plain Python.

Published sets and networks come as one structure of all kinds; `vo3d.formats.matlab.read_arrays` is for files of arrays
alone. See `vo3d.formats.matlab_elements` for the format.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vo3d.formats.matlab_elements import (
    COMPRESSED,
    FAULTS,
    HEADER,
    INTEGER_SIZES,
    MATRIX,
    Array,
    Head,
    byte_order,
    not_whole,
    read_content,
    read_element,
    read_head,
    read_values,
    unpack,
)

Tree = Any  # dict[str, Tree], list[Tree], str, Array or None

LARGEST = 2**30  # bytes of an array, and of what is compressed as one
MOST_PARTS = 2**21  # cells, fields and arrays of a file: more are refused, as they take memory whatever they hold
DEEPEST = 32  # structures within cells within structures
_CELL, _STRUCTURE, _TEXT = 1, 2, 4  # classes
_SHAPED = range(1, 16)  # classes that begin as all arrays do; others are functions and objects
_NUMBERS = dict(zip(range(6, 16), ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), strict=True))
_END = {"<": "-le", ">": "-be"}  # of the names of codecs
_CHARACTERS = {1: "u1", 2: "u1", 4: "u2", 16: "utf-8", 17: "u2", 18: "u4"}  # types in which text is stored


def read_tree(path: Path, expected: str = "variables") -> dict[str, Tree]:
    """Read all variables of a file, by their names.

    A structure becomes a dict in the order of its fields, an array of structures a list of dicts; cells become a flat
    list, first axis fastest; text becomes a str, several rows of it a list of them. Real numbers and truth values are
    arrays of their class (double: float64), with MATLAB's shape, so that a number is of shape (1, 1). None stands for
    what is none of these: complex and sparse arrays, functions, objects.

    Args:
        path: of the file.
        expected: what it should hold, for messages.

    Raises:
        Vo3dError: the file is absent, damaged or of another version, or it holds more than `LARGEST` bytes in one
            variable, more than `MOST_PARTS` parts, or parts deeper than `DEEPEST`.
    """
    content = read_content(path, expected)
    try:
        return dict(_variables(content))
    except FAULTS as error:
        raise not_whole(path, error, expected) from error


def _variables(content: bytes) -> Iterator[tuple[str, Tree]]:
    """Yield all variables with their names."""
    reader, whole = _Reader(byte_order(content)), memoryview(content)
    position = HEADER
    while position < len(whole):
        kind, body, _ = read_element(whole, position, reader.order)
        position += 8 + len(body)  # not rounded up: compressed elements are as long as they are
        if kind == COMPRESSED:
            body = unpack(body, reader.order, LARGEST, LARGEST)
        elif kind != MATRIX:
            raise ValueError(f"an element of type {kind} where an array should be")
        yield reader.read(body, depth=0)


@dataclass
class _Reader:
    """Reads arrays within arrays, and counts them.

    Args:
        order: of bytes.
        parts: read so far.
    """

    order: str
    parts: int = 0

    def read(self, body: memoryview, *, depth: int) -> tuple[str, Tree]:
        """Return name and value of an array."""
        self._count(1)
        if not body:  # as MATLAB writes empty cells
            return "", np.zeros((0, 0))
        if depth > DEEPEST:
            raise ValueError(f"parts within parts, more than {DEEPEST} deep")
        _, flags, _ = read_element(body, 0, self.order)
        kind = int.from_bytes(flags[:4], "little" if self.order == "<" else "big") & 0xFF
        if kind not in _SHAPED:
            return "", None
        head = read_head(body, self.order)
        if min(head.shape) < 0:
            raise ValueError(f"an array of shape {head.shape}")
        if head.kind == _CELL:
            cells, _ = self._parts(body, head.values, prod(head.shape), depth)
            return head.name, cells
        if head.kind == _STRUCTURE:
            return head.name, self._structure(body, head, depth)
        if head.kind == _TEXT:
            return head.name, self._text(body, head)
        return head.name, self._numbers(body, head) if head.is_numeric else None

    def _count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MOST_PARTS:
            raise ValueError(f"more than {MOST_PARTS} parts")

    def _parts(self, body: memoryview, position: int, count: int, depth: int) -> tuple[list[Tree], int]:
        """Read arrays one after the other; return them, and where the next one begins."""
        found: list[Tree] = []
        for _ in range(count):
            kind, part, position = read_element(body, position, self.order)
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind} where a part of an array should be")
            found.append(self.read(part, depth=depth + 1)[1])
        return found, position

    def _structure(self, body: memoryview, head: Head, depth: int) -> Tree:
        """Read the names of the fields, then the fields of each structure."""
        kind, length, position = read_element(body, head.values, self.order)
        _, names, position = read_element(body, position, self.order)
        step = int.from_bytes(length, "little" if self.order == "<" else "big")
        if kind != INTEGER_SIZES or len(length) != 4 or not step or len(names) % step:
            raise ValueError("a structure without names of fields")
        starts = range(0, len(names), step)
        fields = [bytes(names[at : at + step]).partition(b"\0")[0].decode("utf-8", "replace") for at in starts]
        self._count(prod(head.shape))
        found = []
        for _ in range(prod(head.shape)):
            parts, position = self._parts(body, position, len(fields), depth)
            found.append(dict(zip(fields, parts, strict=True)))
        return found[0] if prod(head.shape) == 1 else found

    def _text(self, body: memoryview, head: Head) -> str | list[str]:
        """Read rows of characters, which run down the columns."""
        kind, stored, _ = read_element(body, head.values, self.order)
        item = _CHARACTERS.get(kind)
        if item is None:
            raise ValueError(f"text of type {kind}")
        if item == "utf-8":
            item, stored = "u4", memoryview(bytes(stored).decode("utf-8").encode("utf-32" + _END[self.order]))
        if len(stored) != prod(head.shape) * int(item[1]):
            raise ValueError(f"{len(stored)} bytes of text for an array of shape {head.shape}")
        if not stored:
            return ""
        rows = np.frombuffer(stored, self.order + item).reshape(head.shape[0], -1, order="F")
        codec = "latin-1" if item == "u1" else f"utf-{8 * int(item[1])}" + _END[self.order]
        lines = [np.ascontiguousarray(row).tobytes().decode(codec, "replace") for row in rows]
        return lines if len(lines) > 1 else "".join(lines)

    def _numbers(self, body: memoryview, head: Head) -> Array:
        """Read numbers as the class that they are of; whole ones are often stored in fewer bytes."""
        wanted = np.dtype(_NUMBERS[head.kind])
        if prod(head.shape) * wanted.itemsize > LARGEST:
            raise ValueError(f"an array of shape {head.shape}: expected at most {LARGEST} bytes")
        return read_values(body, head, self.order).astype(wanted, copy=False)
