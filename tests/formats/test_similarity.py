"""Matrices of similarity: three kinds of files give one matrix, and what is none is told in a line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.similarity import read_similarity


def test_one_matrix_out_of_three_kinds_of_files(tmp_path: Path, generator: torch.Generator) -> None:
    values = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    np.save(tmp_path / "a.npy", values.numpy())
    np.savez(tmp_path / "a.npz", times=np.zeros(3), scores=values.numpy())
    (tmp_path / "a.csv").write_text("".join(",".join(map(repr, row)) + "\n" for row in values.tolist()))
    for path, key in (("a.npy", None), ("a.npz", None), ("a.npz", "scores"), ("a.csv", None)):
        assert torch.equal(read_similarity(tmp_path / path, key), values)


def test_what_is_no_matrix_is_told_in_a_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    np.savez(tmp_path / "words.npz", a=np.array([["x", "y"]]))
    np.save(tmp_path / "flat.npy", np.zeros(4))
    np.save(tmp_path / "nan.npy", np.array([[0.0, 1.0], [np.nan, 0.0]]))
    np.save(tmp_path / "pickled.npy", np.array([[{}]]), allow_pickle=True)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:100])
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "words.csv").write_text("1,2\n3,x\n")
    for name, key, words in (
        ("two.npz", None, "holds a, b: expected one matrix alone: name it as key"),
        ("two.npz", "c", "holds a, b: expected c: name it as key"),
        ("words.npz", None, "of shape .1, 2.: expected numbers with a row for each query"),
        ("flat.npy", None, "float64 of shape .4,.: expected numbers"),
        ("nan.npy", None, "row 1, column 0 is nan: expected a finite number"),
        ("pickled.npy", None, "damaged, or not of numpy without pickles"),
        ("cut.npz", None, "damaged, or not of numpy without pickles"),
        ("absent.npy", None, "cannot read .*absent.npy: No such file"),
        ("a.mat", None, "in a file of .npz, .npy, .csv"),
        ("ragged.csv", None, "ragged.csv:2: 1 values: expected 2"),
        ("words.csv", None, "words.csv:2"),
    ):
        with pytest.raises(Vo3dError, match=words):
            read_similarity(tmp_path / name, key)
