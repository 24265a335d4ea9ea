"""docs/optimizers.md tells the truth: its Python runs, and its table of defaults is that of the classes."""

import inspect
import re

import torch

from places import ROOT
from vo3d import optim

PAGE = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
ETA = {"eta": "lr", "gamma": "momentum"}


def test_the_python_of_the_page_runs() -> None:
    session: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, session)  # noqa: S102 (our own page)
    found = session["found"]
    assert isinstance(found, optim.Minimum)
    torch.testing.assert_close(found.x, torch.tensor([3.0, 0.5], dtype=torch.float64), rtol=0, atol=1e-4)


def test_the_table_has_the_defaults_of_the_classes() -> None:
    rows = re.findall(r"^\| `(\w+)[^`]*` \|(?:\\\||[^|])*\| ([^|]*) \|", PAGE, re.MULTILINE)
    checked = 0
    for name, defaults in rows[:10]:
        signature = inspect.signature(getattr(optim, name)).parameters
        numbers = re.findall(r"(?:(eta|gamma|rho|alpha|eps) )?([\d.]+(?:e-\d+)?)", defaults)
        for word, number in numbers:
            if word:
                assert signature[ETA.get(word, word)].default == float(number), (name, word)
            else:
                assert float(number) in signature["betas"].default, (name, number)
            checked += 1
    assert checked == 22
