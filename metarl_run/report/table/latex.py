"""A table as LaTeX with booktabs: our number, the paper's below it in brackets, and a dagger where they differ."""

from collections.abc import Iterator, Sequence

from metarl_run.report.table import text
from metarl_run.report.table.text import CellRecord, TableRecord

SPECIAL = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
        **{"²": r"$^2$", "³": r"$^3$", "±": r"$\pm$", "−": "$-$", "–": "--", "γ": r"$\gamma$"},
    }
)


def latex(record: TableRecord) -> str:
    """The content of the file: a `table` per block."""
    return "\n".join("\n".join(_block(record, block, cells)) for block, cells in text.blocks_of(record).items()) + "\n"


def escaped(words: str) -> str:
    return words.translate(SPECIAL)


def _block(record: TableRecord, block: str, cells: Sequence[CellRecord]) -> Iterator[str]:
    columns = text.columns_of(cells)
    by_name = {(cell["row"], cell["column"]): cell for cell in cells}
    yield r"\begin{table}"
    yield r"\centering"
    caption = f"{record['title']} ({record['source']}), {block}. {text.about(record)} In brackets the paper's."
    yield rf"\caption{{{escaped(caption)} $\dagger$: not within the tolerance, ?: undecided.}}"
    yield rf"\begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield r"\toprule"
    yield _line(["", *map(escaped, columns)])
    yield r"\midrule"
    for row in text.rows_of(cells):
        found = [by_name.get((row, column)) for column in columns]
        yield _line([escaped(text.row_name(record, row)), *(_ours(cell) if cell else "" for cell in found)])
        yield _line(["", *(f"({escaped(text.paper(cell))})" if cell else "" for cell in found)])
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"


def _ours(cell: CellRecord) -> str:
    entry = escaped(text.judged(cell) if cell["status"] == "failed" else text.ours(cell))
    return entry + (r"$^\dagger$" if cell["matched"] is False else "$^?$" if text.is_undecided(cell) else "")


def _line(entries: Sequence[str]) -> str:
    return f"{' & '.join(entries)} \\\\"
