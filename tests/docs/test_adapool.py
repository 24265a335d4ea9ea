"""The page about the AdaPool family: its examples run, its links lead somewhere, the tests it names exist."""

import ast
import re
import subprocess
import sys

import pytest
import torch

from places import ROOT

PAGE = (ROOT / "docs" / "adapool.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
HERE = [example for example in EXAMPLES if "torch.export" not in example]
# compilers trace sizes as symbols, which the checks of types under pytest refuse: those examples run without them
APART = [example for example in EXAMPLES if "torch.export" in example]


@pytest.mark.parametrize("example", HERE)
def test_examples_run(example: str) -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(example, "docs/adapool.md", "exec"), names)  # noqa: S102
    assert any(callable(value) and value.__module__.startswith("vo3d.layers") for value in names.values())


@pytest.mark.parametrize("example", APART)
def test_examples_of_compilers_run(example: str) -> None:
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_fault_has_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    for number, cell in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", cell)
        assert named, f"fault {number} names no test"
        for file, name in named:
            tree = ast.parse((ROOT / "tests" / "layers" / "adapool" / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_links_lead_somewhere() -> None:
    anchors = {
        "#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(links) > 10
    for link in links:
        assert link in anchors if link.startswith("#") else (ROOT / "docs" / link.split("#")[0]).is_file(), link
