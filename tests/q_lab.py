"""Small random MDPs and the lifetimes of Q-learners in them, for their tests."""

import torch

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
