"""What is installed and what a model is made of."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vo3d.errors import Vo3dError
from vo3d.evaluation.build import build
from vo3d.formats.pretrained import card_of, find_pretrained, weights_names
from vo3d.formats.settings import read_settings
from vo3d.model import Model
from vo3d.provenance import versions


def print_overview(model: str | None = None, weights: str | None = None, *, console: Console | None = None) -> None:
    """Print versions, devices and threads; or what `model` is made of, or the card of `weights`.

    Args:
        model: A class path, or a YAML file: the model's parameters by part.
        weights: A name or a path, see `vo3d.evaluation.pretrained.load_pretrained`.
        console: Where to print.

    Raises:
        Vo3dError: `model` or `weights` names nothing.
    """
    console = console or Console()
    if weights is not None:
        console.print(card_table(weights))
        return
    table = Table("", "version or value", title="Installed")
    for name, value in versions().items():
        table.add_row(name, value)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    table.add_row("accelerator", str(found) if found is not None else "none")
    table.add_row("threads", f"{torch.get_num_threads()} of {os.cpu_count()} CPUs")
    table.add_row("weights", ", ".join(weights_names()))
    console.print(table)
    if model is not None:
        console.print(parameter_table(build(Model, _spec(model), model)))


def parameter_table(model: Model) -> Table:
    """Parameters and buffers of each direct part of `model`, and their sum."""
    table = Table("part", "kind", "parameters", "buffers", title=type(model).__name__)
    table.add_row("needs", ", ".join(model.needs))
    table.add_row("gives", ", ".join(model.gives))
    for name, part in model.named_children():
        table.add_row(name, type(part).__name__, f"{_count(part.parameters()):,}", f"{_count(part.buffers()):,}")
    own = _count(model.parameters(recurse=False)), _count(model.buffers(recurse=False))
    table.add_row("itself", "", f"{own[0]:,}", f"{own[1]:,}")
    table.add_row("all", "", f"{_count(model.parameters()):,}", f"{_count(model.buffers()):,}", style="bold")
    return table


def card_table(weights: str) -> Table:
    """What weights are, by their name or path: the model, how they were made, what they reach, where they are.

    Raises Vo3dError when there are none, or the file does not say what it is.
    """
    path, card = find_pretrained(weights, fetch=False)
    card = card or (card_of(path) if path is not None and path.is_file() else None)
    if card is None:
        raise Vo3dError(
            f"{path}: has no card, as runs and checkpoints have none: expected safetensors of vo3d, or one of "
            f"{', '.join(weights_names())}"
        )
    missing = "not here: fetched when it is used" if card.file else "none"
    table = Table("", "", title=card.name, show_header=False)
    for name, text in (
        ("what", card.about),
        ("model", card.class_path),
        ("arguments", _lines(card.init_args) or "as its constructor has them"),
        ("recipe", _lines(card.recipe) if isinstance(card.recipe, Mapping) else card.recipe),
        ("figures", _lines(card.figures)),
        ("licence", card.licence),
        ("page", card.page),
        ("file", missing if path is None else str(path)),
    ):
        table.add_row(name, escape(text))
    return table


def _lines(facts: Mapping[str, Any]) -> str:
    """Facts as lines, nested ones indented."""
    return yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=1000).rstrip() if facts else ""


def _count(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _spec(text: str) -> dict[str, Any] | str:
    """A class path as it is; of a YAML file the part under model.net, or the whole."""
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        return text
    content = read_settings(path)
    spec = content.get("model", {}).get("net", content)
    if not isinstance(spec, dict) or "class_path" not in spec:
        raise Vo3dError(f"{path}: names no model: expected class_path under model.net")
    return spec
