"""The one door: `vo3d <verb>`. Nothing heavy is imported before a verb is chosen."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import inspect
import os
import re
import sys
from argparse import Action, ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Container, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, get_args, get_origin

from vo3d.errors import Vo3dError, quoted
from vo3d.settings.complaints import complain_of_words, is_mistake, one_line
from vo3d.verbs import FIRST, FUNCTIONS

VERBS = {
    "demo": "render, train, score and report in ten minutes, with nothing downloaded",
    "track": "find the path of a camera from its video",
    "render": "write scenes of the rendered world in the layouts of KITTI and DTU",
    "fit": "train a model from a YAML file",
    "validate": "losses of a trained model on the validation set",
    "test": "losses of a trained model on the test set",
    "evaluate": "score a trained model and baselines over whole recordings",
    "robustness": "score a model of motion and baselines while the sensors fail",
    "reconstruct": "make a point cloud of posed photographs",
    "view": "show a point cloud, a mesh or the path of a camera",
    "cloud": "score a point cloud against a reference, or by the rules of DTU",
    "locate": "tell where images were taken, in a scene that was learnt",
    "places build": "describe images and keep them in a map, to recognise places by",
    "places find": "find the images of a map that show the places of other images",
    "trajectory": "score trajectory files against a reference",
    "convert-trajectory": "write a trajectory file in another format",
    "compare": "put results side by side, if their protocols agree",
    "optimizers": "watch optimisers on surfaces, data regimes and a small network: pictures, tables, a page",
    "weights fetch": "fetch weights that others published, once, and check them",
    "info": "versions, devices and weights; layers, shapes, parameters and multiply-adds of a model",
}


NEGATIVE = r"-(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?"  # numbers, of which argparse knows those without exponents alone


def overview(verbs: Mapping[str, str] = MappingProxyType(VERBS)) -> str:
    """The text of `vo3d --help`, or of the help of some verbs that have their first word in common."""
    lines = [f"  {verb:<20}{text}" for verb, text in verbs.items()]
    return "\n".join(
        [
            "usage: vo3d <verb> [options]",
            "",
            *lines,
            "",
            "vo3d <verb> --help shows its options and an example, vo3d --version the version.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status.

    2, and one line on stderr, for a mistake that the user can mend; 130 when interrupted from the keyboard; 141 when
    the reader of a pipe went away, as of a program that the system stops for that.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it ends
        return 141


def _run(words: Sequence[str]) -> int:
    """Run one verb, or say what there is; raises BrokenPipeError where the reader of a pipe went away."""
    try:
        if not words or words[0] in {"-h", "--help"}:
            sys.stdout.write(overview() + "\n")
        elif words[0] == "--version":
            sys.stdout.write(f"vo3d {version('vo3d')}\n")
        else:
            run_verb(words)
        sys.stdout.flush()  # so that a reader that went away is noticed here
    except SystemExit as ended:  # after a help; rich ends so where it meets a pipe without a reader
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        sys.stdout.flush()
        raise
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        sys.stderr.write("\nvo3d: interrupted; what was written before stays\n")
        return 130
    except (ArgumentError, OSError, ValueError) as error:
        if not is_mistake(error):
            raise
        where = f"; vo3d {split_verb(words)[0]} --help tells more" if isinstance(error, ArgumentError) else ""
        sys.stderr.write(f"vo3d: error: {one_line(error)}{where}\n")
        return 2
    return 0


def split_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Part the verb, which may be of two words, from its options; Vo3dError where the second is missing or none.

    Of a verb of two words the first alone, or with --help, is returned as it is.
    """
    first, *rest = words
    seconds = [verb.partition(" ")[2] for verb in VERBS if verb.startswith(f"{first} ")]
    if not seconds or not rest or rest[0] in {"-h", "--help"}:
        return first, rest
    if rest[0] in seconds:
        return f"{first} {rest[0]}", rest[1:]
    near = get_close_matches(rest[0], seconds, n=1)
    hint = f"did you mean vo3d {first} {near[0]}?" if near else f"expected {' or '.join(seconds)}"
    raise Vo3dError(f"there is no verb {quoted(f'{first} {rest[0]}')}: {hint}")


