"""Models and datasets out of the configuration of a run, checked against their constructors, without a trainer."""

from argparse import ArgumentError
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentParser

from vo3d.errors import Vo3dError
from vo3d.settings.complaints import is_mistake, one_line
from vo3d.settings.files import find_config, parse_settings, read_settings


def build(base: type, spec: dict[str, Any] | str, where: str = "the configuration") -> Any:
    """The object that `spec` describes: a class path, or a table with `class_path` and `init_args`.

    Raises Vo3dError, naming `where` the description stands, when the class does not exist, is not a `base`, or does
    not accept its arguments.
    """
    if isinstance(spec, dict):
        for key, kind, words in (("class_path", str, "the path of a class"), ("init_args", dict, "a table")):
            if key in spec and not isinstance(spec[key], kind):
                raise Vo3dError(f"{where}: {key} is {spec[key]!r}: expected {words}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=base)
    try:
        return parser.instantiate(parser.parse_object({"it": spec})).it
    except Vo3dError:
        raise
    except (ArgumentError, ValueError) as error:  # the second: what a part of `spec` refused, wrapped by the parser
        if not is_mistake(error):
            raise
        raise Vo3dError(f"{where}: {one_line(error).removeprefix('it: ').removeprefix('it.')}") from error


def read_spec(text: str, what: str, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Read the description that a word of the command line stands for.

    Args:
        text: One of the short names in `known`, a class path, a table in JSON, or a YAML file of one.
        what: The option, for messages.
        known: Class paths by their short names.

    Raises:
        Vo3dError: it is no such word, or there is no class_path.
    """
    if known and text.isidentifier() and text not in known:
        kind = what.removeprefix("--").removesuffix("s")
        raise Vo3dError(f"there is no {kind} {text!r}: expected {', '.join(known)}, a class path, YAML or JSON")
    if text.endswith(".yaml"):
        spec = read_settings(Path(find_config(text)))
    elif text.lstrip().startswith("{"):
        spec = parse_settings(text, what)
    else:
        spec = {"class_path": known.get(text, text)}
    if "class_path" not in spec:
        raise Vo3dError(f"{what} is {text!r}: expected a class path, or a table with class_path and init_args")
    return spec
