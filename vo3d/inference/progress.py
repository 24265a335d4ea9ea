"""How far an evaluation is."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(shown: bool = True) -> Progress:
    """Make a bar on stderr with a description, counts and the time that remains; nothing where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)  # a bar in a log would be noise between the errors
    return Progress(*columns, console=console, disable=not (shown and console.is_terminal))
