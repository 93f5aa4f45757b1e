"""Texts and numbers of cells that all kinds of reports share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metarl_run.report.interval import coverage_note, half_width
from metarl_run.report.published import ROUNDING, precise, undecided

TableRecord = Mapping[str, Any]
CellRecord = Mapping[str, Any]

ABOUT = {
    "lifetime_return": "Total reward of a lifetime, mean over {tasks} tasks with its 95 % interval.",
    "fraction_of_optimum": "Total reward of a lifetime divided by value iteration's, mean over {tasks} tasks with its "
    "95 % interval.",
}
ABOUT_OUTCOME = "{outcome} in the last episode of a lifetime, mean over {tasks} tasks with its 95 % interval."


def about(record: TableRecord) -> str:
    """Meaning of the numbers, and the coverage of learned columns' intervals."""
    tasks, measure = max(cell["tasks"] for cell in record["cells"]), record["measure"]
    meaning = ABOUT.get(measure, ABOUT_OUTCOME).format(tasks=tasks, outcome=str(measure).capitalize())
    learned = [len(cell["seeds"]) for cell in record["cells"] if cell["one_sided"] and cell["ours"] is not None]
    return f"{meaning} {coverage_note(learned)}".strip()


def blocks_of(record: TableRecord) -> dict[str, list[CellRecord]]:
    """Cells of each block, in the order of the table."""
    blocks: dict[str, list[CellRecord]] = {}
    for cell in record["cells"]:
        blocks.setdefault(cell["block"], []).append(cell)
    return blocks


def columns_of(cells: Sequence[CellRecord]) -> list[str]:
    return list(dict.fromkeys(cell["column"] for cell in cells))


def rows_of(cells: Sequence[CellRecord]) -> list[str]:
    return list(dict.fromkeys(cell["row"] for cell in cells))


def row_name(record: TableRecord, row: str) -> str:
    """`n=10, k=5` for the key `10,5`; the key itself if it has not as many parts as there are names."""
    parts = row.split(",")
    if len(parts) != len(record["key"]):
        return row
    return ", ".join(f"{name}={part}" for name, part in zip(record["key"], parts, strict=True))


def ours(cell: CellRecord, plus_minus: str = "±") -> str:
    """Our mean ± half of its interval, or the reason that there is none."""
    if cell["ours"] is None:
        return "failed" if cell["status"] == "failed" else "not run"
    half = half_width(cell)
    return precise(cell["ours"]) + ("" if half is None else f" {plus_minus}{alike(half, cell)}")


def alike(x: float, cell: CellRecord) -> str:
    """`x` with as many decimals as our mean."""
    return f"{x:.{len(precise(cell['ours']).partition('.')[2])}f}"


def interval(cell: CellRecord) -> str:
    return "–" if cell["ours"] is None else f"{precise(cell['low'])} to {precise(cell['high'])}"


def paper(cell: CellRecord, plus_minus: str = "±") -> str:
    """The paper's number as printed, with its ± if it has one."""
    if cell["paper"] is None:
        return "–"
    spread = cell["paper_deviation"]
    return f"{cell['paper']}" if spread is None else f"{cell['paper']} {plus_minus}{spread}"


def difference(cell: CellRecord) -> str:
    """Ours less the paper's."""
    return "–" if cell["difference"] is None else alike(cell["difference"], cell).replace("-", "−")


def judged(cell: CellRecord) -> str:
    """`matched`, `not matched`, or the reason for neither."""
    if cell["status"] == "failed":
        failed = ", ".join(f"seed {seed}" for seed in dict.fromkeys(cell["failed_seeds"]))
        finished = len(cell["seeds"]) - len(set(cell["failed_seeds"]) & set(cell["seeds"]))
        return f"failed: {failed}" + (f" ({finished}/{len(cell['seeds'])} seeds)" if len(cell["seeds"]) > 1 else "")
    if cell["status"] == "missing":
        return "not run"
    if not cell["compared"]:
        return "not compared"
    if is_undecided(cell):
        return f"undecided: {undecided(cell.get('standard_error'), cell['tolerance'])}"
    return "" if cell["matched"] is None else "matched" if cell["matched"] else "not matched"


