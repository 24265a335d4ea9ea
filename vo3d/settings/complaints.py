"""What went wrong in one line for people, whoever says it: vo3d, the system, or a parser of options and settings."""

import re
import sys
from argparse import ArgumentError
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from inspect import signature
from shlex import quote
from typing import NoReturn

from vo3d.errors import Vo3dError, printable, quoted, system_fault
from vo3d.settings.own_modules import allowed_by, where_to_find

KNOWN = frozenset({"vo3d", "torch", "lightning"})  # modules that settings may name
CLOSED = frozenset(sys.stdlib_module_names) | {"jsonargparse"}  # modules that hold no part of a training

KINDS = {  # what a type is called in a configuration
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "dict": "a table",
    "list": "a list",
    "tuple": "a list",
    "Sequence": "a list",
    "Path": "a path",
}
EXAMPLES = {  # classes that an option of this name takes
    "net": "vo3d.models.deepvo.DeepVO",
    **dict.fromkeys(("train", "val", "test"), "vo3d.datasets.rendered.Rendered"),
    "optimizer": "vo3d.optim.Adam",
    "scheduler": "torch.optim.lr_scheduler.StepLR",
    "scheduler.then": "torch.optim.lr_scheduler.StepLR",
}
TABLES = {  # what an option of this name takes that holds settings of no class of one's own
    "sensor": "drawn, or settings of a camera such as '{height: 1.2, focal: 0.9}'",
    "visit": "settings such as '{time: night, motion: walking}'",
    "imu_errors": "mems, or numbers of ImuErrors such as '{gyro_bias: 0.01}'",
}
SYNONYMS = {  # what other programs call an option, which is suggested where the verb has it
    "force": "--overwrite true",
    "overwrite": "--force",
    "resume": "--ckpt_path last",
    "lr": "--model.optimizer.lr",
    "epochs": "--trainer.max_epochs",
    "steps": "--trainer.max_steps",
    "output": "--out",
    "o": "--out",
    "fov": "--field_of_view",
}
_TYPE = re.compile(r"<class '[^']+'>|[\w.]+(?:\[[^\]]*\])?")
_UNION = re.compile(r"Does not validate against any of the Union subtypes\s+Subtypes: \[(.*)\]")
_ABSENT = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_MAKER = re.compile(r"Type .* expects a function or a callable class: .*Namespace\(class_path='([^']+)'", re.DOTALL)
_COUNT = re.compile(r"Expected an? (?:list|tuple) with (\d+) elements\. Got value: (.*)", re.DOTALL)
_PART = re.compile(r"Not a valid subclass of (\w+)\. Got value: (.*?)(?:\s+Subclass types expect|$)", re.DOTALL)
_WORD = re.compile(
    r"(?:Expected a dot import path string: |Unexpected import path format: |Not a valid subclass of \w+\. Got value: )"
    r"(.*?)(?:\s+Subclass types expect|$)",
    re.DOTALL,
)
_DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")
_OPTION = re.compile(r"Option '([\w.]+)' is not accepted$")
_UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (.*)", re.DOTALL)
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")


def is_mistake(error: BaseException) -> bool:
    """Tell whether a user can mend what raised `error`: anything else deserves its traceback."""
    return isinstance(error, ArgumentError | OSError) or any(isinstance(link, Vo3dError) for link in _chain(error))


def one_line(error: BaseException) -> str:
    """Tell what went wrong, in one line for people.

    Our own words as they are, also where a parser has wrapped them in its own; what argparse, jsonargparse and the
    system say as place, finding, expectation.
    """
    own = next((link for link in _chain(error) if isinstance(link, Vo3dError)), None)
    if own is not None:
        text = str(own)
    elif isinstance(error, OSError):
        text = system_fault(error)
    else:
        text = re.sub(r"\S{121,}", lambda word: f"{word[0][:117]}...", _parser_fault(error))
    return printable(text)


