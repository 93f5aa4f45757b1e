"""BEB: its bonus by hand."""

import torch
from planning_lab import drawn, make, nothing_seen

from metarl_run.algo.beb import BEB


def test_the_bonus_of_beb_by_hand():
    """H = 3, c = 0.01: 2 c H³ = 0.54. In (0, 0) one reward of 3 was seen, and one transition to state 1."""
    algo = make(BEB, scale=0.01)
    belief = nothing_seen(algo)
    belief.visits[0, 0, 0], belief.total_reward[0, 0, 0], belief.transitions[0, 1, 0, 0] = 1, 3.0, 1
    q = algo.plan(belief, drawn())[0]
    known, new = 3 / 2 + 1 / (1 + 2), 1 / (1 + 1)  # mean reward and its bonus
    torch.testing.assert_close(q[2], torch.tensor([[known, new], [new, new]]))
    of_known, of_new = 0.54 / (1 + 3), 0.54 / (1 + 2)
    v = (known, new)
    one_left = known + of_known + v[0] / 3 + v[1] * 2 / 3, new + of_new + (v[0] + v[1]) / 2
    torch.testing.assert_close(q[1], torch.tensor([[one_left[0], one_left[1]], [one_left[1], one_left[1]]]))
    v = one_left
    two_left = known + 2 * of_known + v[0] / 3 + v[1] * 2 / 3, new + 2 * of_new + (v[0] + v[1]) / 2
    torch.testing.assert_close(q[0], torch.tensor([[two_left[0], two_left[1]], [two_left[1], two_left[1]]]))
