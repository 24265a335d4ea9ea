"""Weights in and out: safetensors of our own, and other people's checkpoints with every key accounted for."""

import hashlib
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vo3d.errors import Vo3dError, shown, visible
from vo3d.formats.files import atomic_path

SETTINGS_KEY = "vo3d_config"  # of the configuration in a checkpoint of `vo3d fit`
FINISHED_KEY = "vo3d_finished"  # in one that has what its method learns at the end
SHOWN = 8  # keys that an error message lists before it only counts
# what torch raises on bytes that it did not write has no common root
_DAMAGES = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError),
    *(ArithmeticError, AssertionError, AttributeError, MemoryError),
)
LFS_POINTER = b"version https://git-lfs"  # what a clone without Git LFS holds instead of a large file


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """Says how the keys of a published checkpoint become those of a model.

    Patterns are regular expressions for whole keys. A model lists the checkpoints that it understands in a class
    variable `published` (name to KeyMap).
    """

    source: str  # what the checkpoint is, for messages and metadata
    signature: tuple[str, ...]  # keys by which it is recognised
    rename: Mapping[str, str]  # pattern of a published key -> our key, with \1 for groups
    drop: tuple[str, ...] = ()  # published keys that the model has no use for
    keep: tuple[str, ...] = ()  # our keys that the checkpoint lacks; they keep their values
    convert: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # our key -> change of its values
    needs: str = ""  # how the model must be built, for messages


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Says where every key went: nothing is dropped or left as it was without being named here."""

    source: str
    matched: Mapping[str, str]  # published key -> our key
    dropped: tuple[str, ...] = ()  # published keys
    kept: tuple[str, ...] = ()  # our keys
    misfits: tuple[str, ...] = ()  # keys that meet but differ in shape, with both shapes; also in `dropped` and `kept`

    def __str__(self) -> str:
        dropped, kept = (visible(", ".join(keys)) or "none" for keys in (self.dropped, self.kept))
        misfits = f"; other shapes: {visible(', '.join(self.misfits))}" if self.misfits else ""
        loaded = f"{self.source}: {len(self.matched)} tensors loaded"
        return f"{loaded}; dropped: {dropped}; left as they were: {kept}{misfits}"


@dataclass(frozen=True, kw_only=True)
class _Match:
    """Says where every key of a state dict belongs."""

    loaded: Mapping[str, Tensor]  # our key -> its value
    matched: Mapping[str, str]  # their key -> our key
    dropped: tuple[str, ...]  # their keys that a map drops
    homeless: tuple[str, ...]  # their other keys without a place
    misfits: Mapping[str, str]  # our key -> what differs


def save_weights(path: Path, weights: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict, or that of a module, as safetensors with `metadata`; the file is whole or absent."""
    state_dict = weights.state_dict() if isinstance(weights, nn.Module) else weights
    if not state_dict:
        raise Vo3dError(f"{path}: there are no weights to write")
    # copies, because safetensors refuses tensors that share memory, as those of a recurrent layer on a GPU do
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state_dict.items()}
    with atomic_path(path) as temporary:
        save_file(copies, temporary, metadata={"format": "pt", **metadata})


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the state dict in a file, on the CPU, and its metadata (empty where the format has none).

    Reads safetensors (by suffix), PyTorch checkpoints that are a state dict or hold one under `state_dict` or `model`,
    and Lightning checkpoints of vo3d (their prefix `net.` is removed). No code that a pickle carries is run.

    Raises:
        Vo3dError: the file is absent, truncated, no checkpoint, would run code, or holds no tensors.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected weights (.safetensors, .ckpt, .pth)")
    if path.suffix == ".safetensors":
        with _safetensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    return _state_dict_of(_read_pickle(path), path), {}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file without its tensors; Vo3dError when it is damaged."""
    with _safetensors(path) as file:
        return file.metadata() or {}


def settings_of(path: Path) -> str | None:
    """Return the configuration (YAML) that a checkpoint of `vo3d fit` carries; None in any other checkpoint.

    Raises Vo3dError as `read_weights`, but for what is no safetensors file.
    """
    content = _read_pickle(path)
    found = content.get(SETTINGS_KEY) if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def is_finished(path: Path) -> bool:
    """Tell whether a file has what a method learns at the end of `vo3d fit`; a checkpoint of a stopped fit has not.

    Raises Vo3dError as `read_weights`.
    """
    content = {} if path.suffix == ".safetensors" else _read_pickle(path)
    return not isinstance(content, dict) or SETTINGS_KEY not in content or FINISHED_KEY in content


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    """Open a file; what it may complain of becomes a Vo3dError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise Vo3dError(
            f"{path}: not a whole safetensors file ({shown(str(error))}): copy or download it again"
        ) from error


def import_weights(model: nn.Module, state_dict: Mapping[str, Tensor], key_map: KeyMap) -> ImportReport:
    """Load a published state dict into `model` through `key_map`, accounting for every key on both sides.

    Raises:
        Vo3dError: a published key has no place, one of ours has no value, or a shape differs; all are named, and
            the model is left as it was.
    """
    ours = model.state_dict()
    match = _match(ours, state_dict, key_map)
    absent = [name for name in ours if name not in match.loaded and name not in match.misfits]
    kept = tuple(name for name in absent if _any_match(key_map.keep, name))
    missing = [name for name in absent if name not in kept]
    misfits = list(match.misfits.values())
    problems = [
        f"{what}: {_listed(keys)}"
        for what, keys in (("no place for", match.homeless), ("no value for", missing), ("other shapes", misfits))
        if keys
    ]
    if problems:
        advice = f"; build the model with {key_map.needs}" if key_map.needs else ""
        raise Vo3dError(f"{key_map.source} does not fit {type(model).__name__}: {'; '.join(problems)}{advice}")
    model.load_state_dict({**ours, **match.loaded})
    return ImportReport(source=key_map.source, matched=match.matched, dropped=match.dropped, kept=kept)


