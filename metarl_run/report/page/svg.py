"""The picture of a chart as an SVG that follows the page's colours: what is seen without JavaScript and on paper."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from metarl_run.report.page.markup import Markup, tag
from metarl_run.report.run.terminal import thousands

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers in [low, high], 1, 2 or 5 times a power of ten apart."""
    span = (high - low) or 1.0
    rough = span / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(x: float) -> str:
    """`20`, `0.25`, `1.5 M`."""
    return thousands(x) if abs(x) >= 10_000 and x > 0 else f"{x:.10g}" if abs(x) < 1e6 else f"{x:.3g}"


def picture(chart: dict[str, Any], looks: Sequence[tuple[int, int]]) -> Markup:
    """The picture of a chart on its first axis and measure.

    Args:
        chart: see `metarl_run.report.page.chart`.
        looks: of each group, the numbers of its colour and dash.
    """
    axis, measure = next(iter(chart["axes"])), next(iter(chart["measures"]))
    lines = [line for line in chart["lines"] if measure in line["y"] and None not in line["x"][axis]]
    xs = [x for line in lines for x in line["x"][axis]]
    ys = [y for line in lines for values in line["y"][measure] for y in values if y is not None]
    ys += [level["y"] for level in chart["levels"]]
    if not xs or not ys:
        return Markup("")
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    pad = 0.04 * ((y1 - y0) or abs(y1) or 1.0)
    y0, y1 = y0 - pad, y1 + pad

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / ((x1 - x0) or 1.0) if x1 > x0 else 0.5
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )

    def path(points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*point) for point in points))

    def frame() -> Iterator[Markup]:
        for y in ticks(y0, y1):
            height = f"{at(x0, y)[1]:.1f}"
            yield tag("path", d=f"M{LEFT} {height}H{WIDTH - RIGHT}", class_="grid")
            yield tag("text", tick_text(y), x=LEFT - 7, y=height, class_="y")
        for x in ticks(x0, x1) if x1 > x0 else [x0]:
            across = f"{at(x, y0)[0]:.1f}"
            yield tag("path", d=f"M{across} {TOP}V{HEIGHT - BOTTOM}", class_="grid")
            yield tag("text", tick_text(x), x=across, y=HEIGHT - BOTTOM + 17, class_="x")
        middle = (TOP + HEIGHT - BOTTOM) // 2
        yield tag("text", chart["axes"][axis], x=(LEFT + WIDTH - RIGHT) // 2, y=HEIGHT - 8, class_="x")
        yield tag("text", chart["measures"][measure], transform=f"translate(13 {middle}) rotate(-90)", class_="x")

    def curves() -> Iterator[Markup]:
        for level in chart["levels"]:
            yield tag("path", d=path([(x0, level["y"]), (x1, level["y"])]), class_="level")
            x, y = at(x1, level["y"])
            yield tag("text", level["name"], x=f"{x:.1f}", y=f"{y - 6:.1f}", class_="end")
        for line in lines:
            colour, _ = looks[line["g"]]
            _, *ends = line["y"][measure]
            x = line["x"][axis]
            if len(ends) == 2 and None not in (*ends[0], *ends[1]):
                around = [*zip(x, ends[0], strict=True), *reversed([*zip(x, ends[1], strict=True)])]
                yield tag("path", d=f"{path(around)}Z", class_=f"band s{colour}", data_g=line["g"])
        for line in lines:
            colour, dash = looks[line["g"]]
            points = [(x, y) for x, y in zip(line["x"][axis], line["y"][measure][0], strict=True) if y is not None]
            if points:
                kind = f"line s{colour} d{1 if line['dashed'] else dash}"
                yield tag("path", d=path(points), class_=kind, data_g=line["g"])
                if len(points) == 1:
                    x, y = at(*points[0])
                    yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=f"dot s{colour}")

    label = f"{chart['measures'][measure]} over {chart['axes'][axis]}: {chart['title']}"
    box = f"0 0 {WIDTH} {HEIGHT}"
    return tag("svg", frame(), curves(), viewBox=box, role="img", aria_label=label)
