"""ε-greedy and greedy agents for tabular MDPs: their choices by hand."""

import torch
from planning_lab import EACH, after, family, make

from metarl_run.algo.epsilon_greedy_mdp import EpsilonGreedyMDP


def test_epsilon_greedy_shares_what_is_not_random_among_the_best():
    q = torch.tensor([[[1.0, 3.0, 2.0, 0.0]], [[5.0, 0.0, 5.0, 1.0]]])
    algo = make(EpsilonGreedyMDP, epsilon=0.2)
    wanted = torch.tensor([[[0.05, 0.85, 0.05, 0.05]], [[0.45, 0.05, 0.45, 0.05]]])
    torch.testing.assert_close(algo.behaviour(q).logits.softmax(-1), wanted)
    torch.testing.assert_close(algo.behaviour(q).logits.exp(), wanted)
    at_random = make(EpsilonGreedyMDP, epsilon=1.0).behaviour(q).logits.exp()
    torch.testing.assert_close(at_random, torch.full((2, 1, 4), 0.25))
    never = make(EpsilonGreedyMDP, epsilon=0.0).behaviour(q).logits
    torch.testing.assert_close(never.softmax(-1), torch.tensor([[[0.0, 1, 0, 0]], [[0.5, 0, 0.5, 0]]]))


def test_greedy_by_hand():
    """Whatever was not tried looks like 0. Action 1 of state 0 paid −1, then action 0 of state 1 paid 4 as the last."""
    algo = EACH["greedy"](of=family(horizon=2))
    first = algo.start(1)
    percepts = [(0, 0, 0.0, True), (1, 1, -1.0, False), (0, 0, 4.0, True)]
    assert after(first, algo, *percepts[:1]) == [0.5, 0.5]
    assert after(first, algo, *percepts[:2]) == [0.5, 0.5]
    # −1 + 4 = 3 by action 1, which leads to state 1; the untried action 0 leads there half of the time: 0 + 4 / 2
    assert after(first, algo, *percepts) == [0, 1]
    # at the last step −1 is worse than 0
    assert after(first, algo, *percepts, (0, 1, 7.0, False)) == [1, 0]
    assert after(first, algo, *percepts, (1, 1, 7.0, False)) == [1, 0]
