"""HTML as text that is escaped unless it was made here: names come from files of others."""

import html
from collections.abc import Iterable, Sequence

from metarl_run.errors import visible


class Markup(str):
    """Text that is HTML already."""


def escaped(content: object) -> Markup:
    """HTML of some content: numbers and strings are text, `Markup` is itself, of other iterables all entries."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Markup("".join(map(escaped, content)))
    return Markup(html.escape(visible(str(content), lines=True)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element. `class_="wide"` is the attribute `class`, `data_g=1` is `data-g`; None leaves one out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{escaped(content)}</{name}>")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, sortable: bool = True) -> Markup:
    """A table in a box that scrolls by itself. A cell is content, or a pair of content and the number to sort by."""
    body = []
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, None) for cell in row]
        body.append(
            tag(
                "tr",
                [
                    tag("th" if i == 0 else "td", text, data_v=value, scope="row" if i == 0 else None)
                    for i, (text, value) in enumerate(cells)
                ],
            )
        )
    columns = tag("tr", [tag("th", name, scope="col") for name in head])
    made = tag("table", tag("thead", columns), tag("tbody", body), class_="sortable" if sortable else None)
    return tag("div", made, class_="scroll")
