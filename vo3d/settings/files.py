"""YAML files of settings, found by name and read, with errors that name file and line."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from vo3d.errors import Vo3dError


def find_config(name: str) -> str:
    """The file of a configuration: `name` in the working folder, else the one of that name that vo3d brings.

    Raises Vo3dError when it is in neither.
    """
    if Path(name).is_file():
        return name
    brought = {path.name: path for path in resources.files("vo3d.configs").iterdir() if path.name.endswith(".yaml")}
    if name in brought:
        return str(brought[name])
    near = get_close_matches(name, brought, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise Vo3dError(
        f"there is no configuration {name!r}: neither a file, nor one that vo3d brings ({', '.join(sorted(brought))})"
        + hint
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The table in a YAML file; raises Vo3dError when the file is absent or holds anything else."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected settings in YAML")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not text ({error.reason}): expected settings in YAML") from error
    return parse_settings(text, str(path))


def line_of_key(path: Path, key: Sequence[str]) -> int | None:
    """The line of the YAML file on which `key` stands: its last part, below the earlier parts in their order.

    Other levels, such as init_args, may lie between; None when there is no such key, or it is not the only one.
    """
    found = [line for names, line in _keys(yaml.compose(path.read_text(encoding="utf-8"))) if _within(key, names)]
    return found[0] if len(found) == 1 else None


def _keys(node: yaml.Node | None, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every key with those above it, and its line."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            names = (*above, str(name.value))
            yield names, name.start_mark.line + 1
            yield from _keys(value, names)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _keys(value, above)


def _within(key: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether `key` ends where `names` ends, and has its other parts among `names` in this order."""
    rest = iter(names)
    return bool(key) and key[-1] == names[-1] and all(part in rest for part in key)


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """The table in a YAML text that came from `source`; raises Vo3dError when there is none."""
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Vo3dError(f"{source}:{line}: not YAML ({error.problem}): expected settings") from error
    except yaml.YAMLError as error:
        raise Vo3dError(f"{source}: not YAML ({error}): expected settings") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise Vo3dError(f"{source}: found {found}, expected a table of settings such as model, data, trainer")
    return content
