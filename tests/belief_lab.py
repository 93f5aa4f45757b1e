"""Small VariBAD agents and recorded lifetimes, for the tests of their parts."""

import gymnasium
import torch

from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.learner.inputs import encoded
from metarl_run.learner.ppo import PPO
from metarl_run.network.gru import GRU
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

T, N, D, A, L = 5, 4, 2, 3, 2


OBSERVATIONS, ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (D,)), gymnasium.spaces.Discrete(A)


def streams(seed=0):
    return Streams(seed, torch.device("cpu"))


def learner(**changes):
    usual = {
        "clip": 0.2,
        "epochs": 2,
        "discount": 0.9,
        "discount_steps": False,
        "lifetime_discount": 0.9,
        "gae_lambda": 0.95,
        "value_weight": 0.5,
        "value_scale": 1.0,
        "entropy_weight": 0.01,
        "standardise": True,
        "average": "steps",
        "policy": "auto",
        "initial_deviation": 1.0,
    }
    return PPO(action_space=ACTIONS, **usual | changes)


def make_network(num_inputs, heads, constants):
    network = GRU(num_inputs=num_inputs, heads=heads, hidden=6)
    g = torch.Generator().manual_seed(3)
    params = {name: 0.5 * torch.randn(θ.shape, generator=g) for name, θ in network.init(g).items()}
    return network, {
        name: θ / 100 if name in ("mean.weight", "log_deviation.weight") else θ for name, θ in params.items()
    }


def optimizer(lr=0.1):
    return SGD(lr=lr, max_grad_norm=100.0)


def make(kind, **changes):
    """A small agent whose encoder and decoder are far from their first values, where beliefs hardly move."""
    usual = {
        "learner": learner(),
        "make_network": make_network,
        "observation_space": OBSERVATIONS,
        "action_space": ACTIONS,
        "streams": streams(),
        "episodes": 2,
        "latent": L,
        "policy_hidden": [5],
        "policy_activation": "tanh",
        "decoder_hidden": [4, 4],
        "decoder_activation": "relu",
        "state_weight": 0.5,
        "kl_weight": 0.3,
        "belief_steps": 2,
        "belief_lifetimes": 100,
        "belief_times": 100,
        "minibatches": 2,
        "max_kl": 1.0,
        "meta_optimizer": optimizer(),
        "belief_optimizer": optimizer(),
    }
    algo = kind(**usual | changes)
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for θ in algo.elbo.decoder_params.values():
            θ.copy_(0.5 * torch.randn(θ.shape, generator=g))
    return algo


def lifetimes(seed=0):
    """N lifetimes of one or two episodes, `[T, N, …]`, the shortest of 3 steps."""
    g = torch.Generator().manual_seed(seed)
    length = torch.tensor([5, 3, 4, 5])
    time = torch.arange(T).unsqueeze(-1)
    alive = time < length
    terminated = (time == length - 1) | (time == torch.tensor([1, 2, 0, 3]))
    return Rollout(
        observation=torch.randn(T + 1, N, D, generator=g),
        action=torch.randint(A, (T, N), generator=g),
        reward=torch.randn(T, N, generator=g) * alive,
        terminated=terminated & alive,
        truncated=torch.zeros(T, N, dtype=torch.bool),
        alive=alive,
        memory={},
    )


def inputs(rollout):
    return encoded(rollout.percepts(), ACTIONS)


def errors(algo, m, rollout):
    return algo.elbo.decoder.errors(algo.elbo.decoder_params, m, rollout)
