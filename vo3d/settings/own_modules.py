"""Modules of one's own: beside the YAML file that names them, in the working folder, or in a file that is named.

Which of them may be imported at all is said in `vo3d.settings.trust`; here is said from where.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from traceback import extract_tb

from vo3d.errors import Vo3dError, printable, quoted
from vo3d.settings.run_folder import trained_with


@dataclass(frozen=True)
class _Reach:
    """The files and folders in which modules are looked for at the moment, beside Python's path."""

    files: Mapping[str, Path] = field(default_factory=dict)  # of modules that were found there, by name
    folders: tuple[Path, ...] = ()  # all that were looked into
    runs: tuple[Path, ...] = ()  # which may say where the modules of their training lay


_reach: ContextVar[_Reach] = ContextVar("_reach", default=_Reach())  # noqa: B039 (it is frozen)


@contextmanager
def within_reach(
    places: Iterable[tuple[str, Path]], files: Sequence[Path] = (), runs: Sequence[Path] = ()
) -> Iterator[None]:
    """Let modules be imported from where they lie, for a while.

    A folder goes behind all others on Python's path, and only if it holds one of the modules: nothing that is installed
    is hidden by it. Processes that read data inherit the path, those of DDP run the same command.

    Args:
        places: Modules, each with a folder that may hold it.
        files: Files or folders of modules, which overrule `places`.
        runs: Folders of runs, which are asked for a hint where a module is absent; nothing is imported for it.

    Raises:
        Vo3dError: a file is none of a module, or one name stands for two modules.
    """
    before = _reach.get()
    explicit = dict(map(_module_of, files))
    pairs = [(name, folder) for name, folder in places if name not in {*explicit, *before.files}]
    found: dict[str, Path] = {}
    for name, folder in dict.fromkeys([*((name, file.parent) for name, file in explicit.items()), *pairs]):
        here = _file_of(PathFinder.find_spec(name, [str(folder.resolve())]))
        if here is None:
            continue
        others = {found.get(name), _installed(name)} - {None, here}
        if others:
            raise Vo3dError(
                f"the module {name} is both {spelled(here)} and {', '.join(spelled(file) for file in others if file)}: "
                "rename one of them, or say which by --allow FILE"
            )
        found[name] = here
    there = {Path(folder).resolve() for folder in sys.path}
    new = {name: file for name, file in found.items() if file.parent not in there}  # Python finds the others by itself
    added = list(dict.fromkeys(str(file.parent) for file in new.values()))
    looked = dict.fromkeys([*before.folders, *(folder for _, folder in pairs)])
    token = _reach.set(_Reach({**before.files, **new}, tuple(looked), (*before.runs, *runs)))
    importlib.invalidate_caches()  # a file may be younger than what Python knows of its folder
    sys.path.extend(added)
    try:
        yield
    finally:
        _reach.reset(token)
        for one in added:
            sys.path.remove(one)


def is_file_of_module(word: str) -> bool:
    """Tell whether a word of --allow is the path of a module, not its name."""
    return word.endswith(".py") or "/" in word or "\\" in word


def _module_of(path: Path) -> tuple[str, Path]:
    """Return the name and the file of the module at a path: `folder/name.py`, or `folder/name` of a package."""
    name, whole = path.stem if path.suffix == ".py" else path.name, path.resolve()
    if not whole.exists():
        raise Vo3dError(f"--allow {path}: no such file: expected a module of your own, or the file of one")
    if not name.isidentifier() or _file_of(PathFinder.find_spec(name, [str(whole.parent)])) is None:
        raise Vo3dError(f"--allow {path}: no file of a module: expected one such as exp/mymethod.py")
    return name, whole


def name_of(path: Path) -> str:
    """Name the module at a path; raises Vo3dError where there is none."""
    return _module_of(path)[0]


def _file_of(spec: ModuleSpec | None) -> Path | None:
    """Return the file of a module, of a package its folder; None where a folder holds no Python."""
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        folder = next(iter(spec.submodule_search_locations), None)
        return Path(folder).resolve() if folder and next(Path(folder).glob("*.py"), None) else None
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else None


def _installed(name: str) -> Path | None:
    """Return the file that Python would import by itself."""
    try:
        return _file_of(find_spec(name))
    except (ImportError, ValueError):  # of a module that was made without a file
        return None


def files_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the files of those modules that Python would not find by itself."""
    found = _reach.get().files
    return {name: str(found[name]) for name in modules if name in found}


def allowed_by(name: str) -> str:
    """Spell what --allow takes for a module: its file, where neither Python nor the working folder has it by name."""
    file = _reach.get().files.get(name) or _file_then(name)
    return name if file is None or file.parent == Path.cwd() else quote(spelled(file))


def where_to_find(error: ModuleNotFoundError) -> str:
    """Say where an absent module was looked for, and what to type."""
    name = error.name or ""
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    if frames and "jsonargparse" not in Path(frames[-1].filename).parts:  # an import within the module of a class path
        place = f"{spelled(Path(frames[-1].filename))}:{frames[-1].lineno}"
        return f"{place}: there is no module {quoted(name)}, which this line imports: install it, or mend the line"
    if (whole := _reach.get().files.get(name.partition(".")[0])) is not None:
        return f"there is no module {quoted(name)} in {spelled(whole)}: mend the class path"
    folders = dict.fromkeys(folder.resolve() for folder in _reach.get().folders)
    where = ", ".join("the working folder" if folder == Path.cwd() else spelled(folder) for folder in folders)
    found = f"there is no module {quoted(name)} in {where} or on Python's path"
    then = _file_then(name)
    if then is None:
        return f"{found}: name its file, --allow FOLDER/{name}.py, or put its folder into PYTHONPATH"
    return f"{found}: the run was trained with {spelled(then)}; if you trust it, add --allow {quote(spelled(then))}"


def _file_then(name: str) -> Path | None:
    """Return the file of a module at the training of a run, if it is still there: a hint for people, never imported."""
    files = [Path(trained_with(run)[name]) for run in _reach.get().runs if name in trained_with(run)]
    return next((file for file in files if file.exists()), None)


def spelled(file: Path) -> str:
    """Spell a path from the working folder where it lies below it."""
    here = Path.cwd()
    return printable(str(file.relative_to(here) if file.is_relative_to(here) else file))