def load_weights(model: nn.Module, path: Path) -> ImportReport:
    """Load a file into `model`: weights of vo3d key by key, published ones through the model's `published` maps.

    Raises:
        Vo3dError: as `read_weights` and `import_weights`, with the file's name.
    """
    state_dict, _ = read_weights(path)
    try:
        return import_weights(model, state_dict, _key_map(model, state_dict))
    except Vo3dError as error:
        raise Vo3dError(f"{path}: {error}") from error


def load_matching(model: nn.Module, path: Path, *, rename: Mapping[str, str] | None = None) -> ImportReport:
    r"""Load what fits `model` in name and shape out of a file, and leave the rest of the model as it is.

    Args:
        model: What to load into.
        path: The file, see `read_weights`.
        rename: Pattern of a key in the file (a regular expression for the whole key) to the key of the model, with \1
            for groups; other keys keep their names. Without it, published checkpoints go through the model's maps.

    Returns:
        What was loaded; every other key of the file (`dropped`) and of the model (`kept`); and which of them met with
        unequal shapes (`misfits`).

    Raises:
        Vo3dError: as `read_weights`; or no parameter fits, and the model is left as it was.
    """
    state_dict, _ = read_weights(path)
    ours = model.state_dict()
    match = _match(ours, state_dict, _key_map(model, state_dict, rename))
    learnt = {name for name, _ in model.named_parameters()} or set(ours)
    if not learnt & set(match.loaded):
        misfits = f"; other shapes: {_listed(list(match.misfits.values()))}" if match.misfits else ""
        raise Vo3dError(
            f"{path}: nothing in it fits {type(model).__name__}, which expects {_listed(sorted(learnt))}; found "
            f"{_listed(list(state_dict))}{misfits}: choose weights of a like model, or rename their keys"
        )
    model.load_state_dict({**ours, **match.loaded})
    return ImportReport(
        source=str(path),
        matched=match.matched,
        dropped=tuple(name for name in state_dict if name not in match.matched),
        kept=tuple(name for name in ours if name not in match.loaded),
        misfits=tuple(match.misfits.values()),
    )


def _key_map(model: nn.Module, state_dict: Mapping[str, Tensor], rename: Mapping[str, str] | None = None) -> KeyMap:
    """Return the published map that knows these keys; without one, or with `rename`, all other keys as they are."""
    published: Mapping[str, KeyMap] = getattr(model, "published", {})
    recognised = [key_map for key_map in published.values() if all(key in state_dict for key in key_map.signature)]
    if recognised and rename is None:
        return recognised[0]
    patterns = {**(rename or {}), r"(.*)": r"\1"}
    return KeyMap(source="a state dict of vo3d", signature=(), rename=patterns, needs="the arguments of its training")


def _match(ours: Mapping[str, Tensor], state_dict: Mapping[str, Tensor], key_map: KeyMap) -> _Match:
    """Pair the keys of a state dict with ours through `key_map`."""
    loaded: dict[str, Tensor] = {}
    matched: dict[str, str] = {}
    dropped, homeless, misfits = [], [], dict[str, str]()
    for theirs, tensor in state_dict.items():
        name = _rename(theirs, key_map.rename)
        if _any_match(key_map.drop, theirs):
            dropped.append(theirs)
        elif name is None or name not in ours or name in loaded or name in misfits:
            homeless.append(theirs)
        else:
            value = key_map.convert[name](tensor) if name in key_map.convert else tensor
            if value.shape == ours[name].shape:
                loaded[name], matched[theirs] = value, name
            else:
                misfits[name] = f"{theirs} {tuple(value.shape)} where {name} is {tuple(ours[name].shape)}"
    return _Match(loaded=loaded, matched=matched, dropped=tuple(dropped), homeless=tuple(homeless), misfits=misfits)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits, by which results name their weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_pickle(path: Path) -> object:
    """Read what a PyTorch checkpoint holds, without running code."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise Vo3dError(f"{path}: a Git LFS pointer, not the weights that it stands for: run 'git lfs pull'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: what matters follows as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGES as error:
        if unsafe := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise Vo3dError(
                f"{path}: this pickle calls {shown(unsafe[1])}, so it was not read: weights must hold tensors and "
                "plain values only; save their state dict alone where they were made"
            ) from error
        raise Vo3dError(f"{path}: no PyTorch checkpoint, or a damaged one: copy or download it again") from error


def _state_dict_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return the named tensors in a checkpoint, without the wrappings of those who wrote it."""
    inner = content
    if isinstance(content, dict):
        inner = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
    if not isinstance(inner, dict) or not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        raise Vo3dError(f"{path}: holds no state dict: expected named tensors, alone, under 'state_dict' or 'model'")
    state_dict = {str(name): tensor for name, tensor in inner.items()}
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        return {name.removeprefix("net."): tensor for name, tensor in state_dict.items()}
    return state_dict


def _rename(key: str, rename: Mapping[str, str]) -> str | None:
    """Return our name of a published key, by the first pattern that matches it whole; None when none does."""
    matches = ((re.fullmatch(pattern, key), replacement) for pattern, replacement in rename.items())
    return next((match.expand(replacement) for match, replacement in matches if match), None)


def _any_match(patterns: tuple[str, ...], key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _listed(keys: Sequence[str]) -> str:
    """Name the first few keys, and say how many more there are."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return shown(", ".join(keys[:SHOWN])) + more
