"""Read the elements, the text and the tables of an HTML page."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}
INLINE = {"wbr", "span"}


class Elements(HTMLParser):
    """The elements of a page, its text, and the rows of its tables.

    Elements must be closed in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self._text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(self._text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
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
        self._text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] = f"{self.rows[-1][-1]}{data}"

    def table(self) -> list[list[str]]:
        """Return the cells of all rows, with whitespace collapsed."""
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]
