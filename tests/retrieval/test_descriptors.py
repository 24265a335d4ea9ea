"""Descriptors on disk: what was added is read, nothing is written anew, what is not of them is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.retrieval.descriptors import Descriptors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of 4, 1 and 5 rows of 3 numbers that half precision has."""
    written = Descriptors(tmp_path / "rows")
    for part in torch.arange(30.0).view(10, 3).split([4, 1, 5]):
        written.append(part)
    return tmp_path / "rows"


def test_rows_come_back_in_their_order_across_files(folder: Path) -> None:
    rows, read = torch.arange(30.0).view(10, 3), Descriptors(folder)
    assert (len(read), read.dim) == (10, 3)
    for most in (1, 3, 10, 99):
        pieces = list(read.chunks(most))
        assert [first for first, _ in pieces] == list(range(0, 10, most))
        assert all(len(piece) <= most for _, piece in pieces)
        assert torch.equal(torch.cat([piece for _, piece in pieces]), rows)
    assert torch.equal(read.rows(3, 6), rows[3:6])
    assert read.rows(4, 4).shape == (0, 3)
    assert torch.equal(read.take(torch.tensor([0, 0, 2, 5, 9])), rows[[0, 0, 2, 5, 9]])
    for wrong in ([9, 10], [-1, 0], [3, 2]):
        with pytest.raises(IndexError, match="of 10"):
            read.take(torch.tensor(wrong))


def test_append_rounds_to_half_precision_and_leaves_older_files_alone(folder: Path) -> None:
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}
    more = torch.randn(7, 3, dtype=torch.float64)
    grown = Descriptors(folder)
    grown.append(more)
    assert torch.equal(grown.rows(10, 17), more.half().float())
    assert torch.equal(Descriptors(folder).rows(10, 17), more.half().float())
    assert {name: ((folder / name).stat().st_ino, (folder / name).read_bytes()) for name in before} == before
    assert {path.name for path in folder.iterdir()} - set(before) == {"000003.npy"}


def test_what_cannot_be_added_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    for rows, words in (
        (torch.zeros(2, 4), "2 rows of 4 values to add: expected at least one, of 3 values"),
        (torch.zeros(0, 3), "0 rows of 3 values"),
        (torch.tensor([[0.0, 0, 0], [0, 7e4, 0]]), "row 1 to add has values that are NaN or beyond 65504"),
        (torch.tensor([[0.0, 0, torch.nan]]), "row 0 to add"),
    ):
        with pytest.raises(Vo3dError, match=words):
            Descriptors(folder).append(rows)
    assert sorted(folder.iterdir()) == before
    late = Descriptors(folder)
    Descriptors(folder).append(torch.ones(1, 3))
    with pytest.raises(Vo3dError, match="another program added rows meanwhile"):
        late.append(torch.zeros(1, 3))
    (tmp_path / "file").write_text("")
    with pytest.raises(Vo3dError, match=r"cannot read .*file"):
        Descriptors(tmp_path / "file")


def test_an_empty_folder_and_none_have_no_rows_and_what_was_left_half_written_is_passed_over(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "none"):
        assert (len(Descriptors(nothing)), Descriptors(nothing).dim, list(Descriptors(nothing).chunks())) == (0, 0, [])
    (folder / ".000003.4711.part.npy").write_bytes((folder / "000000.npy").read_bytes()[:-5])
    assert len(Descriptors(folder)) == 10


def test_damaged_missing_and_foreign_files_are_named(folder: Path) -> None:
    path = folder / "000001.npy"
    good = path.read_bytes()

    def refused(words: str) -> None:
        with pytest.raises(Vo3dError, match=words) as told:
            Descriptors(folder)
        assert "\n" not in str(told.value)

    for damaged in (b"", good[:50], good[:-1], b"x" + good[1:], b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(damaged)
        refused("000001.npy: damaged")
    path.write_bytes(good + b"more")
    refused(r"000001.npy: float16 of shape \(1, 3\) in 138 bytes: expected a table")
    for foreign in (np.zeros((1, 3)), np.zeros(3, np.float16), np.array([None])):
        np.save(path, foreign)
        refused("000001.npy: (float64|float16 of shape|damaged)")
    np.save(path, np.zeros((1, 4), np.float16))
    refused("000001.npy: rows of 4 values: expected 3")
    path.unlink()
    refused("000002.npy: expected 000001.npy")
    path.write_bytes(good)
    (folder / "notes.txt").write_text("mine")
    refused("notes.txt: expected 000003.npy")
