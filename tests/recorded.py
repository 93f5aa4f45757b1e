"""Recorded experience, and algorithms that learn from it: data is fixed, arithmetic is float64."""

import inspect

import gymnasium
import torch

from metarl_run.algo.base import adapt_in_parts
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.learner.reinforce import Reinforce
from metarl_run.network.mlp import MLP
from metarl_run.types import Lifetime, Rollout

M, T, B, D, A = 3, 6, 4, 2, 3
ALPHA = 0.7


class Recorder(GradientRule):
    """Keeps the meta-gradient and leaves θ where it is."""

    def __init__(self):
        super().__init__(max_grad_norm=1.0)

    def update(self, gradients):
        raise AssertionError("never reached")

    def step(self, gradients, task_at_fault=None):
        self.gradients = dict(zip(self.names, gradients, strict=True))
        return torch.zeros(())


def random_rollout(seed):
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(2, T + 1, (M, 1, B), generator=g)
    time = torch.arange(T).view(1, T, 1)
    alive = time < length
    return Rollout(
        observation=torch.randn(M, T + 1, B, D, generator=g, dtype=torch.float64),
        action=torch.randint(A, (M, T, B), generator=g),
        reward=torch.randn(M, T, B, generator=g, dtype=torch.float64) * alive,
        terminated=time == length - 1,
        truncated=torch.zeros(M, T, B, dtype=torch.bool),
        alive=alive,
        memory={},
    )


ROLLOUTS = [random_rollout(seed) for seed in range(4)]


def parts(surrogate="score"):
    # Without baseline and standardisation: finite differences do not see a `detach`.
    learner = Reinforce(
        action_space=gymnasium.spaces.Discrete(A),
        surrogate=surrogate,
        discount=0.9,
        discount_steps=False,
        baseline="none",
        standardise=False,
        average="steps",
        policy="auto",
        initial_deviation=1.0,
    )
    network = MLP(num_inputs=D, heads={"policy": A}, hidden=[5], activation="tanh")
    g = torch.Generator().manual_seed(9)
    return learner, network, {name: torch.randn(p.shape, generator=g).double() for name, p in network.init(g).items()}


def make(kind, surrogate="score", **arguments):
    """An algorithm with the parts above; what an argument does not say is as in plain MAML with one step."""
    learner, network, meta_params = parts(surrogate)
    usual = {
        "learner": learner,
        "network": network,
        "meta_params": meta_params,
        "inner_lr": ALPHA,
        "adaptation_steps": 1,
        "first_order": False,
        "head_only": False,
        "sampling_correction": False,
        "rule": "sgd",
    } | arguments
    taken = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in usual.items() if name in taken or name in arguments})


def replay(algo, rollouts=ROLLOUTS, tasks_at_once=None):
    """`live` on recorded data: rollout k is the same whatever the agent."""

    def live(adaptation_steps):
        agents = [algo.start(M)]
        for rollout in rollouts[:adaptation_steps]:
            agents.append(adapt_in_parts(algo, agents[-1], rollout, tasks_at_once))
        return Lifetime(agents, rollouts[: adaptation_steps + 1], tasks_at_once)

    return live


def meta_gradient(kind, rollouts=ROLLOUTS, **arguments):
    algo = make(kind, meta_optimizer=Recorder(), **arguments)
    algo.meta_update(replay(algo, rollouts))
    return algo.meta_optimizer.gradients


class Overflows(torch.autograd.Function):
    """A loss that is finite where its derivative is not."""

    @staticmethod
    def forward(ctx, x, wrong):
        ctx.save_for_backward(wrong)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (wrong,) = ctx.saved_tensors
        return torch.where(wrong, torch.inf, gradient), None
