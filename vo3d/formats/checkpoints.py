"""Checkpoints as other people leave them: their tensors without the wrappings, and never the code in their files."""

import argparse
import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vo3d.errors import Vo3dError, shown
from vo3d.formats.files import LFS_POINTER

PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b'{"')  # what servers send instead of a file
NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
# tensors, and beside them counts, names, losses
PLAIN = (Tensor, int, float, complex, str, bytes, type(None), np.generic)
DEEPEST = 4  # tables within each other
CONVERTED = ".plain.pth"  # ends the name of the file that a message proposes to make
SHOWN = 8  # keys that an error message lists before it only counts
# what torch raises on bytes that it did not write has no common root
_DAMAGES = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError),
    *(ArithmeticError, AssertionError, AttributeError, MemoryError),
)
# Beside the weights of many checkpoints: what makes them sets attributes or copies a number, and calls nothing else.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqpBHILQPefdgFDG"},
    *(
        (np.float64(0).__reduce__()[0], f"{module}.scalar")
        for module in ("numpy._core.multiarray", "numpy.core.multiarray")
    ),
]
_TORCH_MAGIC = (b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"L119547037146038801333356L")  # of files without a zip
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))  # how pickles begin
_NONE = "no PyTorch checkpoint, or a damaged one"
_TRUSTED = "no code of a file is run; if you trust it:"
_PEEK = 1 << 20  # bytes of a pickle that are searched for a name


def refuse_stand_in(path: Path, complaint: str) -> None:
    """Raise Vo3dError where a file of weights is empty (with `complaint`), a page, or a pointer to another file."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise Vo3dError(f"{path}: {complaint}: it is empty: copy or download it again")
    if head.startswith(LFS_POINTER):
        raise Vo3dError(f"{path}: a Git LFS pointer, not the weights that it stands for: run 'git lfs pull'")
    if head.lstrip().lower().startswith(PAGES) and b"\0" not in head:
        raise Vo3dError(
            f"{path}: a page that a server sent, not the weights: download the file itself (from GitHub by the link "
            "'raw', from a drive after its warning about large files)"
        )


def read_content(path: Path) -> object:
    """Read what a PyTorch checkpoint holds, on the CPU; no code is run, and Vo3dError says what else to do."""
    refuse_stand_in(path, _NONE)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: what matters follows as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGES as error:
        raise Vo3dError(f"{path}: {_reason(path, str(error))}") from error


def _reason(path: Path, complaint: str) -> str:
    """Tell why torch did not read a file, and what to do."""
    with path.open("rb") as file:
        head = file.read(_PEEK)
    found = _pickle_in(path, head)
    if unsafe := re.search(r"GLOBAL ([\w.]+)", complaint):
        what = "holds a whole network," if unsafe[1].startswith("torch.nn.modules.") else "this pickle calls"
        return f"{what} {shown(unsafe[1], 36)}; {_TRUSTED} {_command(path, found)}"
    if "TorchScript" in complaint:
        return f"a TorchScript program, not its weights alone; {_TRUSTED} {_command(path, found, scripted=True)}"
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size:
        return "a safetensors file under another name: rename it to end in .safetensors"
    if found and found[:2] != b"\x80\x02" and "Unsupported operand" in complaint:
        return f"written with another pickle protocol than 2; {_TRUSTED} {_command(path, found)}"
    if (inside := _packed(path, head)) is not None:
        return f"an archive{inside}, no PyTorch checkpoint: unpack it, and give the checkpoint out of it"
    plain = not found and head.startswith(PICKLES)
    rest = f"; a plain pickle that you trust becomes one by: {_command(path, found)}" if plain else ""
    return f"{_NONE}: copy or download it again{rest}"


def _packed(path: Path, head: bytes) -> str | None:
    """Return the words ` of NAME, ...` of a zip archive, none of what else packs files; None for a file that is whole.

    What torch.save writes is a zip archive too, and is none here even where it is damaged.
    """
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return ""
    with suppress(*_DAMAGES, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            return f" of {listed(names)}" if names else ""
    return None


def _pickle_in(path: Path, head: bytes) -> bytes:
    """Return the beginning of the pickle in a file that torch.save wrote whole; nothing of any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(names[0]) as file:
                return file.read(_PEEK)
    except (*_DAMAGES, zipfile.BadZipFile, zlib.error):
        return head if any(magic in head[:64] for magic in _TORCH_MAGIC) else b""


def _command(path: Path, pickled: bytes, *, scripted: bool = False) -> str:
    """Give a command that makes a checkpoint of tensors alone of a file, by what its pickle seems to hold."""
    inner = ""
    if b"}" in {pickled[2:3], pickled[11:12]}:  # it begins with a table, in protocols 2 and 4
        marks = {name: (struct.pack("<cI", b"X", len(name)), struct.pack("<cB", b"\x8c", len(name))) for name in NESTED}
        found = (name for name, those in marks.items() if any(mark + name.encode() in pickled for mark in those))
        inner = next((f'c = c["{name}"]; ' for name in found), "")
    if scripted:
        steps = "c = torch.jit.load(f).state_dict(); torch.save(c, "
    elif pickled:
        load = f'c = torch.load(f, "cpu", weights_only=False); {inner}'
        steps = f'{load}torch.save(getattr(c, "state_dict", lambda: c)(), '
    else:
        load = 'pickle.load(open(f, "rb"), encoding="L1")'  # Latin-1: Python 2 wrote names and arrays as strings
        steps = f"import pickle; torch.save({{k: torch.as_tensor(v) for k, v in {load}.items()}}, "
    program = f'import torch; f = {json.dumps(str(path))}; {steps}f + "{CONVERTED}")'
    return f"python -c {quote(program)}"


def state_dict_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return the named tensors in a checkpoint, without the wrappings of those who wrote it.

    Numbers and words that stand beside the tensors are no weights, and are left out. Raises Vo3dError where there are
    no tensors, or something else among them.
    """
    table = _with_tensors(content)
    state_dict = {str(name): value for name, value in (table or {}).items() if isinstance(value, Tensor)}
    if table is None or not all(isinstance(value, PLAIN) for value in table.values()):
        found = listed([str(name) for name in content]) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise Vo3dError(
            f"{path}: holds no state dict: expected named tensors, alone or under {', '.join(map(repr, NESTED))}; "
            f"found {found or 'nothing'}"
        )
    for name, value in state_dict.items():
        if value.is_meta or value.layout != torch.strided:
            kind = "without values (of the device meta)" if value.is_meta else f"stored as {value.layout}"
            raise Vo3dError(
                f"{path}: {shown(name)} is a tensor {kind}: expected plain values: save the weights anew, from the "
                "trained network, with .to_dense() where tensors are sparse"
            )
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        return {name.removeprefix("net."): tensor for name, tensor in state_dict.items()}
    return state_dict


def _with_tensors(content: object, depth: int = 0) -> dict[Any, Any] | None:
    """Find the table with tensors in a checkpoint, by the names that people give it; None where there is none."""
    if not isinstance(content, dict) or depth > DEEPEST:
        return None
    nested = (_with_tensors(content.get(name), depth + 1) for name in NESTED)
    here = content if any(isinstance(value, Tensor) for value in content.values()) else None
    return next((found for found in nested if found is not None), here)


def listed(keys: Sequence[str]) -> str:
    """Name the first few keys, and say how many more there are."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return shown(", ".join(keys[:SHOWN])) + more
