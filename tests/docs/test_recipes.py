"""The recipes of CONTRIBUTING, followed to the letter from an empty folder outside of the package."""

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

for words in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.exit(main(words))
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{words} ended with {status}")
"""


def test_both_recipes_work_from_outside_of_the_package(tmp_path: Path) -> None:
    recipes = PAGE.partition("### Recipe: a method")[2]
    files: list[str] = []
    lines: list[str] = []
    for kind, text in BLOCK.findall(recipes):
        if kind in {"python", "yaml"}:
            name = text.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(text, encoding="utf-8")
            files.append(name)
        else:
            lines += [line for line in text.splitlines() if line.startswith("PYTHONPATH=. vo3d ")]
    assert files == ["colour_steps.py", "colour_steps.yaml", "turn_metrics.py", "turns.py"]
    assert len(lines) == 3

    commands = [shlex.split(line)[2:] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    results = tmp_path / "runs" / "colour_steps" / "evaluation" / "test"
    for task, key in (("odometry", "t_rel_percent"), ("turns", "turn_deg")):
        assert Result.load(results / "ColourSteps" / task).mean[key] is not None
    assert "turn" in (results / "report.html").read_text(encoding="utf-8")
