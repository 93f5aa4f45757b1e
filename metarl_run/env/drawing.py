"""Pictures of states, for families that draw themselves."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SIZE = 240
"""Pixels along each side."""

INK, PALE, ACCENT, GOAL = (40, 40, 40), (215, 215, 215), (31, 119, 180), (44, 160, 44)
TREASURE, TRAP = (240, 180, 60), (214, 80, 70)

Point = Sequence[float]


class Canvas:
    """A square picture of a part of the plane; y points up.

    Args:
        low: smallest x and y.
        high: largest x and y.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.scale = low, (SIZE - 1) / (high - low)
        self.image = Image.new("RGB", (SIZE, SIZE), "white")
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[Point], color: tuple[int, int, int] = INK, width: int = 2) -> None:
        self.pen.line([self._pixel(point) for point in points], fill=color, width=width)

    def dot(self, point: Point, radius: float, color: tuple[int, int, int] = ACCENT, *, filled: bool = True) -> None:
        """A disc or circle; `radius` in pixels."""
        x, y = self._pixel(point)
        box = (x - radius, y - radius, x + radius, y + radius)
        self.pen.ellipse(box, fill=color if filled else None, outline=color, width=2)

    def box(self, low: Point, high: Point, color: tuple[int, int, int], *, outline: tuple[int, int, int] = INK) -> None:
        (left, bottom), (right, top) = self._pixel(low), self._pixel(high)
        self.pen.rectangle((left, top, right, bottom), fill=color, outline=outline)

    def array(self) -> np.ndarray:
        """`[SIZE, SIZE, 3]`, uint8."""
        return np.asarray(self.image)

    def _pixel(self, point: Point) -> tuple[float, float]:
        x, y = ((float(value) - self.low) * self.scale for value in point)
        return x, SIZE - 1 - y
