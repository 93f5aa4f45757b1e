"""PPO: its loss by hand, and its first step."""

import math

import pytest
import torch
from two_episodes import RETURNS, ROLLOUT, actor_critic, ppo

from metarl_run.maths.distributions import Categorical


def test_ppo_by_hand():
    """The first action became three times as likely: with ε = .2 its ratio counts as 1.2 if that was good."""
    logits, old = torch.zeros(3, 2, 2), torch.zeros(2, 2, 2)
    logits[0, 0] = torch.tensor([math.log(3), 0.0])  # π(0) = 3/4, was 1/2: ρ = 1.5
    logits[0, 1] = torch.tensor([math.log(3), 0.0])  # action 1: π(1) = 1/4, ρ = 1/2
    value = torch.zeros(3, 2, 1)
    loss, _ = ppo().loss({"policy": logits, "value": value}, ROLLOUT, Categorical(old))
    gains = [1.2 * RETURNS[0], 0.5 * RETURNS[1], 1.0 * RETURNS[2]]  # min(ρA, clip(ρ)A) with A > 0
    assert loss.item() == pytest.approx(-sum(gains) / 3, rel=1e-6)


def test_ppo_takes_its_first_step_along_the_policy_gradient():
    logits = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    output = {"policy": logits, "value": torch.zeros(3, 2, 1)}
    plain = actor_critic(value_weight=0.0, entropy_weight=0.0)
    (ours,) = torch.autograd.grad(ppo().loss(output, ROLLOUT)[0], logits)
    (theirs,) = torch.autograd.grad(plain.loss(output, ROLLOUT)[0], logits)
    torch.testing.assert_close(ours, theirs)
