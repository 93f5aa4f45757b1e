"""Rows on disk: the complete record of a run, whatever happens to other sinks."""

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from metarl_run.errors import StateError
from metarl_run.files import plain_only, read_bytes
from metarl_run.logger.base import Position, RunInfo, Sink
from metarl_run.maths.statistics import COLUMNS, outcome_columns
from metarl_run.system.atomic import refusals

TABLES = ("metrics", "timing", "adaptation")


class Table:
    """An append-only CSV file, which a resumed run first truncates.

    Args:
        path: the file; created if it does not exist.
        length: bytes of it to keep.
        digest: their hash; None if it is not known.

    Raises:
        StateError: if it is shorter, or they are others.
        ResourceError: if the disk refuses, here and in all methods.
    """

    def __init__(self, path: Path, length: int, digest: str | None = None) -> None:
        self.path = path
        content = read_bytes(path, first=length) if path.exists() else b""
        if len(content) < length:
            raise StateError(str(path), f"lacks rows: it has {len(content)} bytes, its checkpoint says {length}")
        self.hash = hashlib.sha256(content)
        if digest not in (None, self.hash.hexdigest()):
            raise StateError(str(path), f"is damaged: its first {length} bytes are not those that were written")
        with refusals(path, "open"):
            self.file = open(path, "ab", opener=plain_only)  # noqa: SIM115 (open as long as the run)
        with refusals(path, f"truncate to {length} bytes"):
            self.file.truncate(length)
            self.file.seek(length)

    def append(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write `rows` in one piece, after a header of `columns` in an empty file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self.file.tell() == 0:
            writer.writerow(columns)
        writer.writerows(rows)
        data = text.getvalue().encode()
        with refusals(self.path, f"write {len(data)} bytes"):
            self.file.write(data)
            self.file.flush()
        self.hash.update(data)

    def position(self) -> int:
        """Flush the file to disk; return its length."""
        with refusals(self.path, "sync"):
            os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of what failed before: all else is flushed
            self.file.close()


class Files(Sink):
    """metrics.csv, a row per meta-iteration; timing.csv, its clock columns; adaptation.csv, a row per task and step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tables: dict[str, Table] = {}

    def require_position(self, run_folder: Path, position: Position) -> None:
        for name in TABLES:
            path, length, digest = run_folder / f"{name}.csv", position.get(name), position.get(f"{name}.sha256", "")
            if not isinstance(length or 0, int) or not isinstance(digest, str):
                reason = f"a checkpoint must hold its length and hash, got {length!r} and {digest!r}"[:200]
                raise StateError(str(path), reason)
            if length is None and path.exists() and path.stat().st_size:
                raise StateError(str(path), "has rows, but a checkpoint does not say how many of them are its own")

    def open(self, run: RunInfo, position: Position) -> None:
        for name in TABLES:
            length, digest = int(position.get(name, 0)), position.get(f"{name}.sha256")
            self.tables[name] = Table(run.folder / f"{name}.csv", length, None if digest is None else str(digest))

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        clock = {key: value for key, value in row.items() if key.startswith("time/")}
        rest = {key: value for key, value in row.items() if key not in clock}
        for table, cells in (("metrics", rest), ("timing", clock)):
            self.tables[table].append(["iteration", *cells], [[iteration, *cells.values()]])

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        columns = (*COLUMNS, *(outcome_columns(rows[0]) if rows else ()))
        self.tables["adaptation"].append(columns, map(itemgetter(*columns), rows))

    def position(self) -> Position:
        lengths = {name: table.position() for name, table in self.tables.items()}
        return lengths | {f"{name}.sha256": table.hash.hexdigest() for name, table in self.tables.items()}

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        self.position()

    def close(self) -> None:
        for table in self.tables.values():
            table.close()
