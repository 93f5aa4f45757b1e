"""Which points of adaptation curves get a column of a comparison.

Where all groups have seen as many episodes after k adaptation steps, k names the columns. Where they differ, as agents
with memory and gradient steps do, the episodes seen do: `e=10` is what an agent earns that has lived ten at most.
Beyond the last episode that a group has lived its columns are empty.
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
        by_episodes: they are named after episodes seen; else after adaptation steps.
        places: the numbers they stand for.
    """

    by_episodes: bool
    places: Sequence[int]

    @property
    def titles(self) -> list[str]:
        return [f"{'e' if self.by_episodes else 'k'}={place}" for place in self.places]

    @property
    def meaning(self) -> str:
        """What stands in a cell."""
        if self.by_episodes:
            return "Return after at most e episodes in the task"
        return "Return after k adaptation steps"

    def points(self, group: Group) -> list[Point | None]:
        """The point of a group's curve in each column; None where it has none."""
        if not self.by_episodes:
            by_step = {int(point["adaptation_step"]): point for point in group.points}
            return [by_step.get(place) for place in self.places]
        found: list[Point | None] = []
        last = max((point["episodes_seen"] for point in group.points), default=0.0)
        for place in self.places:
            seen = [point for point in group.points if point["episodes_seen"] <= place]
            found.append(seen[-1] if seen and place <= last else None)
        return found


def columns_of(groups: Sequence[Group], at_most: int) -> Columns:
    """At most so many columns for what the groups have in their curves."""
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