def run_verb(words: Sequence[str]) -> None:
    """Run the verb that `words` begin with, with its options.

    Raises what `vo3d.settings.complaints.is_mistake` recognises for a mistake that the user can mend.
    """
    verb, rest = split_verb(words)
    if verb in FUNCTIONS:
        _call(verb, rest)
    elif verb in VERBS:
        from vo3d.training.command import run

        run([verb, *find_configs(rest)])
    elif parts := {name: text for name, text in VERBS.items() if name.startswith(f"{verb} ")}:
        sys.stdout.write(overview(parts) + "\n")
    else:
        firsts = list(dict.fromkeys(name.partition(" ")[0] for name in VERBS))
        near = get_close_matches(verb, firsts, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(firsts)}"
        raise Vo3dError(f"there is no verb {quoted(verb)}: {hint}")


def find_configs(words: Sequence[str]) -> list[str]:
    """`words` with the bare names after -c and --config replaced by the files they mean.

    A name is looked up in the working folder first, then among the configurations that vo3d brings.
    Raises Vo3dError when it is in neither.
    """
    from vo3d.settings.files import find_config

    found, expected = [], False
    for word in words:
        option, sign, value = word.partition("=")
        if expected:
            found.append(find_config(word))
        elif option == "--config" and sign:
            found.append(f"{option}={find_config(value)}")
        else:
            found.append(word)
        expected = not expected and word in {"-c", "--config"}
    return found


def _call(verb: str, words: list[str]) -> None:
    """Parse `words` by the signature and the docstring of the verb's function, and call it.

    A list takes as many words as there are: `--baselines classic constant`.
    """
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
        """Leaves the lines of the example as they are, and names types as people write them."""

        def _expand_help(self, action: Action) -> str:
            return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", super()._expand_help(action))

    function = FUNCTIONS[verb]
    text = inspect.getdoc(function) or ""
    parser = ArgumentParser(
        prog=f"vo3d {verb}",
        description=text.partition("\n\nArgs:")[0],
        formatter_class=Formatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    lists: dict[str, Any] = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if get_origin(parameter.annotation) is list
    }
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=set(lists))
    for name, parameter in lists.items():
        required = parameter.default is inspect.Parameter.empty
        options: dict[str, Any] = {"nargs": "+"} if required else {"nargs": "*", "default": []}
        kind = get_args(parameter.annotation)[0]
        parser.add_argument(name if required else f"--{name}", type=kind, help=_help_of(text, name), **options)
    switches = {
        name for name, parameter in inspect.signature(function).parameters.items() if parameter.annotation is bool
    }
    if verb in FIRST and words and not words[0].startswith("-"):
        words = [f"--{FIRST[verb]}", *words]
    words = spelled_out(words, switches)
    try:
        parsed = parser.parse_args(words)
    except ArgumentError as error:
        complain_of_words(error, parser._option_string_actions, verb)
    function(**parser.instantiate(parsed).as_dict())


def spelled_out(words: Sequence[str], switches: Container[str]) -> list[str]:
    """Options as the parser knows them.

    `--num-views 5` is `--num_views 5`; where `mesh` is among the `switches`, `--mesh` without true or false behind it
    is `--mesh=true`, and `--no-mesh` is `--mesh=false`. `-1e-3` is `-0.001`: with its exponent it would be an option.
    """
    found: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, sign, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if re.fullmatch(NEGATIVE, word, re.IGNORECASE):
            found.append(format(Decimal(word), "f"))
        elif not option.startswith("--") or not name:
            found.append(word)
        elif sign or (name in switches and following in {"true", "false"}):
            found.append(f"--{name}{sign}{value}")
        elif name in switches:
            found.append(f"--{name}=true")
        elif name.removeprefix("no_") in switches:
            found.append(f"--{name.removeprefix('no_')}=false")
        else:
            found.append(f"--{name}")
    return found


def _help_of(docstring: str, name: str) -> str:
    """The line of a Google docstring that describes the argument `name`."""
    lines = (line.strip().partition(": ") for line in docstring.splitlines())
    return next(text for start, _, text in lines if start == name)


if __name__ == "__main__":
    sys.exit(main())
