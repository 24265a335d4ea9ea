"""Models and datasets out of the configuration of a run, checked against their constructors, without a trainer."""

from argparse import ArgumentError
from typing import Any

from jsonargparse import ArgumentParser

from vo3d.errors import Vo3dError, is_mistake, one_line


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
