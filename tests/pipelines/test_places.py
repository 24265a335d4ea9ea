"""`vo3d places`: what is described when a map grows, what survives a kill, and what is found, true or doubtful."""

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from rich.console import Console

from vo3d.errors import Vo3dError
from vo3d.formats.images import write_image
from vo3d.inference.place_map import PlaceMap, small
from vo3d.pipelines.places import build, find
from vo3d.pipelines.places.find import doubtful
from vo3d.pipelines.places.images import open_views

THUMBNAIL = '{"class_path": "image_features", "init_args": {"features": "thumbnail"}}'


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vo3d.report.canvas.DPI", 40)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write nothing, for tests of what is found: pictures take a second."""
    monkeypatch.setattr(find, "_write", lambda *_: None)


def blocks(seed: int, size: tuple[int, int] = (48, 64)) -> torch.Tensor:
    """An image of random blocks, which a thumbnail tells from that of every other seed."""
    coarse = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse[None], size=size, mode="nearest")[0]


def write_walk(folder: Path, count: int = 12, noise: float = 0.0) -> Path:
    """Write images 0.png and on, each of another size, one in a folder below."""
    for seed in range(count):
        image = blocks(seed, (48 + seed, 64))
        image = image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
        write_image(folder / ("below/11.png" if seed == 11 else f"{seed}.png"), image.clamp(0, 1))
    return folder


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    return write_walk(tmp_path / "walk")


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that the model was called with."""
    calls: list[str] = []
    original = build.descriptor_of

    def counted(model: Any, recording: Any, index: int, *, device: Any) -> torch.Tensor:
        calls.append(recording.names[index])
        return original(model, recording, index, device=device)

    monkeypatch.setattr(build, "descriptor_of", counted)
    return calls


def make(source: Path, out: Path, **options: Any) -> tuple[PlaceMap, str]:
    """Build a map, and return what was printed, too."""
    console = Console(file=io.StringIO(), width=400)
    options = {"descriptor": THUMBNAIL, "device": "cpu"} | options
    made = build.build_map(source, out=out, console=console, **options)
    assert isinstance(console.file, io.StringIO)
    return made, console.file.getvalue()


def look(source: Path, made: Path, out: Path, **options: Any) -> tuple[find.Found, str]:
    """Find places, and return what was printed, too."""
    console = Console(file=io.StringIO(), width=400)
    found = find.find_places(source, map_folder=made, out=out, device="cpu", console=console, **options)
    assert isinstance(console.file, io.StringIO)
    return found, console.file.getvalue()


@pytest.mark.usefixtures("no_files")
def test_growing_describes_only_what_is_new_or_changed(walk: Path, tmp_path: Path, described: list[str]) -> None:
    made, _ = make(walk, tmp_path / "map")
    assert [place.name for place in made.places] == [*(f"{i}.png" for i in range(11)), "below/11.png"]
    assert len(described) == 12
    described.clear()
    os.utime(walk / "3.png")  # a change of time alone
    write_image(walk / "4.png", blocks(40))
    write_image(walk / "new.png", blocks(41))
    (walk / "5.png").rename(walk / "five.png")
    (walk / ".hidden.png").write_bytes(b"nothing")
    made, words = make(walk, tmp_path / "map", descriptor=None)
    assert described == ["4.png", "new.png"]
    assert "2 described now, 11 known already" in words
    names = [place.name for place in made.places]
    assert names[3:6] == ["3.png", "4.png", "five.png"]
    described.clear()
    make(walk, tmp_path / "map")
    assert described == []
    assert sorted(find_all(tmp_path / "map", walk)) == list(range(13))


def find_all(made: Path, walk: Path) -> list[int]:
    """The best matches of the images of a map for themselves, by their place; each must be itself."""
    found, _ = look(walk, made, walk.parent / "found")
    names = [place.name for place in PlaceMap(made).places]
    assert [names[best] for best in found.index[:, 0].tolist()] == found.names
    return [int(best) for best in found.index[:, 0]]


def test_what_vanished_stays_unless_it_is_dropped(walk: Path, tmp_path: Path) -> None:
    make(walk, tmp_path / "map")
    (walk / "7.png").unlink()
    made, words = make(walk, tmp_path / "map")
    assert "the map keeps 1 image that the disk has no more: 7.png; --drop" in words
    assert len(made.places) == 12
    made, words = make(walk, tmp_path / "map", drop=True)
    assert "1 image of the map that the disk has no more: 7.png" in words
    assert len(made.places) == 11
    write_image(tmp_path / "7.png", blocks(7, (55, 64)))  # its descriptor is still there, and must not be found
    found, _ = look(tmp_path / "7.png", tmp_path / "map", tmp_path / "found")
    assert found.index.shape == (1, 10)
    assert found.similarity[0, 0] < 0.9


@pytest.mark.usefixtures("no_files")
def test_a_killed_build_goes_on(
    walk: Path, tmp_path: Path, described: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BATCH", 2)
    counted = build.descriptor_of

    def killed(*given: Any, **options: Any) -> torch.Tensor:
        if len(described) == 5:
            raise KeyboardInterrupt
        return counted(*given, **options)

    monkeypatch.setattr(build, "descriptor_of", killed)
    with pytest.raises(KeyboardInterrupt):
        make(walk, tmp_path / "map")
    assert [place.name for place in PlaceMap(tmp_path / "map").places] == [f"{i}.png" for i in range(4)]
    # a kill between the descriptors and the table leaves rows that are no image
    made = PlaceMap(tmp_path / "map")
    made.descriptors.append(torch.randn(3, made.settings.dim))
    monkeypatch.setattr(build, "descriptor_of", counted)
    described.clear()
    make(walk, tmp_path / "map")
    assert len(described) == 8
    find_all(tmp_path / "map", walk)


def test_an_image_that_cannot_be_read_is_named_and_the_others_go_on(walk: Path, tmp_path: Path) -> None:
    (walk / "5.png").write_bytes((walk / "5.png").read_bytes()[:200])
    with pytest.raises(Vo3dError, match=r"^1 of 12 images could not be read and are not in .*5\.png"):
        make(walk, tmp_path / "map")
    assert len(PlaceMap(tmp_path / "map").places) == 11
    with pytest.raises(Vo3dError, match=r"^1 of 12 images could not be read, all others were looked for: .*5\.png"):
        look(walk, tmp_path / "map", tmp_path / "found")
    rows = (tmp_path / "found" / "places.csv").read_text().splitlines()
    assert len(rows) == 1 + 11 * 5


def test_places_are_found_and_the_truth_is_told(walk: Path, tmp_path: Path) -> None:
    make(walk, tmp_path / "map", max_side=56)
    queries = write_walk(tmp_path / "again", noise=0.1)
    truth = [[i] for i in range(12)]
    truth[2], truth[3] = [5], []
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found, words = look(queries, tmp_path / "map", tmp_path / "found", matches=tmp_path / "truth.json", top=2)
    assert found.index[:, 0].tolist() == list(range(12))
    assert not found.doubtful.any()
    assert "1 of 12 queries have no right image in the map" in words
    assert "recall    @1/5/10 83.33 /" in words  # 10 of 12
    rows = list(csv.DictReader((tmp_path / "found" / "places.csv").read_text().splitlines()))
    assert len(rows) == 24
    assert [row["right"] for row in rows[::2]] == ["1", "1", "0", "0", *"1" * 8]
    assert {"matches.png", "similarity.png", "precision_recall.png"} < {p.name for p in (tmp_path / "found").iterdir()}
    _, words = look(queries / "4.png", tmp_path / "map", tmp_path / "found")
    assert "4.png: 4.png (0.9" in words
    assert sorted(p.name for p in (tmp_path / "found").iterdir()) == ["matches.png", "places.csv"]
    assert "recall    @1/5/10 100.00" in look(queries, tmp_path / "map", tmp_path / "found", frames=0)[1]


def test_positions_in_names_are_truth(tmp_path: Path) -> None:
    for seed in range(10):
        write_image(tmp_path / "map_images" / f"@{5000 + 10 * seed}.0@7000.5@{seed}.png", blocks(seed))
    for seed, east in ((1, 5012), (4, 5066)):  # the second is 26 m off
        write_image(tmp_path / "queries" / f"@{east}@7000.5@{seed}.png", blocks(seed))
    make(tmp_path / "map_images", tmp_path / "map")
    assert PlaceMap(tmp_path / "map").places[2].position == (5020, 7000.5, 0)
    _, words = look(tmp_path / "queries", tmp_path / "map", tmp_path / "found")
    assert "recall    @1/5/10 50.00 / 100.00 / 100.00 % of 2 (right: at most 25 m apart)" in words
    _, words = look(tmp_path / "queries", tmp_path / "map", tmp_path / "found", within=27.0)
    assert "recall    @1/5/10 100.00" in words


def test_a_match_that_says_nothing_has_a_question_mark() -> None:
    """A walk among similar images; a query of another world is about as far from all of them."""
    draw = torch.Generator().manual_seed(0)
    world, other = torch.randn(2, 1024, generator=draw)
    database = torch.nn.functional.normalize(world + torch.randn(50, 1024, generator=draw), dim=-1)
    same = torch.nn.functional.normalize(database[:5] + 0.02 * torch.randn(5, 1024, generator=draw), dim=-1)
    strange = torch.nn.functional.normalize(other + torch.randn(5, 1024, generator=draw), dim=-1)
    for queries, expected in ((same, False), (strange, True)):
        matrix = queries @ database.T
        assert doubtful(matrix.amax(1), matrix).tolist() == [expected] * 5
    copies = database[:1].expand(50, -1)  # all images of the map tie
    matrix = same @ copies.T
    assert doubtful(matrix.amax(1), matrix).all()


def test_positions_in_a_table_are_truth_and_those_of_some_images_alone_are_not(tmp_path: Path) -> None:
    rows = [f"{seed}.png,{46.5 + seed * 1e-3},6.6" for seed in range(10)]  # 111 m apart
    for seed in range(10):
        write_image(tmp_path / "map_images" / f"{seed}.png", blocks(seed))
    (tmp_path / "map_images" / "gps.csv").write_text("\n".join(["name,lat,lon", *rows]))
    write_image(tmp_path / "queries" / "a.png", blocks(3))
    (tmp_path / "queries" / "gps.csv").write_text("name,lat,lon\na,46.5031,6.6\n")  # 11 m off
    _, words = make(tmp_path / "map_images", tmp_path / "map")
    assert "positions by" in words
    _, words = look(tmp_path / "queries", tmp_path / "map", tmp_path / "found")
    assert "recall    @1/5/10 100.00 / 100.00 / 100.00 % of 1 (right: at most 25 m apart)" in words
    (tmp_path / "map_images" / "gps.csv").write_text("\n".join(["name,lat,lon", *rows[:-1]]))
    _, words = make(tmp_path / "map_images", tmp_path / "other")
    assert "1 of 10 images have no position: positions are not used" in words


def test_a_map_of_one_image_says_that_it_tells_nothing(walk: Path, tmp_path: Path) -> None:
    made, _ = make(walk / "0.png", tmp_path / "map")
    assert len(made.places) == 1
    found, words = look(walk / "3.png", tmp_path / "map", tmp_path / "found")
    assert found.doubtful.all()
    assert "the map has 1 image, which is the nearest whatever is looked for" in words


def test_large_images_are_reduced(tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", blocks(0, (60, 120)))
    assert open_views(tmp_path / "large.png", max_side=40).clip((0,)).image.shape == (1, 3, 20, 40)
    torch.testing.assert_close(small(torch.full((3, 30, 90), 0.25), 9), torch.full((3, 3, 9), 0.25))


def test_frames_of_a_sequence_grow_a_map_by_their_pixels(walk: Path, tmp_path: Path, described: list[str]) -> None:
    """A video is opened as every sequence is; its frames have no file of their own."""
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for seed in range(10):
        writer.write((blocks(seed) * 255).byte().permute(1, 2, 0).numpy().copy())
    writer.release()
    assert len(make(tmp_path / "walk.avi", tmp_path / "map", every=2)[0].places) == 5
    described.clear()
    assert len(make(tmp_path / "walk.avi", tmp_path / "map")[0].places) == 10
    assert described == [f"{i:06d}" for i in (1, 3, 5, 7, 9)]


def test_a_map_that_was_edited_is_refused(walk: Path, tmp_path: Path) -> None:
    make(walk, tmp_path / "map")
    shutil.copytree(tmp_path / "map", tmp_path / "kept")
    table = tmp_path / "map" / "images.csv"
    for text, words in (
        (table.read_text().replace(",11\n", ",99\n"), "names row 99 of 12 descriptors"),
        (table.read_text() + "more,x\n", "line 14 is no image"),
        ("name\n", "another header"),
    ):
        table.write_text(text)
        with pytest.raises(Vo3dError, match=words):
            PlaceMap(tmp_path / "map")
        shutil.copy(tmp_path / "kept" / "images.csv", table)
    settings = tmp_path / "map" / "map.yaml"
    settings.write_text(settings.read_text().replace("weights_sha256: null", "weights_sha256: abc"))
    with pytest.raises(Vo3dError, match=r"model\.safetensors is missing or another one"):
        look(walk, tmp_path / "map", tmp_path / "found")
