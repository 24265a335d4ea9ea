"""Models and datasets out of the configuration of a run, checked against their constructors, without a trainer."""

from argparse import ArgumentError
from typing import Any

from jsonargparse import ArgumentParser

from vo3d.errors import Vo3dError


def build(base: type, spec: dict[str, Any] | str, where: str = "the configuration") -> Any:
    """The object that `spec` describes: a class path, or a table with `class_path` and `init_args`.

    Raises Vo3dError, naming `where` the description stands, when the class does not exist, is not a `base`, or does
    not accept its arguments.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=base)
    try:
        return parser.instantiate(parser.parse_object({"it": spec})).it
    except ArgumentError as error:
        raise Vo3dError(f"{where}: {' '.join(str(error).split())}") from error
