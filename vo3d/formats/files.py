"""Files that are either whole or absent, and folders that one process at a time writes to."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vo3d.errors import Vo3dError, system_fault

LFS_POINTER = b"version https://git-lfs"  # what a clone without Git LFS holds instead of a large file

_PART = re.compile(r"\..+\.\d+\.part(\.\w+)?")  # as `atomic_path` names what is not whole yet


def make_folder(path: Path) -> None:
    """Make a folder and those above it; Vo3dError when the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Vo3dError(f"cannot write to {system_fault(error)}") from error


def check_target(target: Path, *sources: Path) -> None:
    """Raise Vo3dError for a file to write that is one of those to read."""
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise Vo3dError(f"{target}: would overwrite its own source; choose another name")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (same suffix) to write to; rename it on success, remove it on failure.

    Missing parent folders are made. A reader therefore never sees half a file.
    Raises Vo3dError, naming `path`, when the system refuses: no permission, a file among the parents, a full disk.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename not in {None, str(temporary), *map(str, path.parents)}:
            raise  # about another file, such as one that is read while this one is written
        refusal = OSError(error.errno, error.strerror, str(path))
        raise Vo3dError(f"cannot write {system_fault(refusal)}") from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder this process's own for a while; the lock dies with its process.

    What dead processes left half written there, and in folders right below, is removed.
    Raises Vo3dError when another process holds the folder, or when the system refuses.
    """
    make_folder(folder)
    with (folder / ".lock").open("a+") as file:
        if sys.platform != "win32":
            import fcntl  # noqa: PLC0415  (not there on Windows)

            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: forked processes would hold it too
            except (BlockingIOError, PermissionError) as error:  # other faults are of the file system
                file.seek(0)
                raise Vo3dError(
                    f"{folder}: process {file.read() or '?'} writes there: wait for its end, or choose another folder"
                ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        for path in (*folder.glob(".*.part*"), *folder.glob("*/.*.part*")):
            if _PART.fullmatch(path.name):  # never what other programs call so
                path.unlink(missing_ok=True)
        yield


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text in UTF-8, that is whole or absent; Vo3dError as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
