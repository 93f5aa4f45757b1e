"""The outer learner: how many steps it takes on the same lifetimes, and when it stops (on a policy known by hand)."""

import math

import gymnasium
import pytest
import torch

from metarl_run.algo.memory.outer_update import Outer
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.learner.ppo import PPO
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Rollout

T, N = 3, 4


class Marches(GradientRule):
    """Moves θ by ½ at every step, whatever the gradient."""

    def __init__(self):
        super().__init__(max_grad_norm=1.0)

    def update(self, gradients):
        for θ in self.tensors:
            θ.add_(0.5)


def improved(*, epochs, max_kl, minibatches=1, old_logit=0.0):
    """Metrics of `improve`, and the lifetimes of every minibatch.

    Two actions whose logits are (θ, 0), θ = `old_logit` at first: π(0) = 1 / (1 + e^−θ).
    """
    learner = PPO(
        action_space=gymnasium.spaces.Discrete(2),
        clip=0.2,
        epochs=epochs,
        discount=0.9,
        discount_steps=False,
        lifetime_discount=0.9,
        gae_lambda=0.9,
        value_weight=0.0,
        value_scale=1.0,
        entropy_weight=0.0,
        standardise=False,
        average="steps",
        policy="auto",
        initial_deviation=1.0,
    )
    rule, θ = Marches(), torch.tensor(old_logit, requires_grad=True)
    rule.attach({"θ": θ})
    seen = []

    def outputs(part):
        seen.append(list(range(N))[part])
        logits = torch.stack([θ, torch.zeros(())]).expand(T, len(seen[-1]), 2)
        return {"policy": logits, "value": torch.zeros(T, len(seen[-1]), 1)}

    no = torch.zeros(T, N, dtype=torch.bool)
    lifetimes = Rollout(torch.zeros(T + 1, N, 1), no.long(), torch.ones(T, N), no, no, ~no, {})
    policy = Categorical(torch.tensor([old_logit, 0.0]).expand(T, N, 2))
    outer = Outer(learner=learner, optimizer=rule, minibatches=minibatches, max_kl=max_kl)
    metrics = outer.improve(outputs, lifetimes, policy)
    return {name: value.item() for name, value in metrics.items()}, seen


def kl(old, new):
    """KL(π_old ‖ π_new) of policies whose first logit is `old` and `new`, their second 0."""
    p, q = (1 / (1 + math.exp(-logit)) for logit in (old, new))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_a_pass_goes_over_every_minibatch_and_there_are_as_many_passes_as_epochs():
    metrics, seen = improved(epochs=3, max_kl=math.inf, minibatches=2)
    assert metrics["steps"] == 6
    assert seen == 3 * [[0, 2], [1, 3]]


@pytest.mark.parametrize("old_logit", [0.0, -2.0, 2.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_it_stops_before_the_step_at_which_the_policy_is_further_away_than_max_kl(steps, old_logit):
    """θ grows by ½ per step: the limit lies between the divergences that `steps` − 1 and `steps` of them lead to."""
    before, beyond = (kl(old_logit, old_logit + 0.5 * n) for n in (steps - 1, steps))
    metrics, seen = improved(epochs=9, max_kl=before + 0.9 * (beyond - before), old_logit=old_logit)
    assert metrics["steps"] == steps and len(seen) == steps + 1
    assert metrics["kl"] == pytest.approx(beyond, rel=1e-4)


def test_a_divergence_just_within_the_limit_stops_nothing():
    metrics, _ = improved(epochs=3, max_kl=1.01 * kl(0.0, 1.0))  # of the two steps before the third
    assert metrics["steps"] == 3
    assert metrics["kl"] == pytest.approx(kl(0.0, 1.0), rel=1e-4)
