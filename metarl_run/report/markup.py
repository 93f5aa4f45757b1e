"""Text that may come from a file of others, as it stands in Markdown."""

import re
from collections.abc import Sequence

ACTIVE = re.compile(r"<(?=[A-Za-z/!?])|(?<=\])\(|(?<=\])\[|&(?=#?\w+;)")
"""Beginnings of tags, links and entities; what else Markdown knows can only change the type."""


def text(words: str) -> str:
    """`words` as they are, so that they are no tag, link or picture."""
    return ACTIVE.sub(lambda found: {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}"), words)


def code(words: str) -> str:
    """`words` in the type of code, fenced by more backticks than they hold in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    space = " " if "`" in words else ""
    return f"{fence}{space}{words}{space}{fence}"


def row(entries: Sequence[str]) -> str:
    """A row of a table."""
    cells = [text(entry).replace("|", "\\|") for entry in entries]
    return f"| {' | '.join(cells)} |"