def is_undecided(cell: CellRecord) -> bool:
    """Check that both numbers exist, but ours is too uncertain for a verdict."""
    comparable = cell["status"] == "complete" and cell["compared"] and cell["paper"] is not None
    return comparable and cell["matched"] is None


def setting(cell: CellRecord) -> str:
    """The choice behind a cell: a grid's setting, or budget and number of seeds of a learned agent."""
    words = [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in chosen(cell)]
    return ", ".join(words)


def chosen(cell: CellRecord) -> list[tuple[str, Any]]:
    choices = list((cell["setting"] or {}).items())
    if cell["one_sided"]:
        choices += [("budget", cell["budget"]), ("seeds", len(cell["seeds"]))]
    return choices


def failures(record: TableRecord) -> list[str]:
    """A line per failure: cell, seed, reason and folder."""
    lines = []
    for cell in record["cells"]:
        for failure in cell["failures"]:
            tried = "".join(f", {key}={value}" for key, value in failure["setting"].items())
            where = f"{cell['column']} at {row_name(record, cell['row'])} ({cell['block']}{tried})"
            reason = f"{failure['where']}: {failure['reason']}"
            lines.append(f"failed: {where}, seed {failure['seed']}: {reason} [{failure['folder']}]")
    return list(dict.fromkeys(lines))


def verdicts(record: TableRecord) -> list[str]:
    """A line per block: the number of cells and of each verdict."""
    lines = []
    for block, cells in blocks_of(record).items():
        counts = {
            "matched": sum(cell["matched"] is True for cell in cells),
            "not matched": sum(cell["matched"] is False for cell in cells),
            "not compared": sum(cell["status"] == "complete" and not cell["compared"] for cell in cells),
            "undecided": sum(is_undecided(cell) for cell in cells),
            "failed": sum(cell["status"] == "failed" for cell in cells),
            "not run": sum(cell["status"] == "missing" for cell in cells),
        }
        summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        lines.append(f"{block}: {len(cells)} cells, {summary}")
    return lines


def tolerances(record: TableRecord) -> list[str]:
    """A line per row: its tolerance, the span of the paper's columns, and columns that a ✓ cannot tell apart."""
    first = next(iter(blocks_of(record).values()))
    lines = []
    for row in rows_of(first):
        cells = [cell for cell in first if cell["row"] == row and cell["paper"] is not None]
        if len(cells) < 2:
            continue
        ends = min(cell["tolerance"] for cell in cells), max(cell["tolerance"] for cell in cells)
        tolerance = " to ".join(dict.fromkeys(f"{end:g}" for end in ends))
        span = max(cell["paper"] for cell in cells) - min(cell["paper"] for cell in cells)
        line = f"{row_name(record, row)}: tolerance {tolerance}, the paper's columns span {span:.4g}"
        together = list(_alike(cells))
        if len(together) == 1 and len(together[0]) == len(cells):
            line += "; ✓ cannot tell the columns apart"
        else:
            near = [", ".join(cell["column"] for cell in some) for some in together]
            line += f"; ✓ cannot tell apart {'; nor '.join(near)}" if near else "; ✓ tells all of them apart"
        lines.append(line)
    return lines


def _alike(cells: Sequence[CellRecord]) -> Iterator[Sequence[CellRecord]]:
    """Maximal sets of at least two columns whose published numbers lie within the tolerance of each other."""
    ordered = sorted(cells, key=lambda cell: float(cell["paper"]))
    reached = 0
    for first in range(len(ordered)):
        end = first + 1
        while end < len(ordered) and _together(ordered[first : end + 1]):
            end += 1
        if end > max(reached, first + 1):
            yield ordered[first:end]
            reached = end


def _together(ordered: Sequence[CellRecord]) -> bool:
    span = ordered[-1]["paper"] - ordered[0]["paper"]
    return bool(span <= min(cell["tolerance"] for cell in ordered) + ROUNDING)


def left_out(record: TableRecord) -> list[str]:
    """A line per run that repeats a seed."""
    return list(dict.fromkeys(f"left out: {line}" for cell in record["cells"] for line in cell.get("left_out", [])))
