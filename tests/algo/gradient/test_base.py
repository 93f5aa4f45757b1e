"""Meta-gradients against finite differences and identities. Data is fixed, arithmetic is float64."""

import gymnasium
import pytest
import torch
from recorded import ALPHA, ROLLOUTS, A, D, M, Recorder, make, meta_gradient, parts, replay

from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.algo.reptile import Reptile
from metarl_run.algo.scratch import Scratch
from metarl_run.errors import NumericalError
from metarl_run.learner.ppo import PPO
from metarl_run.network.mlp import MLP
from metarl_run.types import Rollout


def lived_shares(rollout):
    """Of T · B steps those that each task lived, `[M]`: a meta-objective divides the sums of all tasks by T · B."""
    return rollout.alive.double().mean((1, 2))


def meta_objective(meta_params, steps, rollouts=ROLLOUTS):
    """(1/M) Σᵢ L(φ_K) written out for one task at a time, with no stack and no second derivatives."""
    learner, network, _ = parts()

    def loss(params, rollout, task):
        one = Rollout(*(field[task] for field in rollout[:-1]), memory={})
        return learner.loss(network(params, one.observation, {})[0], one)[0]

    total = 0.0
    for task in range(M):
        φ = {name: p.detach().clone().requires_grad_() for name, p in meta_params.items()}
        for rollout in rollouts[:steps]:
            g = torch.autograd.grad(loss(φ, rollout, task), list(φ.values()))
            φ = {n: (p - ALPHA * d).detach().requires_grad_() for (n, p), d in zip(φ.items(), g, strict=True)}
        total += loss(φ, rollouts[steps], task).item() * lived_shares(rollouts[steps])[task].item() / M
    return total


def finite_difference(direction, steps, ε=1e-5):
    _, _, θ = parts()
    ends = [meta_objective({name: p + sign * ε * direction[name] for name, p in θ.items()}, steps) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * ε)


def directions():
    _, _, θ = parts()
    for seed in range(3):
        g = torch.Generator().manual_seed(100 + seed)
        yield {name: torch.randn(p.shape, generator=g, dtype=torch.float64) for name, p in θ.items()}


def along(gradient, direction):
    return sum((gradient[name] * direction[name]).sum().item() for name in gradient)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_mamls_meta_gradient_is_the_derivative_of_the_whole_objective(steps):
    gradient = meta_gradient(MAML, adaptation_steps=steps, first_order=False)
    for direction in directions():
        assert along(gradient, direction) == pytest.approx(finite_difference(direction, steps), rel=1e-6, abs=1e-8)


def test_first_order_is_not_that_derivative_but_the_adapted_gradient():
    gradient = meta_gradient(MAML, adaptation_steps=2, first_order=True)
    errors = [abs(along(gradient, d) - finite_difference(d, 2)) for d in directions()]
    assert max(errors) > 1e-3
    algo = make(MAML, adaptation_steps=2, first_order=True, meta_optimizer=Recorder())
    φ = algo.adapt(algo.adapt(algo.start(M), ROLLOUTS[0]), ROLLOUTS[1]).params
    leaves = {name: p.detach().requires_grad_() for name, p in φ.items()}
    losses = algo.loss(leaves, ROLLOUTS[2])[0] * lived_shares(ROLLOUTS[2])
    adapted = torch.autograd.grad(losses.mean(), list(leaves.values()))
    for name, g in zip(leaves, adapted, strict=True):
        torch.testing.assert_close(gradient[name], g.sum(0))


def test_without_an_inner_step_size_maml_is_joint_training_on_the_query_data():
    algo = make(MAML, inner_lr=1e-14, meta_optimizer=Recorder())
    algo.meta_update(replay(algo))
    joint = meta_gradient(Pretrain, rollouts=ROLLOUTS[1:])
    for name, g in joint.items():
        torch.testing.assert_close(algo.meta_optimizer.gradients[name], g, rtol=1e-9, atol=1e-12)


def test_pretrains_gradient_is_the_derivative_of_the_joint_objective():
    gradient = meta_gradient(Pretrain)
    for direction in directions():
        assert along(gradient, direction) == pytest.approx(finite_difference(direction, 0), rel=1e-6, abs=1e-8)


def test_the_meta_loss_is_measured_on_the_query_rollout():
    support, query = ROLLOUTS[0], ROLLOUTS[1]
    silent = query._replace(reward=torch.zeros_like(query.reward))
    gradient = meta_gradient(MAML, [support, silent], adaptation_steps=1, first_order=False)
    assert all((g == 0).all() for g in gradient.values())  # rewards of the support rollout alone move nothing


def test_reptile_points_from_where_adaptation_leads():
    gradient = meta_gradient(Reptile, adaptation_steps=2)
    algo = make(Scratch)
    agent = algo.start(M)
    with torch.no_grad():
        for rollout in ROLLOUTS[:2]:
            agent = algo.adapt(agent, rollout)
    for name, θ in algo.meta_params.items():
        torch.testing.assert_close(gradient[name], (θ - agent.params[name].mean(0)) / ALPHA)


