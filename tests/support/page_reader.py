"""The HTML pages that vo3d writes, read back."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Every element with its attributes and text; refuses tags that do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.trail: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.trail == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element, and that it is open."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.trail.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The innermost open element is the one that closes."""
        assert self.trail.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text belongs to every element around it."""
        for tag in set(self.trail):
            self.texts.setdefault(tag, []).append(data)

    def text(self, tag: str) -> str:
        """All text inside elements of one kind."""
        return "".join(self.texts.get(tag, []))

    def attributes(self, name: str) -> list[str]:
        """The values of one attribute, over all elements."""
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]