def refusal(path: str) -> str:
    """Say why a name in settings was not imported, and what to type where it is one's own."""
    module = path.partition(".")[0]
    if module in CLOSED:
        return f"{quoted(path)} is in a module of Python's own, which holds no part of a training: leave it out"
    return (
        f"{quoted(path)} is not of vo3d, torch or Lightning, and was not imported: if you trust that module, add "
        f"--allow {allowed_by(module)}"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _parser_fault(error: BaseException) -> str:
    """The option, its class, and the innermost reason out of the nested complaints of jsonargparse."""
    keys: list[str] = []
    owner = union = ""
    last = error
    for link in _chain(error):
        text, last = str(link), link
        if (key := re.match(r'Parser key "([^"]+)"', text)) and keys[-1:] != [key[1]]:
            keys.append(key[1])
        if found := _CLASS.match(text) or _MAKER.match(text):
            owner, union = found[1], ""
        elif found := _UNION.match(text):
            union = found[1]
    if denied := _DENIED.search(text):
        text, owner = refusal(denied[1]), ""
    else:
        text = _reason(last, text, keys, union)
    if owner and (refused := _OPTION.search(text)):
        text += f" by {owner}{_nearest_argument(owner, refused[1])}"
    where = ".".join(keys)
    return f"{where}: {text}" if where else text


def _reason(error: BaseException, text: str, keys: list[str], union: str) -> str:  # noqa: PLR0911 (one a kind)
    """Put the innermost complaint into words for people: what was found, what was expected."""
    where = ".".join(keys)
    if isinstance(error, ModuleNotFoundError):
        return where_to_find(error)
    if many := _COUNT.fullmatch(text):
        return f"found {quoted(many[2])}, expected a list of {many[1]}"
    if wrong := re.fullmatch(r"Expected an? (.*)\. Got value: (.*)", text, re.DOTALL):
        return f"found {quoted(wrong[2])}, expected {_kinds(union or wrong[1])}"
    if (table := TABLES.get(where.rpartition(".")[2])) and (word := _WORD.match(text)):
        return f"found {quoted(word[1])}, expected {table}"
    if part := _PART.match(text):
        return f"found {quoted(part[2])}, expected a table of settings of {part[1]}, one or more"
    if text.startswith("Expected a dot import path string: "):
        example = next((path for name, path in EXAMPLES.items() if where.endswith(name)), EXAMPLES["net"])
        return f"found {quoted(text.rpartition(': ')[2])}, expected the path of a class, such as {example}"
    if absent := _ABSENT.search(text):
        return _no_such_name(absent[1], absent[2])
    return text


def _nearest_argument(path: str, name: str) -> str:
    """Say which argument of the class at a path is nearest to a name that it has not."""
    module, _, last = path.rpartition(".")
    found = getattr(sys.modules.get(module), last, None)
    if not callable(found):
        return ""
    near = get_close_matches(name.rpartition(".")[2], signature(found).parameters, n=1)
    return f": did you mean {near[0]}?" if near else ""


def complain_of_words(error: ArgumentError, options: Iterable[str], verb: str) -> NoReturn:
    """Raise the complaint of a parser again; of what it does not know, say what may have been meant.

    Args:
        error: The complaint.
        options: All options of the verb, such as --out.
        verb: Its name.
    """
    text = error.message or ""
    if text.endswith("are required: fit.model.net"):
        raise ArgumentError(
            None,
            "there is no model.net: give a configuration, vo3d fit -c deepvo_rendered.yaml -c optim_adam.yaml, or "
            "the class of a model, --model.net vo3d.models.deepvo.DeepVO",
        ) from None
    if not (found := _UNKNOWN.fullmatch(text)):
        raise error
    word = found[1].split()[0]
    known = [option for option in options if option.startswith("--") and not option.endswith("help")]
    if not word.startswith("-"):
        if "--config" in known and word.endswith((".yaml", ".yml")):
            raise ArgumentError(None, f"{word}: give it by -c, as in vo3d {verb} -c {quote(word)}") from None
        raise ArgumentError(None, f"unrecognized arguments: {found[1]}: expected an option, such as --out") from None
    name = word.partition("=")[0]
    below = [option for option in known if option.rpartition(".")[2] == name.lstrip("-").replace("-", "_")]
    synonym = SYNONYMS.get(name.lstrip("-"), "")
    there = {synonym.partition(" ")[0], synonym.rpartition(".")[0]} & set(known)
    near = [synonym] if there else below or get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f": did you mean {' or '.join(near[:3])}?" if near else ""
    raise ArgumentError(None, f"unrecognized arguments: {found[1]}{hint}") from None


def _no_such_name(module: str, name: str) -> str:
    """Say that a module lacks a class, and which of its names is nearest."""
    classes = {each.lower(): each for each, value in vars(sys.modules[module]).items() if isinstance(value, type)}
    near = get_close_matches(name.lower(), classes, n=1)
    return f"there is no {module}.{name}" + (f": did you mean {classes[near[0]]}?" if near else "")


def _kinds(types: str) -> str:
    """Names of Python's types in words: "<class 'int'>, <class 'NoneType'>" is "a whole number or null"."""
    words = []
    for name in _TYPE.findall(types):
        plain = name.removeprefix("<class '").removesuffix("'>")
        base, _, inside = plain.partition("[")
        if base.endswith("Literal"):
            words.append("one of " + inside.rstrip("]").replace("'", ""))
        elif base == "tuple" and inside:
            words.append(f"a list [{inside}")
        else:
            words.append(KINDS.get(base.rpartition(".")[2], plain))
    return " or ".join(words)
