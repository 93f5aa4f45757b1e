"""A table as Markdown: an overview beside the paper's numbers, then the details of each cell."""

from collections.abc import Iterator, Sequence

from metarl_run.report import markup
from metarl_run.report.published import precise
from metarl_run.report.table import text
from metarl_run.report.table.text import CellRecord, TableRecord

MARKS = {True: " ✓", False: " ✗", None: ""}
UNDECIDED = " ?"
TITLES = ("", "column", "ours", "95 % interval", "first 1000 tasks", "paper", "difference", "tolerance", "", "chosen")


def markdown(record: TableRecord, picture: str) -> str:
    """The content of the file.

    Args:
        record: the content of table.json.
        picture: file name of the picture in the same folder.
    """
    parts = [
        f"# {record['title']}",
        f"{record['source']}. {text.about(record)} Ours, in brackets the paper's; ✓ within the tolerance, ✗ not, "
        "? undecided.",
    ]
    blocks = text.blocks_of(record)
    for block, cells in blocks.items():
        parts += [f"## {block[:1].upper()}{block[1:]}", "\n".join(_overview(record, cells))]
    parts += [f"![Ours against the paper's]({picture})", "\n".join(f"- {line}" for line in text.verdicts(record))]
    if notes := [*record["notes"], *text.benchmarks(record), *text.left_out(record)]:
        parts.append("\n".join(f"- {note}" for note in notes))
    if lines := text.tolerances(record):
        parts += ["## What a ✓ can tell apart", "\n".join(f"- {line}" for line in lines)]
    if failed := text.failures(record):
        parts += ["## Failed", "\n".join(f"- {markup.text(line.removeprefix('failed: '))}" for line in failed)]
    parts.append("## Cell by cell")
    for block, cells in blocks.items():
        parts += [f"### {block[:1].upper()}{block[1:]}", "\n".join(_details(record, cells))]
    return "\n\n".join(parts) + "\n"


def _overview(record: TableRecord, cells: Sequence[CellRecord]) -> Iterator[str]:
    columns = text.columns_of(cells)
    by_name = {(cell["row"], cell["column"]): cell for cell in cells}
    yield markup.row(["", *columns])
    yield markup.row([":--", *("--:" for _ in columns)])
    for row in text.rows_of(cells):
        entries = [by_name.get((row, column)) for column in columns]
        yield markup.row([text.row_name(record, row), *(_short(cell) if cell else "" for cell in entries)])


def _short(cell: CellRecord) -> str:
    entry = text.judged(cell) if cell["status"] == "failed" else text.ours(cell)
    return f"{entry} ({text.paper(cell)}){UNDECIDED if text.is_undecided(cell) else MARKS[cell['matched']]}"


def _details(record: TableRecord, cells: Sequence[CellRecord]) -> Iterator[str]:
    yield markup.row(TITLES)
    yield markup.row([":--", ":--", *("--:" for _ in TITLES[2:-2]), ":--", ":--"])
    for cell in cells:
        first = "–" if cell["first_1000"] is None else precise(cell["first_1000"])
        entries = [text.row_name(record, cell["row"]), cell["column"], text.ours(cell), text.interval(cell), first]
        entries += [text.paper(cell), text.difference(cell), _tolerance(cell), text.judged(cell), text.setting(cell)]
        yield markup.row(entries)


def _tolerance(cell: CellRecord) -> str:
    return f"{'−' if cell['one_sided'] else '±'}{cell['tolerance']:g}"
