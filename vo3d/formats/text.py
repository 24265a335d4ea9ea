"""Text files of numbers, read so that every mistake has its file and line."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from vo3d.errors import Vo3dError, quoted, shown

LIMIT = 2**63  # of whole numbers, so that they fit in tensors
FARTHEST = 1e12  # of coordinates and depths, whatever their unit: beyond, squares and differences lose all meaning
NO_NUMBER = ": expected a finite number: correct the line or make the file again"


def read_lines(path: Path, expected: str) -> list[str]:
    """Return the lines of a text file; Vo3dError, which names what was `expected`, when it is absent or no text."""
    return read_text(path, expected).splitlines()


def read_text(path: Path, expected: str) -> str:
    """Return a text file without its byte-order mark; Vo3dError as `read_lines`."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected {expected}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not a text file in UTF-8 (byte {error.start}): expected {expected}") from error


def read_content(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of `read_lines` with their numbers, but for blank ones and comments, which begin with #."""
    for number, line in enumerate(read_lines(path, expected), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def read_json(path: Path, expected: str) -> Any:
    """Return what a JSON file holds; Vo3dError, which names what was `expected`, when it is absent or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Vo3dError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except (ValueError, RecursionError) as error:  # not JSON, not text, too long a number, too deep
        raise Vo3dError(f"{path}: not JSON ({shown(str(error))}); expected {expected}") from error


def read_yaml(path: Path, expected: str) -> Any:
    """Return what a YAML file holds; Vo3dError, which names what was `expected`, when it is absent or no YAML."""
    text = read_text(path, expected)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # too long a number, too deep
        raise Vo3dError(f"{path}: not YAML ({shown(' '.join(str(error).split()))}); expected {expected}") from error


def parse_number(token: str, path: Path, line: int, fault: str = NO_NUMBER) -> float:
    """Return the finite number that `token` spells.

    Raises:
        Vo3dError: it spells none; with file, line and token, and `fault` after them.
    """
    try:
        value = float(token)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Vo3dError(f"{path}:{line}: {quoted(token)}{fault}")
    return value


def parse_whole(token: str, path: Path, line: int, what: str) -> int:
    """Return the whole number that `token` spells.

    Raises:
        Vo3dError: it spells none, or one too large for a tensor; with file, line and `what` it is.
    """
    try:
        value = int(token)
    except ValueError:
        value = LIMIT
    if not -LIMIT <= value < LIMIT:
        raise Vo3dError(
            f"{path}:{line}: {quoted(token)} as {what}: expected a whole number: correct the line or make the "
            "file again"
        )
    return value
