"""A method of one's own is found beside the YAML file that names it, and nowhere else by the way."""

import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from checks import complaint
from places import TINY
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.settings.own_modules import within_reach
from vo3d.settings.trust import allowing

METHOD = "from tiny import TinyModel\n\n\nclass MyVO(TinyModel):\n    SIGN = {!r}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with `exp/own.yaml` and the module that it names beside it."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(TINY.read_text())
    config["model"]["net"] = {"class_path": "mymethod.MyVO"}
    for folder in ("exp", "other"):
        Path(folder).mkdir()
        Path(folder, "mymethod.py").write_text(METHOD.format(folder))
        Path(folder, "own.yaml").write_text(yaml.safe_dump(config))
    yield tmp_path
    sys.modules.pop("mymethod", None)


def test_a_run_finds_its_method_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = list(sys.path)
    assert main(["fit", "-c", "exp/own.yaml", "--out", "run"]) == 0
    line = capsys.readouterr().out.rpartition("score it with: ")[2].strip()
    assert line == "vo3d evaluate run --allow exp/mymethod.py tiny"
    assert sys.path == path
    sys.modules.pop("mymethod")

    for words in (["evaluate", "run"], ["fit", "-c", "run/config.yaml", "--out", "again"]):  # the run knows, but asks
        said = complaint(capsys, *words, *(["--allow", "tiny"] if words[0] == "evaluate" else []))
        assert "add --allow exp/mymethod.py" in said
        assert "mymethod" not in sys.modules
    assert main([*line.split()[1:], "--lengths", "1"]) == 0
    sys.modules.pop("mymethod")
    assert main(["info", "exp/own.yaml", "--allow", "mymethod", "tiny"]) == 0
    assert sys.path == path


def test_two_modules_of_one_name_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "-c", "exp/own.yaml", "-c", "other/own.yaml", "--out", "run"]
    assert "mymethod is both other/mymethod.py and exp/mymethod.py" in complaint(capsys, *words)
    Path("exp/yaml.py").touch()
    with pytest.raises(Vo3dError, match=r"module yaml is both exp/yaml\.py and "), allowing(["exp/yaml.py"]):
        pass
    with allowing(["other/mymethod.py"], given={"exp/own.yaml": {"net": "mymethod.MyVO"}}):
        import mymethod

        assert mymethod.MyVO.SIGN == "other"


def test_only_a_folder_that_holds_the_module_is_on_the_path(here: Path) -> None:
    before = list(sys.path)
    with within_reach([("mymethod", Path("exp")), ("mymethod", Path()), ("absent", Path("other"))]):
        assert sys.path == [*before, str(here / "exp")]
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # as a process that reads data is begun elsewhere
            assert pool.apply(eval, ["__import__('mymethod').MyVO.SIGN"]) == "exp"
    assert sys.path == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("evaluate exp/own.yaml", "'mymethod.MyVO' is not of vo3d, torch or Lightning, and was not imported"),
        ("evaluate exp/own.yaml --allow exp/absent.py", "--allow exp/absent.py: no such file"),
        ("evaluate exp/own.yaml --allow exp/own.yaml", "no file of a module: expected one such as exp/mymethod.py"),
        (
            "fit -c {tiny} --model.net absent.Net",
            "the working folder or on Python's path: name its file, --allow FOLDER/absent.py",
        ),
        ("fit -c exp/typo.yaml", "exp/typo.yaml:2: model.net: there is no module 'mymthod' in exp or on Python's path"),
        ("fit -c exp/asks.yaml", "exp/asks.py:1: there is no module 'nosuch', which this line imports"),
    ],
)
def test_an_absent_module_is_one_line(words: str, part: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("exp/asks.py").write_text("import nosuch\n")
    for name, module in (("typo", "mymthod"), ("asks", "asks")):
        Path(f"exp/{name}.yaml").write_text(f"model:\n  net:\n    class_path: {module}.MyVO\n")
    assert part in complaint(capsys, *words.format(tiny=TINY).split())
    assert "mymethod" not in sys.modules
