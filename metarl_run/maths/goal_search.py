"""Bayes-optimal search for a hidden goal where moves are deterministic, by dynamic programming over sets of places.

Until the goal is found an agent observes nothing that it could not predict, so the best agent follows a fixed path, and
its belief is the set of goals already ruled out. When it has found the goal at step τ of episode e it goes there by a
shortest path, of d steps, in all later episodes. All that a path decides is when each goal would be found; in units of
what a step at the goal pays more than another, being late costs

    every step at the goal pays:  (e − 1) (H − d + 1) + τ,        an episode's first one pays:  e − 1

and a goal not found in N episodes as much as one found as early as possible in episode N + 1.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metarl_run.maths.goal_search_plans import PLANS

MOST_STATES = 2**19
"""Places times sets of goals that are searched during a run, a second or so; for more see `PLANS`."""


@dataclass(frozen=True)
class Search:
    """A search in which all reachable goals are equally likely.

    Args:
        next_place: place that each action leads to, `[place][action]`.
        start: place where every episode begins.
        goals: places, different ones.
        horizon: H, steps per episode.
        pays_once: only the first step at the goal pays.
    """

    next_place: tuple[tuple[int, ...], ...]
    start: int
    goals: tuple[int, ...]
    horizon: int
    pays_once: bool

    @property
    def key(self) -> str:
        """Equal only for equal searches."""
        return hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()

    def distances(self) -> list[int]:
        """Number of steps to each goal, d ≥ 1, as far as they are ≤ H; H + 1 for others."""
        steps: dict[int, int] = {}
        here = {self.start}
        for step in range(1, self.horizon + 1):
            here = {then for place in here for then in self.next_place[place]}
            for place in here:
                steps.setdefault(place, step)
        return [steps.get(goal, self.horizon + 1) for goal in self.goals]

    def cost(self, d: int, episode: int, step: int) -> int:
        """Cost of finding a goal, d steps away, at a step of an episode, both counted from 1."""
        return episode - 1 if self.pays_once else (episode - 1) * (self.horizon - d + 1) + step


@dataclass(frozen=True)
class Plan:
    """The best path for a lifetime of as many episodes as there are entries, or for any longer one if `complete`.

    Attributes:
        found: goals that the path passes for the first time in each episode, as indices.
        costs: the sum of their costs, in each episode.
        complete: the path passes all goals that can be reached.
    """

    found: tuple[tuple[int, ...], ...]
    costs: tuple[int, ...]
    complete: bool


def best_plan(search: Search, episodes: int, most_states: int = MOST_STATES) -> Plan | None:
    """The plan of least cost, exactly: no state is left out.

        C(p′, A ∪ {goals at p′}) = min over steps p → p′ of C(p, A) + cost of these goals now

    layer by layer, where A are the goals passed. It ends after the first n episodes whose cheapest plan, the goals not
    yet passed charged with the earliest step of episode n + 1, passes all: a later step could only cost more.

    Args:
        search: the problem.
        episodes: N, of the lifetime.
        most_states: places times sets of goals.

    Returns:
        None if there are more states than that, and no such plan in `PLANS`.
    """
    plans = [Plan(*fields) for fields in PLANS.get(search.key, ())] or best_plans(search, episodes, most_states)
    return plans[min(episodes, len(plans)) - 1] if plans else None


def best_plans(search: Search, episodes: int, most_states: int) -> list[Plan]:
    """The best plans for 1, 2, … episodes, up to the first that is complete; none if there are too many states."""
    distance = search.distances()
    reachable = [g for g, d in enumerate(distance) if d <= search.horizon]
    few = len(search.next_place) << len(reachable) <= most_states
    return _Layers(search, distance, reachable).plans(episodes) if few else []


def expected_returns(
    search: Search, plan: Plan, episodes: int, *, goal_reward: float, step_reward: float
) -> tuple[float, ...]:
    """Expected return of each of n episodes under a plan.

    Args:
        search: the problem.
        plan: for at most n episodes if complete, for just n if not.
        episodes: n.
        goal_reward: of a step at the goal; with `pays_once` of the first in an episode.
        step_reward: of other steps; with `pays_once` always 0.
    """
    H, distance = search.horizon, search.distances()

    def reward(at_goal: int, cells: int = 1) -> float:
        """Of `cells` episodes with so many steps at the goal in all."""
        return at_goal * goal_reward + (cells * H - at_goal) * step_reward

    known: list[int] = []
    returns = []
    for episode in range(1, episodes + 1):
        new = plan.found[episode - 1] if episode <= len(plan.found) else ()
        rest = len(search.goals) - len(known) - len(new)
        if search.pays_once:
            returns.append((len(known) + len(new)) * goal_reward / len(search.goals))
        else:
            paid = sum(H - distance[g] + 1 for g in known)
            if new:
                late = plan.costs[episode - 1] - (episode - 1) * sum(H - distance[g] + 1 for g in new)
                paid += len(new) * (H + 1) - late
            returns.append(reward(paid, len(known) + len(new) + rest) / len(search.goals))
        known += new
    return tuple(returns)


class _Layers:
    """Costs C(p, A) of all places and sets after each step."""

    def __init__(self, search: Search, distance: Sequence[int], reachable: Sequence[int]) -> None:
        self.search, self.distance, self.reachable = search, distance, reachable
        self.bit = {search.goals[g]: i for i, g in enumerate(reachable)}
        places = range(len(search.next_place))
        self.before = [[p for p in places if then in search.next_place[p]] for then in places]

    def plans(self, episodes: int) -> list[Plan]:
        G = len(self.reachable)
        worst = sum(self._cost(i, episodes + 1, self.search.horizon + 1) for i in range(G))
        self.kind: type = np.int16 if worst < 10_000 else np.int32
        self.never = int(np.iinfo(self.kind).max) // 2
        cost = np.full(1 << G, self.never, self.kind)
        cost[0] = 0
        starts, plans = [cost], list[Plan]()
        for episode in range(1, episodes + 1):
            cost = self._episode(cost, episode)
            starts.append(cost)
            charged = cost.astype(np.int64)
            for i in range(G):
                d = self.distance[self.reachable[i]]
                charged.reshape(-1, 2, 1 << i)[:, 0] += self._cost(i, episode + 1, d)
            plans.append(self._traced(starts, int(charged.argmin())))
            if plans[-1].complete:
                break
        return plans

    def _cost(self, i: int, episode: int, step: int) -> int:
        return self.search.cost(self.distance[self.reachable[i]], episode, step)

    def _episode(self, cost: np.ndarray, episode: int) -> np.ndarray:
        """The least cost of each set after an episode, given that before it."""
        layer = self._first(cost)
        for step in range(1, self.search.horizon + 1):
            layer = self._step(layer, episode, step)
        least: np.ndarray = np.minimum.reduce(layer)
        return least

    def _first(self, cost: np.ndarray) -> list[np.ndarray]:
        layer = [np.full_like(cost, self.never) for _ in self.before]
        layer[self.search.start] = cost.copy()
        return layer

    def _step(self, layer: list[np.ndarray], episode: int, step: int) -> list[np.ndarray]:
        after = []
        for place, before in enumerate(self.before):
            cheapest = layer[before[0]].copy()
            for one in before[1:]:
                np.minimum(cheapest, layer[one], out=cheapest)
            if (i := self.bit.get(place)) is not None:
                without, within = cheapest.reshape(-1, 2, 1 << i).swapaxes(0, 1)
                np.minimum(within, without + self.kind(self._cost(i, episode, step)), out=within)
                without[...] = self.never
            after.append(cheapest)
        return after

    def _traced(self, starts: Sequence[np.ndarray], last: int) -> Plan:
        """The plan that ends with the set `last`, from the costs of all sets after 0, 1, … episodes."""
        chain = [last]
        for episode in range(len(starts) - 1, 0, -1):
            chain.append(self._set_before(starts, episode, chain[-1]))
        chain.reverse()
        found = tuple(
            tuple(g for i, g in enumerate(self.reachable) if (after & ~before) >> i & 1)
            for before, after in itertools.pairwise(chain)
        )
        totals = [int(cost[chosen]) for cost, chosen in zip(starts, chain, strict=True)]
        costs = tuple(b - a for a, b in itertools.pairwise(totals))
        return Plan(found, costs, last == (1 << len(self.reachable)) - 1)

    def _set_before(self, starts: Sequence[np.ndarray], episode: int, after: int) -> int:
        """A set from which an episode that ends with `after` costs what it does."""
        if episode == 1:
            return 0
        # Only subsets can come before: look back from the last step through the layers of such an episode
        layers = [self._first(starts[episode - 1])]
        for step in range(1, self.search.horizon + 1):
            layers.append(self._step(layers[-1], episode, step))
        wanted = int(starts[episode][after])
        place = next(p for p, x in enumerate(layers[-1]) if x[after] == wanted)
        for step in range(self.search.horizon, 0, -1):
            place, after, wanted = self._step_before(layers[step - 1], episode, step, place, after, wanted)
        return after

    def _step_before(
        self, layer: Sequence[np.ndarray], episode: int, step: int, place: int, after: int, wanted: int
    ) -> tuple[int, int, int]:
        i = self.bit.get(place)
        ways = [(after, wanted)]
        if i is not None:
            ways.append((after & ~(1 << i), wanted - self._cost(i, episode, step)))
        return next(
            (one, before, cost) for one in self.before[place] for before, cost in ways if layer[one][before] == cost
        )
