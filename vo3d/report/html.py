"""One self-contained HTML page from small parts: text, tables, pictures, definitions, code, links.

The page asks nothing of the network: its style is inline and its pictures are embedded. It follows the reader's
light or dark setting, fits a phone, and prints.
"""

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GIF_SIGNATURES = (b"GIF87a", b"GIF89a")
PIXELS_PER_CSS_PIXEL = 2  # figures are saved twice as fine as they are shown, so that they stay sharp
BROAD = 560  # CSS pixels; on a phone a broader picture is scrolled sideways rather than shrunk beyond reading

Cell = str | float | int | None


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` "note" sets it apart from the rest."""

    text: str
    kind: Literal["plain", "note"] = "plain"


@dataclass(frozen=True)
class Code:
    """Lines to be copied, shown as they are; with a `summary` they are folded until the reader opens them."""

    text: str
    summary: str | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column: its name, its unit, the decimals of its numbers, and which end is the better one."""

    name: str
    unit: str = ""
    digits: int = 2
    best: Literal["low", "high"] | None = None


@dataclass(frozen=True)
class Table:
    """Rows under columns; the best number of each column that has a better end is marked. None shows as a dash."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG or GIF file with what is seen (`caption`) and what to read aloud where it cannot be seen (`alt`)."""

    path: Path
    caption: str
    alt: str


@dataclass(frozen=True)
class Definitions:
    """Terms with what they mean here; a mapping as a meaning gives one line for each of its keys."""

    entries: Mapping[str, str | Mapping[str, str]]


@dataclass(frozen=True)
class Link:
    """A way to a file that lies beside the page or below it; `target` is its path from there."""

    text: str
    target: str


Part = Text | Code | Table | Picture | Definitions | Link


@dataclass(frozen=True)
class Section:
    """A heading and what follows it."""

    title: str
    parts: Sequence[Part]


def write_page(path: Path, title: str, sections: Sequence[Section], lead: str = "") -> Path:
    """Write the page to `path`, whole or not at all, and return `path`.

    Raises Vo3dError when there is no section, a row is not as long as its table's columns, or a picture is neither PNG
    nor GIF.
    """
    if not sections:
        raise Vo3dError(f"{path}: a page without sections was asked for: give write_page at least one Section")
    contents = "".join(
        f'<li><a href="#part-{number}">{escape(section.title)}</a></li>' for number, section in enumerate(sections, 1)
    )
    body = "\n".join(
        f'<section id="part-{number}">\n<h2>{escape(section.title)}</h2>\n'
        + "\n".join(map(_part, section.parts))
        + "\n</section>"
        for number, section in enumerate(sections, 1)
    )
    introduction = f'<p class="lead">{escape(lead)}</p>\n' if lead else ""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{introduction}</header>\n"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n{body}\n</main>\n</body>\n</html>\n'
    )
    write_whole(path, page)
    return path


def _part(part: Part) -> str:
    match part:
        case Link():
            return f'<p><a href="{escape(quote(part.target))}">{escape(part.text)}</a></p>'
        case Text():
            return f"<p{_class('note' if part.kind == 'note' else '')}>{escape(part.text)}</p>"
        case Code():
            code = f"<pre><code>{escape(part.text.rstrip())}</code></pre>"
            head = "" if part.summary is None else f"<summary>{escape(part.summary)}</summary>"
            return f"<details>{head}{code}</details>" if head else code
        case Table():
            return _table(part)
        case Picture():
            return _picture(part)
        case Definitions():
            return _definitions(part)


def _class(name: str) -> str:
    """Write the attribute `class`, and nothing where there is no name."""
    return f' class="{name}"' if name else ""


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise Vo3dError(
                f"table {table.caption!r}: a row has {len(row)} cells, expected {len(table.columns)}: {row}"
            )
    places = range(len(table.columns))
    sides = [_class("words" if any(isinstance(row[place], str) for row in table.rows) else "") for place in places]
    head = "".join(
        f'<th scope="col"{side}>{escape(column.name)}'
        + (f'<span class="unit">{escape(column.unit)}</span>' if column.unit else "")
        + "</th>"
        for column, side in zip(table.columns, sides, strict=True)
    )
    shown = [[_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    best = [_best(table, shown, place) for place in places]
    body = ""
    for number, texts in enumerate(shown):
        inner = [
            f'<strong title="best of its column">{text}</strong>' if text in marked else text
            for text, marked in zip(texts, best, strict=True)
        ]
        cells = "".join(f"<td{side}>{text}</td>" for side, text in zip(sides[1:], inner[1:], strict=True))
        again = _class("again" if number > 0 and shown[number - 1][0] == texts[0] else "")
        body += f'<tr{again}><th scope="row"{sides[0]}>{inner[0]}</th>{cells}</tr>\n'
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="wide"><table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _cell(cell: Cell, column: Column) -> str:
    """Write the cell as it is shown; numbers by the column's decimals, a dash for what does not exist."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "\N{EN DASH}"
    return f"{cell:.{column.digits}f}" if isinstance(cell, float) else escape(str(cell))


def _best(table: Table, shown: Sequence[Sequence[str]], place: int) -> set[str]:
    """Give what the best cells of a column show: cells that read the same are marked alike, and all of them never."""
    end = table.columns[place].best
    values = [row[place] for row in table.rows]
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if end is None or len(numbers) < 2 or len({texts[place] for texts in shown}) < 2:
        return set()
    return {_cell(min(numbers) if end == "low" else max(numbers), table.columns[place])}


def _picture(picture: Picture) -> str:
    content = picture.path.read_bytes() if picture.path.is_file() else b""
    if content.startswith(PNG_SIGNATURE) and len(content) >= 24:
        kind = "png"
        width, height = (side // PIXELS_PER_CSS_PIXEL for side in struct.unpack(">II", content[16:24]))
    elif content.startswith(GIF_SIGNATURES) and len(content) >= 10:
        kind = "gif"  # made for the screen: its pixels are shown as they are
        width, height = struct.unpack("<HH", content[6:10])
    else:
        raise Vo3dError(
            f"{picture.path}: no PNG picture is there, and no GIF: save the figure before the page is written"
        )
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img src="{source}" width="{width}" height="{height}" alt="{escape(picture.alt)}">'
    frame = "wide paper broad" if width > BROAD else "wide paper"
    return f'<figure><div class="{frame}">{image}</div><figcaption>{escape(picture.caption)}</figcaption></figure>'


def _definitions(definitions: Definitions) -> str:
    rows = ""
    for term, meaning in definitions.entries.items():
        lines = (
            [escape(meaning)]
            if isinstance(meaning, str)
            else [f'<div><span class="of">{escape(of)}</span> {escape(value)}</div>' for of, value in meaning.items()]
        )
        rows += f"<div><dt>{escape(term)}</dt><dd>{''.join(lines)}</dd></div>\n"
    return f"<dl>\n{rows}</dl>"


STYLE = """
:root { --ink: #1c2126; --soft: #59636e; --line: #d9dee3; --ground: #fcfcfb; --raised: #f2f4f5; --mark: #d6ecdf;
  --accent: #0b5f94; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #9ca7b1; --line: #39424a; --ground: #15191c;
  --raised: #1f252a; --mark: #1d4632; --accent: #7dbde8; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1036px; margin: 0 auto; padding: 2.5rem 1.75rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 1.75rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p { margin: 0 0 1rem; max-width: 70ch; overflow-wrap: break-word; }
.lead { font-size: 1.1rem; color: var(--soft); }
.note { border-left: 3px solid var(--accent); background: var(--raised); padding: .7rem 1rem;
  border-radius: 0 4px 4px 0; }
a { color: var(--accent); }
nav ul { list-style: none; margin: 1.5rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
nav { font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem; font-size: .9rem;
  font-variant-numeric: tabular-nums lining-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .9rem; padding-top: .7rem; }
th, td { text-align: right; padding: .2rem .5rem; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; font-weight: 600; border-bottom: 2px solid var(--ink); line-height: 1.3; }
tbody th { font-weight: 500; }
.words { text-align: left; white-space: normal; overflow-wrap: break-word; }
.again th { color: transparent; } /* the head of the row above it: not seen, but copied and read aloud */
th:first-child { padding-left: 0; }
.unit { display: block; font-weight: 400; color: var(--soft); font-size: .85em; }
td strong { background: var(--mark); border-radius: 4px; padding: .15rem .4rem; margin-right: -.4rem; }
figure { margin: 1rem 0 1.25rem; break-inside: avoid; }
.paper { background: #fff; border: 1px solid var(--line); border-radius: 6px; }
img { display: block; margin: 0 auto; max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; line-height: 1.5; margin-top: .6rem; max-width: 110ch; }
dl { margin: 0 0 1.5rem; font-size: .93rem; }
dl > div { display: grid; grid-template-columns: 14rem 1fr; gap: 0 1rem; padding: .2rem 0;
  border-bottom: 1px solid var(--line); }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.of { color: var(--soft); margin-right: .35rem; }
pre { background: var(--raised); border-radius: 6px; padding: .9rem 1.1rem; overflow-x: auto; margin: 0 0 1rem;
  font: .85rem/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: var(--accent); margin-bottom: .6rem; }
@media (max-width: 640px) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  caption { max-width: calc(100vw - 2rem); } /* of a table that is scrolled: not broader than the page */
  .broad img { max-width: none; width: 52rem; }
  .broad + figcaption::before { content: "Scroll the picture sideways. "; font-style: italic; }
  dl > div { grid-template-columns: 1fr; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #ccc; --ground: #fff; --raised: #f4f4f4; --mark: #e2e2e2; --accent: #000; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .wide { overflow: visible; }
  .paper { border: none; }
  h2 { break-after: avoid; margin-top: 2rem; }
  tr, dl > div { break-inside: avoid; }
  pre { white-space: pre-wrap; border: 1px solid var(--line); }
}
"""
