"""Weights in and out: safetensors of our own, and other people's checkpoints with every key accounted for."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vo3d.errors import Vo3dError, shown, visible
from vo3d.formats.checkpoints import PICKLES, listed, read_content, refuse_stand_in, state_dict_of
from vo3d.formats.files import atomic_path

SETTINGS_KEY = "vo3d_config"  # of the configuration in a checkpoint of `vo3d fit`
FINISHED_KEY = "vo3d_finished"  # in one that has what its method learns at the end
SCALE_KEY = "variance_scale"  # of the buffer that calibrates predicted variances, 1 where nothing was fitted
FIXED_KEY = "fixed"  # in converted weights: JSON of what their model has that no shape shows
WRAPPERS = {"module", "_orig_mod"}  # parts of keys that torch's parallel and compiled networks add, anywhere
HOLDERS = ("model", "net")  # and those of classes that train them, before all keys


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """Says how the keys of a published checkpoint become those of a model.

    Patterns are regular expressions for whole keys, without what parallel training and the like put before or into
    them. A model lists the checkpoints that it understands in a class variable `published` (name to KeyMap).
    """

    source: str  # what the checkpoint is, for messages and metadata
    signature: tuple[str, ...]  # keys by which it is recognised
    rename: Mapping[str, str]  # pattern of a published key -> our key, with \1 for groups
    drop: tuple[str, ...] = ()  # published keys that the model has no use for
    keep: tuple[str, ...] = ()  # our keys that the checkpoint lacks; they keep their values
    convert: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # our key -> change of its values
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)  # our keys, if any, that it lacks -> then
    # attributes of the model that no shape shows, by our tensors -> what they must be
    settings: Callable[[Mapping[str, Tensor]], Mapping[str, object]] = lambda _: MappingProxyType({})
    needs: str = ""  # how the model must be built, for messages
    refused: str = ""  # why no model of vo3d can take it, and what to do; empty where one can


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Says where every key went: nothing is dropped or left as it was without being named here."""

    source: str
    matched: Mapping[str, str]  # published key -> our key
    dropped: tuple[str, ...] = ()  # published keys
    kept: tuple[str, ...] = ()  # our keys
    misfits: tuple[str, ...] = ()  # keys that meet but differ in shape, with both shapes; also in `dropped` and `kept`
    valued: tuple[str, ...] = ()  # our keys that the file lacks, set to what they were when it was made
    differs: tuple[str, ...] = ()  # settings of the model that are other than those of the file, with both
    published: bool = False  # by others: through a map of the model
    needs: str = ""  # how a model must be built that is to compute what they published

    def __str__(self) -> str:
        dropped, kept = (visible(", ".join(keys)) or "none" for keys in (self.dropped, self.kept))
        rest = {"other shapes": self.misfits, "set as at its training": self.valued, "other settings": self.differs}
        told = "".join(f"; {what}: {visible(', '.join(keys))}" for what, keys in rest.items() if keys)
        loaded = f"{self.source}: {len(self.matched)} tensors loaded"
        return f"{loaded}; dropped: {dropped}; left as they were: {kept}{told}"

    @property
    def lines(self) -> list[str]:
        """Say what was done, and what must hold for a model that is to compute what was published."""
        return [str(self), *([f"It needs {self.needs}."] if self.needs else [])]


@dataclass(frozen=True, kw_only=True)
class _Match:
    """Says where every key of a state dict belongs."""

    loaded: Mapping[str, Tensor]  # our key -> its value
    matched: Mapping[str, str]  # their key -> our key
    dropped: tuple[str, ...]  # their keys that a map drops
    homeless: tuple[str, ...]  # their other keys without a place
    misfits: Mapping[str, str]  # our key -> what differs
    values: Mapping[str, Tensor]  # our key that they lack -> its value, which the map tells
    differs: tuple[str, ...]  # settings that are others than the map tells


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

    Reads safetensors (by suffix), PyTorch checkpoints that are a state dict or hold one (see
    `vo3d.formats.checkpoints`), and Lightning checkpoints of vo3d (their prefix `net.` is removed). No code that a
    pickle carries is run.

    Raises:
        Vo3dError: the file is absent, truncated, no checkpoint, would run code, or holds no tensors.
    """
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected weights (.safetensors, .ckpt, .pth)")
    if path.suffix == ".safetensors":
        with _safetensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    return state_dict_of(read_content(path), path), {}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file without its tensors; Vo3dError when it is damaged."""
    with _safetensors(path) as file:
        return file.metadata() or {}


