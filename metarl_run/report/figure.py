"""Style of pictures and their atomic, reproducible saving: equal data make equal bytes."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_run.system.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's palette: distinguishable with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
INK = "#333333"
FAINT = "#8a8a8a"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "metarl-run",
    "svg.fonttype": "path",
    "savefig.facecolor": "white",
}


def look(index: int) -> dict[str, Any]:
    """Colour and dash of the line with this index, distinct for the first 28 lines."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}


def few_ticks(axes: "Axes", x: Sequence[float]) -> None:
    """Put a tick at every point if there are at most eight."""
    if len(x) <= 8:
        axes.set_xticks(x, [f"{value:g}" for value in x])


def fractions(axes: "Axes", values: Sequence[float]) -> None:
    """Let the axis of fractions, such as a success rate, show all of [0, 1]."""
    if all(0 <= value <= 1 for value in values):
        axes.set_ylim(-0.04, 1.04)


def draw_optimum(axes: "Axes", optimum: float, label: str, colour: str = FAINT) -> None:
    """Draw a horizontal line at the return of the best policy, labelled to the right of the axes.

    Args:
        axes: axes to draw on.
        optimum: height of the line, in units of the return.
        label: the line's label; may be empty.
        colour: colour of the line.
    """
    axes.axhline(optimum, color=colour, linewidth=1.1, linestyle=(0, (6, 3)), zorder=1.5)
    beside = axes.get_yaxis_transform()
    axes.text(1.01, optimum, label, transform=beside, color=FAINT, fontsize=8.5, ha="left", va="center")


@contextlib.contextmanager
def _without_user_settings() -> Iterator[None]:
    """Environment in which matplotlib is imported with its own defaults: a notebook's backend is no reason to fail."""
    own = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _names(figure: "Figure") -> Iterator["Text"]:
    """The texts of a figure that may be names, in which $ begins no formula: all but the numbers at ticks."""
    from matplotlib.legend import Legend
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    for owner in (figure, *figure.axes):
        for artist in owner.get_children():
            yield from (artist,) if isinstance(artist, Text) else ()
            yield from artist.get_texts() if isinstance(artist, Legend) else ()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label
            named = isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter)
            yield from axis.get_ticklabels() if named else ()


def save(name: Path, width: float, height: float, draw: Callable[["Figure"], None]) -> list[Path]:
    """Draw one picture and write it as `<name>.png` and `<name>.svg`.

    Args:
        name: path without file extension.
        width: in inches.
        height: in inches; the PNG has 200 pixels per inch.
        draw: function that draws on an empty figure.
    """
    pictures = rendered(width, height, draw)
    return [write_atomically(name.with_name(f"{name.name}.{ending}"), data) for ending, data in pictures.items()]


def rendered(width: float, height: float, draw: Callable[["Figure"], None]) -> dict[str, bytes]:
    """The content of `save`'s files by their endings."""
    # Imported late: matplotlib is slow to import, and only the end of a run needs it.
    with _without_user_settings():
        from matplotlib import rc_context, rcParamsDefault
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    pictures = {}
    defaults = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}
    with rc_context({**defaults, **STYLE}):
        figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        for text in _names(figure):
            text.set_parse_math(False)
        # No date and no version: equal data make equal bytes.
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": "metarl-run"})):
            picture = io.BytesIO()
            figure.savefig(picture, format=ending, metadata=metadata)
            pictures[ending] = picture.getvalue()
    return pictures
