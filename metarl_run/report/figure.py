"""Style of pictures and their atomic, reproducible saving: equal data make equal bytes."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metarl_run.system.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's palette: distinguishable with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
OWN_COLOURS = {"rl2": "#7A2E8E"}
"""Colours of algorithms that stand in many comparisons, by option; no other line has them."""

DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
INK = "#333333"
FAINT = "#8a8a8a"

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
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
    "svg.fonttype": "none",  # text remains text: searchable, and a third of the bytes
    "pdf.fonttype": 42,  # TrueType, as publishers want it
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
    axes.text(1.01, optimum, label, transform=beside, color=FAINT, fontsize="small", ha="left", va="center")


class Label(NamedTuple):
    """A name at the end of a line.

    Attributes:
        text: the name.
        x, y: end of the line; x is None where the line goes through.
        colour: of the line.
    """

    text: str
    x: float | None
    y: float
    colour: str


def share_heights(panels: Sequence["Axes"]) -> None:
    """Let all panels show the same part of the vertical axis."""
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))


def name_ends(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write the names of lines to the right of the axes, at the heights of their ends or as near as there is room.

    Args:
        axes: finished, but for the layout of the figure.
        labels: names of its lines.
    """
    from matplotlib import rcParams

    size = 0.8 * rcParams["font.size"]
    figure = axes.get_figure()
    rows = axes.get_subplotspec().get_gridspec().nrows  # type: ignore[union-attr]
    points = 72 * 0.75 * figure.get_figheight() / rows  # type: ignore[union-attr]
    ordered = sorted(labels, key=lambda label: label.y)
    sides, _ = axes.get_xlim(), axes.get_ylim()  # which brings the limits up to date
    right = sides[1]
    ends = [axes.transLimits.transform(axes.transScale.transform((right, label.y)))[1] for label in ordered]
    for label, end, place in zip(ordered, ends, apart(ends, 1.25 * size / points), strict=True):
        if label.x is not None and label.x < 0.9 * right:
            axes.plot([label.x, right], [label.y, label.y], color=label.colour, linewidth=0.7, linestyle=":", alpha=0.7)
        axes.annotate(
            shortened(label.text),
            (1.0, end),
            (1.06, place),
            "axes fraction",
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            color=label.colour,
            fontsize=size,
            ha="left",
            va="center",
            annotation_clip=False,
        )
    axes.set_xlim(sides)


def shortened(text: str, longest: int = 40) -> str:
    """A long text without its middle: what tells variants apart stands at their ends."""
    return text if len(text) <= longest else f"{text[: longest // 2 - 1]}…{text[-longest // 2 :]}"


def apart(heights: Sequence[float], distance: float) -> list[float]:
    """Heights that differ by at least `distance`, as near as possible to the given ones, which ascend.

    Heights and distance are fractions of the axes, whose top no name passes. Least squares by pooling adjacent
    violators: names that would overlap form a block around the mean of their heights.
    """
    blocks: list[tuple[float, int]] = []  # mean of the heights, each less its offset in the block; and their number
    for height in heights:
        blocks.append((height, 1))
        while len(blocks) > 1:
            (lower, m), (upper, n) = blocks[-2:]
            if upper >= lower + m * distance:
                break
            blocks[-2:] = [((m * lower + n * (upper - m * distance)) / (m + n), m + n)]
    places = [start + i * distance for start, count in blocks for i in range(count)]
    for i in reversed(range(len(places))):  # beside the axes, if there is room
        places[i] = min(places[i], 1.0 - (len(places) - 1 - i) * distance)
    return places


def head(axes: "Axes", title: str, about: str) -> None:
    """Put a title above the axes, and in a line of its own what it is about."""
    axes.set_title(title, loc="left", fontweight="bold", pad=20)
    axes.annotate(about, (0, 1), (0, 7), "axes fraction", "offset points", color=FAINT)


def legend_below(figure: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put the legend below all axes, where there are no data: in two columns, if these fit."""
    for columns in (2, 1):
        legend = figure.legend(handles, labels, loc="outside lower left", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


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


ENDINGS: Mapping[str, Any] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "metarl-run"},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "metarl-run"},
}
"""Formats of pictures with metadata without date or version: equal data make equal bytes."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Wishes of whoever puts pictures into a paper.

    Attributes:
        size: width and height in inches; None for one that suits the content.
        font: family of all text, such as `DejaVu Serif` or `Times New Roman`; one that is not installed is replaced.
        font_size: in points; all text is scaled with it.
        title: of the picture, in place of the one made of names.
        axis: of learning curves, a name of `metarl_run.report.learning.TRAINING_AXES`; None for the usual one.
        endings: formats, among `ENDINGS`.
    """

    size: tuple[float, float] | None = None
    font: str | None = None
    font_size: float = STYLE["font.size"]
    title: str | None = None
    axis: str | None = None
    endings: Sequence[str] = ("png", "svg")

    @property
    def style(self) -> dict[str, Any]:
        """What differs from matplotlib's own style."""
        scale = self.font_size / STYLE["font.size"]
        sizes = {key: value * scale for key, value in STYLE.items() if key.endswith("size")}
        fonts = [self.font] if self.font else []
        return {**STYLE, **sizes, "font.sans-serif": [*fonts, *STYLE["font.sans-serif"]]}


USUAL = PictureOptions()


def save(
    name: Path, width: float, height: float, draw: Callable[["Figure"], None], options: PictureOptions = USUAL
) -> list[Path]:
    """Draw one picture and write it as `<name>.png` and `<name>.svg`, or as `options` has it.

    Args:
        name: path without file extension.
        width: in inches.
        height: in inches; the PNG has 200 pixels per inch.
        draw: function that draws on an empty figure.
        options: wishes.
    """
    pictures = rendered(width, height, draw, options)
    return [write_atomically(name.with_name(f"{name.name}.{ending}"), data) for ending, data in pictures.items()]


def rendered(
    width: float, height: float, draw: Callable[["Figure"], None], options: PictureOptions = USUAL
) -> dict[str, bytes]:
    """The content of `save`'s files by their endings."""
    # Imported late: matplotlib is slow to import, and only the end of a run needs it.
    with _without_user_settings():
        from matplotlib import rc_context, rcParamsDefault
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    pictures = {}
    defaults = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}
    style: Any = {**defaults, **options.style}
    with rc_context(style):
        figure = Figure(figsize=options.size or (width, height), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        for text in _names(figure):
            text.set_parse_math(False)
        for ending in options.endings:
            picture = io.BytesIO()
            figure.savefig(picture, format=ending, metadata=ENDINGS[ending])
            pictures[ending] = picture.getvalue()
            figure.set_layout_engine("none")  # it is laid out: every format would do so twice
    return pictures
