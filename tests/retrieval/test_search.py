"""Exact search: equal to sorting all distances in float64, by each engine, in memory and on disk, within few tiles."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vo3d.errors import Vo3dError
from vo3d.retrieval import search as room
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval.search import search

ENGINES = ("torch", "faiss")


def unit(rows: int, width: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def slowly(queries: Tensor, database: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """All distances in float64, sorted; of equal ones the lower row first."""
    squared = (queries.double()[:, None] - database.double()).square().sum(2)
    found = squared.sort(dim=1, stable=True)
    return found.indices[:, :num], found.values[:, :num]


@pytest.fixture
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tiles, none of which fits evenly, the last ones of a few rows."""
    for name, value in (("BLOCK", 7), ("TILE", 32), ("PAIR", 200)):
        monkeypatch.setattr(room, name, value)


def check_equal_to_sort(queries: Tensor, database: Tensor | Descriptors, rows: Tensor, num: int, engine: str) -> None:
    found = search(queries, database, num, engine=engine)
    index, squared = slowly(queries, rows, num)
    torch.testing.assert_close(found.squared.double(), squared, rtol=2e-6, atol=1e-12)
    assert torch.equal(found.index, index)


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("count", "n", "num"), [(23, 333, 5), (1, 333, 1), (9, 40, 40), (9, 3, 20), (3, 333, 200)])
def test_the_nearest_are_those_of_a_sort_of_all(engine: str, count: int, n: int, num: int) -> None:
    database = unit(n, 24)
    check_equal_to_sort(unit(count, 24, 1), database, database, num, engine)


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_nearest_are_found_in_any_order_of_the_database(engine: str) -> None:
    database = unit(333, 24)
    query = unit(1, 24, 1)
    far_first = database[(database @ query[0]).argsort()]  # each tile has what is nearer than all before it
    for rows in (far_first, far_first.flip(0)):
        check_equal_to_sort(query, rows, rows, 12, engine)


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("engine", ENGINES)
def test_equal_rows_are_told_in_their_order_and_nearly_equal_ones_apart(engine: str) -> None:
    some = unit(20, 16)
    database = torch.cat([some, some.flip(0), some])
    found = search(some, database, 3, engine=engine)
    own = torch.arange(20)
    assert torch.equal(found.index, torch.stack([own, 39 - own, 40 + own], 1))
    assert torch.equal(found.squared, torch.zeros(20, 3))
    steps = torch.tensor([0.0, 3, 1, 2, 4])[:, None] * 1e-5  # products of these lose all digits in float32
    near = some[:1] + steps * torch.eye(16)[0]
    assert search(some[:1], torch.cat([some[1:], near]), 5, engine=engine).index.tolist() == [[19, 21, 22, 20, 23]]


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_database_on_disk_gives_what_its_rows_in_half_precision_give(engine: str, tmp_path: Path) -> None:
    rows, queries = unit(210, 24), unit(15, 24, 1)
    disk = Descriptors(tmp_path)
    for part in rows.split([1, 90, 19, 100]):
        disk.append(part)
    check_equal_to_sort(queries, disk, rows.half(), 6, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_other_precisions_and_strides_are_taken(engine: str, kind: torch.dtype) -> None:
    database, queries = unit(300, 24).to(kind), unit(11, 24, 1).to(kind)
    found = search(queries.T.contiguous().T, database.T.contiguous().T, 4, engine=engine)
    assert torch.equal(found.index, slowly(queries, database, 4)[0])
    assert (found.index.dtype, found.squared.dtype) == (torch.int64, torch.float32)


def test_all_rows_equal_keep_their_order_and_the_automatic_engine_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = search(torch.ones(2, 8), torch.ones(50, 8), 4)
    assert found.index.tolist() == [[0, 1, 2, 3]] * 2
    with pytest.raises(Vo3dError, match=r'faiss is missing: pip install "vo3d\[faiss\]"'):
        search(torch.ones(2, 8), torch.ones(50, 8), 4, engine="faiss")


def test_autocast_changes_nothing() -> None:
    queries, database = unit(11, 24, 1), unit(2000, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = search(queries, database, 40)
    assert torch.equal(found.index, slowly(queries, database, 40)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_cannot_be_searched_is_refused(engine: str, tmp_path: Path) -> None:
    good = unit(5, 8)
    holed, huge = good.clone(), good.double()
    holed[3, 2], huge[4, 0] = torch.nan, 1e200
    for queries, database, num, words in (
        (good, unit(5, 9), 1, "queries of 8 values in a database of 9"),
        (good, Descriptors(tmp_path), 1, "1 nearest of 0 descriptors"),
        (good, good[:0], 1, "of 0 descriptors to 5 queries: expected at least 1 of all"),
        (good[:0], good, 1, "of 5 descriptors to 0 queries"),
        (good, good, 0, "0 nearest of 5"),
        (holed, good, 1, "query 3 has values that are NaN"),
        (good, holed, 1, "row 3 has values that are NaN"),
        (good, huge, 1, "row 4 has values that are NaN, infinite or too large"),
    ):
        with pytest.raises(Vo3dError, match=words):
            search(queries, database, num, engine=engine)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_a_database_elsewhere_is_searched_where_the_queries_are() -> None:
    device = torch.accelerator.current_accelerator()
    queries, database = unit(11, 24, 1), unit(300, 24)
    expected = search(queries, database, 4)
    for one, other in ((queries.to(device), database), (queries, database.to(device))):
        found = search(one, other, 4)
        assert found.index.device == one.device
        assert torch.equal(found.index.cpu(), expected.index)
