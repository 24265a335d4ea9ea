"""Models and datasets out of the configuration of a run, checked against their constructors, without a trainer."""

from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError, quoted
from vo3d.settings.complaints import is_mistake, one_line
from vo3d.settings.files import as_spec, check_spec, find_config, parse_settings, read_settings
from vo3d.settings.trust import check_parts, guarded


def build(base: type, spec: dict[str, Any] | str, where: str = "the configuration") -> Any:
    """The object that `spec` describes: a class path, or a table with `class_path` and `init_args`.

    Modules outside of vo3d, torch and Lightning are imported within `vo3d.settings.trust.allowing` alone.

    Raises Vo3dError, naming `where` the description stands, when the class does not exist, is not a `base`, does not
    accept its arguments, or is of another module.
    """
    with _told(where):
        parser, parsed = _parsed(base, spec, where)
        return parser.instantiate(parsed).it


def resolve(base: type, spec: dict[str, Any] | str, where: str = "the configuration") -> dict[str, Any]:
    """Complete a description by the defaults of the constructor, as plain values of YAML, so that it stays the same.

    Raises Vo3dError as `build`.
    """
    with _told(where):
        parser, parsed = _parsed(base, spec, where)
        found = parse_settings(parser.dump(parsed, skip_unset=False, skip_validation=True), where)["it"]
    return {"class_path": found["class_path"], "init_args": found.get("init_args") or {}}


def _parsed(base: type, spec: dict[str, Any] | str, where: str) -> tuple[ArgumentParser, Namespace]:
    """Check a description against the constructor; also return the parser that did."""
    check_spec(spec, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=base)
    parsed = parser.parse_object({"it": spec})
    check_parts(parsed.it, () if base is Dataset else (base,), where="it")
    return parser, parsed


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn the parser's complaints into Vo3dError; modules of others stay out."""
    try:
        with guarded():
            yield
    except Vo3dError:
        raise
    except (ArgumentError, ValueError) as error:  # the second: what a part of `spec` refused, wrapped by the parser
        if not is_mistake(error):
            raise
        raise Vo3dError(f"{where}: {one_line(error).removeprefix('it: ').removeprefix('it.')}") from error


def read_spec(text: str, what: str, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Read the description that a word of the command line stands for.

    Args:
        text: One of the short names in `known`, a class path, a table in JSON (whose class_path may be a short name
            too), or a YAML file of one.
        what: The option, for messages.
        known: Class paths by their short names.

    Raises:
        Vo3dError: it is no such word, or there is no class_path.
    """
    if known and text.isidentifier() and text not in known:
        kind, near = what.removeprefix("--").removesuffix("s"), get_close_matches(text, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Vo3dError(
            f"there is no {kind} {quoted(text)}: expected {', '.join(known)}, a class path, YAML or JSON{hint}"
        )
    if text.endswith(".yaml"):
        return as_spec(read_settings(Path(find_config(text))), text)
    spec = as_spec(parse_settings(text, what) if text.lstrip().startswith("{") else text, what)
    return {**spec, "class_path": known.get(spec["class_path"], spec["class_path"])}
