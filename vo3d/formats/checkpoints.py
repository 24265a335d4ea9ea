"""Checkpoints as other people leave them: their tensors without the wrappings, and never the code in their files."""

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vo3d.errors import Vo3dError, shown

LFS_POINTER = b"version https://git-lfs"  # what a clone without Git LFS holds instead of a large file
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b'{"')  # what servers send instead of a file
NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
PLAIN = (
    Tensor,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    np.generic,
)  # tensors, and beside them counts, names, losses
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
_NONE = "no PyTorch checkpoint, or a damaged one"
_TRUSTED = "code in a file is never run; if you trust the file, make one of its tensors alone, where it was made:"
_PICKED = (
    "c = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "c = next((c[k] for k in ('state_dict', 'model_state_dict', 'model') if isinstance(c, dict) and k in c), c); "
    "c = c.state_dict() if hasattr(c, 'state_dict') else c; "
)
_SCRIPTED = "c = torch.jit.load(sys.argv[1], map_location='cpu').state_dict(); "
_PICKLED = (
    "import pathlib, pickle; c = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
    "c = {k: torch.as_tensor(v) for k, v in c.items()}; "
)


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
        head = file.read(64)
    written = _protocol(path, head)
    steps = _PICKLED if written is None else _PICKED
    if unsafe := re.search(r"GLOBAL ([\w.]+)", complaint):
        what = "a whole network, not its weights: it" if unsafe[1].startswith("torch.nn.modules.") else "this pickle"
        return f"{what} calls {shown(unsafe[1])}, so it was not read: {_TRUSTED} {_command(path, steps)}"
    if "TorchScript" in complaint:
        return f"a TorchScript program, not its weights alone: {_TRUSTED} {_command(path, _SCRIPTED)}"
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size:
        return "a safetensors file under another name: rename it to end in .safetensors"
    if written not in {None, 2} and "Unsupported operand" in complaint:
        return (
            f"written with another pickle protocol than 2, which torch reads safely: {_TRUSTED} {_command(path, steps)}"
        )
    again = "no PyTorch checkpoint, or a damaged one: copy or download it again"
    if written is None and re.match(rb"\x80[\x02-\x05]", head):
        return f"{again}; torch.save did not write this pickle: {_TRUSTED} {_command(path, steps)}"
    return again


def _protocol(path: Path, head: bytes) -> int | None:
    """Tell the pickle protocol of a file that torch.save wrote whole; None of any other file; 1 stands for 0 too."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            if name is None:
                return None
            with archive.open(name) as file:
                head = file.read(2)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        if not any(magic in head for magic in _TORCH_MAGIC):
            return None
    return head[1] if head[:1] == b"\x80" else 1


def _command(path: Path, steps: str) -> str:
    """Give a command that makes a checkpoint of tensors alone."""
    program = f"import sys, torch; {steps}torch.save(c, sys.argv[2])"
    return f"python -c {quote(program)} {quote(str(path))} {quote(str(path.with_suffix('.tensors.pth')))}"


def state_dict_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return the named tensors in a checkpoint, without the wrappings of those who wrote it.

    Numbers and words that stand beside the tensors are no weights, and are left out. Raises Vo3dError where there are
    no tensors, or something else among them.
    """
    inner = content
    while isinstance(inner, dict):
        nested = next((inner[key] for key in NESTED if isinstance(inner.get(key), dict)), None)
        if nested is None:
            break
        inner = nested
    table = inner if isinstance(inner, dict) else {}
    state_dict = {str(name): value for name, value in table.items() if isinstance(value, Tensor)}
    if not state_dict or not all(isinstance(value, PLAIN) for value in table.values()):
        found = listed([str(name) for name in table]) if table else f"a {type(inner).__name__}"
        raise Vo3dError(
            f"{path}: holds no state dict: expected named tensors, alone or under {', '.join(map(repr, NESTED))}; "
            f"found {found or 'nothing'}"
        )
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        return {name.removeprefix("net."): tensor for name, tensor in state_dict.items()}
    return state_dict


def listed(keys: Sequence[str]) -> str:
    """Name the first few keys, and say how many more there are."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return shown(", ".join(keys[:SHOWN])) + more
