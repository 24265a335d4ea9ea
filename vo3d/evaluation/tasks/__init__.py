"""The tasks: one file each, which bears the name of its task."""

from collections.abc import Mapping

from vo3d.evaluation.task import Task
from vo3d.settings.discovery import names_in


def known_tasks() -> Mapping[str, type[Task]]:
    """Find the tasks of this folder by name: in each file the class that has the file's name as its own."""
    return {
        kind.name: kind
        for path, kind in names_in(__name__)
        if isinstance(kind, type) and issubclass(kind, Task) and path.split(".")[-2] == vars(kind).get("name")
    }
