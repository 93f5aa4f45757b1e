"""The store of meta-training tasks: regrets, partners and queries."""

import torch
from metric_lab import B, D, T, experience, randn

from metarl_run.algo.metric.stored_tasks import StoredTasks
from metarl_run.types import Rollout


def stored(**changes):
    usual = {"pages": 2, "page": 3, "generator": torch.Generator().manual_seed(0)} | changes
    return StoredTasks(num_tasks=3, num_features=2, **usual)


def earning(returns):
    """One env, one step."""
    reward = torch.tensor(returns).view(-1, 1, 1)
    yes = torch.ones(len(returns), 1, 1, dtype=torch.bool)
    return Rollout(torch.zeros(len(returns), 2, 1, D), yes.long(), reward, yes, ~yes, yes, {})


def test_regrets_by_hand():
    bank = stored()
    x = torch.zeros(3, 1, 1, 2)
    bank.keep(earning([10.0, 20.0, 30.0]), x, 0)
    bank.keep(earning([4.0, 8.0, 33.0]), x, 1)  # of tasks 1, 2 and 0
    regret, evaluated = bank.regret()
    assert evaluated.tolist() == [[True, True, False], [False, True, True], [True, False, True]]
    # 6, 12 and, better than its own, 0: their mean is 6; a pair that was not evaluated gets its task's mean.
    torch.testing.assert_close(regret, torch.tensor([[0.0, 6, 6], [12, 0, 12], [0, 0, 0]]) / 6)


def test_all_partners_are_evaluated_in_turn_and_no_padding_is_kept():
    bank, partners = stored(), []
    rollout = experience(M=3)
    x = rollout.alive.float().unsqueeze(-1).expand(-1, -1, -1, 2)
    for _ in range(4):
        partners.append(bank.partner)
        bank.keep(rollout, x, 0)
        bank.keep(rollout, x, partners[-1])
    assert partners == [1, 2, 1, 2]
    assert bank.experience.shape == (3, 6, 2) and (bank.experience == 1).all()


def test_a_query_shares_no_step_with_the_rest_and_is_never_empty_nor_more_than_half():
    bank = stored(page=10)
    for _ in range(2):
        bank.keep(experience(M=3), randn(3, T, B, 2), 0)
    sizes = torch.stack([bank.split().sum((1, 2)) for _ in range(200)])
    assert sizes.min() == 1 and 8 <= sizes.max() <= 10
    assert set(bank.split().unique().tolist()) == {0.0, 1.0}
