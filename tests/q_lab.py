"""Meta-Q agents and the lifetimes of Q-learners, for their tests."""

import torch

from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.algo.meta_q import MetaQ
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.seeding import Streams
from metarl_run.types import Percept

S, A, H = 4, 3, 5


def streams(seed=0):
    return Streams(seed, torch.device("cpu"))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def family(**changes):
    tasks = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    usual = {"horizon": H, "num_states": S, "num_actions": A, "reward_deviation": 1.0}
    return RandomMDP(**usual | changes, meta_train=tasks, meta_test=tasks)


def make(of=None, perturbed=True, **changes):
    """An agent whose parameters are far from their first values, where the correction hardly matters."""
    of = of or family()
    usual = {"episodes": 3, "temperature": 0.5, "hidden": [8], "activation": "tanh", "epochs": 1, "minibatches": 2}
    algo = MetaQ(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        streams=streams(),
        meta_optimizer=changes.pop("meta_optimizer", None) or Adam(lr=0.01, decay=0.0, max_grad_norm=10.0),
        **usual | changes,
    )
    if perturbed:
        g = drawn(3)
        with torch.no_grad():
            for θ in algo.meta_params.values():
                θ.add_(0.3 * torch.randn(θ.shape, generator=g))
    return algo


def collected(algo, of=None, tasks=4, envs=3, episodes=3, seed=0):
    of = of or family()
    g = drawn(seed)
    env = TaskVectorEnv(of, of.sample(tasks, "meta_train", g), episodes_per_task=envs, generator=g)
    return live(algo, env, g, adaptation_steps=episodes - 1)


def percepts_of(rollout):
    percepts = rollout.percepts()
    return [Percept(*(part[:, t] for part in percepts)) for t in range(rollout.reward.shape[1])]


def behaviour(algo, percepts):
    """The probabilities of every step, and the memory after the last."""
    agent, probabilities = algo.start(len(percepts[0].last_reward)), []
    for percept in percepts:
        distribution, memory = algo.act(agent, percept)
        probabilities.append(distribution.logits.detach().softmax(-1))
        agent = agent._replace(memory=memory)
    return torch.stack(probabilities, 1), agent.memory
