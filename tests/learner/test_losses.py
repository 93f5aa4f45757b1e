"""Losses by hand, and the fixed points they lead to (traps 7, 16)."""

import math

import pytest
import torch

from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.reinforce import Reinforce
from metarl_run.types import Rollout

γ = 0.9


def one_task(reward, terminated, alive, action):
    tensor = torch.tensor
    ends = tensor(terminated)
    return Rollout(
        observation=torch.zeros(len(reward) + 1, len(reward[0]), 1),
        action=tensor(action),
        reward=tensor(reward),
        terminated=ends,
        truncated=torch.zeros_like(ends),
        alive=tensor(alive),
        memory={},
    )


# Two episodes: rewards 1, 2 and then an end; reward 4 and an end at once.
ROLLOUT = one_task(
    reward=[[1.0, 4.0], [2.0, 0.0]],
    terminated=[[False, True], [True, False]],
    alive=[[True, True], [True, False]],
    action=[[0, 1], [1, 0]],
)
LOGITS = torch.zeros(3, 2, 2)  # uniform: every log-probability is −log 2
RETURNS = [1 + 2 * γ, 4.0, 2.0]


def test_reinforce_by_hand():
    learner = Reinforce(discount=γ, baseline="none", standardise=False)
    loss, _ = learner.loss({"policy": LOGITS}, ROLLOUT)
    assert loss.item() == pytest.approx(math.log(2) * sum(RETURNS) / 3)


def test_the_time_baseline_is_the_mean_return_of_living_episodes():
    learner = Reinforce(discount=γ, baseline="time", standardise=False)
    mean = (RETURNS[0] + RETURNS[1]) / 2
    expected = [[RETURNS[0] - mean, RETURNS[1] - mean], [0.0, 0.0]]  # alone at its step, the other is 0 too
    torch.testing.assert_close(learner.advantages(ROLLOUT), torch.tensor(expected))


def test_standardised_advantages_have_mean_zero_and_deviation_one_over_living_steps():
    learner = Reinforce(discount=γ, baseline="none", standardise=True)
    kept = learner.advantages(ROLLOUT)[ROLLOUT.alive]
    assert kept.mean().item() == pytest.approx(0, abs=1e-6)
    assert kept.std(unbiased=False).item() == pytest.approx(1, rel=1e-5)


def test_actor_critic_by_hand():
    learner = ActorCritic(discount=γ, gae_lambda=1.0, value_weight=0.5, entropy_weight=0.1, standardise=False)
    value = torch.full((3, 2, 1), 0.25)
    loss, metrics = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)
    advantages = [g - 0.25 for g in RETURNS]  # λ = 1: returns minus values
    value_error = sum(a * a for a in advantages) / 3
    expected = math.log(2) * sum(advantages) / 3 + 0.5 * value_error - 0.1 * math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["value_error"].item() == pytest.approx(value_error)
    assert metrics["entropy"].item() == pytest.approx(math.log(2))


def test_advantages_carry_no_gradient_and_the_loss_is_a_function():
    learner = ActorCritic(discount=γ, gae_lambda=0.5, value_weight=0.0, entropy_weight=0.0, standardise=True)
    value = torch.rand(3, 2, 1, requires_grad=True)
    first = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0]
    assert torch.equal(first, learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0])
    (gradient,) = torch.autograd.grad(first, value)
    assert (gradient == 0).all()


def fitted_value(rollout, rows, steps=400):
    """The values that gradient steps on the value loss lead to; `rows[t]` is the state of row t."""
    learner = ActorCritic(discount=γ, gae_lambda=0.8, value_weight=1.0, entropy_weight=0.0, standardise=False)
    table = torch.zeros(max(rows) + 1, requires_grad=True)
    index = torch.tensor(rows)
    for _ in range(steps):
        output = {"policy": torch.zeros(len(rows), 1, 1), "value": table[index].view(-1, 1, 1)}
        (gradient,) = torch.autograd.grad(learner.loss(output, rollout)[0], table)
        table = (table - 0.5 * gradient).detach().requires_grad_()
    return table


def test_truncation_keeps_its_bootstrap():
    """One state, reward 1, for ever; episodes are cut after 5 steps: V = 1 / (1 − γ)."""
    rollout = one_task([[1.0]] * 5, [[False]] * 5, [[True]] * 5, [[0]] * 5)
    truncated = torch.tensor([[False]] * 4 + [[True]])
    value = fitted_value(rollout._replace(truncated=truncated), rows=[0] * 6)
    assert value[0].item() == pytest.approx(1 / (1 - γ), rel=1e-3)


def test_termination_does_not():
    """The same rewards, but the MDP ends after 5 steps: V(s₀) = (1 − γ⁵) / (1 − γ)."""
    rollout = one_task([[1.0]] * 5, [[False]] * 4 + [[True]], [[True]] * 5, [[0]] * 5)
    value = fitted_value(rollout, rows=[0, 1, 2, 3, 4, 5])
    assert value[0].item() == pytest.approx((1 - γ**5) / (1 - γ), rel=1e-3)
