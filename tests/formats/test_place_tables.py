"""Tables of positions and of matches, names of images, GPS in headers: as people have them, and one line for faults."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vo3d.errors import Vo3dError
from vo3d.formats.images import image_position
from vo3d.formats.match_tables import read_match_table
from vo3d.formats.place_names import ImageNames, check_one_zone, utm_of
from vo3d.formats.position_tables import check_metres, read_position_table
from vo3d.geometry.geodesy import earth_centred

NAMES = ["2.jpg", "10.jpg", "a/7.jpg"]
ROWS = [[1.5, 20], [3, 4], [-5, 6e3]]
DEGREES = [[48.8583, 2.2945], [48.8600, 2.3266], [-33.8568, 151.2153]]


@pytest.mark.parametrize(
    "text",
    [
        "name,easting,northing\n10.jpg,3,4\n2.jpg,1.5,20\na/7.jpg,-5,6000\n",
        "\ufeffEasting;Northing;File\r\n3;4;10\r\n1.5;20;2\r\n-5;6e3;a/7\r\n",
        "# image x y\n2.jpg 1.5 20\n# between\n10.jpg 3 4\n7.jpg -5 6000\n",
        "2.jpg 1.5 20\n10.jpg 3 4\ndatabase/a/7.jpg -5 6000\n",
        "1.5\t20\n3\t4\n-5\t6000\n",
        "x,y\n1.5,20\n3,4\n-5,6000\n",
        '"key","utm_east","utm_north","altitude"\n"2.jpg",1.5,20,99\n"10.jpg",3,4,99\n"a\\7.jpg",-5,6000,99\n',
        "2 1.5 20\n10 3 4\n7 -5 6000\n",  # names that are numbers
    ],
)
def test_positions_in_metres(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gps.csv"
    path.write_text(text, encoding="utf-8")
    table = read_position_table(path, NAMES)
    assert table.metres.tolist() == [[*row, 0] for row in ROWS]
    assert not table.on_earth
    assert table.notes == ()


def test_a_third_axis_is_read_and_degrees_become_metres(tmp_path: Path) -> None:
    path = tmp_path / "gps.csv"
    path.write_text("name,x,y,z\n2.jpg,1,2,3\n10.jpg,4,5,6\na/7.jpg,7,8,9\n")
    assert read_position_table(path, NAMES).metres.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    rows = [f"{longitude},{name},{latitude},35" for name, (latitude, longitude) in zip(NAMES, DEGREES, strict=True)]
    path.write_text("\n".join(["Longitude,image,Latitude,alt", *rows]))
    table = read_position_table(path, NAMES)
    assert table.on_earth
    assert torch.equal(table.metres, earth_centred(torch.tensor(DEGREES, dtype=torch.float64)))


def test_rows_and_images_that_do_not_meet_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "gps.csv"
    path.write_text("name,x,y\n2.jpg,1,2\n3.jpg,1,2\n")
    table = read_position_table(path, NAMES)
    assert table.metres.isnan().any(dim=1).tolist() == [False, True, True]
    assert table.notes == (f"{path}: 1 of 2 rows are of no image (3.jpg)",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty: expected a table of positions"),
        ("name,x,y\n", "no row: expected"),
        ("name,x,y\n2.jpg,1,two\n", "gps.csv:2: 'two': expected a finite number"),
        ("name,x,y\n2.jpg,1,nan\n", "gps.csv:2: 'nan': expected a finite number"),
        ("name,x,y\n2.jpg,1\n", "gps.csv:2: 2 columns: expected 3"),
        ("name,x,y\n2.jpg,1,1e300\n", "gps.csv:2: a position of 1e.300"),
        ("name,x,y\n2.jpg,1,2\n2.jpg,1,2\n", "gps.csv:3: a second row of 2.jpg after line 2"),
        ("name,x,y\n4.jpg,1,2\n", r"none of its 1 rows \(4.jpg\) is of an image \(2.jpg, 10.jpg and 1 more\)"),
        ("1,2\n3,4\n", "2 rows without names for 3 images"),
        ("name,lat,lon\n2.jpg,500000,4000000\n", "gps.csv:2: latitude 500000, longitude 4e.06: expected degrees"),
        (
            "2.jpg,48.8583,2.2945\n10.jpg,48.8600,2.3266\n",
            "positions from 48.8583 2.2945 to 48.86 2.3266 look like deg",
        ),
        ("one\n", "gps.csv:1: 'one': expected a table"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "gps.csv"
    path.write_text(text)
    with pytest.raises(Vo3dError, match=words):
        read_position_table(path, NAMES)


@pytest.mark.parametrize(
    ("rows", "are_degrees"),
    [
        ([[48.8583, 2.2945], [48.8600, 2.3266]], True),
        ([[-122.4194, 37.7749], [-122.4, 37.8]], True),  # longitude first
        ([[51.5, -0.001], [51.5005, 0.001]], True),  # Greenwich
        ([[0.3, 0.2], [-0.4, 0.5], [0.1, -0.3]], False),  # a small room
        ([[548321.1, 4180112.2], [548321.6, 4180112.4]], False),  # one street corner of a map
        ([[40.0, 3.0], [44.0, 9.0]], False),  # a garden
    ],
)
def test_degrees_are_told_from_metres(rows: list[list[float]], are_degrees: bool) -> None:
    def refused() -> bool:
        try:
            check_metres(torch.tensor(rows, dtype=torch.float64), "it")
        except Vo3dError:
            return True
        return False

    assert refused() == are_degrees


def test_a_header_overrules_the_guess(tmp_path: Path) -> None:
    path = tmp_path / "gps.csv"
    path.write_text("name,x,y\n2.jpg,48.8583,2.2945\n10.jpg,48.8600,2.3266\n7.jpg,48.86,2.3\n")
    assert read_position_table(path, NAMES).metres[0].tolist() == [48.8583, 2.2945, 0]


def test_names_of_images() -> None:
    images = ImageNames(["a/1.jpg", "b/1.jpg", "b/2.JPG", "1.jpg"])
    asked = ["a/1.jpg", "1.jpg", "1", "2", "queries/b/1", "./b\\2.JPG", "3", "b/3.jpg"]
    assert [images.find(name) for name in asked] == [0, 3, None, 2, 1, 2, None, None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("@0548321.10@4180112.25@10@S@037.7@-122.4@pano@@0@@@@201311@@.jpg", (548321.1, 4180112.25)),
        ("sf/@-5@7@.png", (-5, 7)),
        ("@5@7.jpg", None),
        ("x@5@7@.jpg", None),
        ("@5@north@.jpg", None),
        ("@nan@7@.jpg", None),
    ],
)
def test_positions_in_names(name: str, expected: tuple[float, float] | None) -> None:
    assert utm_of(name) == expected


QUERIES, DATABASE = ["q0.jpg", "q1.jpg", "q2.jpg"], ["s/d0.jpg", "s/d1.jpg"]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".json", "[[1, 0, 1], [], [1]]"),
        (".json", '[["d1.jpg", "s/d0"], [], [1]]'),
        (".csv", "query,database\nq0.jpg,d1.jpg\nq2.jpg,d1.jpg\nq0.jpg,d0.jpg\n"),
        (".csv", "database;query\ns/d1.jpg;queries/q0.jpg\nd1;q2\nd0;q0\n"),
        (".txt", "0 1\n2 1\n0 0\n"),
        (".csv", "q0, 1\nq2, 1\nq0, 0\n"),
    ],
)
def test_matches(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"matches{suffix}"
    path.write_text(text)
    assert read_match_table(path, QUERIES, DATABASE) == [[0, 1], [], [1]]


@pytest.mark.parametrize(
    ("suffix", "text", "words"),
    [
        (".npy", "", "are pickles, which can run programs: expected JSON or CSV"),
        (".json", "{}", "no list of lists"),
        (".json", "[[0]]", "1 lists for 3 queries"),
        (".json", "[[0], [2], []]", "query 1: 2 is no image: expected a number from 0 to 1, or the name"),
        (".json", "[[true], [], []]", "query 0: True is no image"),
        (".json", "[[0.5], [], []]", "query 0: 0.5 is no image"),
        (".csv", "", "no pair"),
        (".csv", "query,database\n", "no pair"),
        (".csv", "q0,d0\nq1\n", ":2: 'q1': expected rows query,database"),
        (".csv", "q0,d0\nq9,d0\n", "line 2: 'q9' is no image"),
        (".csv", "0,-1\n", "line 1: '-1' is no image"),
    ],
)
def test_faults_of_matches_are_one_line(tmp_path: Path, suffix: str, text: str, words: str) -> None:
    path = tmp_path / f"matches{suffix}"
    path.write_text(text)
    with pytest.raises(Vo3dError, match=words):
        read_match_table(path, QUERIES, DATABASE)


def test_numbers_that_are_names_of_other_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "matches.csv"
    path.write_text("0,1\n1,2\n")
    with pytest.raises(
        Vo3dError, match=r"matches.csv:1: 1 may be 1.jpg, or image 1 from 0 on: write names with suffixes"
    ):
        read_match_table(path, ["0.jpg", "1.jpg"], ["1.jpg", "2.jpg", "3.jpg"])
    path.write_text(json.dumps([[1], [2]]))
    assert read_match_table(path.rename(tmp_path / "a.json"), ["0.jpg", "1.jpg"], ["1.jpg", "2.jpg", "3.jpg"]) == [
        [1],
        [2],
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_gps_in_headers(tmp_path: Path, suffix: str) -> None:
    """Written by Pillow, from the Opera House of Sydney."""
    picture, exif = Image.fromarray(np.zeros((4, 6, 3), np.uint8)), Image.Exif()
    path = tmp_path / f"a{suffix}"
    picture.save(path)
    assert image_position(path) is None
    exif[34853] = {1: "S", 2: (33.0, 51.0, 24.48), 3: "E", 4: (151.0, 12.0, 55.08)}
    picture.save(path, exif=exif)
    assert image_position(path) == pytest.approx((-33.8568, 151.2153), abs=1e-9)
    exif[34853] = {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}  # as cameras write without a fix
    picture.save(path, exif=exif)
    assert image_position(path) is None
    exif[34853] = {1: "N", 3: "E"}
    picture.save(path, exif=exif)
    assert image_position(path) is None


def test_images_of_two_zones_are_refused() -> None:
    ten, eleven, south = ("sf/@0548321.10@4180112.25@10@S@037.7@.jpg", "@1@2@11@S@@.jpg", "@1@2@10@M@@.jpg")
    check_one_zone([ten, "@1@2@10@T@@.jpg", "@1@2@@@@.jpg", "@1@2@.jpg", "1.jpg"], "places")
    for other, zone in ((eleven, "11 north"), (south, "10 south")):
        with pytest.raises(Vo3dError) as caught:
            check_one_zone(["1.jpg", ten, other], "places")
        assert str(caught.value) == (
            f"places: {ten} lies in UTM zone 10 north, {other} in zone {zone}: metres of two zones do not compare: "
            "make a set of each zone"
        )
