"""Tabulate what is installed, and the layers of a model."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from vo3d.errors import Vo3dError, printable, quoted
from vo3d.inference.cards import card_of, find_pretrained, weights_names, what_comes
from vo3d.model import Model
from vo3d.pipelines.info.summary import NOT_COUNTED, Layer, Views, count, summarise
from vo3d.provenance import accelerator, versions
from vo3d.settings.build import build
from vo3d.settings.files import as_spec, check_shape, find_config, read_settings
from vo3d.settings.run_folder import SPLITS, net_of
from vo3d.settings.trust import allowing

DEPTH = 2  # levels of nested layers that the table shows
SIZE = (480, 640)  # rows and columns of the views, where neither model nor data tell
NUM_VIEWS = 3


def print_overview(
    model: str | None = None,
    weights: str | None = None,
    *,
    size: Sequence[int] | None = None,
    views: int | None = None,
    depth: int = DEPTH,
    console: Console | None = None,
) -> None:
    """Print versions, devices and threads; or what `model` is made of; or the card of `weights`.

    For the options see `vo3d.verbs.learning.info`; `console` is where to print.

    Raises:
        Vo3dError: `model` or `weights` names nothing or both are given, settings of views are given without a model, or
            it does not take such views.
    """
    console = console or Console()
    given = {"size": size is not None, "views": views is not None, "depth": depth != DEPTH}
    names = ", ".join(name for name, there in given.items() if there)
    if model is not None and weights is not None:
        raise Vo3dError(f"a model, {model}, and weights, {weights}: expected one of both: ask for them one by one")
    if model is None and names:
        raise Vo3dError(f"{names} without a model: expected a class path or a configuration, such as deepvo_kitti.yaml")
    if weights is not None:
        console.print(card_table(weights))
        return
    if depth < 0:
        raise Vo3dError(f"depth is {depth}: expected 0, which shows the whole alone, or more levels")
    console.print(installed_table() if model is None else model_table(model, size, views, depth))


def installed_table() -> Table:
    """Tabulate versions, devices, threads and the weights that have a name."""
    table = Table("", "version or value", title="Installed")
    for name, value in (
        *versions().items(),
        *accelerator().items(),
        ("accelerator", str(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "none")),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} CPUs"),
        ("weights", ", ".join(weights_names())),
    ):
        table.add_row(name, value)
    return table


def model_table(model: str, size: Sequence[int] | None, num_views: int | None, depth: int) -> Table:
    """Tabulate layers, shapes, parameters and multiply-adds of the model that a class path or a YAML file names.

    Raises:
        Vo3dError: there is no such model, or it does not take such views.
    """
    if size is not None and len(size) != 2:
        raise Vo3dError(f"size is {' '.join(map(str, size)) or 'empty'}: expected two numbers, rows and columns")
    spec, content = _spec(model)
    with allowing(typed=model):
        net, views, layers = summarise(partial(build, Model, spec, model), partial(_views, content, size, num_views))
    table = Table(
        Column("layer", overflow="fold"),
        Column("kind", no_wrap=True),
        Column("output", overflow="fold"),
        *(Column(name, justify="right", no_wrap=True) for name in ("runs", "parameters", "multiply-adds")),
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        title=type(net).__name__,
        caption=f"Needs {', '.join(net.needs)}; gives {layers[0].output}.\n{views.source}. A layer counts with all "
        f"that is in it. Multiply-adds are those of products and convolutions, without {NOT_COUNTED}.",
    )
    for layer in layers[1:]:
        if layer.name.count(".") < depth:
            table.add_row(*_cells(layer), end_section=layer is layers[-1])
    table.add_section()
    table.add_row("all", layers[0].kind, "", "", *_cells(layers[0])[-2:], style="bold")
    for name, text in (
        ("trainable", f"{count(parameter for parameter in net.parameters() if parameter.requires_grad):,}"),
        ("buffers", f"{count(net.buffers()):,}"),
        ("size", f"{sum(tensor.nbytes for tensor in (*net.parameters(), *net.buffers())) / 1e6:,.2f} MB"),
    ):
        table.add_row(name, "", "", "", text)
    return table


def _cells(layer: Layer) -> tuple[str, ...]:
    """Give its name below its parent's, kind, first output, how often it ran, parameters, multiply-adds."""
    first, more, _ = layer.output.partition(", ")
    return (
        "  " * layer.name.count(".") + layer.name.rpartition(".")[2],
        layer.kind,
        escape(first) + (", ..." if more else ""),
        str(layer.calls or ""),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
    )


