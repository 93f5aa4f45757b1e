"""Columns of a comparison: points of the groups' adaptation curves.

If all groups have seen equally many episodes after k adaptation steps, columns are named by k. If they differ, as
agents with memory and gradient-based ones do, columns are named by episodes seen: `e=10` is the return after at most
ten episodes. Columns beyond a group's last episode are empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metarl_run.report.folder import evenly
from metarl_run.report.sweep.groups import Group

Point = Mapping[str, float]


@dataclass(frozen=True)
class Columns:
    """Columns of a comparison.

    Attributes:
        by_episodes: True if columns are named by episodes seen; False if by adaptation steps.
        positions: numbers of episodes or steps, ascending.
    """

    by_episodes: bool
    positions: Sequence[int]

    @property
    def titles(self) -> list[str]:
        return [f"{'e' if self.by_episodes else 'k'}={position}" for position in self.positions]

    @property
    def meaning(self) -> str:
        """Meaning of a cell, as a heading."""
        if self.by_episodes:
            return "Return after at most e episodes in the task"
        return "Return after k adaptation steps"

    @property
    def last(self) -> "Columns":
        """The last column alone."""
        return Columns(self.by_episodes, self.positions[-1:])

    def points(self, group: Group) -> list[Point | None]:
        """The point of a group's curve in each column; None where the curve has none."""
        if not self.by_episodes:
            by_step = {int(point["adaptation_step"]): point for point in group.points}
            return [by_step.get(position) for position in self.positions]
        found: list[Point | None] = []
        last = max((point["episodes_seen"] for point in group.points), default=0.0)
        for position in self.positions:
            seen = [point for point in group.points if point["episodes_seen"] <= position]
            found.append(seen[-1] if seen and position <= last else None)
        return found


def columns_of(groups: Sequence[Group], at_most: int) -> Columns:
    """At most `at_most` columns for the curves of the groups."""
    points = [point for group in groups for point in group.points]
    pairs = {(int(point["adaptation_step"]), point["episodes_seen"]) for point in points}
    by_episodes = len(pairs) > len({step for step, _ in pairs})
    numbers = sorted({int(episodes if by_episodes else step) for step, episodes in pairs})
    if by_episodes:
        numbers = [number for number in ladder(numbers[-1]) if number >= numbers[0]]
    return Columns(by_episodes, [numbers[i] for i in evenly(len(numbers), at_most)])


def ladder(last: int) -> Iterator[int]:
    """0, 1, 2, 5, 10, 20, 50, … below `last`, and `last`."""
    yield 0
    power = 1
    while power < last:
        yield from (power * digit for digit in (1, 2, 5) if power * digit < last)
        power *= 10
    if last > 0:
        yield last
