"""Pictures of states, for families that draw themselves."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 240
"""Pixels along each side."""

FINER = 2
"""Pictures are drawn this many times as large and reduced, which smooths their edges."""

Colour = tuple[int, int, int]
INK, MUTED, PALE, WHITE = (40, 40, 40), (120, 120, 120), (225, 225, 225), (255, 255, 255)
ACCENT, TRAIL, GOAL, RED = (0, 114, 178), (150, 195, 225), (0, 158, 115), (213, 94, 0)
TREASURE, TRAP = (240, 180, 60), (214, 80, 70)

Point = Sequence[float]


class Canvas:
    """A square picture of a part of the plane; y points up. Widths and radii are in pixels.

    Args:
        low: smallest x and y.
        high: largest x and y.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.scale = low, (SIZE - 1) / (high - low)
        self.image = Image.new("RGB", (SIZE * FINER, SIZE * FINER), "white")
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[Point], color: Colour = INK, width: float = 2) -> None:
        pixels = [self._pixel(point) for point in points]
        self.pen.line(pixels, fill=color, width=round(width * FINER), joint="curve")

    def arrow(self, tail: Point, head: Point, color: Colour = RED, width: float = 2) -> None:
        """A line with a tip; none if it has no length."""
        (x0, y0), (x1, y1) = self._pixel(tail), self._pixel(head)
        length, tip = math.hypot(x1 - x0, y1 - y0), 3.5 * width * FINER
        if length < 1:
            return
        along = (x1 - x0) / length, (y1 - y0) / length
        base = x1 - tip * along[0], y1 - tip * along[1]
        across = -along[1] * tip / 2, along[0] * tip / 2
        self.pen.line([(x0, y0), base], fill=color, width=round(width * FINER))
        corners = [(x1, y1), (base[0] + across[0], base[1] + across[1]), (base[0] - across[0], base[1] - across[1])]
        self.pen.polygon(corners, fill=color)

    def dot(self, point: Point, radius: float, color: Colour = ACCENT, *, filled: bool = True) -> None:
        """A disc or circle."""
        (x, y), r = self._pixel(point), radius * FINER
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=color if filled else None, outline=color, width=2 * FINER)

    def box(self, low: Point, high: Point, color: Colour, *, outline: Colour | None = INK, width: float = 1) -> None:
        (left, bottom), (right, top) = self._pixel(low), self._pixel(high)
        self.pen.rectangle((left, top, right, bottom), fill=color, outline=outline, width=round(width * FINER))

    def text(self, point: Point, words: str, color: Colour = INK, *, size: float = 11, anchor: str = "mm") -> None:
        """Words around a point; `anchor` is Pillow's: left, middle or right, then ascender, middle or baseline."""
        self.pen.text(self._pixel(point), words, fill=color, font=font(size * FINER), anchor=anchor)

    def array(self) -> np.ndarray:
        """`[SIZE, SIZE, 3]`, uint8."""
        return np.asarray(self.image.reduce(FINER))

    def _pixel(self, point: Point) -> tuple[float, float]:
        x, y = ((float(value) - self.low) * self.scale for value in point)
        return x * FINER, (SIZE - 1 - y) * FINER


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that pictures look the same everywhere."""
    return ImageFont.load_default(size)


def mixed(color: Colour, share: float) -> Colour:
    """A colour in white, of which `share` is in [0, 1]."""
    red, green, blue = (round(255 - share * (255 - part)) for part in color)
    return red, green, blue


def bars(
    canvas: Canvas, low: Point, high: Point, heights: Sequence[float], chosen: int | None, labels: Sequence[str] = ()
) -> None:
    """A bar for every action in a rectangle, from the line at 0, the chosen one in colour.

    Args:
        canvas: to draw on.
        low, high: corners of the rectangle.
        heights: of the bars.
        chosen: index of a bar.
        labels: below the bars; none if there is no room for them.
    """
    (left, bottom), (right, top) = low, high
    least, most = min(0.0, *heights), max(0.0, *heights)
    unit, pitch = (top - bottom) / max(most - least, 1e-6), (right - left) / len(heights)
    zero = bottom - least * unit
    for i, height in enumerate(heights):
        x, y = left + pitch * i, zero + height * unit
        color = ACCENT if i == chosen else (200, 208, 214)
        canvas.box((x + 0.12 * pitch, min(y, zero)), (x + 0.88 * pitch, max(y, zero)), color, outline=None)
        if i < len(labels) and pitch * canvas.scale >= 14:
            place = (x + pitch / 2, bottom - 8 / canvas.scale)
            canvas.text(place, labels[i], ACCENT if i == chosen else MUTED)
    canvas.line([(left, zero), (right, zero)], MUTED, 1)
