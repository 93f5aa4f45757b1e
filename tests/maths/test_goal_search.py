"""Searches for a hidden goal: the exact plan against every path of an agent that knows only what it has seen."""

import functools
import random

import numpy as np
import pytest
import scipy.optimize

from metarl_run.env.grid import table_of_moves
from metarl_run.env.standalone import make_family
from metarl_run.maths.goal_search import Search, best_plan, best_plans, expected_returns
from metarl_run.maths.goal_search_bounds import assignment_cost, return_bounds
from metarl_run.maths.goal_search_plans import PLANS


def best_of_all_paths(search, episodes, goal_reward, step_reward):
    """The largest expected return of a lifetime, by recursion over the steps and the goals not yet ruled out."""
    H, goals = search.horizon, search.goals
    distance = search.distances()

    def known(g):
        """Return of an episode with a known goal."""
        d = distance[g]
        if search.pays_once:
            return goal_reward * (d <= H)
        return (d - 1) * step_reward + (H - d + 1) * goal_reward if d <= H else H * step_reward

    @functools.cache
    def value(t, place, left):
        """What is still expected, times the number of goals, summed over the goals `left`."""
        if t == episodes * H or not left:
            return 0.0
        episode, step = divmod(t, H)
        best = float("-inf")
        for then in set(search.next_place[search.start if step == 0 else place]):
            rest = tuple(g for g in left if goals[g] != then)
            found = [g for g in left if goals[g] == then]
            now = sum(goal_reward * (1 if search.pays_once else H - step) for _ in found)
            later = sum((episodes - episode - 1) * known(g) for g in found)
            best = max(best, now + later + len(rest) * step_reward + value(t + 1, then, rest))
        return best

    return value(0, search.start, tuple(range(len(goals)))) / len(goals)


@pytest.mark.parametrize("seed", range(9))
def test_the_plan_is_the_best_of_all_paths(seed):
    """Grids of 3 × 3 with any start, goals and horizon; goals may be out of reach."""
    rng = random.Random(seed)
    goals = tuple(rng.sample(range(9), rng.randint(2, 8)))
    search = Search(table_of_moves(3), rng.randrange(9), goals, rng.randint(2, 6), pays_once=seed % 3 == 0)
    step_reward = 0.0 if search.pays_once else rng.choice([-0.1, 0.0, 0.3])
    for episodes in (1, 2, 3):
        plan = best_plan(search, episodes)
        ours = expected_returns(search, plan, episodes, goal_reward=1.0, step_reward=step_reward)
        assert len(ours) == episodes
        assert sum(ours) == pytest.approx(best_of_all_paths(search, episodes, 1.0, step_reward), abs=1e-9)


def test_a_corridor_by_hand():
    """Places 0 to 4, start 2, goals at both ends, four steps: to one end, and straight to the other in episode 2."""
    moves = tuple((max(p - 1, 0), min(p + 1, 4)) for p in range(5))
    search = Search(moves, 2, (0, 4), horizon=4, pays_once=False)
    plan = best_plan(search, 3)
    assert (sorted(plan.found), plan.costs, plan.complete) == ([(0,), (1,)], (2, 3 + 2), True)
    # Found at step 2 of episode 1 or 2; an episode with a known goal has 3 steps that pay
    assert expected_returns(search, plan, 3, goal_reward=1.0, step_reward=0.0) == (1.5, 3.0, 3.0)
    assert best_plan(search, 1).found == ((0,),) or best_plan(search, 1).found == ((1,),)


def test_the_gridworld_of_varibad_is_known_exactly():
    """521/14: 4 in the first episode, and from the second on as much as an agent that knows the goal."""
    returns = make_family("gridworld").bayes_optimal_returns(4)
    assert sum(returns) == pytest.approx(521 / 14, abs=1e-9) and returns[0] == pytest.approx(4.0)
    known = make_family("gridworld").bayes_optimal_returns(40)
    assert known[:4] == returns and known[-1] == pytest.approx(44.2857 / 4, abs=1e-4)


@pytest.mark.parametrize(("option", "episodes"), [("gridworld", 2), ("darkroom", 1), ("darkroom_ad", 3)])
def test_stored_plans_are_those_of_todays_families(option, episodes):
    """Complete, each goal once, and no dearer than the sum of costs says it can be."""
    search = make_family(option).search
    *_, (found, costs, complete) = plans = PLANS[search.key]
    assert complete and len(plans) == len(found) == len(costs) == episodes
    assert sorted(g for some in found for g in some) == list(range(len(search.goals)))
    distance = search.distances()
    for episode, (some, cost) in enumerate(zip(found, costs, strict=True), start=1):
        assert cost >= sum(search.cost(distance[g], episode, distance[g]) for g in some)


def test_more_states_than_are_searched_in_a_run_are_left_alone():
    search = Search(table_of_moves(6), 0, tuple(range(20, 36)), 15, pays_once=False)
    assert best_plan(search, 2) is None and best_plans(search, 1, most_states=36 << 15) == []
    assert make_family("darkroom_hard").bayes_optimal_returns(10) is None


@pytest.mark.parametrize("changes", [{"start": "uniform"}, {"permuted_actions": True}])
def test_other_searches_are_not_this_one(changes):
    assert make_family("darkroom", **changes).bayes_optimal_returns(3) is None


# --- Bounds ---


@pytest.mark.parametrize("seed", range(9))
def test_bounds_enclose_the_best_plan(seed):
    rng = random.Random(seed)
    size = rng.choice([3, 4])
    goals = tuple(rng.sample(range(size**2), rng.randint(2, 9)))
    search = Search(table_of_moves(size), rng.randrange(size**2), goals, rng.randint(2, 8), pays_once=seed % 3 == 0)
    episodes, rewards = rng.randint(1, 4), {"goal_reward": 1.0, "step_reward": -0.1 * (seed % 3 > 0)}
    best = sum(expected_returns(search, best_plan(search, episodes), episodes, **rewards))
    low, high = return_bounds(search, episodes, **rewards)
    assert low - 1e-9 <= best <= high + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_cheapest_assignment(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 9)
    cost = rng.integers(0, 50, (rows, rows + rng.integers(0, 6)))
    assert assignment_cost(cost) == cost[scipy.optimize.linear_sum_assignment(cost)].sum()


def test_bounds_that_agree_prove_the_value():
    """Any of 6 × 6 cells: a path along the rows reveals another one with every step, the start first."""
    every = {"meta_train": {"tasks": "all"}, "meta_test": {"tasks": "all"}}
    family = make_family("darkroom", size=6, horizon=40, **every)
    low, high = family.bayes_optimal_bounds(4)
    returns = family.bayes_optimal_returns(4)
    assert low == high == pytest.approx(sum(returns))
    assert returns[0] == pytest.approx(sum(41 - step for step in range(1, 37)) / 36)
    known, bound = (make_family("gridworld").bayes_optimal_returns(4), make_family("gridworld").bayes_optimal_bounds(4))
    assert bound[0] < sum(known) == pytest.approx(bound[1]), "another proof of VariBAD's grid"
    low, high = make_family("darkroom_hard").bayes_optimal_bounds(10)
    assert 7 < low < high < 10
