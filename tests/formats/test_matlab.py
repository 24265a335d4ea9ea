"""MATLAB files: equal to SciPy's reader on its own files, and one line for whatever is damaged."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vo3d.errors import Vo3dError
from vo3d.formats.kitti import read_imu
from vo3d.formats.matlab import LARGEST, read_arrays
from vo3d.metrics.dtu import DtuScan

KINDS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
FLAGS, ONE_BY_ONE, NAME = (struct.pack("<IIII", 6, 8, 6, 0), struct.pack("<IIii", 5, 8, 1, 1), b"\1\0\1\0P\0\0\0")


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(*parts: bytes) -> bytes:
    return element(14, b"".join(parts))


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_are_those_that_scipy_reads(tmp_path: Path, packed: bool) -> None:
    random = np.random.default_rng(0)
    arrays = {f"a{kind.replace('?', 'b')}": (random.random((3, 4, 2)) * 100).astype(kind) for kind in KINDS}
    arrays |= {"one": np.array([[0.5]]), "few": np.array([[1, 2, 3]], np.uint8), "row": np.arange(7.0)}
    others = {"text": "words", "cell": np.array([1, "b"], object), "table": {"a": 1}, "z": np.array([[1j]])}
    path = tmp_path / "all.mat"
    savemat(path, {**others, **arrays}, do_compression=packed, oned_as="row")

    expected = loadmat(path)
    found = read_arrays(path, {name: expected[name].shape for name in arrays})

    for name in arrays:
        np.testing.assert_array_equal(found[name], expected[name])
    for name in others:
        with pytest.raises(Vo3dError, match=f"{name} is no array of numbers"):
            read_arrays(path, {name: (None, None)})


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    body = b"".join(
        (
            struct.pack(">IIII", 6, 8, 6, 0),
            struct.pack(">IIii", 5, 8, 1, 2),
            b"\0\1\0\1P\0\0\0",
            struct.pack(">IIdd", 9, 16, 0.5, -2),
        )
    )
    path = tmp_path / "big.mat"
    path.write_bytes(HEADER[:-4] + b"\x01\x00MI" + struct.pack(">II", 14, len(body)) + body)
    assert read_arrays(path, {"P": (1, 2)})["P"].tolist() == loadmat(path)["P"].tolist() == [[0.5, -2]]


HARMS: dict[str, tuple[bytes, str]] = {
    "an unknown type of values": (matrix(FLAGS, ONE_BY_ONE, NAME, element(0x402, bytes(8))), "of type 1026"),
    "an empty type of values": (matrix(FLAGS, ONE_BY_ONE, NAME, element(0, bytes(8))), "of type 0"),
    "sizes of another type": (matrix(FLAGS, element(4, struct.pack("<ii", 1, 1)), NAME), "without flags and sizes"),
    "too few values": (matrix(FLAGS, ONE_BY_ONE, NAME, element(9, bytes(4))), "4 bytes of type 9"),
    "sizes below zero": (matrix(FLAGS, element(5, struct.pack("<ii", -1, -1)), NAME, element(9, bytes(8))), "8 bytes"),
    "sizes beyond memory": (
        matrix(FLAGS, element(5, struct.pack("<ii", 2**31 - 1, 2**31 - 1)), NAME, element(9, bytes(8))),
        "8 bytes of type 9",
    ),
    "an end too early": (matrix(FLAGS, ONE_BY_ONE, NAME, element(9, bytes(8)))[:-4], "an element ends at byte"),
    "a size beyond the file": (struct.pack("<II", 14, 2**32 - 1) + FLAGS, "an element ends at byte"),
    "rubbish compressed": (element(15, b"rubbish!"), "decompress"),
    "a bomb": (element(15, zlib.compress(struct.pack("<II", 14, 2**32 - 1) + bytes(10**6))), f"up to {LARGEST}"),
    "a short stream": (element(15, zlib.compress(struct.pack("<II", 14, 999) + FLAGS)), "not of the 999 bytes"),
    "a long stream": (
        element(15, zlib.compress(matrix(FLAGS, ONE_BY_ONE, NAME, element(9, bytes(8))) + bytes(9))),
        "not of the",
    ),
    "no array": (element(9, bytes(8)), "an element of type 9 where an array should be"),
    "half a type": (b"\x0e\0\0", "requires a buffer"),
}


@pytest.mark.parametrize("name", HARMS)
def test_damage_is_one_line(tmp_path: Path, name: str) -> None:
    content, words = HARMS[name]
    path = tmp_path / "P.mat"
    path.write_bytes(HEADER + content)
    with pytest.raises(Vo3dError, match=r"P\.mat: no whole MATLAB file of version 5 \(.*" + words) as caught:
        read_arrays(path, {"P": (1, 1)})
    assert len(str(caught.value).removeprefix(str(path))) <= 300


def test_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    packed = zlib.compress(matrix(FLAGS, ONE_BY_ONE, NAME, element(9, bytes(8))))
    path = tmp_path / "P.mat"
    path.write_bytes(HEADER + struct.pack("<II", 15, len(packed)) + packed)
    assert read_arrays(path, {"P": (1, 1)})["P"].tolist() == [[0]]
    path.write_bytes(HEADER + struct.pack("<II", 15, len(packed)) + packed[:-1] + bytes([packed[-1] ^ 1]))
    with pytest.raises(Vo3dError, match="incorrect data check"):
        read_arrays(path, {"P": (1, 1)})


@pytest.mark.real
@pytest.mark.parametrize("name", ["3de47f", "5d1864", "981f42", "caee1b", "e60d93"])
def test_files_met_in_trials_are_refused(shared_data: Path, name: str) -> None:
    path = shared_data / f"trials/files/imu_mat_{name}.mat"
    with pytest.raises(Vo3dError, match=rf"{path.name}: (no whole MATLAB file|has a reading of 2.65467e.202)"):
        read_imu(path)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "shapes", "words"),
    [
        ("obsmask", {"ObsMask": (None,) * 3}, "no whole MATLAB file"),
        ("plane", {"P": (4, 1)}, r"holds \\x00: expected P"),
    ],
)
def test_files_that_end_scipy_are_refused(shared_data: Path, name: str, shapes: dict[str, Any], words: str) -> None:
    with pytest.raises(Vo3dError, match=rf"crash_{name}\.mat: {words}"):
        read_arrays(shared_data / f"trials/files/crash_{name}.mat", shapes)


@pytest.mark.real
def test_published_readings_are_those_that_scipy_reads(shared_data: Path) -> None:
    path = next(iter(sorted((shared_data / "kitti_odometry/imus").glob("*.mat"))))
    found = read_arrays(path, {"imu_data_interp": (None, 6)})["imu_data_interp"]
    np.testing.assert_array_equal(found, loadmat(path)["imu_data_interp"])


def test_the_scan_of_a_damaged_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Points/stl").mkdir(parents=True)
    (tmp_path / "ObsMask").mkdir()
    (tmp_path / "Points/stl/stl001_total.ply").touch()
    harm, _ = HARMS["an unknown type of values"]
    for name in ("ObsMask1_10", "Plane1"):
        (tmp_path / f"ObsMask/{name}.mat").write_bytes(HEADER + harm.replace(NAME, b"\1\0\1\0Q\0\0\0"))
    with pytest.raises(Vo3dError, match=r"ObsMask1_10\.mat: holds Q: expected ObsMask"):
        DtuScan.load(tmp_path, 1)
