"""YAML files of settings in, with errors that name file and line."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from vo3d.errors import Vo3dError


def read_settings(path: Path) -> dict[str, Any]:
    """The table in a YAML file; raises Vo3dError when the file is absent or holds anything else."""
    if not path.is_file():
        raise Vo3dError(f"{path}: no such file: expected settings in YAML")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not text ({error.reason}): expected settings in YAML") from error
    return parse_settings(text, str(path))


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
