"""Portable float maps against bytes made by hand, there and back, and the one line that each damaged file gets."""

import struct
from pathlib import Path

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.formats.pfm import read_pfm, write_pfm

BOTTOM_UP = (3.0, 4.0, 5.0, 0.0, 1.0, 2.0)  # rows [0 1 2] above [3 4 5]


def grey(order: str, header: str | None = None, values: tuple[float, ...] = BOTTOM_UP) -> bytes:
    header = header or f"Pf\n3 2\n{'-' if order == '<' else ''}1.0\n"
    return header.encode() + struct.pack(f"{order}{len(values)}f", *values)


@pytest.mark.parametrize("order", ["<", ">"])
def test_rows_are_bottom_up_in_either_byte_order(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(grey(order))
    torch.testing.assert_close(read_pfm(path), torch.arange(6.0).reshape(2, 3), rtol=0, atol=0)


def test_colour_has_its_channels_first(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(b"PF\n2 1\n-1.0\n" + struct.pack("<6f", 1, 2, 3, 4, 5, 6))
    assert read_pfm(path).tolist() == [[[1, 4]], [[2, 5]], [[3, 6]]]


@pytest.mark.parametrize(
    "header",
    ["Pf\n3 2 \n-1.0\n", "Pf\r\n3 2\r\n-1.0\r\n", "Pf 3 2 -1\n", "Pf\n3\n2\n-0.0039 \n", "Pf\n 3   2\n-1.000000\n"],
)
def test_blanks_in_the_header_may_be_any(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(grey("<", header))
    assert read_pfm(path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_first_pixel_that_looks_like_a_blank_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(b"Pf\n1 1\n-1\n" + b"\n\n  ")
    assert read_pfm(path).tolist() == [[struct.unpack("<f", b"\n\n  ")[0]]]


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7)])
def test_there_and_back(tmp_path: Path, generator: torch.Generator, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=generator)
    path = tmp_path / "deep" / "a.pfm"
    write_pfm(path, image.double())
    assert torch.equal(read_pfm(path), image[0] if shape[0] == 1 else image)


BAD = {
    "truncated": (grey("<")[:-1], "truncated: 23 bytes of pixels, expected 24 for 3 x 2 x 1"),
    "too long": (grey("<") + b"\n", "too long: 25 bytes of pixels"),
    "nan": (
        grey("<", values=(3, 4, 5, 0, float("nan"), 2)),
        "1 of 6 values are NaN or infinite, the first at row 0, colu",
    ),
    "infinite": (grey("<", values=(3, 4, float("inf"), 0, 1, 2)), "row 1, column 2"),
    "other": (b"P6\n3 2\n255\n" + bytes(18), "not a PFM file"),
    "empty": (b"", "not a PFM file"),
    "no scale": (b"Pf\n3 2\n", "not a PFM file"),
    "zero scale": (grey("<", "Pf\n3 2\n0\n"), "scale '0'"),
    "word as scale": (grey("<", "Pf\n3 2\nnan\n"), "scale 'nan'"),
    "digits": (b"Pf\n" + b"1" * 5000 + b" 2\n-1.0\n", "not a PFM file"),
    "long scale": (grey("<", "Pf\n3 2\n" + "x" * 999 + "\n"), f"scale '{'x' * 115}...' in"),
    "no pixels": (b"Pf\n0 2\n-1.0\n", "0 x 2 pixels"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_damage_is_one_line_with_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.pfm"
    path.write_bytes(content)
    with pytest.raises(Vo3dError) as caught:
        read_pfm(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message


def test_numbers_that_are_none_pass_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(grey("<", values=(3, 4, 5, 0, float("nan"), float("inf"))))
    assert read_pfm(path, finite=False).isfinite().tolist() == [[True, False, False], [True, True, True]]


def test_what_is_no_map_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    with pytest.raises(Vo3dError, match=r"1 of 6 values are NaN"):
        write_pfm(path, torch.tensor([[1.0, 2, 3], [4, float("nan"), 6]]))
    with pytest.raises(Vo3dError, match=r"shape \(2, 3, 4\)"):
        write_pfm(path, torch.ones(2, 3, 4))
    with pytest.raises(Vo3dError, match="no such file"):
        read_pfm(path)
    assert not path.exists()
