"""The Gittins agent: its choices, and the size of its table."""

import gymnasium
import torch
from bandit_lab import agents, probabilities

from metarl_run.algo.gittins import Gittins


def test_gittins_leaves_an_arm_whose_index_fell_below_that_of_an_untried_one():
    """γ = .9: Beta(1, 1) .7029, Beta(2, 1) .8001, Beta(3, 2) .7072, Beta(3, 3) .6010."""
    algo = agents()["gittins"]
    assert probabilities(algo, []) == [1, 0]
    assert probabilities(algo, [(0, 1)]) == [1, 0]
    assert probabilities(algo, [(0, 1), (0, 1), (0, 0)]) == [1, 0]
    assert probabilities(algo, [(0, 1), (0, 1), (0, 0), (0, 0)]) == [0, 1]


def test_a_longer_life_uses_a_larger_table_from_then_on(monkeypatch):
    monkeypatch.setattr("metarl_run.algo.gittins.gittins_indices", lambda pulls, **_: torch.zeros(pulls + 1, pulls + 1))
    arms = gymnasium.spaces.Discrete(2)
    algo = Gittins(action_space=arms, prior_successes=1.0, prior_failures=1.0, discount=0.5)
    assert [len(algo.table(pulls)) for pulls in (1, 128, 129, 512, 128)] == [129, 129, 513, 513, 129]
