"""Bounds on Bayes-optimal search for a hidden goal, where there are too many sets of goals to look at them all."""

import functools

import numpy as np

from metarl_run.maths.goal_search import Plan, Search, best_plan, expected_returns


@functools.cache
def proven_plan(search: Search, episodes: int) -> Plan | None:
    """The best plan, from all states or since it costs no more than the bound below; None if neither proves it."""
    if plan := best_plan(search, episodes):
        return plan
    plan = nearest_first(search, episodes)
    return plan if charged(search, plan, episodes) == least_cost(search, episodes) else None


@functools.cache
def return_bounds(search: Search, episodes: int, *, goal_reward: float, step_reward: float) -> tuple[float, float]:
    """A lower and an upper bound on the largest expected return of a lifetime.

    The lower one is what a path earns that always goes to the nearest goal not yet passed. The upper one allows every
    goal a step of its own, of any episode, no earlier in it than the goal can be reached, whatever the way between
    goals: the cheapest such assignment costs no more than any path. Where both agree, the value is exact.

    Args:
        search: the problem.
        episodes: n, of the lifetime.
        goal_reward, step_reward: as in `metarl_run.maths.goal_search.expected_returns`.
    """
    plan = nearest_first(search, episodes)
    low = sum(expected_returns(search, plan, episodes, goal_reward=goal_reward, step_reward=step_reward))
    spared = charged(search, plan, episodes) - least_cost(search, episodes)
    worth = goal_reward if search.pays_once else goal_reward - step_reward
    return low, low + spared * worth / len(search.goals)


def charged(search: Search, plan: Plan, episodes: int) -> int:
    """The cost of a plan, goals never passed included."""
    passed = {g for some in plan.found for g in some}
    rest = [g for g in reachable(search) if g not in passed]
    distance = search.distances()
    return sum(plan.costs) + sum(search.cost(distance[g], episodes + 1, distance[g]) for g in rest)


def reachable(search: Search) -> list[int]:
    """Goals within an episode's steps, as indices."""
    return [g for g, d in enumerate(search.distances()) if d <= search.horizon]


def nearest_first(search: Search, episodes: int) -> Plan:
    """The plan of a path that always goes to the nearest goal not yet passed, if there is time."""
    distance = search.distances()
    left = {search.goals[g]: g for g in reachable(search)}
    found, costs = list[tuple[int, ...]](), list[int]()
    for episode in range(1, episodes + 1):
        if not left:
            break
        place, step, some, cost = search.start, 0, list[int](), 0
        while way := _way(search, place, left, search.horizon - step):
            for place in way:
                step += 1
                if (g := left.pop(place, None)) is not None:
                    some.append(g)
                    cost += search.cost(distance[g], episode, step)
        found.append(tuple(some))
        costs.append(cost)
    return Plan(tuple(found), tuple(costs), not left)


def _way(search: Search, place: int, left: dict[int, int], steps: int) -> list[int]:
    """The shortest way to one of the places `left`, of at least one step; empty if it takes too many."""
    ways: dict[int, list[int]] = {}
    here: dict[int, list[int]] = {place: []}
    for _ in range(steps):
        after: dict[int, list[int]] = {}
        for one, way in here.items():
            for then in search.next_place[one]:
                if then not in ways:
                    ways[then] = after[then] = [*way, then]
        if reached := [then for then in after if then in left]:
            return after[reached[0]]
        here = after
    return []


def least_cost(search: Search, episodes: int) -> int:
    """The cost of the cheapest assignment of goals to different steps that are late enough."""
    goals, distance, H = reachable(search), search.distances(), search.horizon
    last = min(episodes, 2 * (len(goals) // H + 2))
    cost = np.full((len(goals), last * H + len(goals)), 10**6)
    for row, g in enumerate(goals):
        for episode in range(1, last + 1):
            for step in range(distance[g], H + 1):
                cost[row, (episode - 1) * H + step - 1] = search.cost(distance[g], episode, step)
        cost[row, last * H + row] = search.cost(distance[g], last + 1, distance[g])  # later, or never
    return assignment_cost(cost)


def assignment_cost(cost: np.ndarray) -> int:
    """The least sum of one entry from each row, no two in a column, of an integer matrix with no fewer columns.

    Source: Kuhn (1955), "The Hungarian method for the assignment problem", by shortest augmenting paths.
    """
    rows, columns = cost.shape
    u, v = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    row_of = np.full(columns, -1)
    for row in range(rows):
        slack, before = np.full(columns, np.iinfo(np.int64).max // 4), np.full(columns, -1)
        done = np.zeros(columns, bool)
        column, current = -1, row
        while current >= 0:
            if column >= 0:
                done[column] = True
            reduced = cost[current] - u[current] - v
            nearer = ~done & (reduced < slack)
            slack[nearer], before[nearer] = reduced[nearer], column
            column = int(np.where(done, np.iinfo(np.int64).max // 2, slack).argmin())
            shift = slack[column]
            u[row] += shift
            u[row_of[done]] += shift
            v[done] -= shift
            slack[~done] -= shift
            current = int(row_of[column])
        while column >= 0:
            previous = int(before[column])
            row_of[column] = row_of[previous] if previous >= 0 else row
            column = previous
    return int(cost[row_of[row_of >= 0], np.flatnonzero(row_of >= 0)].sum())
