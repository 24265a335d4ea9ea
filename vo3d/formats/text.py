"""Text files of numbers, read so that every mistake has its file and line."""

import math
from collections.abc import Sequence
from pathlib import Path

from vo3d.errors import Vo3dError

LIMIT = 2**63  # of whole numbers, so that they fit in tensors


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file; Vo3dError, which names what was `expected`, when it is absent or no text."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected {expected}")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not a text file (byte {error.start}): expected {expected}") from error


def parse_number(token: str, path: Path, line: int) -> float:
    """The finite number that `token` spells; Vo3dError with file and line when it spells none."""
    try:
        value = float(token)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Vo3dError(f"{path}:{line}: {token!r}: expected a finite number: correct the line or make the file again")
    return value


def parse_whole(token: str, path: Path, line: int, what: str) -> int:
    """The whole number that `token` spells; Vo3dError, saying `what` it is, with file and line when it spells none."""
    return parse_wholes([token], path, line, what)[0]


def parse_wholes(tokens: Sequence[str], path: Path, line: int, what: str) -> list[int]:
    """As `parse_whole` for many tokens."""
    values = []
    for token in tokens:
        try:
            value = int(token)
        except ValueError:
            value = LIMIT
        if not -LIMIT <= value < LIMIT:
            raise Vo3dError(
                f"{path}:{line}: {token!r} as {what}: expected a whole number: correct the line or make the file again"
            )
        values.append(value)
    return values
