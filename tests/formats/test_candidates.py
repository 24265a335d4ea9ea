"""Several files that would do: the fullest is taken and the others are named; hidden files are none."""

from pathlib import Path

import pytest

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import check_stems, fullest, visible_paths


def test_hidden_files_are_none(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "._a.png", ".DS_Store", ".png"):
        (tmp_path / name).touch()
    assert [path.name for path in visible_paths(tmp_path, "*.png")] == ["a.png", "b.png"]
    assert [path.name for path in visible_paths(tmp_path)] == ["a.png", "b.png"]
    assert visible_paths(tmp_path / "nowhere") == []


def test_the_fullest_is_taken_and_the_others_are_named() -> None:
    a, b, c = Path("a"), Path("b"), Path("c")
    assert fullest({a: 3}, "images") == (a, [])
    assert fullest({a: 3, b: 12, c: 12}, "images") == (b, ["b is taken, with 12 images; left out: a (3), c (12)"])


def test_one_name_with_two_suffixes_is_refused() -> None:
    check_stems([Path("x/a.jpg"), Path("y/a.png"), Path("x/b.jpg")])
    with pytest.raises(Vo3dError, match=r"a\.png: a\.jpg is of the same name: remove one of the two, or rename it"):
        check_stems([Path("x/a.jpg"), Path("x/a.png")])
