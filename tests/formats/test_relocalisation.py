"""Tables of relocalised frames: there and back, as a stranger reads them, and every refusal."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.relocalisation import Relocalised, read_all_relocalised, read_relocalised, write_relocalised
from vo3d.geometry import rotations

LINE = "7,a.png,1,2,3,1,0,0,0,1,2,3,0,1,0,0"


def draw(generator: torch.Generator, n: int) -> Tensor:
    """Draw poses of some metres and any rotation."""
    poses = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    poses[:, :3, :3] = rotations.so3_exp(torch.randn(n, 3, generator=generator, dtype=torch.float64))
    poses[:, :3, 3] = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return poses


@pytest.fixture
def found(generator: torch.Generator) -> Relocalised:
    """Make three frames with all that a table can hold."""
    return Relocalised(
        frames=torch.tensor([4, 2, 2**40]),
        names=["a.png", 'odd, "name".png', "c.png"],
        truth=draw(generator, 3),
        estimate=draw(generator, 3),
        deviation=torch.rand(3, 2, generator=generator, dtype=torch.float64),
        nearest=[("seq-01", 0), ("seq, 02", 17), ("", 999)],
        nearest_distance=torch.rand(3, 2, generator=generator, dtype=torch.float64),
    )


def test_there_and_back(tmp_path: Path, found: Relocalised) -> None:
    write_relocalised(tmp_path / "deep" / "a.csv", found)
    back = read_relocalised(tmp_path / "deep" / "a.csv")
    assert torch.equal(back.frames, found.frames)
    assert (back.names, back.nearest) == (found.names, found.nearest)
    assert back.deviation is not None
    assert back.nearest_distance is not None
    assert torch.equal(back.deviation, found.deviation)
    assert torch.equal(back.nearest_distance, found.nearest_distance)
    assert torch.equal(back.truth[:, :3, 3], found.truth[:, :3, 3])
    torch.testing.assert_close(back.truth, found.truth, atol=1e-14, rtol=0)
    torch.testing.assert_close(back.estimate, found.estimate, atol=1e-14, rtol=0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.csv"]


def test_what_is_not_known_has_no_columns(tmp_path: Path, found: Relocalised) -> None:
    for one in (
        replace(found, deviation=None),
        replace(found, nearest=None, nearest_distance=None),
        replace(found, deviation=None, nearest=None, nearest_distance=None),
    ):
        write_relocalised(tmp_path / "a.csv", one)
        back = read_all_relocalised(tmp_path, ["a"])["a"]
        assert (back.deviation is None, back.nearest is None) == (one.deviation is None, one.nearest is None)
        assert (back.nearest_distance is None) == (one.nearest_distance is None)


def test_as_a_stranger_reads_it(tmp_path: Path, found: Relocalised) -> None:
    """By the standard library: plain words, and a quaternion with its scalar first, never negative."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
    write_relocalised(tmp_path / "a.csv", replace(found, truth=turn.repeat(3, 1, 1)))
    with (tmp_path / "a.csv").open(newline="") as file:
        row = next(iter(csv.DictReader(file)))
    half = 0.5**0.5
    assert [float(row[f"true_q{one}"]) for one in "wxyz"] == pytest.approx([half, 0, 0, half], abs=1e-15)
    assert float(row["estimated_qw"]) >= 0
    assert (row["frame"], row["image"], row["nearest_recording"], row["nearest_index"]) == ("4", "a.png", "seq-01", "0")


def test_fields_fit_each_other(found: Relocalised) -> None:
    with pytest.raises(Vo3dError, match="names of 2 frames: expected one for each of 3"):
        replace(found, names=["a", "b"])
    with pytest.raises(Vo3dError, match="give both or neither"):
        replace(found, nearest=None)


def test_refuses_to_write_what_is_none(tmp_path: Path, found: Relocalised) -> None:
    with pytest.raises(Vo3dError, match=r"a\.csv, estimated poses, pose 0: the pose holds NaN"):
        write_relocalised(tmp_path / "a.csv", replace(found, estimate=found.estimate * torch.nan))
    with pytest.raises(Vo3dError, match="NaN or infinite"):
        write_relocalised(tmp_path / "a.csv", replace(found, deviation=torch.full((3, 2), torch.inf).double()))
    assert not list(tmp_path.iterdir())


HEADER = (
    "frame,image,true_x_m,true_y_m,true_z_m,true_qw,true_qx,true_qy,true_qz,"
    "estimated_x_m,estimated_y_m,estimated_z_m,estimated_qw,estimated_qx,estimated_qy,estimated_qz"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "a.csv:1: columns ''"),
        (lambda text: "frame,x\n1,2\n", "a.csv:1: columns 'frame,x'"),
        (lambda text: f"{HEADER}\n", "no frame in it"),
        (lambda text: text.replace(",0\n", "\n"), "a.csv:2: expected 16 values"),
        (lambda text: text.replace(",0\n", ",0,5\n"), "a.csv:2: expected 16 values"),
        (lambda text: text.replace("a.png", "a" * 200_000), "a.csv:2: field larger than field limit"),
        (lambda text: text.replace("7,a", "7.5,a"), "a.csv:2: '7.5' as frame: expected a whole number"),
        (lambda text: text.replace("1,2,3,1", "1,two,3,1"), "a.csv:2: 'two': expected a finite number"),
        (lambda text: text.replace("1,2,3,1", "nan,2,3,1"), "a.csv:2: 'nan': expected a finite number"),
        (lambda text: text.replace("1,2,3,1", "1,2,3,2"), "a.csv:2: quaternion 2 0 0 0: expected one of unit length"),
    ],
)
def test_bad_tables(tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    text = f"{HEADER}\n{LINE}\n"
    (tmp_path / "a.csv").write_text(text)
    assert read_relocalised(tmp_path / "a.csv").frames.tolist() == [7]
    (tmp_path / "a.csv").write_text(change(text))
    with pytest.raises(Vo3dError) as error:
        read_relocalised(tmp_path / "a.csv")
    assert message in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Vo3dError, match="no such file: expected a table that the task relocalisation"):
        read_relocalised(tmp_path / "a.csv")
