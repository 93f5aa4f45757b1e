"""A table on a terminal: our numbers, the paper's and their differences, with as many columns side by side as fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from metarl_run.report.run.terminal import in_ascii
from metarl_run.report.table import text
from metarl_run.report.table.text import CellRecord, TableRecord

LABELS = ("ours", "paper", "difference")
MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("", "")}
ASCII_MARKS = {True: "ok", False: "NO", None: ""}
DASHES = str.maketrans({"−": "-", "–": "-", "✓": "ok"})
WIDTH = 15
"""Width of a column in characters."""


@dataclass(frozen=True)
class Screen:
    """The terminal output for a table.

    Args:
        record: the content of table.json.
        files: files that the report was written to.
    """

    record: TableRecord
    files: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        def line(words: str, style: str = "") -> Text:
            made = Text(words, style, no_wrap=True, overflow="ignore")
            return plain(made) if options.ascii_only else made

        record = self.record
        yield Text()
        yield line(f"{record['title']} ({record['source']})", "bold")
        yield line(text.about(record))
        for block, cells in text.blocks_of(record).items():
            fitting = max(1, (options.max_width - 24) // (WIDTH + 2))
            columns = text.columns_of(cells)
            for first in range(0, len(columns), fitting):
                yield Text()
                yield block_table(record, block, cells, columns[first : first + fitting], options.ascii_only)
        for words in record["notes"]:
            yield line(f"note: {words}", "dim")
        for words in (*text.tolerances(record), *text.benchmarks(record), *text.left_out(record)):
            wrapped = Text(words, "dim")
            yield plain(wrapped) if options.ascii_only else wrapped
        for words in text.failures(record):
            yield line(words, "red")
        for words in text.verdicts(record):
            yield line(words, "bold")
        for path in self.files:
            yield line(path)


def block_table(
    record: TableRecord, block: str, cells: Sequence[CellRecord], columns: Sequence[str], ascii_only: bool
) -> Table:
    """Some columns of one block, with three lines per row."""
    made = Table(box=box.SIMPLE_HEAD, title=block, title_justify="left", pad_edge=False, padding=(0, 1))
    made.add_column("", no_wrap=True)
    made.add_column("", no_wrap=True, style="dim")
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True, overflow="crop")
    by_name = {(cell["row"], cell["column"]): cell for cell in cells}
    for row in text.rows_of(cells):
        found = [by_name.get((row, column)) for column in columns]
        for label in LABELS:
            name = text.row_name(record, row) if label == LABELS[0] else ""
            made.add_row(name, label, *(entry(cell, label, ascii_only) if cell else Text() for cell in found))
        made.add_section()
    return made


def entry(cell: CellRecord, label: str, ascii_only: bool) -> Text:
    """One line of a cell."""
    if label == "ours":
        words = Text(text.ours(cell), "bold red" if cell["status"] == "failed" else "bold")
    elif label == "paper":
        words = Text(text.paper(cell))
    elif text.is_undecided(cell):
        words = Text(f"{text.difference(cell)} ?")
    elif cell["matched"] is None:
        words = Text(text.judged(cell), "red" if cell["status"] == "failed" else "dim")
    else:
        mark, style = MARKS[cell["matched"]]
        words = Text(f"{text.difference(cell)} {ASCII_MARKS[cell['matched']] if ascii_only else mark}", style)
    return plain(words) if ascii_only else words


def plain(words: Text) -> Text:
    """The same text in ASCII."""
    return in_ascii(Text(words.plain.translate(DASHES), words.style, no_wrap=words.no_wrap, overflow=words.overflow))
