"""Rows on disk: the complete record of a run, whatever happens to other sinks."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from metarl_run.errors import ResourceError, StateError
from metarl_run.logger.base import RunInfo, Sink
from metarl_run.maths.statistics import COLUMNS

TABLES = ("metrics", "timing", "adaptation")


class Table:
    """An append-only CSV file, which a resumed run first truncates.

    Args:
        path: the file; created if it does not exist.
        length: bytes of it to keep.

    Raises:
        StateError: if it is shorter.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        self.file = path.open("ab")
        if self.file.tell() < length:
            raise StateError(str(path), f"lacks rows: it has {self.file.tell()} bytes, its checkpoint says {length}")
        self.file.truncate(length)
        self.file.seek(length)

    def append(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write `rows` in one piece, after a header of `columns` in an empty file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self.file.tell() == 0:
            writer.writerow(columns)
        writer.writerows(rows)
        try:
            self.file.write(text.getvalue().encode())
            self.file.flush()
        except OSError as error:
            raise ResourceError(str(self.path), f"cannot write: {error.strerror}") from error

    def position(self) -> int:
        """Flush the file to disk; return its length."""
        os.fsync(self.file.fileno())
        return self.file.tell()


class Files(Sink):
    """metrics.csv, a row per meta-iteration; timing.csv, its clock columns; adaptation.csv, a row per task and step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tables: dict[str, Table] = {}

    def open(self, run: RunInfo, position: Mapping[str, int]) -> None:
        self.tables = {name: Table(run.folder / f"{name}.csv", position.get(name, 0)) for name in TABLES}

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        clock = {key: value for key, value in row.items() if key.startswith("time/")}
        rest = {key: value for key, value in row.items() if key not in clock}
        for table, cells in (("metrics", rest), ("timing", clock)):
            self.tables[table].append(["iteration", *cells], [[iteration, *cells.values()]])

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        self.tables["adaptation"].append(COLUMNS, map(itemgetter(*COLUMNS), rows))

    def position(self) -> dict[str, int]:
        return {name: table.position() for name, table in self.tables.items()}

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        self.position()

    def close(self) -> None:
        for table in self.tables.values():
            table.file.close()
