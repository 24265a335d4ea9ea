"""List the readers of sets of places for `fuzz_readers.py`, as `fuzz_targets.py` lists all others."""

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat

from fuzz_readers import Target
from vo3d.formats.images import image_position, write_image
from vo3d.formats.match_tables import read_match_table
from vo3d.formats.matlab_tree import read_tree
from vo3d.formats.place_lists import read_place_arrays
from vo3d.formats.position_tables import read_position_table

NAMES = ["1.jpg", "2.jpg"]


def write(folder: Path, *, name: str, text: str) -> Path:
    """Write a text file."""
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def write_structure(folder: Path, *, packed: bool) -> Path:
    """Write a structure of MATLAB with cells, text and numbers, as sets of places come."""
    names = np.array([["a/1.jpg"], ["b.jpg"]], object)
    content = {"whichSet": "test", "dbImageFns": names, "utmDb": np.ones((2, 2)), "in": [{"a": 1}, {"a": "é"}]}
    savemat(folder / "set.mat", {"dbStruct": content}, do_compression=packed)
    return folder / "set.mat"


def write_arrays(folder: Path) -> Path:
    """Write positions of two images and a query as NumPy does, with texts of their names."""
    np.savez(folder / "set.npz", utmDb=np.ones((2, 2)), utmQ=np.ones((1, 2)), posDistThr=25)
    write(folder, name="index.txt", text="a/1.jpg\nb.jpg\n")
    write(folder, name="query.txt", text="./q.jpg\n")
    return folder / "set.npz"


def write_photograph(folder: Path) -> Path:
    """Write an image whose header says where it was taken: 48.5 N, 2.25 E."""
    path = folder / "a.jpg"
    write_image(path, torch.full((3, 6, 8), 0.5))
    gps, fractions = 26, 80  # places of what follows the first folder, and of what follows the second
    tags = struct.pack(">2sHIHHHIII", b"MM", 42, 8, 1, 34853, 4, 1, gps, 0) + struct.pack(">H", 4)
    for tag, letter, place in ((1, b"N", fractions), (3, b"E", fractions + 24)):
        tags += struct.pack(">HHI4sHHII", tag, 2, 2, letter, tag + 1, 5, 3, place)
    tags += bytes(4) + struct.pack(">12I", 48, 1, 30, 1, 0, 1, 2, 1, 15, 1, 0, 1)
    content, segment = path.read_bytes(), b"Exif\0\0" + tags
    path.write_bytes(content[:2] + struct.pack(">HH", 0xFFE1, len(segment) + 2) + segment + content[2:])
    if image_position(path) != (48.5, 2.25):
        raise AssertionError(f"{path}: taken at {image_position(path)}")
    return path


def targets() -> Iterator[Target]:
    """Yield the readers of sets of places."""
    for packed in (False, True):
        name = f"structure, {'packed' if packed else 'plain'}"
        yield Target(name, partial(write_structure, packed=packed), read_tree)
    yield Target("list of places", write_arrays, _read_arrays)
    for name, text in (
        ("gps.csv", 'name,lat,lon\n"1.jpg",48.8583,2.2945\n2,-33.9,151.2\n'),
        ("gps.txt", "1.jpg 1.5 2e1\n# between\n2.jpg 3 4\n"),
    ):
        yield Target(name, partial(write, name=name, text=text), partial(read_position_table, names=NAMES))
    read = partial(read_match_table, queries=NAMES, database=NAMES)
    for name, text in (
        ("matches.csv", "query,database\n1.jpg,2\n2.jpg,1.jpg\n"),
        ("matches.json", '[[0, 1], ["2.jpg"]]'),
    ):
        yield Target(name, partial(write, name=name, text=text), read)
    yield Target("image with GPS", write_photograph, image_position)


def _read_arrays(path: Path) -> None:
    read_place_arrays(path, path.with_name("index.txt"), path.with_name("query.txt"))
