"""Reptile: its direction, on recorded data in float64."""

import pytest
import torch
from recorded import ALPHA, ROLLOUTS, M, Recorder, make, meta_gradient, replay

from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.algo.pretrain import Pretrain
from metarl_run.algo.reptile import Reptile
from metarl_run.algo.scratch import Scratch
from metarl_run.errors import NumericalError


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


def test_reptile_names_the_task_that_leads_nowhere():
    algo = make(Reptile, adaptation_steps=2, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    reward = ROLLOUTS[1].reward.clone()
    reward[1, 0, 0] = torch.inf
    with pytest.raises(NumericalError, match="task 1"):
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)]))


@pytest.mark.parametrize("size", [1, 2])
def test_reptile_names_the_task_that_leads_nowhere_among_all(size):
    algo = make(Reptile, adaptation_steps=2, meta_optimizer=SGD(lr=0.1, max_grad_norm=1.0))
    reward = ROLLOUTS[1].reward.clone()
    reward[2, 0, 0] = torch.inf
    with pytest.raises(NumericalError, match=r"in task 2$"):
        algo.meta_update(replay(algo, [ROLLOUTS[0], ROLLOUTS[1]._replace(reward=reward)], size))
