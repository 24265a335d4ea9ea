"""Messages: foreign text in them is short, and no terminal obeys it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vo3d.errors import LONGEST, Vo3dError, quoted, shown
from vo3d.formats.weights import load_matching, load_weights

HOSTILE = "\x1b]0;pwned\x07\x1b[31mkey"


@pytest.mark.parametrize("control", ["\x1b", "\n", "\r", "\0", "\x7f", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_control_characters_are_spelled(control: str) -> None:
    error = Vo3dError(f"a{control}b/é/路: wrong")
    assert str(error).isprintable()
    assert str(error) == f"a{control.encode('unicode_escape').decode()}b/é/路: wrong"
    assert shown(f"a{control}").isprintable()
    assert quoted(f"a{control}").isprintable()


def test_foreign_text_is_cut() -> None:
    assert quoted("x" * 5000) == f"'{'x' * (LONGEST - 5)}...'"
    assert len(shown("\x1b" * 5000)) == LONGEST
    assert shown("x" * LONGEST) == "x" * LONGEST
    assert quoted({"a": [1, 2]}) == "{'a': [1, 2]}"
    assert quoted(10**5000) == "int too large to show"


def test_keys_of_weights_are_spelled_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "esc.safetensors"
    save_file({f"{HOSTILE}{'k' * 500}{index}": torch.zeros(2) for index in range(20)}, path)
    for load in (load_weights, load_matching):
        with pytest.raises(Vo3dError) as caught:
            load(nn.Linear(2, 2), path)
        assert str(caught.value).isprintable()
        assert r"\x1b]0;pwned\x07" in str(caught.value)
        assert "and 12 more" in str(caught.value)
        assert len(str(caught.value)) < len(str(path)) + 400


def test_the_report_of_an_import_is_visible(tmp_path: Path) -> None:
    path = tmp_path / "esc.safetensors"
    save_file({HOSTILE: torch.zeros(2), "weight": torch.zeros(2, 2)}, path)
    report = str(load_matching(nn.Linear(2, 2), path))
    assert report.isprintable()
    assert r"\x1b]0;pwned\x07" in report
