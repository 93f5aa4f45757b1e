"""ε-greedy and greedy bandit agents: their choices by hand."""

import math

import pytest
from bandit_lab import after, agents, make, probabilities

from metarl_run.algo.epsilon_greedy import EpsilonGreedy


def test_epsilon_greedy_by_hand():
    algo = make(EpsilonGreedy, 5, epsilon=0.3)
    assert probabilities(algo, [(2, 1)]) == pytest.approx([0.06, 0.06, 0.76, 0.06, 0.06])
    assert probabilities(algo, []) == pytest.approx([0.76, 0.06, 0.06, 0.06, 0.06])
    assert probabilities(make(EpsilonGreedy, 4, epsilon=1.0), [(2, 1)]) == pytest.approx([0.25] * 4)


def test_greedy_pulls_the_first_of_the_best_and_never_another():
    algo = agents(3)["greedy"]
    assert probabilities(algo, []) == [1, 0, 0]
    assert probabilities(algo, [(0, 0)]) == [0, 1, 0]
    assert probabilities(algo, [(0, 0), (1, 0)]) == [0, 0, 1]
    assert probabilities(algo, [(0, 0), (1, 0), (2, 0)]) == [1, 0, 0]
    distribution, _ = after(algo, [])
    assert distribution.logits[0, 0, 1:].eq(-math.inf).all()
