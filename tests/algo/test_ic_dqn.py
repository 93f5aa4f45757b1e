"""In-context action values: targets and losses by hand."""

import math

import pytest
import torch
from context_lab import Recorded, bandit, learner_of, not_lived, rollout_of

from metarl_run.algo.ic_cql import ICCQL
from metarl_run.algo.ic_dqn import ICDQN
from metarl_run.algo.ic_iql import ICIQL
from metarl_run.algo.in_context.base import Histories
from metarl_run.algo.in_context.values import followed, targets

VALUES = {"discount": 0.5, "target_rate": 0.25}
NO, YES = [False], [True]


def window(alive=(YES, YES, YES, YES)):
    """Four steps: the second ends an episode by the limit, the last has no successor."""
    return rollout_of(
        [[0], [1], [1], [0]], [[1], [2], [4], [8]], truncated=[NO, YES, NO, NO], terminated=[NO] * 4, alive=[*alive]
    )


Q = torch.tensor([[0.0, 1.0], [2.0, 3.0], [5.0, 4.0], [6.0, 7.0]]).unsqueeze(1)


def with_slow(algo, **heads):
    algo.slow_output = lambda histories: heads
    return algo


def test_targets_stop_at_the_end_of_an_episode_and_of_the_window():
    assert targets(torch.tensor([[9.0], [3.0], [5.0], [7.0]]), window(), 0.5).flatten().tolist() == [2.5, 2, 7.5]
    assert followed(window()).flatten().tolist() == [True, True, True]
    assert followed(window([YES, YES, NO, NO])).flatten().tolist() == [True, True, False]
    assert followed(window([YES, NO, NO, NO])).flatten().tolist() == [False, False, False]


def test_dqn_and_cql_by_hand():
    """Errors 2.5 − 0, 2 − 3 and 7.5 − 4: Huber 2, .5 and 3."""
    histories = Histories(window(), None, torch.tensor([0]))
    dqn = with_slow(learner_of(ICDQN, bandit(), temperature=0.5, **VALUES), q=Q)
    loss, metrics = dqn.loss({"q": Q}, histories)
    assert loss.item() == pytest.approx(5.5 / 3) and metrics["q"].item() == pytest.approx(7 / 3)
    cql = with_slow(learner_of(ICCQL, bandit(), temperature=0.5, conservatism=0.1, **VALUES), q=Q)
    one = math.log(1 + math.e)  # log(e⁰ + e¹) − 0; the others are log(1 + e⁻¹) and log(1 + e)
    gaps = (one, math.log(1 + math.exp(-1)), one)
    assert cql.loss({"q": Q}, histories)[0].item() == pytest.approx(5.5 / 3 + 0.1 * sum(gaps) / 3)
    assert dqn.policy({"q": Q}).log_probs()[0, 0].exp().tolist() == pytest.approx(
        [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))]
    )


def test_iql_by_hand():
    """u = Q̄(a) − V = −1, 1, 3 of V = 1, 2, 1; targets .5 V one step later; weights exp(u / 2), the largest 100."""
    histories, V = Histories(window(), None, torch.tensor([0])), torch.tensor([1.0, 2.0, 1.0, 3.0]).view(4, 1, 1)
    algo = learner_of(ICIQL, bandit(), expectile=0.8, inverse_temperature=0.5, **VALUES)
    with_slow(algo, q=Q)
    loss, metrics = algo.loss({"q": Q, "value": V, "policy": torch.zeros(4, 1, 2)}, histories)
    assert metrics["expectile_error"].item() == pytest.approx((0.2 * 1 + 0.8 * 1 + 0.8 * 9) / 3)
    assert metrics["td_error"].item() == pytest.approx((2.0**2 + 1.0**2 + 1.5**2) / 3)  # targets 2, 2, 5.5
    weights = math.exp(-0.5) + math.exp(0.5) + math.exp(1.5)
    assert metrics["imitation"].item() == pytest.approx(weights * math.log(2) / 3)
    assert loss.item() == pytest.approx(sum(metrics[name].item() for name in metrics if name != "q"))
    steep = with_slow(learner_of(ICIQL, bandit(), expectile=0.8, inverse_temperature=50.0, **VALUES), q=Q)
    clipped = steep.loss({"q": Q, "value": V, "policy": torch.zeros(4, 1, 2)}, histories)[1]["imitation"]
    assert clipped.item() == pytest.approx((math.exp(-50) + 100 + 100) * math.log(2) / 3)


def test_the_slow_copy_follows_and_targets_carry_no_gradient():
    T, N = 6, 8
    g = torch.Generator().manual_seed(0)
    data = Recorded(rollout_of(torch.randint(2, (T, N), generator=g), torch.rand(T, N, generator=g)))
    algo = learner_of(ICDQN, bandit(), data, temperature=0.5, **VALUES)
    before = {name: θ.clone() for name, θ in algo.slow.items()}
    algo.meta_update(not_lived)
    for name, θ in algo.meta_params.items():
        torch.testing.assert_close(algo.slow[name], before[name] + 0.25 * (θ.detach() - before[name]))
        assert not algo.slow[name].requires_grad
