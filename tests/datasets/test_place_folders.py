"""Two folders of images with names, tables, poses or headers that say which of them show one place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exif import set_orientation
from vo3d.datasets.place_folders import PlaceFolders
from vo3d.datasets.place_images import PlaceImages
from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.formats.trajectories import Trajectory, write_trajectory

NAMES = {"database": ["10.jpg", "2.jpg", "sub/2.jpg"], "queries": ["1.jpg", "3.jpg"]}


def picture(path: Path, height: int = 6, width: int = 8, value: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, torch.full((3, height, width), value))
    return path


def fill(root: Path, names: dict[str, list[str]] = NAMES) -> Path:
    for folder, there in names.items():
        for number, name in enumerate(there):
            picture(root / folder / name, 6 + number)
    return root


def notes(dataset: PlaceFolders) -> str:
    return "; ".join(note for one in dataset.recordings for note in one.notes)


def test_images_are_named_ordered_and_read_one_by_one(tmp_path: Path) -> None:
    root = fill(tmp_path / "town")
    for name in (".hidden.jpg", "notes.txt", ".trash/5.jpg"):
        (root / "database" / name).parent.mkdir(exist_ok=True)
        (root / "database" / name).write_text("no image")
    (root / "database/sub/up").symlink_to(root / "database")  # a link that leads back
    dataset = PlaceFolders(root, frames=1)
    database, queries = dataset.recordings
    assert (database.name, queries.name, dataset.sets[0].name) == ("town_database", "town_queries", "town")
    assert (database.names, queries.names) == (["2.jpg", "10.jpg", "sub/2.jpg"], ["1.jpg", "3.jpg"])
    assert database.frames == [0, 1, 2]  # 2 is there twice
    assert database.poses() is None
    assert database.positions() is None
    assert len(dataset) == 5
    assert dataset[4].given() == ("image", "scene", "index")
    assert (dataset[4].scene, dataset[4].index.tolist(), dataset[4].image.shape) == ("town_queries", [1], (1, 3, 7, 8))
    with pytest.raises(Vo3dError, match=r"10\.jpg: is 8x6 pixels and 2\.jpg is 8x7: images of one clip need one size"):
        database.clip([0, 1])
    assert PlaceFolders(root, frames=1, size=(4, 5)).compose([0, 1]).image.shape == (2, 3, 4, 5)
    assert PlaceFolders(root, frames=1, max_side=4)[2].image.shape == (1, 3, 4, 4)
    assert [one.name for one in PlaceFolders(root, frames=1, images="database").recordings] == ["town_database"]


def test_no_file_is_opened_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path)
    monkeypatch.setattr(Path, "open", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    dataset = PlaceFolders(root, frames=1)
    assert len(dataset) == 5
    with pytest.raises(TypeError):
        dataset[0]


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 4, 9)
    image = torch.zeros(3, 4, 9)
    image[:, :, 0] = 1
    write_image(path, image)
    set_orientation(path, 6)  # the first column is the top
    upright = PlaceImages("a", [path]).clip([0]).image[0]
    assert upright.shape == (3, 9, 4)
    assert upright[:, 0].min() == 1
    assert upright[:, 1:].max() == 0


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_table_of_matches_is_found(tmp_path: Path, suffix: str) -> None:
    root = fill(tmp_path)
    text = "[[0, 2], []]" if suffix == "json" else "query,database\n1.jpg,2.jpg\nqueries/1.jpg,sub/2.jpg\n"
    (root / f"ground_truth.{suffix}").write_text(text)
    dataset = PlaceFolders(root)
    assert [dataset.sets[0].positives(query).tolist() for query in (0, 1)] == [[0, 2], []]
    assert f"ground_truth.{suffix} says which images are right" in notes(dataset)
    assert "1 of 2 queries have no match in the database (by a table)" in notes(dataset)
    named = PlaceFolders(root, matches=f"ground_truth.{suffix}", database="database", queries=root / "queries")
    assert named.sets[0].positives(0).tolist() == [0, 2]


def test_numbers_in_names_are_frames(tmp_path: Path) -> None:
    root = fill(tmp_path, {"ref": ["img_100.jpg", "img_101.jpg", "img_107.jpg"], "query": ["x0101.jpg", "x0300.jpg"]})
    dataset = PlaceFolders(root, frames=1)
    assert dataset.sets[0].positives(0).tolist() == [0, 1]
    assert "1 of 2 queries have no match in the database (within 1 frames)" in notes(dataset)


def utm(east: float, north: float) -> str:
    return f"@{east:010.2f}@{north:010.2f}@10@S@37.77@-122.41@pano@@@@@@201311@@.jpg"


def test_positions_of_names(tmp_path: Path) -> None:
    places = {"database": [(5e5, 4e6), (500010.0, 4e6), (500040.0, 4e6)], "queries": [(500020.0, 4e6), (6e5, 4e6)]}
    root = fill(tmp_path, {folder: [utm(*one) for one in there] for folder, there in places.items()})
    picture(root / "database/lost.jpg")
    dataset = PlaceFolders(root)
    assert dataset.sets[0].matches.metres == 25
    found = dataset.recordings[0].positions()
    assert found is not None
    assert (found.dtype, found.tolist()) == (torch.float64, [[*one, 0] for one in places["database"]])
    assert dataset.sets[0].positives(0).tolist() == [0, 1, 2]
    assert PlaceFolders(root, metres=15.0).sets[0].positives(0).tolist() == [1]
    assert "1 of 4 images have no position by the names of the images" in notes(dataset)
    assert "(lost.jpg): they are left out" in notes(dataset)
    assert "1 of 2 queries have no match in the database (within 25 m)" in notes(dataset)
    by_frames = PlaceFolders(root, frames=5)
    assert len(by_frames.recordings[0]) == 4
    assert by_frames.recordings[0].positions() is None


def in_each(root: Path) -> None:
    (root / "database/gps.csv").write_text("name,lat,lon\n2.jpg,48.85,2.35\n10.jpg,48.8502,2.35\nsub/2.jpg,48.9,2.35\n")
    (root / "queries/gps.csv").write_text("name,lat,lon\n1.jpg,48.8501,2.35\n3.jpg,49.5,2.35\n")


def beside(root: Path) -> None:
    rows = "database/2.jpg,0,1\n10.jpg,0,9\ndatabase/sub/2.jpg,0,500\nqueries/1.jpg,0,5\n3.jpg,0,-600\n9.jpg,0,0\n"
    (root / "positions.csv").write_text(f"file,x,y\n{rows}")


def in_headers(root: Path) -> None:
    places = {"database/2.jpg": 0.0, "database/10.jpg": 0.6, "database/sub/2.jpg": 30.0, "queries/1.jpg": 0.3}
    for name, seconds in {**places, "queries/3.jpg": 59.0}.items():
        exif = Image.Exif()
        exif[34853] = {1: "N", 2: (48.0, 50.0, seconds), 3: "E", 4: (2.0, 20.0, 0.0)}
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(root / name, exif=exif)


def in_poses(root: Path) -> None:
    for folder, walk in (("database", [0.0, 8, 500]), ("queries", [4.0, 900])):
        world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(walk), 1, 1)
        world_T_cam[:, 2, 3] = torch.tensor(walk, dtype=torch.float64)
        write_trajectory(root / folder / "poses.txt", Trajectory(world_T_cam=world_T_cam), "kitti")
    (root / "database/sub/2.jpg").rename(root / "database/11.jpg")


@pytest.mark.parametrize("write", [in_each, beside, in_headers, in_poses])
def test_positions_of_tables_poses_and_headers(tmp_path: Path, write: Callable[[Path], None]) -> None:
    root = fill(tmp_path)
    write(root)
    places = PlaceFolders(root).sets[0]
    assert [places.positives(query).tolist() for query in (0, 1)] == [[0, 1], []]


def test_the_choice_among_several_sources_is_said(tmp_path: Path) -> None:
    names = {"database": [utm(0, 0), utm(5, 0)], "queries": [utm(1, 0)]}
    root = fill(tmp_path, names)
    (root / "gps.csv").write_text("broken")
    (root / "database/poses.txt").write_text("broken")
    dataset = PlaceFolders(root)
    said = "positions by the names of the images (@utm_east@utm_north@); left out: "
    assert f"{said}{root}/database/poses.txt, {root}/gps.csv" in notes(dataset)
    with pytest.raises(Vo3dError, match=r"gps\.csv:1: 'broken': expected a table of positions"):
        PlaceFolders(root, positions="table")
    with pytest.raises(Vo3dError, match="no positions by exif in both folders"):
        PlaceFolders(root, positions="exif")


def test_a_limit_by_which_all_match_is_said(tmp_path: Path) -> None:
    names = {"database": [utm(number, 0) for number in range(25)], "queries": [utm(0, 1)]}
    assert "a query matches 100% of the database (within 25 m)" in notes(PlaceFolders(fill(tmp_path, names)))


FAULTS: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "nothing tells": (lambda root: None, {}, "nothing says which images are right: expected ground_truth.json, frames"),
    "a pickle": (lambda root: (root / "ground_truth_new.npy").touch(), {}, "are pickles, which can run programs"),
    "no folders": (lambda root: (root / "queries").rename(root / "q"), {}, r"no two folders of images \(database and"),
    "an empty folder": (lambda root: (root / "e").mkdir(), {"queries": "e", "database": "database"}, "holds no image"),
    "one folder": (lambda root: None, {"queries": "queries"}, "one of database and queries alone"),
    "a folder that is not there": (lambda root: None, {"queries": "x", "database": "y"}, "y: no such folder, nor in"),
    "two rules": (lambda root: None, {"frames": 1, "metres": 2.0}, "several of matches, frames and metres"),
    "two sizes": (lambda root: None, {"frames": 1, "size": (3, 4), "max_side": 2}, "give one of the two"),
    "no query matches": (
        lambda root: (root / "ground_truth.json").write_text(json.dumps([[], []])),
        {},
        r"no image of the database is right for any of the 2 queries \(by a table\)",
    ),
    "metres beside degrees": (
        lambda root: (
            (root / "database/gps.csv").write_text("x,y\n1,2\n3,4\n5,6\n"),
            (root / "queries/gps.csv").write_text("lat,lon\n1,2\n3,4\n"),
        ),
        {},
        "expected both in metres of one map, or both in degrees",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_one_line(tmp_path: Path, name: str) -> None:
    harm, options, words = FAULTS[name]
    harm(fill(tmp_path))
    with pytest.raises(Vo3dError, match=words) as caught:
        PlaceFolders(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_degrees_in_names_are_refused(tmp_path: Path) -> None:
    names = {"database": ["@48.8583@2.2945@.jpg", "@48.8600@2.3266@.jpg"], "queries": ["@48.85@2.3@.jpg"]}
    with pytest.raises(Vo3dError, match=r"the names of the images: positions from 48.8583 2.2945 .* look like degrees"):
        PlaceFolders(fill(tmp_path, names))


def test_queries_of_another_zone_are_refused(tmp_path: Path) -> None:
    names = {"database": [utm(0, 0), utm(5, 0)], "queries": [utm(1, 0).replace("@10@S", "@11@S")]}
    with pytest.raises(Vo3dError, match=r"@10@S.*lies in UTM zone 10 north, @.*@11@S.* in zone 11 north"):
        PlaceFolders(fill(tmp_path, names))


@pytest.mark.real
def test_the_corridor_opens_by_itself(shared_data: Path) -> None:
    dataset = PlaceFolders(shared_data / "vpr_corridor")
    places = dataset.sets[0]
    assert (len(places.database), len(places.queries)) == (111, 111)
    truth = json.loads((shared_data / "vpr_corridor/ground_truth.json").read_text())
    assert [places.positives(query).tolist() for query in range(111)] == truth
    assert dataset[0].image.shape == (1, 3, 120, 160)
    assert dataset.compose([0, 111, 221]).image.shape == (3, 3, 120, 160)
