"""The tasks: one file each, which bears the name of its task."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from vo3d.evaluation.task import Task


def known_tasks() -> Mapping[str, type[Task]]:
    """The tasks of this folder by name: of each file the class that has the file's name as its own."""
    found: dict[str, type[Task]] = {}
    for file in pkgutil.iter_modules(__path__):
        for kind in vars(import_module(f"{__name__}.{file.name}")).values():
            if isinstance(kind, type) and issubclass(kind, Task) and vars(kind).get("name") == file.name:
                found[file.name] = kind
    return found
