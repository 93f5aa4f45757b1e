"""MAML, first-order MAML and ANIL: meta-gradients against finite differences, in float64."""

import pytest
import torch
from derivatives import along, directions, finite_difference, shares_taken
from recorded import ROLLOUTS, M, Recorder, make, meta_gradient, replay

from metarl_run.algo.maml import MAML
from metarl_run.algo.pretrain import Pretrain
from metarl_run.network.tanh_network import Back


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
    losses = algo.loss(leaves, ROLLOUTS[2])[0] * shares_taken(ROLLOUTS[2])
    adapted = torch.autograd.grad(losses.mean(), list(leaves.values()))
    for name, g in zip(leaves, adapted, strict=True):
        torch.testing.assert_close(gradient[name], g.sum(0))


def test_without_an_inner_step_size_maml_is_joint_training_on_the_query_data():
    algo = make(MAML, inner_lr=1e-14, meta_optimizer=Recorder())
    algo.meta_update(replay(algo))
    joint = meta_gradient(Pretrain, rollouts=ROLLOUTS[1:])
    for name, g in joint.items():
        torch.testing.assert_close(algo.meta_optimizer.gradients[name], g, rtol=1e-9, atol=1e-12)


def test_the_meta_loss_is_measured_on_the_query_rollout():
    support, query = ROLLOUTS[0], ROLLOUTS[1]
    silent = query._replace(reward=torch.zeros_like(query.reward))
    gradient = meta_gradient(MAML, [support, silent], adaptation_steps=1, first_order=False)
    assert all((g == 0).all() for g in gradient.values())  # rewards of the support rollout alone move nothing


@pytest.mark.parametrize("first_order", [False, True])
def test_every_task_reaches_every_parameter(first_order):
    for task in range(M):
        only = ROLLOUTS[1]._replace(
            reward=ROLLOUTS[1].reward * (torch.arange(M) == task).view(M, 1, 1)  # only this task pays in the query
        )
        gradient = meta_gradient(MAML, [ROLLOUTS[0], only], adaptation_steps=1, first_order=first_order)
        assert all(g.abs().max() > 0 for g in gradient.values())


def test_anil_adapts_the_last_layer_and_meta_learns_all():
    algo = make(MAML, head_only=True, meta_optimizer=Recorder())
    with torch.no_grad():
        adapted = algo.adapt(algo.start(M), ROLLOUTS[0]).params
    changed = {name for name, θ in algo.initial.items() if not torch.equal(adapted[name], θ.expand_as(adapted[name]))}
    assert changed == {"policy.1.weight", "policy.1.bias"} == algo.network.head_names()
    gradient = meta_gradient(MAML, head_only=True)
    assert all(g.abs().max() > 0 for g in gradient.values())


def test_anil_adapts_without_a_derivative_of_the_layers_below(monkeypatch):
    passed = []
    back = Back.forward
    monkeypatch.setattr(Back, "forward", lambda *arguments: passed.append(True) or back(*arguments))
    for head_only, expected in [(False, [True]), (True, [])]:
        algo = make(MAML, head_only=head_only, meta_optimizer=Recorder())
        with torch.no_grad():
            algo.adapt(algo.start(M), ROLLOUTS[0])
        assert passed == expected
        passed.clear()


def test_anil_is_not_maml():
    ours, theirs = meta_gradient(MAML, head_only=True), meta_gradient(MAML)
    assert any((ours[name] - theirs[name]).abs().max() > 1e-3 for name in ours)