def settings_of(path: Path) -> str | None:
    """Return the configuration (YAML) that a checkpoint of `vo3d fit` carries; None in any other checkpoint.

    Raises Vo3dError as `read_weights`, but for what is no safetensors file.
    """
    content = read_content(path)
    found = content.get(SETTINGS_KEY) if isinstance(content, dict) else None
    return found if isinstance(found, str) else None


def is_finished(path: Path) -> bool:
    """Tell whether a file has what a method learns at the end of `vo3d fit`; a checkpoint of a stopped fit has not.

    Raises Vo3dError as `read_weights`.
    """
    content = {} if path.suffix == ".safetensors" else read_content(path)
    return not isinstance(content, dict) or SETTINGS_KEY not in content or FINISHED_KEY in content


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    """Open a file; what it may complain of becomes a Vo3dError."""
    refuse_stand_in(path, "not a whole safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        wrong = f"{path}: not a whole safetensors file ({shown(str(error))})"
        with path.open("rb") as file_:
            checkpoint = file_.read(2) in {b"PK", *PICKLES}
        remedy = "a PyTorch checkpoint: rename it to end in .pth" if checkpoint else "copy or download it again"
        raise Vo3dError(f"{wrong}: {remedy}") from error


def import_weights(model: nn.Module, state_dict: Mapping[str, Tensor], key_map: KeyMap) -> ImportReport:
    """Load a published state dict into `model` through `key_map`, accounting for every key on both sides.

    Raises:
        Vo3dError: a published key has no place, one of ours has no value, a shape differs, values are not finite, or
            the model computes otherwise than the published one, unless it still has to learn a part; all are named, and
            the model is left as it was. Or no model can take such a checkpoint.
    """
    if key_map.refused:
        raise Vo3dError(f"{key_map.source} cannot be loaded: {key_map.refused}")
    ours = model.state_dict()
    match = _match(model, state_dict, key_map)
    absent = [name for name in ours if name not in {*match.loaded, *match.misfits, *match.values}]
    kept = tuple(name for name in absent if _any_match(key_map.keep, name))
    missing = [name for name in absent if name not in kept]
    misfits = list(match.misfits.values())
    start = any(name in kept for name, _ in model.named_parameters())  # other settings are said, not refused
    problems = [
        f"{what}: {listed(keys)}"
        for what, keys in (
            ("no place for", match.homeless),
            ("no value for", missing),
            ("other shapes", misfits),
            ("other settings", () if start else match.differs),
        )
        if keys
    ]
    if problems:
        advice = f"; build the model with {key_map.needs}" if key_map.needs else ""
        raise Vo3dError(f"{key_map.source} does not fit {type(model).__name__}: {'; '.join(problems)}{advice}")
    return _load(
        model, match, ImportReport(source=key_map.source, matched=match.matched, kept=kept, **_origin(key_map))
    )


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
        What was loaded; every other key of the file (`dropped`) and of the model (`kept`); which of them met with
        unequal shapes (`misfits`); and how the model computes otherwise than the published one (`differs`).

    Raises:
        Vo3dError: as `read_weights`; no parameter fits, or values are not finite, and the model is left as it was.
    """
    state_dict, _ = read_weights(path)
    ours = model.state_dict()
    key_map = _key_map(model, state_dict, rename)
    match = _match(model, state_dict, key_map)
    learnt = {name for name, _ in model.named_parameters()} or set(ours)
    if not learnt & set(match.loaded):
        misfits = f"; other shapes: {listed(list(match.misfits.values()))}" if match.misfits else ""
        raise Vo3dError(
            f"{path}: nothing in it fits {type(model).__name__}, which expects {listed(sorted(learnt))}; found "
            f"{listed(list(state_dict))}{misfits}: choose weights of a like model, or rename their keys"
        )
    report = ImportReport(
        source=str(path),
        matched=match.matched,
        kept=tuple(name for name in ours if name not in {*match.loaded, *match.values}),
        misfits=tuple(match.misfits.values()),
        **_origin(key_map),
    )
    try:
        return _load(model, match, report, [name for name in state_dict if name not in match.matched])
    except Vo3dError as error:
        raise Vo3dError(f"{path}: {error}") from error


def published_map(model: nn.Module, keys: Iterable[str]) -> KeyMap | None:
    """Find the map of the published checkpoint that has these keys, whatever they are wrapped in; None without one."""
    published: Mapping[str, KeyMap] = getattr(model, "published", {})
    spelled = [set(names.values()) for names in _spellings(list(keys))]
    return next((one for one in published.values() if any(names >= set(one.signature) for names in spelled)), None)


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise Vo3dError, naming the first of them, where tensors hold values that are NaN or infinite."""
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        wrong = int((~tensors[bad[0]].isfinite()).sum())
        more = f", as in {len(bad) - 1} others" if len(bad) > 1 else ""
        raise Vo3dError(
            f"{shown(bad[0])} has {wrong} of {tensors[bad[0]].numel()} values that are NaN or infinite{more}: the "
            "training that made it failed, or the file is damaged: take an earlier checkpoint, or download it again"
        )


def _load(model: nn.Module, match: _Match, report: ImportReport, dropped: Sequence[str] | None = None) -> ImportReport:
    """Load what was matched, and complete the report; Vo3dError where values are not finite in the model's type."""
    ours = model.state_dict()
    names = {name: theirs for theirs, name in match.matched.items()}
    check_finite({names[name]: value.to(ours[name].dtype) for name, value in match.loaded.items()})
    model.load_state_dict({**ours, **match.loaded, **match.values})
    left = match.dropped if dropped is None else tuple(dropped)
    return replace(report, dropped=left, valued=tuple(match.values), differs=match.differs)


def _origin(key_map: KeyMap) -> dict[str, Any]:
    """Tell of a report whether the weights were published by others, and what they need."""
    return {"published": True, "needs": key_map.needs} if key_map.signature else {}


def _key_map(model: nn.Module, state_dict: Mapping[str, Tensor], rename: Mapping[str, str] | None = None) -> KeyMap:
    """Return the published map that knows these keys; without one, or with `rename`, all other keys as they are."""
    recognised = published_map(model, state_dict)
    if recognised is not None and rename is None:
        return recognised
    patterns = {**(rename or {}), r"(.*)": r"\1"}
    return KeyMap(
        source="a state dict of vo3d",
        signature=(),
        rename=patterns,
        drop=() if SCALE_KEY in model.state_dict() else (SCALE_KEY,),  # arguments tell whether variances are given
        values={SCALE_KEY: (1.0, 1.0)},
        needs="the arguments of its training",
    )


def _match(model: nn.Module, state_dict: Mapping[str, Tensor], key_map: KeyMap) -> _Match:
    """Pair the keys of a state dict with those of a model through `key_map`, in the spelling that fits best."""
    ours = model.state_dict()

    def known(name: str) -> bool:
        return _any_match(key_map.drop, name) or _rename(name, key_map.rename) in ours

    spelled = max(_spellings(list(state_dict)), key=lambda names: sum(map(known, names.values())))
    loaded: dict[str, Tensor] = {}
    matched: dict[str, str] = {}
    dropped, homeless, misfits = [], [], dict[str, str]()
    for theirs, tensor in state_dict.items():
        name = _rename(spelled[theirs], key_map.rename)
        if _any_match(key_map.drop, spelled[theirs]):
            dropped.append(theirs)
        elif name is None or name not in ours or name in loaded or name in misfits:
            homeless.append(theirs)
        else:
            value = key_map.convert[name](tensor) if name in key_map.convert else tensor
            if value.shape != ours[name].shape:
                misfits[name] = f"{theirs} {tuple(value.shape)} where {name} is {tuple(ours[name].shape)}"
            elif value.is_floating_point() != ours[name].is_floating_point():
                misfits[name] = f"{theirs} of {value.dtype} where {name} is of {ours[name].dtype}"
            else:
                loaded[name], matched[theirs] = value, name
    values = {
        name: torch.tensor(numbers).to(ours[name]).reshape(ours[name].shape)
        for name, numbers in key_map.values.items()
        if name in ours and name not in {*loaded, *misfits}
    }
    settings = key_map.settings(loaded)
    differs = [
        f"{key} {found} instead of {value}"
        for key, value in settings.items()
        if (found := getattr(model, key, None)) != value
    ]
    return _Match(
        loaded=loaded,
        matched=matched,
        dropped=tuple(dropped),
        homeless=tuple(homeless),
        misfits=misfits,
        values=values,
        differs=tuple(differs),
    )


def _spellings(keys: Sequence[str]) -> list[dict[str, str]]:
    """Give keys as they are, then without what networks are wrapped in for training: key -> its spelling."""
    found = [{key: key for key in keys}]
    found.append({key: ".".join(part for part in key.split(".") if part not in WRAPPERS) for key in keys})
    while keys and (
        start := next((f"{h}." for h in HOLDERS if all(k.startswith(f"{h}.") for k in found[-1].values())), "")
    ):
        found.append({key: name.removeprefix(start) for key, name in found[-1].items()})
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits, by which results name their weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rename(key: str, rename: Mapping[str, str]) -> str | None:
    """Return our name of a published key, by the first pattern that matches it whole; None when none does."""
    matches = ((re.fullmatch(pattern, key), replacement) for pattern, replacement in rename.items())
    return next((match.expand(replacement) for match, replacement in matches if match), None)


def _any_match(patterns: tuple[str, ...], key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)
