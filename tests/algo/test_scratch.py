"""Learning from scratch: its steps against plain gradient descent and torch's Adam."""

import torch
from recorded import ALPHA, ROLLOUTS, M, make, replay

from metarl_run.algo.scratch import Scratch


def gradients_of(algo, φ, rollout):
    losses, _ = algo.loss(φ, rollout)
    return dict(zip(φ, torch.autograd.grad(losses.sum(), list(φ.values())), strict=True))


def test_sgd_is_a_step_against_the_gradient():
    algo = make(Scratch, rule="sgd")
    agent = algo.start(M)
    assert agent.memory == {}
    φ = {name: p.detach().requires_grad_() for name, p in agent.params.items()}
    adapted = algo.adapt(agent, ROLLOUTS[0]).params
    for name, g in gradients_of(algo, φ, ROLLOUTS[0]).items():
        assert torch.equal(adapted[name], φ[name] - ALPHA * g)


def test_adam_is_torchs_adam_in_every_task():
    algo = make(Scratch, rule="adam", inner_lr=0.05)
    agents = replay(algo)(3).agents
    for task in range(M):
        φ = {name: p[task].detach().clone().requires_grad_() for name, p in agents[0].params.items()}
        torchs = torch.optim.Adam(φ.values(), lr=0.05)
        for rollout, after in zip(ROLLOUTS, agents[1:], strict=False):
            torchs.zero_grad()
            algo.loss({name: p.unsqueeze(0) for name, p in φ.items()}, rollout.tasks(slice(task, task + 1)))[
                0
            ].backward()
            torchs.step()
            for name in φ:
                torch.testing.assert_close(after.params[name][task], φ[name], rtol=1e-9, atol=1e-9)
