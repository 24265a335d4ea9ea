"""Tables of found places and their distances: back as they were, and damage is told with its line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.places import (
    Distances,
    FoundPlaces,
    read_distances,
    read_places,
    write_distances,
    write_places,
)
from vo3d.metrics.retrieval import NEVER

FOUND = FoundPlaces(
    queries=["a,b.png", "c.png"],
    num_right=torch.tensor([2, 0]),
    first_right=torch.tensor([2, NEVER]),
    images=[["x.png", "y.png"], ["z.png"]],
    index=torch.tensor([[3, 1], [0, -1]]),
    squared=torch.tensor([[0.1, 0.25], [1 / 3, torch.inf]], dtype=torch.float64),
    right=torch.tensor([[False, True], [False, False]]),
)


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    write_places(tmp_path / "set.csv", FOUND)
    back = read_places(tmp_path / "set.csv")
    for name, value in vars(FOUND).items():
        found = getattr(back, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


def test_a_damaged_table_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    write_places(path, FOUND)
    good = path.read_text()
    for text, words in (
        (good.replace("num_right", "number"), "set.csv:1: columns 'query,number"),
        (good.splitlines()[0] + "\n", "no query in it"),
        (good.replace("c.png,0", "c.png"), "set.csv:3: 10 values: expected 11"),
        (good.replace("c.png,0", "c.png,many"), "set.csv:3"),
        (good.replace("0.25", "nearby"), "set.csv:2"),
        ("", "set.csv"),
    ):
        path.write_text(text)
        with pytest.raises(Vo3dError, match=words):
            read_places(path)


def test_distances_come_back_in_half_precision(tmp_path: Path, generator: torch.Generator) -> None:
    found = Distances(
        squared=torch.rand(2, 3, generator=generator),
        query=torch.tensor([0, 4]),
        database=torch.tensor([1, 2, 7]),
        matches=torch.tensor([[4, 6]]),
        sizes=(5, 8),
        recordings=("q", "d"),
    )
    path = tmp_path / "set.npz"
    write_distances(path, found)
    back = read_distances(path)
    torch.testing.assert_close(back.squared, found.squared, rtol=2**-11, atol=0)
    assert (back.sizes, back.recordings) == ((5, 8), ("q", "d"))
    assert [back.query.tolist(), back.database.tolist(), back.matches.tolist()] == [[0, 4], [1, 2, 7], [[4, 6]]]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(Vo3dError, match="damaged or another file"):
        read_distances(path)
    np.savez(path, squared=np.zeros(3))
    with pytest.raises(Vo3dError, match="damaged or another file"):
        read_distances(path)
