"""Files that are either whole or absent, whatever ends the writing."""

from pathlib import Path

import pytest

from vo3d.formats.files import atomic_path


def interrupted(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt


def test_a_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("old")
        assert temporary.suffix == path.suffix

    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"
