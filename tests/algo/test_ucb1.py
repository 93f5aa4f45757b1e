"""UCB1: its bounds by hand."""

import math

from bandit_lab import make, probabilities

from metarl_run.algo.ucb1 import UCB1


def test_ucb1_by_hand():
    """After a win of arm 0 and a loss of arm 1: t = 2, m = 3, 3 and 2."""
    pulls = [(0, 1), (1, 0)]
    for c, best in ((0.0, 0), (0.5, 0), (1.2, 2)):
        bounds = [
            2 / 3 + c * math.sqrt(2 * math.log(2) / 3),
            1 / 3 + c * math.sqrt(2 * math.log(2) / 3),
            1 / 2 + c * math.sqrt(2 * math.log(2) / 2),
        ]
        assert bounds.index(max(bounds)) == best
        assert probabilities(make(UCB1, 3, exploration=c), pulls)[best] == 1


def test_ucb1_has_no_bonus_before_its_first_two_pulls():
    algo = make(UCB1, 3, exploration=1000.0)
    assert probabilities(algo, []) == [1, 0, 0]
    assert probabilities(algo, [(0, 1)]) == [1, 0, 0]  # ln 1 = 0: the mean alone
    assert probabilities(algo, [(0, 0)]) == [0, 1, 0]
    assert probabilities(algo, [(0, 1), (0, 1)]) == [0, 1, 0]
