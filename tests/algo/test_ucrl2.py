"""UCRL2: its confidence sets by hand."""

import math

import pytest
import torch
from planning_lab import NEAR_NOTHING, drawn, make, nothing_seen

from metarl_run.algo.ucrl2 import UCRL2


def test_the_confidence_sets_of_ucrl2_by_hand():
    """H = 3, before the second episode: four rewards of (0, 0) were seen, and three transitions, all to state 0."""
    algo = make(UCRL2, NEAR_NOTHING | {"concentration": 1e-5}, confidence=0.05, scale=0.1)
    belief = nothing_seen(algo, episodes=2)
    belief.visits[0, 0, 0], belief.total_reward[0, 0, 0], belief.transitions[0, 0, 0, 0] = 4, 8.0, 3
    q = algo.plan(belief, drawn())[0]
    L = math.log(2 * 2 * 2 * (2 + 1) / 0.05)
    known, new = 2 + 0.1 * math.sqrt(4 * L / 4), 0 + 0.1 * math.sqrt(4 * L / 1)
    near = {"rtol": 1e-4, "atol": 0}
    torch.testing.assert_close(q[2], torch.tensor([[known, new], [new, new]]), **near)
    to_best = min(1, 0.5 + 0.1 * math.sqrt(4 * 2 * L / 1) / 2)  # state 0, from where nothing was seen
    v = (known, new)
    guess = new + to_best * v[0] + (1 - to_best) * v[1]
    torch.testing.assert_close(q[1], torch.tensor([[known + v[0], guess], [guess, guess]]), **near)


def test_the_confidence_sets_of_ucrl2_grow_with_the_logarithm_of_the_episodes():
    algo = make(UCRL2, NEAR_NOTHING, confidence=0.05, scale=0.1)
    last = [float(algo.plan(nothing_seen(algo, episodes=k), drawn())[0, -1, 0, 0]) for k in (1, 100)]
    assert last == pytest.approx([0.1 * math.sqrt(4 * math.log(8 * (k + 1) / 0.05)) for k in (1, 100)])


def test_ucrl2_refuses_a_confidence_set_that_is_everything():
    with pytest.raises(ValueError, match=r"confidence must be a finite number in .*, got 0"):
        make(UCRL2, NEAR_NOTHING, confidence=0.0, scale=0.1)
