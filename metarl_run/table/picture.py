"""A table as a picture: our numbers against the paper's with their intervals, equal on the diagonal."""

from pathlib import Path
from typing import TYPE_CHECKING

from metarl_run.report.figure import COLOURS, FAINT, save
from metarl_run.table import text
from metarl_run.table.text import TableRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X"
SPREAD = 10.0
"""Numbers that differ by more than this factor are shown on logarithmic axes."""


def draw(name: Path, record: TableRecord) -> list[Path]:
    """One panel for each block; a colour and mark for each column, hollow where a number is not matched.

    Args:
        name: path without ending.
        record: what table.json holds.
    """
    blocks = text.blocks_of(record)

    def on(figure: "Figure") -> None:
        for place, (block, cells) in enumerate(blocks.items()):
            axes = figure.add_subplot(1, len(blocks), place + 1)
            shown = [cell for cell in cells if cell["ours"] is not None and cell["paper"] is not None]
            ends = [value for cell in shown for value in (cell["ours"], cell["paper"])]
            axes.set_title(block, loc="left", fontweight="bold")
            axes.set_xlabel("paper")
            axes.set_ylabel("ours, 95 % interval")
            if not ends:
                continue
            if min(ends) > 0 and max(ends) > SPREAD * min(ends):
                axes.set_xscale("log")
                axes.set_yscale("log")
            axes.axline((min(ends), min(ends)), (max(ends) + 1e-9, max(ends) + 1e-9), color=FAINT, linewidth=1.0)
            for index, column in enumerate(text.columns_of(cells)):
                colour, label = COLOURS[index % len(COLOURS)], column
                for cell in [cell for cell in shown if cell["column"] == column]:
                    low, high = cell["ours"] - cell["low"], cell["high"] - cell["ours"]
                    axes.errorbar(
                        cell["paper"],
                        cell["ours"],
                        yerr=[[low], [high]],
                        linestyle="",
                        markersize=5,
                        marker=MARKERS[index % len(MARKERS)],
                        markerfacecolor=colour if cell["matched"] else "white",
                        color=colour,
                        elinewidth=1.0,
                        label=label,
                    )
                    label = "_nolegend_"
            axes.legend(loc="upper left")

    return save(name, 0.4 + 4.4 * len(blocks), 4.2, on)
