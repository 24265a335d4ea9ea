"""YAML files of settings, found by name and read, with errors that name file and line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from vo3d.errors import Vo3dError, printable, quoted

MOST_CHARACTERS = 1_000_000  # of one file
MOST_VALUES = 100_000
MOST_LEVELS = 50
PARTS_OF_SPEC = ("class_path", "init_args", "dict_kwargs")  # the third is jsonargparse's, for open signatures
NAME_OF_CLASS = r"[^\W\d]\w*(\.[^\W\d]\w*)*"  # its path, or where one knows the kind its last part


def find_config(name: str) -> str:
    """The file of a configuration: `name` in the working folder, else the one of that name that vo3d brings.

    Raises Vo3dError when it is in neither.
    """
    if Path(name).is_file():
        return name
    brought = {path.name: path for path in resources.files("vo3d.configs").iterdir() if path.name.endswith(".yaml")}
    if name in brought:
        return str(brought[name])
    stems = [known.removesuffix(".yaml") for known in brought]
    if near := get_close_matches(name.removesuffix(".yaml"), stems, n=1):
        raise Vo3dError(f"there is no configuration {quoted(name)}: did you mean {near[0]}.yaml?")
    raise Vo3dError(
        f"there is no configuration {quoted(name)}: neither a file, nor one that vo3d brings "
        f"({', '.join(sorted(brought))})"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The table in a YAML file; raises Vo3dError when the file is absent or holds anything else."""
    return parse_settings(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of settings; raises Vo3dError when it is absent, or no text."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected settings in YAML")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(MOST_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not text ({error.reason}): expected settings in YAML") from error


def line_of_key(path: Path, key: Sequence[str]) -> int | None:
    """The line of the YAML file on which `key` stands: its last part, below the earlier parts in their order.

    Other levels, such as init_args, may lie between; None when there is no such key, or it is not the only one.
    """
    found = [line for names, line in _keys(yaml.compose(path.read_text(encoding="utf-8-sig"))) if _within(key, names)]
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
    """The table in a YAML text that came from `source`; raises Vo3dError when there is none, and as `parse_yaml`."""
    content = parse_yaml(text, source)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise Vo3dError(f"{source}: found {found}, expected a table of settings such as model, data, trainer")
    return content


def parse_yaml(text: str, source: str) -> Any:
    """What a YAML text holds; raises Vo3dError when it is too large, too deep, or no value that Python has."""
    if len(text) > MOST_CHARACTERS:
        raise Vo3dError(f"{source}: more than {MOST_CHARACTERS:,} characters: expected settings in YAML")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_size(node, source, {})
        return None if node is None else loader.construct_document(node)
    except Vo3dError:
        raise
    except RecursionError:  # while it is read, or of an anchor within itself
        raise Vo3dError(f"{source}: lists or tables too deep within each other: expected settings in YAML") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Vo3dError(f"{source}:{line}: not YAML ({printable(error.problem)}): expected settings") from error
    except yaml.YAMLError as error:
        raise Vo3dError(f"{source}: not YAML ({printable(str(error))}): expected settings") from error
    except (ValueError, OverflowError) as error:  # a number of too many digits, a date that no calendar has
        raise Vo3dError(
            f"{source}: holds a value that cannot be read ({str(error).partition(';')[0]}): expected settings in YAML"
        ) from error


def _check_size(node: yaml.Node | None, source: str, known: dict[int, int], depth: int = 0) -> int:
    """Count the values that `node` stands for, those of anchors each time; Vo3dError for too many, or too deep ones."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if depth > MOST_LEVELS:
        raise Vo3dError(
            f"{source}:{node.start_mark.line + 1}: more than {MOST_LEVELS} levels of lists or tables: expected settings"
        )
    if id(node) not in known:
        pairs = isinstance(node, yaml.MappingNode)
        values = [each for pair in node.value for each in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_check_size(value, source, known, depth + 1) for value in values)
    if known[id(node)] > MOST_VALUES:
        raise Vo3dError(
            f"{source}:{node.start_mark.line + 1}: more than {MOST_VALUES:,} values, anchors counted each time: "
            "expected settings"
        )
    return known[id(node)]


def check_shape(settings: Mapping[str, Any], source: str) -> None:
    """Raise Vo3dError where `model`, `data`, what stands below them, or `trainer` is of another shape than settings."""
    for section in ("model", "data", "trainer"):
        table = settings.get(section)
        if not isinstance(table, dict | None):
            raise _misshapen(source, (section,), table, "a table of settings")
    for section, names in (("model", ("net",)), ("data", ("train", "val", "test"))):
        for name in names:
            check_spec((settings.get(section) or {}).get(name), source, section, name)


def check_spec(spec: object, source: str, *key: str) -> None:
    """Raise Vo3dError unless `spec` is nothing, a class path, or a table that may have a class path and arguments."""
    if spec is None:
        return
    if not isinstance(spec, str | dict):
        raise _misshapen(source, key, spec, "a class path, or a table with class_path and init_args")
    table = spec if isinstance(spec, dict) else {"class_path": spec}
    path, arguments = table.get("class_path", "absent"), table.get("init_args")
    if not isinstance(path, str) or not (isinstance(spec, str) or re.fullmatch(NAME_OF_CLASS, path)):
        raise _misshapen(source, (*key, "class_path"), path, "the path of a class")
    if not isinstance(arguments, dict | None):
        raise _misshapen(source, (*key, "init_args"), arguments, "a table of arguments")
    if strange := [name for name in arguments or () if not isinstance(name, str)]:
        raise _misshapen(source, (*key, "init_args"), strange[0], "names of arguments")


def as_spec(spec: object, source: str, *key: str) -> dict[str, Any]:
    """Return a description of an object as a table with a class path, which may be a class path alone.

    Raises Vo3dError for any other shape.
    """
    check_spec(spec, source, *key)
    table = {"class_path": spec} if isinstance(spec, str) else spec
    if not isinstance(table, dict) or "class_path" not in table:
        raise _misshapen(source, key, spec, "a class path, or a table with class_path and init_args")
    if strange := [name for name in table if name not in PARTS_OF_SPEC]:
        place = (*key, str(strange[0]))
        raise _misshapen(source, place, table[strange[0]], "class_path and init_args alone: leave it out")
    return {"class_path": table["class_path"], **table, "init_args": table.get("init_args") or {}}


def _misshapen(source: str, key: Sequence[str], found: object, expected: str) -> Vo3dError:
    file = Path(source)
    line = line_of_key(file, key) if key and file.suffix in {".yaml", ".yml"} and file.is_file() else None
    where = ".".join(key)
    place = source if line is None else f"{source}:{line}"
    return Vo3dError(f"{place}: {where}{': ' if where else ''}found {quoted(found)}, expected {expected}")
