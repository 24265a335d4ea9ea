"""Parts that the reports of evaluations share: their protocol, their training, their origin."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vo3d.report.figures import LOSSES, read_history
from vo3d.report.html import Code, Definitions, Picture, Text
from vo3d.report.pictures import Pictures
from vo3d.report.scored import Scored


def scored_names(models: Mapping[str, Scored]) -> list[str]:
    """List every recording that any model saw."""
    return list(dict.fromkeys(name for model in models.values() for name in model.sequences))


def training_parts(pictures: Pictures, history: Path, config: Path) -> Iterator[Picture | Text | Code]:
    """Show the curves of a fit, out of its CSV file, and its configuration."""
    if history.is_file() and set(LOSSES) & set(read_history(history)):
        yield pictures.training(history)
    else:
        yield Text(f"The run folder holds no {history.name} with losses: the fit was too short to log any.", "note")
    if config.is_file():
        yield Code(config.read_text(encoding="utf-8"), f"The resolved configuration ({config.name})")
    else:
        yield Text(f"The run folder holds no {config.name}.", "note")


def protocol_parts(models: Mapping[str, Scored]) -> Iterator[Text | Definitions]:
    """Show the protocol: one line a term; where models differ, one for each of them."""
    terms = list(dict.fromkeys(key for model in models.values() for key in model.protocol))
    entries: dict[str, str | dict[str, str]] = {}
    for term in terms:
        values = {name: words(model.protocol.get(term)) for name, model in models.items()}
        same = len(set(values.values())) == 1
        entries[term.replace("_", " ")] = next(iter(values.values())) if same else values
    if any(isinstance(meaning, dict) for meaning in entries.values()):
        yield Text(
            "A term with one line for each model is one in which the models differ: mind it when comparing.", "note"
        )
    yield Definitions(entries)


def origin_parts(models: Mapping[str, Scored], commands: Sequence[str]) -> Iterator[Text | Code | Definitions]:
    """Show the commands that repeat a report, and where its numbers came from."""
    if commands:
        yield Code("\n".join(commands))
    else:
        yield Text("No commands were given to this report.", "note")
    for name, model in models.items():
        if model.provenance:
            facts = {
                key.replace("_", " "): words(value) for key, value in model.provenance.items() if key != "must_agree"
            }
            yield Code(
                "\n".join(f"{key}: {value}" for key, value in facts.items()), f"Where the numbers of {name} came from"
            )


def words(value: object) -> str:
    """Write a value of JSON as a reader expects it: lists and tables without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(words(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "not stated" if value is None else str(value)


def count(things: Mapping[str, object] | Sequence[object], name: str) -> str:
    """Write the number of things with their name."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
