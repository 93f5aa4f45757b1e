"""A table as a picture: our numbers against the paper's, and their differences in units of the tolerance."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metarl_run.report.figure import COLOURS, FAINT, save
from metarl_run.report.table import text
from metarl_run.report.table.text import CellRecord, TableRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X"
SPREAD = 10.0
"""Ratio of largest to smallest number above which axes are logarithmic."""
LINEAR = 2.0
"""Difference, in tolerances, above which its axis is logarithmic."""

TICKS = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50)

NOT_COMPARED = 0.4
"""Opacity of numbers without a verdict."""

APART = 0.7
"""Fraction of the distance between two rows over which a row's cells are spread."""


def draw(name: Path, record: TableRecord) -> list[Path]:
    """Draw two panels per block, with a colour and marker per column.

    Markers are hollow where a number is not matched, and faint where it is not compared with the paper's.

    Args:
        name: path without file extension.
        record: the content of table.json.
    """
    blocks, columns = text.blocks_of(record), text.columns_of(record["cells"])

    def on(figure: "Figure") -> None:
        grid = figure.add_gridspec(len(blocks), 2, width_ratios=(1, 1.6))
        for index, (block, cells) in enumerate(blocks.items()):
            shown = [cell for cell in cells if cell["ours"] is not None and cell["paper"] is not None]
            numbers, differences = (figure.add_subplot(grid[index, panel]) for panel in (0, 1))
            numbers.set_title(block, loc="left", fontweight="bold")
            if shown:
                _draw_numbers(numbers, shown, columns)
                _draw_differences(differences, shown, columns, record)

    return save(name, 9.6, 3.7 * len(blocks), on)


def _draw_numbers(axes: "Axes", cells: Sequence[CellRecord], columns: Sequence[str]) -> None:
    ends = [value for cell in cells for value in (cell["ours"], cell["paper"])]
    axes.set_xlabel("paper")
    axes.set_ylabel("ours, 95 % interval")
    if min(ends) > 0 and max(ends) > SPREAD * min(ends):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.tick_params(which="minor", labelbottom=False, labelleft=False)
    axes.axline((min(ends), min(ends)), (max(ends) + 1e-9, max(ends) + 1e-9), color=FAINT, linewidth=1.0)
    for cell in cells:
        _mark(axes, cell["paper"], cell, columns.index(cell["column"]), offset=0.0, unit=1.0, label="_nolegend_")


def _draw_differences(axes: "Axes", cells: Sequence[CellRecord], columns: Sequence[str], record: TableRecord) -> None:
    """Draw differences in units of the tolerance: cells within ±1 are matched; the axis is logarithmic farther out."""
    rows = text.rows_of(cells)
    axes.set_yscale("symlog", linthresh=LINEAR)
    axes.set_ylabel("(ours − paper) / tolerance")
    axes.axhspan(-1, 1, color=FAINT, alpha=0.15, linewidth=0)
    axes.axhline(0, color=FAINT, linewidth=1.0)
    axes.set_xticks(range(len(rows)), [text.row_name(record, row) for row in rows])
    axes.tick_params(axis="x", labelrotation=30 if len(rows) > 5 else 0)
    for index, column in enumerate(columns):
        label = column
        for cell in [cell for cell in cells if cell["column"] == column and cell["tolerance"] > 0]:
            x = rows.index(cell["row"]) + APART * ((index + 0.5) / len(columns) - 0.5)
            _mark(axes, x, cell, index, offset=cell["paper"], unit=cell["tolerance"], label=label)
            label = "_nolegend_"
    low, high = axes.get_ylim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _mark(axes: "Axes", x: float, cell: CellRecord, index: int, *, offset: float, unit: float, label: str) -> None:
    """Draw our number less `offset`, in units of `unit`, with its interval."""
    colour = COLOURS[index % len(COLOURS)]
    axes.errorbar(
        x,
        (cell["ours"] - offset) / unit,
        yerr=[[(cell["ours"] - cell["low"]) / unit], [(cell["high"] - cell["ours"]) / unit]],
        linestyle="",
        markersize=5,
        marker=MARKERS[index % len(MARKERS)],
        markerfacecolor=colour if cell["matched"] or not cell["compared"] else "white",
        color=colour,
        alpha=1.0 if cell["compared"] else NOT_COMPARED,
        elinewidth=1.0,
        label=label,
    )