def test_reptile_with_one_step_is_joint_training_with_each_tasks_own_normaliser():
    once, algo = meta_gradient(Reptile, adaptation_steps=1), make(Pretrain, meta_optimizer=Recorder())
    joint = torch.autograd.grad(algo.loss(algo.start(M).params, ROLLOUTS[0])[0].mean(), list(algo.initial.values()))
    for name, g in zip(algo.initial, joint, strict=True):
        torch.testing.assert_close(once[name], g, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
def test_every_task_reaches_every_parameter(first_order):
    for task in range(M):
        only = ROLLOUTS[1]._replace(
            reward=ROLLOUTS[1].reward * (torch.arange(M) == task).view(M, 1, 1)  # only this task pays in the query
        )
        gradient = meta_gradient(MAML, [ROLLOUTS[0], only], adaptation_steps=1, first_order=first_order)
        assert all(g.abs().max() > 0 for g in gradient.values())


@pytest.mark.parametrize("epochs", [2, 3])
def test_further_steps_learn_from_what_the_policy_before_the_first_did(epochs, monkeypatch):
    algo = make(MAML, meta_optimizer=Recorder())
    algo.learner.epochs, loss, behaviours = epochs, algo.learner.loss, []
    monkeypatch.setattr(algo.learner, "loss", lambda *of: behaviours.append(of[2]) or loss(*of))
    with torch.no_grad():
        agent = algo.start(M)
        lived = algo.learner.policy(algo.output(agent.params, ROLLOUTS[0]))
        algo.adapt(agent, ROLLOUTS[0])
    first, *further = behaviours
    assert first is None and len(further) == epochs - 1
    for behaviour in further:
        torch.testing.assert_close(behaviour.logits, lived.logits[:, :-1])


@pytest.mark.parametrize("epochs", [1, 3])
def test_one_adaptation_by_ppo_is_as_many_steps_as_epochs_each_relative_to_the_policy_that_lived(epochs):
    action_space = gymnasium.spaces.Discrete(A)
    numbers = {"clip": 0.2, "gae_lambda": 0.9, "value_weight": 0.5, "value_scale": 1.0, "entropy_weight": 0.1}
    common = {"discount": 0.9, "discount_steps": False, "lifetime_discount": 0.0, "standardise": True}
    kind = {"average": "steps", "policy": "auto", "initial_deviation": 1.0}
    learner = PPO(action_space=action_space, epochs=epochs, **numbers, **common, **kind)
    network = MLP(num_inputs=D, heads=learner.heads(action_space), hidden=[5], activation="tanh")
    θ = {name: p.double() for name, p in network.init(torch.Generator().manual_seed(0)).items()}
    algo = Scratch(learner=learner, network=network, meta_params=θ, inner_lr=ALPHA, rule="sgd")
    with torch.no_grad():
        ours = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    for task in range(M):
        one = Rollout(*(field[task] for field in ROLLOUTS[0][:-1]), memory={})
        φ = {name: p.detach().clone().requires_grad_() for name, p in θ.items()}
        lived = learner.behaviour(network(φ, one.observation, {})[0])
        for _ in range(epochs):
            g = torch.autograd.grad(learner.loss(network(φ, one.observation, {})[0], one, lived)[0], list(φ.values()))
            φ = {n: (p - ALPHA * d).detach().requires_grad_() for (n, p), d in zip(φ.items(), g, strict=True)}
        for name, p in φ.items():
            torch.testing.assert_close(ours[name][task], p.detach())


def test_tasks_do_not_see_one_another():
    algo = make(MAML, adaptation_steps=1, first_order=False, meta_optimizer=Recorder())
    order = torch.tensor([2, 0, 1])
    shuffled = Rollout(*(field[order] for field in ROLLOUTS[0][:-1]), memory={})
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


def test_reptile_names_the_task_that_leads_nowhere():
    algo = make(Reptile, adaptation_steps=2, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    reward = ROLLOUTS[1].reward.clone()
    reward[1, 0, 0] = torch.inf
    with pytest.raises(NumericalError, match="task 1"):
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)]))


def test_a_meta_gradient_that_is_not_finite_moves_nothing():
    optimizer = SGD(lr=0.1, max_grad_norm=1.0)
    θ = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(2, requires_grad=True)}
    optimizer.attach(θ)
    with pytest.raises(NumericalError, match="in b in task 7"):
        optimizer.step((torch.ones(2), torch.tensor([0.0, torch.inf])), lambda: "task 7")
    assert torch.equal(θ["a"], torch.ones(2))


def test_the_meta_gradient_is_scaled_to_the_largest_norm():
    optimizer = SGD(lr=1.0, max_grad_norm=1.0)
    θ = {"a": torch.zeros(2, requires_grad=True)}
    optimizer.attach(θ)
    assert optimizer.step((torch.tensor([3.0, 4.0]),), str).item() == pytest.approx(5)
    assert θ["a"].tolist() == pytest.approx([-0.6, -0.8])
    optimizer.step((torch.tensor([0.3, 0.4]),), str)  # already short enough
    assert θ["a"].tolist() == pytest.approx([-0.9, -1.2])


def test_adam_is_torchs_adam():
    g = torch.Generator().manual_seed(0)
    θ = {"a": torch.randn(3, generator=g, requires_grad=True), "b": torch.randn(2, 2, generator=g, requires_grad=True)}
    reference = [p.detach().clone().requires_grad_() for p in θ.values()]
    ours, torchs = Adam(lr=0.01, decay=0.0, max_grad_norm=1e9), torch.optim.Adam(reference, lr=0.01)
    ours.attach(θ)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=g) for p in reference]
        ours.step(gradients, str)
        for p, gradient in zip(reference, gradients, strict=True):
            p.grad = gradient.clone()
        torchs.step()
    for p, r in zip(θ.values(), reference, strict=True):
        torch.testing.assert_close(p, r, rtol=1e-6, atol=1e-7)
