"""Files of settings: whatever a file holds, what is wrong with it is one line, in bounded time and memory."""

from pathlib import Path

import pytest
import yaml

from checks import complaint
from places import TINY
from vo3d.errors import Vo3dError, quoted
from vo3d.model import Model
from vo3d.settings.build import build
from vo3d.settings.files import MOST_CHARACTERS, as_spec, parse_settings, read_settings
from vo3d.settings.run_folder import read_run

NET = "model: {net: {class_path: vo3d.models.constant_motion.ConstantMotion}}\n"
DATA = (
    "data: {test: {class_path: vo3d.datasets.rendered.Rendered, init_args: {seeds: [0], frames: 3, size: [32, 64]}}}\n"
)
TABLE = "expected a table of settings"
SPEC = "expected a class path, or a table with class_path and init_args"
PATH = "expected the path of a class"
CLASS = ":1: model.net.class_path: found "
SHAPES = {
    "a number for the model": ("model: 5\n" + DATA, ":1: model: found 5, " + TABLE),
    "a list for the data": (NET + "data: [1]\n", ":2: data: found [1], " + TABLE),
    "a number for the data": (NET + "data: 5\n", ":2: data: found 5, " + TABLE),
    "words for the trainer": (NET + DATA + "trainer: fast\n", ":3: trainer: found 'fast', " + TABLE),
    "a list for the net": ("model: {net: [1]}\n" + DATA, ":1: model.net: found [1], " + SPEC),
    "a number for a dataset": (NET + "data: {test: 5}\n", ":2: data.test: found 5, " + SPEC),
    "a list of arguments": (
        NET + "data: {test: {class_path: vo3d.datasets.rendered.Rendered, init_args: [1]}}\n",
        ":2: data.test.init_args: found [1], expected a table of arguments",
    ),
    "a number as an argument": (
        NET + "data: {test: {class_path: vo3d.datasets.rendered.Rendered, init_args: {1: 2}}}\n",
        ":2: data.test.init_args: found 1, expected names of arguments",
    ),
    "bytes for a class": (
        "model: {net: {class_path: !!binary aGVsbG8=}}\n" + DATA,
        CLASS + "b'",
    ),
    "a set for a class": (
        "model: {net: {class_path: !!set {a}}}\n" + DATA,
        CLASS + "{'a'}, " + PATH,
    ),
    "a date for a class": (
        "model: {net: {class_path: 2001-01-01}}\n" + DATA,
        CLASS + "datetime",
    ),
    "dots for a class": (
        "model: {net: {class_path: ....}}\n" + DATA,
        CLASS + "'....', " + PATH,
    ),
    "no name of a class": ("model: {net: {class_path: ''}}\n" + DATA, CLASS + "'', " + PATH),
    "lists too deep": ("a: " + 3000 * "[" + 3000 * "]", ": lists or tables too deep within each other"),
    "lists deep": ("a:\n " + 60 * "[" + 60 * "]", ":2: more than 50 levels of lists or tables"),
    "an anchor within itself": ("a: &a [*a]", ":1: more than 50 levels of lists or tables"),
    "anchors that multiply": (
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
        "more than 100,000 values, anchors counted each time",
    ),
    "tables that merge": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
        "more than 100,000 values, anchors counted each time",
    ),
    "a number of too many digits": ("model: " + 5000 * "1", "holds a value that cannot be read (Exceeds the limit"),
    "a date that is none": ("model: 2001-13-45", "holds a value that cannot be read (month must be in 1..12)"),
    "too long a file": ("# " + MOST_CHARACTERS * "x", ": more than 1,000,000 characters"),
}


@pytest.mark.parametrize("verb", ["fit", "evaluate", "info"])
@pytest.mark.parametrize("what", SHAPES)
def test_settings_of_another_shape(what: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = SHAPES[what]
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    line = complaint(capsys, verb, *(["-c"] if verb == "fit" else []), path)
    assert line.removeprefix(str(path)).startswith(expected) if expected.startswith(":") else expected in line
    assert len(line.removeprefix(str(path))) < 300


def test_a_class_path_alone_is_a_description(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text("model: {net: vo3d.models.constant_motion.ConstantMotion}\n" + DATA)
    config = read_run(path)
    assert config["model"]["net"] == {"class_path": "vo3d.models.constant_motion.ConstantMotion", "init_args": {}}
    assert type(build(Model, config["model"]["net"])).__name__ == "ConstantMotion"
    with pytest.raises(Vo3dError, match=r"here: model\.net: found None, expected a class path"):
        as_spec(None, "here", "model", "net")


def test_what_is_right_is_read(tmp_path: Path) -> None:
    text = "a: &a [1, 2]\nb: {<<: {x: 1}, y: *a}\n"
    assert parse_settings(text, "here") == {"a": [1, 2], "b": {"x": 1, "y": [1, 2]}}
    assert read_settings(TINY) == yaml.safe_load(TINY.read_text())


def test_foreign_words_are_quoted_short_and_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quoted("a\x1b[31mb\nc") == r"'a\x1b[31mb\nc'"
    assert quoted("é 字") == "'é 字'"
    assert len(quoted("x" * 10**6)) == 120
    assert quoted([1, "a"]) == "[1, 'a']"
    assert quoted(10**5000) == "int too large to show"
    long = tmp_path / "long.yaml"
    long.write_text(yaml.safe_dump({"model": {"net": {"class_path": f"vo3d.{'x' * 5000}.\x1b[31mNet"}}}))
    for words in (["fit", "-c", long], ["info", long], ["info", "--weights", "\x1b[31m" + 100 * "w"]):
        line = complaint(capsys, *words).removeprefix(str(long))
        assert "\x1b" not in line
        assert len(line) < 400


@pytest.mark.real
def test_the_settings_that_trials_met(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((shared_data / "trials" / "settings").glob("*.yaml"))
    assert files
    for path in files:
        assert len(complaint(capsys, "fit", "-c", path, "--out", "new", "--trainer.max_epochs", "1")) < 300
        assert not Path("RAN_A_COMMAND").exists()
