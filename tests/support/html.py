"""Read the elements, the text, the tables, the links and the scripts of an HTML page."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}
INLINE = {"wbr", "span"}
CODE = {"script", "style"}


class Elements(HTMLParser):
    """The elements of a page, its text, the rows of its tables, its links and its scripts.

    Elements must be closed in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts: list[str] = []
        self.links: list[tuple[str, str]] = []
        self._text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(self._text.split())

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each element of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag == "a":
            self.links.append((dict(attrs).get("href") or "", ""))
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag not in INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        if "script" in self.open and data != " ":
            self.scripts[-1] += data
        if CODE & set(self.open):
            return
        self._text += data
        if "a" in self.open:
            href, words = self.links[-1]
            self.links[-1] = (href, f"{words}{data}".strip())
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]}{data}"

    def table(self) -> list[list[str]]:
        """Return the cells of all rows, with whitespace collapsed."""
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]
