"""The recipes of CONTRIBUTING, followed to the letter from an empty folder outside of the package."""

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

    for line in lines:
        words = shlex.split(line)[2:]
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from vo3d.cli import main; sys.exit(main())", *words],
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
