"""Q-tables: one update by hand."""

import torch

from metarl_run.algo.q.q_table import QTable


def test_a_step_of_q_learning_by_hand():
    """H = 2, S = A = 2: from (s, a) = (0, 1) with reward 3 to state 1, with α = 1/4."""
    table = QTable(num_states=2, num_actions=2, horizon=2, discount=1.0, temperature=0.5)
    q = torch.tensor([[[1.0, 2.0], [5.0, 4.0]], [[0.5, 1.0], [2.0, 6.0]]])[None, None]  # [1, 1, t, s, a]
    place = torch.tensor([[1]])
    after = table.moved(q, place, torch.tensor([[3.0]]), torch.tensor([[1]]), torch.tensor([[[0.25, 0.25]]]))
    wanted = q.clone()
    wanted[0, 0, 0, 0, 1] = 2 + 0.25 * (3 + 6 - 2)
    wanted[0, 0, 1, 0, 1] = 1 + 0.25 * (3 - 1)
    torch.testing.assert_close(after, wanted)
