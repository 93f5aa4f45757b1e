"""Q-learning: losses and policies by hand."""

import pytest
import torch
from two_episodes import ROLLOUT, γ

from metarl_run.learner.q_learning import QLearning

Q = torch.tensor([[[1.0, 3.0], [2.0, 0.0]], [[5.0, 4.0], [7.0, 7.0]], [[6.0, 8.0], [9.0, 9.0]]])  # [T + 1, B, A]


def q_learning():
    return QLearning(discount=γ, epsilon=0.3, epochs=1, scale=0.5)


def huber(δ):
    return δ * δ / 2 if abs(δ) < 1 else abs(δ) - 0.5


def test_q_learning_by_hand():
    loss, metrics = q_learning().loss({"q": Q}, ROLLOUT)
    δ = [1 + γ * 5 - 1, 4 - 0.0, 2 - 4.0]  # the ends of both episodes are terminations: no bootstrap
    assert loss.item() == pytest.approx(0.5 * sum(map(huber, δ)) / 3, rel=1e-6)
    assert metrics["td_error"].item() == pytest.approx(sum(map(abs, δ)) / 3, rel=1e-6)


def test_q_learning_bootstraps_where_an_episode_was_cut():
    cut = ROLLOUT._replace(
        terminated=torch.zeros_like(ROLLOUT.terminated), truncated=ROLLOUT.terminated, alive=ROLLOUT.alive
    )
    loss, _ = q_learning().loss({"q": Q}, cut)
    δ = [1 + γ * 5 - 1, 4 + γ * 7 - 0.0, 2 + γ * 8 - 4.0]
    assert loss.item() == pytest.approx(0.5 * sum(map(huber, δ)) / 3, rel=1e-6)


def test_the_target_is_no_way_for_the_gradient():
    q = Q.clone().requires_grad_()
    loss, _ = q_learning().loss({"q": q}, ROLLOUT)
    (gradient,) = torch.autograd.grad(loss, q)
    taken = torch.zeros_like(Q[:-1], dtype=torch.bool).scatter(-1, ROLLOUT.action.unsqueeze(-1), True)
    assert (gradient[:-1][~taken] == 0).all() and (gradient[-1] == 0).all()


def test_epsilon_greedy_shares_among_the_best_and_explores_all():
    q = torch.tensor([[2.0, 2.0, 1.0], [0.0, 1.0, 0.5]])
    policy = q_learning().policy({"q": q})
    torch.testing.assert_close(policy.logits.exp(), torch.tensor([[0.45, 0.45, 0.1], [0.1, 0.8, 0.1]]))