def _views(content: Mapping[str, Any], size: Sequence[int] | None, num_views: int | None, model: Model) -> Views:
    """Choose the views to count `model` for: as asked, else its own size, else those of its data in `content`."""
    datasets = [(content.get("data") or {}).get(split) for split in SPLITS]
    arguments = [one["init_args"] for one in datasets if isinstance(one, Mapping) and one.get("init_args")]

    def of_data(kind: type, *names: str) -> Any:
        found = [one[name] for one in arguments for name in names if one.get(name)]
        return next((value for value in found if isinstance(value, kind)), None)

    sizes = {
        "as asked": size,
        "of the model": getattr(model, "size", None),
        "of its data": of_data(list, "size"),
        "by default": SIZE,
    }
    numbers = {"as asked": num_views, "of its data": of_data(int, "num_views", "clip_length"), "by default": NUM_VIEWS}
    found, of_size = next((value, why) for why, value in sizes.items() if value is not None)
    if len(found) != 2 or not all(isinstance(number, int) for number in found):
        raise Vo3dError(f"size is {quoted(found)} ({of_size}): expected rows and columns: give --size")
    rows, columns = found
    number, of_number = next((value, why) for why, value in numbers.items() if value is not None)
    source = f"For one clip of {number} views ({of_number}) of {rows} rows and {columns} columns ({of_size})"
    return Views(size=(rows, columns), num=number, source=source)


def card_table(weights: str) -> Table:
    """Tabulate the card of weights: the model, how they were made, what they reach, where they are.

    Raises Vo3dError when there are none, or the file does not say what it is.
    """
    path, card = find_pretrained(weights, required=False)
    card = card or (card_of(path) if path is not None and path.is_file() else None)
    if card is None:
        raise Vo3dError(
            f"{path}: has no card, as runs and checkpoints have none: expected safetensors of vo3d, or one of "
            f"{', '.join(weights_names())}"
        )
    missing = f"not here: vo3d weights fetch {card.name} brings it ({what_comes(card)})" if card.file else "none"
    table = Table("", "", title=escape(printable(card.name)), show_header=False)
    for name, text in (
        ("what", printable(card.about)),
        ("model", printable(card.class_path)),
        ("arguments", _lines(card.init_args) or "as its constructor has them"),
        ("recipe", _lines(card.recipe) if isinstance(card.recipe, Mapping) else printable(card.recipe)),
        ("figures", _lines(card.figures)),
        ("licence", printable(card.licence)),
        ("page", printable(card.page)),
        ("file", missing if path is None else printable(str(path))),
    ):
        table.add_row(name, escape(text))
    return table


def _lines(facts: Mapping[str, Any]) -> str:
    """Put facts in lines, nested ones indented."""
    return yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=1000).rstrip() if facts else ""


def _spec(text: str) -> tuple[dict[str, Any] | str, dict[str, Any]]:
    """Give a class path as it is; of a YAML file the part under model.net, or the whole. And the file's content."""
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"}:
        if not text or "/" in text or path.exists():
            raise Vo3dError(
                f"{quoted(text)} is no model: expected a class path, such as vo3d.models.deepvo.DeepVO, or a "
                "configuration, such as deepvo_kitti.yaml or config.yaml in the folder of a run"
            )
        return text, {}
    file = find_config(text)
    content = read_settings(Path(file))
    if "class_path" in content:
        return as_spec(content, file), {}
    check_shape(content, file)
    if not (content.get("model") or {}).get("net"):
        raise Vo3dError(f"{path}: names no model: expected class_path under model.net")
    return net_of(content, file), content
