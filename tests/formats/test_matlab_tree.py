"""Structures, cells and text of MATLAB: those that SciPy wrote, and one line for whatever is damaged."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vo3d.errors import Vo3dError
from vo3d.formats import matlab_tree
from vo3d.formats.matlab_tree import read_tree

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
NAMES = ["a/1.jpg", "bé.jpg", ""]


def cells(items: list[Any]) -> np.ndarray:
    """Items as a column of cells."""
    column = np.empty((len(items), 1), object)
    column[:, 0] = items
    return column


def write(path: Path, *, packed: bool) -> Path:
    inner = {"weights": cells([np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.array([[1, 2]])]), "name": "conv1"}
    content = {
        "whichSet": "test",
        "dbImageFns": cells(NAMES),
        "utm": np.array([[1.5, 2, -3e9], [4, 5, 6]]),
        "threshold": 25.0,
        "flag": np.array([[True, False]]),
        "layers": cells([inner, {"name": "relu"}]),
        "rows": np.array(["ab ", "cd "]),
        "many": np.array([(1.0, "x"), (2.0, "y")], dtype=[("a", object), ("b", object)]),
        "none": np.array([[1j]]),
        "nothing": np.zeros((0, 0)),
    }
    savemat(path, {"db": content, "alone": np.array([[7]], np.uint8)}, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_tree_is_what_was_written(tmp_path: Path, packed: bool) -> None:
    tree = read_tree(write(tmp_path / "a.mat", packed=packed))
    assert list(tree) == ["db", "alone"]
    assert tree["alone"].tolist() == [[7]]
    db = tree["db"]
    assert list(db)[:3] == ["whichSet", "dbImageFns", "utm"]  # the order, for structures that are read by place
    assert db["whichSet"] == "test"
    assert db["dbImageFns"] == NAMES
    assert db["utm"].dtype == np.float64
    assert db["utm"].tolist() == [[1.5, 2, -3e9], [4, 5, 6]]
    assert db["threshold"].dtype == np.float64
    assert db["flag"].tolist() == [[1, 0]]
    assert db["layers"][0]["name"] == "conv1"
    assert db["layers"][0]["weights"][0].dtype == np.float32
    assert db["layers"][0]["weights"][0].tolist() == np.arange(24).reshape(2, 3, 4).tolist()
    assert db["layers"][1] == {"name": "relu"}
    assert db["rows"] == ["ab ", "cd "]
    assert [one["b"] for one in db["many"]] == ["x", "y"]
    assert db["none"] is None
    assert db["nothing"].shape == (0, 0)


def test_text_in_units_of_16_bits_and_numbers_in_few_bytes_are_read(tmp_path: Path) -> None:
    """As MATLAB writes them: SciPy writes UTF-8, and numbers in full."""
    flags, name = struct.pack("<IIII", 6, 8, 4, 0), b"\1\0\1\0T\0\0\0"
    text = struct.pack("<II", 4, 10) + "hé𝄞b".encode("utf-16-le") + bytes(6)
    whole = flags + struct.pack("<IIii", 5, 8, 1, 5) + name + text
    few = (
        struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1, 2) + b"\1\0\1\0N\0\0\0" + b"\2\0\2\0\xc8\1\0\0"
    )
    path = tmp_path / "t.mat"
    path.write_bytes(HEADER + b"".join(struct.pack("<II", 14, len(one)) + one for one in (whole, few)))
    tree = read_tree(path)
    assert tree["T"] == "hé𝄞b"
    assert tree["N"].dtype == np.float64
    assert tree["N"].tolist() == [[200, 1]]


def array(kind: int, shape: tuple[int, int], rest: bytes) -> bytes:
    """An array of a class, with no name."""
    body = struct.pack("<IIII", 6, 8, kind, 0) + struct.pack("<IIii", 5, 8, *shape) + struct.pack("<II", 1, 0) + rest
    return struct.pack("<II", 14, len(body)) + body


FIELDS = struct.pack("<HHI", 5, 4, 8) + struct.pack("<II", 1, 0)  # no field at all
DEEP = array(6, (0, 0), struct.pack("<II", 9, 0))
for _ in range(matlab_tree.DEEPEST + 2):
    DEEP = array(1, (1, 1), DEEP)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (array(1, (2**31 - 1, 2**31 - 1), b""), "buffer"),
        (array(2, (2**31 - 1, 2**31 - 1), FIELDS), "more than 2097152 parts"),
        (array(2, (1, 1), struct.pack("<HHI", 5, 4, 0) + struct.pack("<II", 1, 0)), "without names"),
        (array(1, (-1, 1), b""), "of shape"),
        (array(4, (1, 9), struct.pack("<HH4s", 4, 2, b"a\0")), "2 bytes of text"),
        (array(6, (2**15, 2**15), b""), "expected at most 1073741824 bytes"),
        (DEEP, "more than 32 deep"),
    ],
)
def test_what_would_take_memory_or_the_stack_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "t.mat"
    path.write_bytes(HEADER + content)
    with pytest.raises(Vo3dError, match=rf"t\.mat: no whole MATLAB file of version 5 \(.*{words}"):
        read_tree(path)


def test_many_empty_cells_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab_tree, "MOST_PARTS", 100)
    path = tmp_path / "t.mat"
    path.write_bytes(HEADER + array(1, (101, 1), struct.pack("<II", 14, 0) * 101))
    with pytest.raises(Vo3dError, match="more than 100 parts"):
        read_tree(path)


@pytest.mark.parametrize("packed", [False, True])
def test_changed_bytes_are_one_line_or_other_values(tmp_path: Path, packed: bool) -> None:
    content = write(tmp_path / "a.mat", packed=packed).read_bytes()
    chance, path, refused = np.random.default_rng(0), tmp_path / "b.mat", 0
    for _ in range(300):
        harmed = bytearray(content)
        for place in chance.integers(124, len(content), 2):
            harmed[place] = chance.integers(256)
        path.write_bytes(harmed[: chance.integers(130, 2 * len(harmed))])
        try:
            read_tree(path)
        except Vo3dError as error:
            assert "no whole MATLAB file" in str(error)  # noqa: PT017  some are refused, others hold other values
            refused += 1
    assert refused > 100
