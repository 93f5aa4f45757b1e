"""Adaptation by gradient steps, on recorded data in float64."""

import gymnasium
import pytest
import torch
from recorded import ALPHA, ROLLOUTS, A, D, M, Recorder, make, replay

from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.scratch import Scratch
from metarl_run.errors import NumericalError
from metarl_run.learner.ppo import PPO
from metarl_run.network.mlp import MLP
from metarl_run.types import Rollout


@pytest.mark.parametrize("epochs", [2, 3])
def test_further_steps_learn_from_what_the_policy_before_the_first_did(epochs, monkeypatch):
    algo = make(MAML, meta_optimizer=Recorder())
    algo.learner.epochs, loss, behaviours = epochs, algo.learner.loss, []
    monkeypatch.setattr(algo.learner, "loss", lambda *of: behaviours.append(of[2]) or loss(*of))
    with torch.no_grad():
        agent = algo.start(M)
        policy = algo.learner.policy(algo.output(agent.params, ROLLOUTS[0]))
        algo.adapt(agent, ROLLOUTS[0])
    first, *further = behaviours
    assert first is None and len(further) == epochs - 1
    for behaviour in further:
        torch.testing.assert_close(behaviour.logits, policy.logits[:, :-1])


@pytest.mark.parametrize("epochs", [1, 3])
def test_one_adaptation_by_ppo_is_as_many_steps_as_epochs_each_relative_to_the_policy_that_collected(epochs):
    action_space = gymnasium.spaces.Discrete(A)
    critic = {"clip": 0.2, "gae_lambda": 0.9, "value_weight": 0.5, "value_scale": 1.0, "entropy_weight": 0.1}
    common = {"discount": 0.9, "discount_steps": False, "lifetime_discount": 0.0, "standardise": True}
    kind = {"average": "steps", "policy": "auto", "initial_deviation": 1.0}
    learner = PPO(action_space=action_space, epochs=epochs, **critic, **common, **kind)
    network = MLP(num_inputs=D, heads=learner.heads(action_space), hidden=[5], activation="tanh")
    θ = {name: p.double() for name, p in network.init(torch.Generator().manual_seed(0)).items()}
    algo = Scratch(learner=learner, network=network, meta_params=θ, inner_lr=ALPHA, rule="sgd")
    with torch.no_grad():
        ours = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    for task in range(M):
        one = Rollout(*(field[task] for field in ROLLOUTS[0].of_steps), memory={})
        φ = {name: p.detach().clone().requires_grad_() for name, p in θ.items()}
        behaviour = learner.behaviour(network(φ, one.observation, {})[0])
        for _ in range(epochs):
            g = torch.autograd.grad(
                learner.loss(network(φ, one.observation, {})[0], one, behaviour)[0], list(φ.values())
            )
            φ = {n: (p - ALPHA * d).detach().requires_grad_() for (n, p), d in zip(φ.items(), g, strict=True)}
        for name, p in φ.items():
            torch.testing.assert_close(ours[name][task], p.detach())


def test_tasks_do_not_see_one_another():
    algo = make(MAML, adaptation_steps=1, first_order=False, meta_optimizer=Recorder())
    order = torch.tensor([2, 0, 1])
    shuffled = Rollout(*(field[order] for field in ROLLOUTS[0].of_steps), memory={})
    straight, permuted = (algo.adapt(algo.start(M), rollout).params for rollout in (ROLLOUTS[0], shuffled))
    for name in straight:
        torch.testing.assert_close(straight[name][order], permuted[name])


def test_adapting_is_the_same_in_meta_training_and_meta_testing():
    algo = make(MAML, adaptation_steps=1, first_order=False, meta_optimizer=Recorder())
    trained = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    with torch.no_grad():
        tested = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    for name in trained:
        assert torch.equal(trained[name], tested[name])
        assert trained[name].requires_grad
        assert not tested[name].requires_grad


def test_a_meta_loss_that_is_not_finite_names_its_task_and_moves_nothing():
    algo = make(MAML, adaptation_steps=1, first_order=False, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    before = {name: p.detach().clone() for name, p in algo.meta_params.items()}
    reward = ROLLOUTS[1].reward.clone()
    reward[2, 0, 0] = torch.nan
    with pytest.raises(NumericalError, match="task 2") as caught:
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)]))
    assert caught.value.exit_code == 4
    assert all(torch.equal(before[name], p) for name, p in algo.meta_params.items())
