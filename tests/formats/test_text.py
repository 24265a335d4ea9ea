"""Text files as editors of Windows write them: the byte-order mark in front is no content."""

import json
from pathlib import Path

import pytest

from vo3d.errors import Vo3dError
from vo3d.formats.kitti import read_calib, read_times
from vo3d.formats.mvsnet import read_pairs
from vo3d.formats.results import FILE_NAME, Result
from vo3d.formats.text import read_json, read_lines
from vo3d.report.figures import read_history
from vo3d.settings.files import read_settings

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_is_left_out_of_every_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for content in ("a b\nc\n", "ä\n"):
        path.write_bytes(MARK + content.encode())
        assert read_lines(path, "lines") == content.splitlines()
    path.write_bytes(MARK + b'{"a": 1}')
    assert read_json(path, "settings") == {"a": 1}
    assert read_settings(path) == {"a": 1}
    path.write_bytes(MARK + b"0\n0.1\n")
    assert read_times(path).tolist() == [0, 0.1]
    path.write_bytes(MARK + b"P0: 7 0 3 0 0 7 2 0 0 0 1 0\n")
    assert read_calib(path)["P0"][0, 0] == 7
    path.write_bytes(MARK + b"2\n0\n1 1 0.5\n1\n1 0 0.5\n")
    assert [pair.view for pair in read_pairs(path)] == [0, 1]
    path.write_bytes(MARK + b"step,name,value\n1,train/loss,2.5\n")
    assert read_history(path)["train/loss"] == ([1], [2.5])


def test_a_result_that_an_editor_saved_is_read(tmp_path: Path) -> None:
    Result(model="a", protocol={"task": "odometry"}, sequences={"0": {"scale": 1.0}}, mean={}, provenance={}).save(
        tmp_path
    )
    before = Result.load(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(MARK + (tmp_path / FILE_NAME).read_bytes())
    assert Result.load(tmp_path) == before
    assert json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8-sig"))["model"] == "a"


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("ü".encode("utf-16"))
    with pytest.raises(Vo3dError, match=r"text\.txt: not a text file in UTF-8 \(byte 0\): expected times"):
        read_lines(path, "times")
