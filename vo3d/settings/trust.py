"""What settings may name: modules of vo3d, torch and Lightning, and those that the user has named as well.

A configuration, a run folder, a card or a checkpoint may come from a stranger. A class path in it is imported only if
its module is one of these, and made only if it is a part of a training: never any callable.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from inspect import isbuiltin
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from jsonargparse import Namespace, set_parsing_settings
from jsonargparse import _common as parser_state  # the settings have no public way back
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import ConcatDataset

from vo3d.errors import Vo3dError, quoted
from vo3d.model import Model
from vo3d.recording import RecordingDataset, Transform
from vo3d.settings.complaints import CLOSED, KNOWN, refusal
from vo3d.settings.files import NAME_OF_CLASS
from vo3d.settings.own_modules import is_file_of_module, name_of, within_reach

PARTS = (Model, RecordingDataset, Transform, nn.Module, Optimizer, LRScheduler, ConcatDataset)
YAML = (".yaml", ".yml")  # endings
_named: ContextVar[frozenset[str]] = ContextVar("_named", default=frozenset())


@contextmanager
def allowing(
    modules: Iterable[str] = (),
    typed: object = None,
    *,
    beside: Iterable[Path] = (),
    given: Mapping[str, object] = MappingProxyType({}),
) -> Iterator[None]:
    """Let settings name anything in `modules`, and in those of the class paths in `typed` words, for a while.

    They are found on Python's path, in the working folder, and beside the YAML files that the user named: those in
    `typed`, in `beside` (YAML files, or folders of runs), and in `given`, files with their content, whose own modules
    are found beside them too. A module may be a file: `exp/mymethod.py`.

    Raises Vo3dError for what is no name or file of a module, for one of Python's own, and for one name of two modules.
    """
    asked = list(modules)
    files = [Path(word) for word in asked if is_file_of_module(word)]
    names = {word.partition(".")[0] for word in asked if not is_file_of_module(word)} | set(map(name_of, files))
    for module in names:
        if not module.isidentifier() or module in CLOSED:
            raise Vo3dError(f"--allow {quoted(module)}: expected the name of a module with methods of your own")
    named = names | modules_in(typed)
    sources = [*beside, *yaml_files_in(typed), *map(Path, given)]
    folders = [*(path.parent for path in sources if path.suffix in YAML and path.is_file()), Path()]
    places = [(module, folder) for module in sorted(named - KNOWN) for folder in folders]
    places += [(module, Path(file).parent) for file, held in given.items() for module in modules_in(held) - KNOWN]
    runs = [path if path.is_dir() else path.parent for path in sources]
    before = _named.set(_named.get() | named)
    try:
        with within_reach(places, files, runs):
            yield
    finally:
        _named.reset(before)


def yaml_files_in(words: object) -> list[Path]:
    """List the YAML files among words."""
    if isinstance(words, list | tuple | set):
        return [path for word in words for path in yaml_files_in(word)]
    return [Path(words)] if isinstance(words, str) and words.endswith(YAML) else []


@contextmanager
def guarded(files: Iterable[object] = ()) -> Iterator[None]:
    """Hold what a parser imports to the known modules, the allowed ones, and those that `files` (their tables) name."""
    before = dict(parser_state.parsing_settings)
    own = _named.get().union(*map(modules_in, files))
    set_parsing_settings(import_path_denylist=["*", *CLOSED], import_path_allowlist=[*KNOWN, *own])
    try:
        yield
    finally:
        parser_state.parsing_settings.update(before)


def modules_in(value: object) -> frozenset[str]:
    """Name the outermost modules of all that could be class paths in words or settings, without Python's own."""
    if isinstance(value, Mapping):
        return frozenset().union(*map(modules_in, value.values()))
    if isinstance(value, list | tuple | set):
        return frozenset().union(*map(modules_in, value))
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return modules_in(yaml.safe_load(value))
        except (yaml.YAMLError, ValueError, RecursionError):
            return frozenset()
    if isinstance(value, str) and "." in value and re.fullmatch(NAME_OF_CLASS, value) and not Path(value).exists():
        return frozenset({value.partition(".")[0]}) - CLOSED
    return frozenset()


def strangers(settings: object) -> list[str]:
    """Name the modules outside of vo3d, torch and Lightning that class paths in `settings` lie in."""
    return sorted({path.partition(".")[0] for path in _class_paths(settings)} - KNOWN)


def refuse_strangers(settings: object, where: str) -> None:
    """Raise Vo3dError for a class path in `settings` of a module that is neither known nor allowed."""
    for path in _class_paths(settings):
        if path.partition(".")[0] not in KNOWN | _named.get():
            raise Vo3dError(f"{where}: {refusal(path)}")


def _class_paths(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            yield path
        for inner in value.values():
            yield from _class_paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_paths(inner)


def check_parts(settings: object, kinds: tuple[type, ...] = (), owner: str = "vo3d", where: str = "") -> None:
    """Refuse what is no part of a training in parsed settings, before any of it is made.

    Args:
        settings: The parser's result, or a part of it.
        kinds: Classes that are taken beside models, datasets with recordings, transforms, modules, optimisers and
            schedules.
        owner: The module of the class that takes these settings.
        where: The key of the settings.

    Raises:
        Vo3dError: a class is of none of these kinds, or a function of another module is to be called by a class of
            vo3d, torch or Lightning; but in modules that the user has named, anything goes.
    """
    if isinstance(settings, Mapping):
        inner = dict(settings)
        path = inner.get("class_path")
        if isinstance(path, str):
            owner = _home(_checked(path, (*PARTS, *kinds), where))
        for key, value in inner.items():
            check_parts(value, kinds, owner, where if key == "init_args" else f"{where}.{key}".lstrip("."))
    elif isinstance(settings, Namespace):
        check_parts(vars(settings), kinds, owner, where)
    elif isinstance(settings, list | tuple):
        for value in settings:
            check_parts(value, kinds, owner, where)
    elif callable(settings) and not isinstance(settings, (type, *PARTS)) and owner in KNOWN and not _computes(settings):
        name = f"{settings.__module__}.{getattr(settings, '__qualname__', type(settings).__name__)}"
        raise Vo3dError(f"{where}: {quoted(name)} is a function, which no setting takes: {_way_out(_home(settings))}")


def _checked(path: str, kinds: tuple[type, ...], where: str) -> object:
    """Return the class that a parser has found at `path`; Vo3dError unless it is one of `kinds`, or the user's own."""
    module, _, name = path.rpartition(".")
    found: Any = getattr(sys.modules.get(module), name, None)
    if found is None:
        raise Vo3dError(f"{where}: {refusal(path)}")
    own = _home(found)
    plain = own == "vo3d" and is_dataclass(found)
    if own in _named.get() or (isinstance(found, type) and (plain or issubclass(found, kinds))):
        return found
    raise Vo3dError(
        f"{where}: {quoted(path)} is no model, dataset with recordings, transform, module, optimiser, schedule or "
        f"callback: {_way_out(own)}"
    )


def _home(found: object) -> str:
    return str(getattr(found, "__module__", None) or "torch").partition(".")[0]


def _way_out(module: str) -> str:
    return "leave it out" if module in KNOWN | CLOSED else f"leave it out, or trust its module by --allow {module}"


def _computes(function: Any) -> bool:
    """Tell whether a function only computes with tensors, or is the user's own."""
    own = _home(function) in _named.get() | {"jsonargparse"}  # whose paths can be called
    of_torch = isbuiltin(function) and getattr(torch, function.__name__, None) is function
    return own or of_torch or (function.__module__ or "").startswith(("torch.nn.", "torch._C._nn"))
