"""The recipes of CONTRIBUTING and of docs/own_method.md, followed to the letter from empty folders."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from places import ROOT
from vo3d.formats.results import Result

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# Each command in a process of its own, of which all begin with the same imports.
PROGRAM = """
import json, os, sys
import lightning, torch
import vo3d.pipelines.evaluate, vo3d.training.command
from vo3d.cli import main

for folder, words in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        os.chdir(folder)
        sys.exit(main(words))
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{words} ended with {status}")
"""


def written(page: str, folder: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Write the files of a page; their names, and the commands of the page with the folder to run them in."""
    files: list[str] = []
    lines: list[str] = []
    for kind, text in BLOCK.findall(page):
        if kind in {"python", "yaml"}:
            files.append(text.partition("\n")[0].removeprefix("# "))
            path = folder / files[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            lines += [line for line in text.splitlines() if line.startswith("vo3d ")]
    return files, [(str(folder), shlex.split(line)[1:]) for line in lines]


def test_the_recipes_work_from_outside_of_the_package(tmp_path: Path) -> None:
    """Without a PYTHONPATH, and without the working folder on Python's path."""
    files, commands = written(PAGE.partition("### Recipe: a method")[2], tmp_path / "recipes")
    assert files == ["colour_steps.py", "colour_steps.yaml", "turn_metrics.py", "turns.py"]
    own, of_own = written((ROOT / "docs" / "own_method.md").read_text(encoding="utf-8"), tmp_path / "own")
    assert own == ["exp/mymethod.py", "exp/mydata.py", "exp/own.yaml"]
    assert [words[0] for _, words in commands + of_own] == ["fit", *2 * ["evaluate"], "fit", "evaluate", "info"]

    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, json.dumps(commands + of_own)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    results = tmp_path / "recipes" / "runs" / "colour_steps" / "evaluation" / "test"
    for task, key in (("odometry", "t_rel_percent"), ("turns", "turn_deg")):
        assert Result.load(results / "ColourSteps" / task).mean[key] is not None
    assert "turn" in (results / "report.html").read_text(encoding="utf-8")
    result = Result.load(tmp_path / "own" / "runs" / "own" / "evaluation" / "test" / "MyVO" / "odometry")
    assert result.mean["t_rel_percent"] is not None
