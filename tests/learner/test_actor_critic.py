"""Actor-critic: losses by hand, and the values that they lead to."""

import math

import pytest
import torch
from two_episodes import LOGITS, RETURNS, ROLLOUT, actor_critic, one_task, γ

from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime


def test_actor_critic_by_hand():
    learner = actor_critic()
    value = torch.full((3, 2, 1), 0.25)
    loss, metrics = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)
    advantages = [g - 0.25 for g in RETURNS]  # λ = 1: returns minus values
    value_error = sum(a * a for a in advantages) / 3
    expected = math.log(2) * sum(advantages) / 3 + 0.5 * value_error - 0.1 * math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["value_error"].item() == pytest.approx(value_error)
    assert metrics["entropy"].item() == pytest.approx(math.log(2))
    assert metrics["explained_variance"].item() == pytest.approx(0, abs=1e-6)  # a constant explains nothing


def test_net_of_time_an_advantage_is_what_it_exceeds_the_mean_of_its_step_by():
    """What depends on the time alone, here 10 at t = 0 and 20 at t = 1, is no advantage of any action."""
    learners = [actor_critic(discount=0.0, gae_lambda=1.0, value_weight=0.0, net_of_time=on) for on in (False, True)]
    policy = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    output = {"policy": policy, "value": torch.zeros(3, 2, 1)}
    both = torch.ones(2, 2, dtype=torch.bool)
    reward = torch.tensor([[11.0, 9.0], [23.0, 17.0]])
    rollout = ROLLOUT._replace(reward=reward, alive=both, terminated=~both, truncated=~both)
    net = rollout._replace(reward=torch.tensor([[1.0, -1.0], [3.0, -3.0]]))
    (gross, of_net), (net_of_gross, _) = ([x.loss(output, r)[0] for r in (rollout, net)] for x in learners)
    assert net_of_gross == pytest.approx(of_net.item(), rel=1e-5)
    assert abs(gross - of_net) > 1


def test_advantages_carry_no_gradient_and_the_loss_is_a_function():
    learner = actor_critic(gae_lambda=0.5, value_weight=0.0, entropy_weight=0.0, standardise=True)
    value = torch.rand(3, 2, 1, requires_grad=True)
    first = learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0]
    assert torch.equal(first, learner.loss({"policy": LOGITS, "value": value}, ROLLOUT)[0])
    (gradient,) = torch.autograd.grad(first, value)
    assert (gradient == 0).all()


def fitted_value(rollout, rows, steps=400):
    """The values that gradient steps on the value loss lead to; `rows[t]` is the state of row t."""
    learner = actor_critic(gae_lambda=0.8, value_weight=1.0, entropy_weight=0.0)
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


@pytest.mark.parametrize("learner", ["actor_critic", "ppo"])
def test_the_parameters_behind_the_value_change_and_explain_more_and_more(learner):
    arguments = ["env=cartpole_family", f"learner={learner}", "algo=pretrain", "algo.meta_optimizer.lr=0.01"]
    family, algo = build_agent(compose_points(arguments).points[0].config, Streams(0, torch.device("cpu")))
    g = torch.Generator().manual_seed(0)
    env = TaskVectorEnv(family, family.sample(5, "meta_train", g), episodes_per_task=10, generator=g)
    recorded = live(algo, env, g, adaptation_steps=0).rollouts

    def same_experience_again(steps):
        return Lifetime([algo.start(5)], recorded)

    before = {name: θ.detach().clone() for name, θ in algo.meta_params.items() if name.startswith("value.")}
    explained = [algo.meta_update(same_experience_again)["explained_variance"].item()]
    assert before and all(not torch.equal(θ, algo.meta_params[name]) for name, θ in before.items())
    explained += [algo.meta_update(same_experience_again)["explained_variance"].item() for _ in range(80)]
    assert explained[0] == pytest.approx(0, abs=0.02)  # a network that starts near 0 everywhere
    assert explained[-1] > 0.3
