"""Readers with faults, for the test of the tool that looks for them; one of them has none."""

import os
import time
from pathlib import Path

from fuzz_readers import Target
from vo3d.errors import Vo3dError

VALID = b"1 2 3\n"


def write(folder: Path) -> Path:
    (folder / "a.txt").write_bytes(VALID)
    return folder / "a.txt"


def harmed(path: Path) -> bool:
    return path.read_bytes() != VALID


def careful(path: Path) -> None:
    if harmed(path):
        raise Vo3dError(f"{path}: not 1 2 3")


def careless(path: Path) -> None:
    if harmed(path):
        raise KeyError("four")


def talkative(path: Path) -> None:
    if harmed(path):
        raise Vo3dError(f"{path}: {'x' * 301}")


def fragile(path: Path) -> None:
    if harmed(path):
        os.abort()


def greedy(path: Path) -> None:
    if harmed(path):
        assert len(b"x" * 700_000_000) == 700_000_000


def slow(path: Path) -> None:
    if harmed(path):
        time.sleep(60)


READERS = (careless, talkative, fragile, greedy, slow, careful)
TARGETS = {read.__name__: Target(read.__name__, write, read) for read in READERS}
