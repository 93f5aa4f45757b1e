"""Two measurements side by side, of two machines or two versions: how far each subject is from the project in both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from benchmarks.machine import label
from metarl_run.errors import StateError
from metarl_run.files import read_json
from metarl_run.report import markup

PROJECT = "metarl-run"
HEADINGS = ("work", "case", "subject", "here", "there", "here / there")
NAMED = ("workload", "case", "subject")


class Pair(NamedTuple):
    """The subject's time divided by the project's, here and there; None where it was not measured."""

    workload: str
    case: str
    subject: str
    here: float | None
    there: float | None

    @property
    def cells(self) -> list[str]:
        both = None if self.here is None or self.there is None else self.here / self.there
        ratios = ["–" if x is None else f"{x:.2f}×" for x in (self.here, self.there)]
        return [self.workload, self.case, self.subject, *ratios, "–" if both is None else f"{both:.2f}"]


def read(path: Path) -> dict[str, Any]:
    """A record that `--json` wrote.

    Raises:
        ValueError: if it is none.
    """
    try:
        record = read_json(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (StateError, ValueError) as error:
        raise ValueError(
            f"{path} is no measurement: {error.reason if isinstance(error, StateError) else error}"
        ) from error
    rows = record.get("rows") if isinstance(record, dict) and isinstance(record.get("machine"), dict) else None
    if not isinstance(rows, list) or not all(map(is_row, rows)):
        raise ValueError(f"{path} is no measurement: machine and rows are missing, or no rows")
    return {"machine": record["machine"], "rows": rows}


def is_row(row: object) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in NAMED):
        return False
    return isinstance(row.get("ratio"), int | float) and row["ratio"] > 0


def pairs(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Pair]:
    """Rows of either in order; the project's own, whose ratio is 1, are left out."""
    ratios = [{tuple(row[name] for name in NAMED): row["ratio"] for row in of["rows"]} for of in (here, there)]
    names = [name for name in dict.fromkeys([*ratios[0], *ratios[1]]) if name[2] != PROJECT]
    workloads, cases = [name[0] for name in names], [name[:2] for name in names]
    names.sort(key=lambda name: (workloads.index(name[0]), cases.index(name[:2])))
    return [Pair(*name, *(of.get(name) for of in ratios)) for name in names]


def headings(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """The machines, and what each multiplied with."""
    return [f"{name}: {described(of['machine'])}" for name, of in (("here", here), ("there", there))]


def described(machine: Mapping[str, Any]) -> str:
    parts, threads, products = [label(machine)], machine.get("threads"), machine.get("products")
    if isinstance(threads, int):
        parts.append(f"{threads} thread{'s' * (threads > 1)}")
    if isinstance(products, dict):
        eager = {str(library) for name, library in products.items() if name != "compiled"}
        parts.append(f"products by {' and '.join(sorted(eager))}")
    return ", ".join([*parts, *rates_of(machine.get("gflops"))])


def rates_of(gflops: object) -> list[str]:
    """GFLOP/s of each library in plain, large products."""
    large = gflops.get("plain, large") if isinstance(gflops, dict) else None
    if not isinstance(large, dict) or not large:
        return []
    return [f"{' and '.join(f'{name} {rate}' for name, rate in large.items())} GFLOP/s"]


def as_table(found: Sequence[Pair]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place > 2 else "left", no_wrap=True)
    before = ("", "")
    for pair in found:
        if before != ("", "") and pair[:2] != before:
            table.add_section()
        table.add_row(*(["", ""] if pair[:2] == before else pair.cells[:2]), *pair.cells[2:])
        before = pair[:2]
    return table


def as_markdown(lines: Sequence[str], found: Sequence[Pair]) -> str:
    rule = "|---|---|---|---:|---:|---:|"
    head = [f"- {markup.text(line)}" for line in lines]
    return "\n".join([*head, "", markup.row(HEADINGS), rule, *(markup.row(pair.cells) for pair in found)])
