"""The one door: `vo3d <verb>`. Nothing heavy is imported before a verb is chosen."""

import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from vo3d.errors import Vo3dError

VERBS = {
    "demo": "render, train, score and report in ten minutes, with nothing downloaded",
    "render": "write recordings of the rendered world in KITTI's layout",
    "fit": "train a model from a YAML file",
    "validate": "losses of a trained model on the validation set",
    "test": "losses of a trained model on the test set",
    "evaluate": "score a trained model and baselines over whole recordings",
    "trajectory": "score one trajectory file against another",
    "compare": "put results side by side, if their protocols agree",
    "info": "versions and devices; the parameters of a model",
}


def overview() -> str:
    """The text of `vo3d --help`."""
    lines = [f"  {verb:<11}{text}" for verb, text in VERBS.items()]
    return "\n".join(["usage: vo3d <verb> [options]", "", *lines, "", "vo3d <verb> --help shows an example."])


def find_configs(words: Sequence[str]) -> list[str]:
    """`words` with the bare names after -c and --config replaced by the files they mean.

    A name is looked up in the working folder first, then among the configurations that vo3d brings.
    Raises Vo3dError when it is in neither.
    """
    found, expected = [], False
    for word in words:
        option, sign, value = word.partition("=")
        if expected:
            found.append(_find_config(word))
        elif option == "--config" and sign:
            found.append(f"{option}={_find_config(value)}")
        else:
            found.append(word)
        expected = not expected and word in {"-c", "--config"}
    return found


def _find_config(name: str) -> str:
    if Path(name).is_file():
        return name
    brought = {path.name: path for path in resources.files("vo3d.configs").iterdir() if path.name.endswith(".yaml")}
    if name in brought:
        return str(brought[name])
    raise Vo3dError(
        f"there is no configuration {name!r}: neither a file, nor one that vo3d brings ({', '.join(sorted(brought))})"
    )


def _train(verb: str) -> Callable[[list[str]], None]:
    def command(words: list[str]) -> None:
        from vo3d.training.command import run  # noqa: PLC0415 (seconds)

        run([verb, *find_configs(words)])

    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 2 with one line on stderr for a mistake that the user can mend."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        sys.stdout.write(overview() + "\n")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        return _complain(f"there is no verb {verb!r}: expected one of {', '.join(VERBS)}")
    try:
        _train(verb)(rest)
    except (Vo3dError, ArgumentError) as error:
        return _complain(str(error))
    return 0


def _complain(message: str) -> int:
    sys.stderr.write(f"vo3d: error: {' '.join(message.split())}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
