"""A table's report: table.json, .md, .tex and the picture in its folder, and the same on the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl_run.report.folder import short
from metarl_run.report.output import standard_output
from metarl_run.report.table.latex import latex
from metarl_run.report.table.markdown import markdown
from metarl_run.report.table.picture import draw
from metarl_run.report.table.screen import Screen
from metarl_run.report.table.text import TableRecord
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """A table's record and the files of its report."""

    record: TableRecord
    files: Sequence[Path]

    def show(self) -> None:
        """Print the report on standard output."""
        standard_output().print(Screen(self.record, [short(path) for path in self.files]), crop=False)


def write(record: TableRecord, root: Path) -> TableReport:
    """Write all files of the report; equal records make equal bytes."""
    files = [
        write_atomically(root / "table.json", json_text(record, ensure_ascii=False).encode()),
        write_atomically(root / "table.md", markdown(record, "table.png").encode()),
        write_atomically(root / "table.tex", latex(record).encode()),
        *draw(root / "table", record),
    ]
    return TableReport(record=record, files=files)
