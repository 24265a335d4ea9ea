"""The page stands alone: nothing is fetched, everything is escaped, pictures arrive whole."""

import base64
import struct
import zlib
from pathlib import Path

import pytest

from page_reader import Page
from vo3d.errors import Vo3dError
from vo3d.report.html import Code, Column, Definitions, Link, Picture, Section, Table, Text, write_page


def png(path: Path, width: int, height: int) -> Path:
    """A white picture, written by hand so that the test depends on no image library."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * width) * height)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def one_of_each(folder: Path) -> list[Section]:
    table = Table(
        [Column("model"), Column("t_rel", "%", 2, "low"), Column("speed", "frames/s", 1, "high"), Column("scale")],
        [["DeepVO", 2.5, 30.0, 1.0], ["classic", 3.25, 12.0, None], ["still", float("nan"), 12.0, 1.0]],
        caption="mean over 3 recordings",
    )
    return [
        Section("First <part>", [Text("a & b < c"), Text("mind this", "note"), table]),
        Section("Second", [Picture(png(folder / "one.png", 64, 48), 'caption "quoted"', "alternative <text>")]),
        Section(
            "Third", [Definitions({"split": "09, 10", "scale": {"DeepVO": "learned"}}), Code("a > b && c", "open")]
        ),
    ]


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    path = write_page(tmp_path / "page.html", "A title", one_of_each(tmp_path))
    page = Page(path)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for reference in page.attributes("src") + page.attributes("href"):
        assert reference.startswith(("data:", "#")), reference
    style = page.text("style")
    assert "@import" not in style
    assert "url(" not in style
    assert "http" not in path.read_text(encoding="utf-8")


def test_every_link_inside_the_page_has_a_target(tmp_path: Path) -> None:
    page = Page(write_page(tmp_path / "page.html", "A title", one_of_each(tmp_path)))
    targets = page.attributes("href")
    assert len(targets) == 3
    assert {target.removeprefix("#") for target in targets} <= set(page.attributes("id"))


def test_a_link_leads_to_a_file_beside_the_page(tmp_path: Path) -> None:
    link = Link("turn <it>", 'new folder/a "cloud"#1.html')
    page = Page(write_page(tmp_path / "page.html", "t", [Section("s", [link])]))
    assert page.attributes("href")[-1] == "new%20folder/a%20%22cloud%22%231.html"
    assert page.texts["a"][-1] == "turn <it>"


def test_special_characters_are_escaped(tmp_path: Path) -> None:
    attack = "<script>alert('&\"')</script>"
    sections = [
        Section(attack, [Text(attack), Code(attack, attack), Definitions({attack: attack, "of": {attack: attack}})]),
        Section("table", [Table([Column(attack, attack)], [[attack]], attack)]),
        Section("picture", [Picture(png(tmp_path / "one.png", 8, 8), attack, attack)]),
    ]
    page = Page(write_page(tmp_path / "page.html", attack, sections, attack))
    assert "script" not in {tag for tag, _ in page.elements}
    for tag in ("title", "h1", "h2", "p", "code", "summary", "dt", "dd", "th", "caption", "figcaption"):
        assert attack in page.text(tag), tag
    assert page.attributes("alt") == [attack]


def test_pictures_decode_to_the_stated_size(tmp_path: Path) -> None:
    page = Page(write_page(tmp_path / "page.html", "A title", one_of_each(tmp_path)))
    (image,) = (attributes for tag, attributes in page.elements if tag == "img")
    content = base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,"), validate=True)
    assert content == (tmp_path / "one.png").read_bytes()
    assert (image["width"], image["height"]) == ("32", "24")  # two pixels of the file to a pixel of the page


def test_the_best_of_each_column_is_marked(tmp_path: Path) -> None:
    page = Page(write_page(tmp_path / "page.html", "A title", one_of_each(tmp_path)))
    assert page.texts["strong"] == ["2.50", "30.0"]  # lowest error, highest speed; scale has no better end
    assert "\N{EN DASH}" in page.text("td")  # what does not exist is neither 0 nor nan
    assert "nan" not in page.text("table")


@pytest.mark.parametrize("values", [[1.0], [1.0, None], [2.0, 2.0]], ids=["alone", "no rival", "equal"])
def test_nothing_is_best_without_a_rival(tmp_path: Path, values: list[float | None]) -> None:
    table = Table([Column("model"), Column("error", "m", 2, "low")], [["a", value] for value in values])
    assert "strong" not in Page(write_page(tmp_path / "page.html", "t", [Section("s", [table])])).texts


def test_equal_bests_are_marked_alike(tmp_path: Path) -> None:
    table = Table([Column("error", "m", 2, "low")], [[1.001], [1.002], [3.0]])
    assert Page(write_page(tmp_path / "page.html", "t", [Section("s", [table])])).texts["strong"] == ["1.00", "1.00"]


def test_a_row_with_the_head_of_the_row_above_is_marked(tmp_path: Path) -> None:
    table = Table([Column("recording"), Column("model")], [["00", "a"], ["00", "b"], ["01", "a"]])
    page = Page(write_page(tmp_path / "page.html", "t", [Section("s", [table])]))
    rows = [attributes.get("class") for tag, attributes in page.elements if tag == "tr"]
    assert rows == [None, None, "again", None]
    assert page.texts["tbody"].count("00") == 2  # still there to be copied


def test_units_stand_in_the_head(tmp_path: Path) -> None:
    page = Page(write_page(tmp_path / "page.html", "A title", one_of_each(tmp_path)))
    assert page.texts["thead"] == ["model", "t_rel", "%", "speed", "frames/s", "scale"]


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    (tmp_path / "text.png").write_text("not a picture")
    wrong: list[list[Section]] = [
        [],
        [Section("s", [Picture(tmp_path / "absent.png", "", "")])],
        [Section("s", [Picture(tmp_path / "text.png", "", "")])],
        [Section("s", [Table([Column("a"), Column("b")], [[1.0]])])],
    ]
    for sections in wrong:
        with pytest.raises(Vo3dError) as error:
            write_page(out, "t", sections)
        assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_moving_picture_is_embedded_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "one.gif"
    path.write_bytes(b"GIF89a" + struct.pack("<HH", 784, 300) + b"and so on")
    page = Page(write_page(tmp_path / "page.html", "t", [Section("s", [Picture(path, "moves", "moves")])]))
    (source,) = page.attributes("src")
    kind, _, content = source.partition(",")
    assert kind == "data:image/gif;base64"
    assert base64.b64decode(content) == path.read_bytes()
    assert page.attributes("width") == ["784"]
    assert page.attributes("height") == ["300"]
