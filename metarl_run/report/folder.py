"""Summary and adaptation rows of a run folder, read back with their types."""

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl_run.errors import visible
from metarl_run.files import plain_only, read_json


def optional_number(text: str) -> float | None:
    """The number in a cell; None if the cell is empty."""
    return None if text == "" else float(text)


NUMBER_OF: dict[str, Callable[[str], Any]] = {
    "iteration": int,
    "task": int,
    "adaptation_step": int,
    "episodes_seen": float,
    "env_steps_seen": float,
    "episode_return": float,
    "expected_return": optional_number,
    "optimal_return": optional_number,
    "seed": int,
    "split": str,
}
"""All other columns are outcomes."""


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json, for printing.

    Raises:
        ValueError: if it is not a mapping.
    """
    path = folder / "summary.json"
    found = printable(read_json(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a mapping, got {type(found).__name__}")
    return found


def printable(record: Any) -> Any:
    """A record from a file with control characters in its strings and keys made visible: reports are made of these."""
    if isinstance(record, dict):
        return {printable(key): printable(value) for key, value in record.items()}
    if isinstance(record, list):
        return [printable(value) for value in record]
    return visible(record) if isinstance(record, str) else record


LARGEST = 1e100
"""Bound of numbers in tables, so that their sums and squares are finite; no result comes near."""

LARGEST_TABLE = 2**30
"""Bytes of a table. One of a million tasks has a tenth."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """The content of adaptation.csv.

    Attributes:
        tested: rows of the last meta-test.
        validated: returns on the validation tasks, by meta-iteration and adaptation step, in the order of the tasks.
    """

    tested: Sequence[Mapping[str, Any]]
    validated: Mapping[int, Mapping[int, Sequence[float]]]


def read_adaptation(folder: Path) -> Adaptation:
    """The adaptation rows of a run folder, in one pass.

    Raises:
        ValueError: if a row lacks cells, or a number cannot be parsed.
    """
    tested: dict[int, list[dict[str, Any]]] = {}
    validated: dict[int, dict[int, list[float]]] = {}
    with open(folder / "adaptation.csv", encoding="utf-8", newline="", opener=plain_only) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_TABLE:
            raise ValueError(f"it has more than {LARGEST_TABLE} bytes")
        table = csv.reader(file)  # a DictReader takes twice the time, and there may be a million rows
        names = next(table, [])
        kinds = [NUMBER_OF.get(name, float) for name in names]
        split, *columns = (names.index(name) for name in ("split", "iteration", "adaptation_step", "episode_return"))
        for cells in table:
            if len(cells) != len(names):
                raise ValueError(f"a row has {len(cells)} cells, wanted {len(names)}")
            if cells[split] == "meta_validation":
                iteration, step, value = (cells[column] for column in columns)
                validated.setdefault(int(iteration), {}).setdefault(int(step), []).append(float(value))
            elif cells[split] == "meta_test":
                row = {name: kind(cell) for name, kind, cell in zip(names, kinds, cells, strict=True)}
                tested.setdefault(row["iteration"], []).append(row)
    return Adaptation(tested=tested[max(tested)] if tested else [], validated=validated)


def sound(x: float | None) -> bool:
    """Check that a cell is empty, or a number that can be calculated with: not NaN, infinite or absurdly large."""
    return x is None or abs(x) <= LARGEST


def short(path: Path) -> str:
    """`path` in its shorter form: absolute, or relative to the current directory."""
    relative = os.path.relpath(path)
    return min(str(path.absolute()), relative, key=len)


def evenly(count: int, at_most: int) -> Sequence[int]:
    """At most `at_most` of `count` indices: the first, the second, the last, and others evenly between them."""
    if count <= at_most:
        return range(count)
    if at_most < 3:
        return [0, count - 1][:at_most]
    rest = at_most - 2
    return [0, *(1 + round(i * (count - 2) / rest) for i in range(rest + 1))]
