"""Classical agents for tabular MDPs, small and with known priors, for their tests."""

import functools

import torch
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_posterior import Prior
from metarl_run.algo.beb import BEB
from metarl_run.algo.epsilon_greedy_mdp import EpsilonGreedyMDP
from metarl_run.algo.opsrl import OPSRL
from metarl_run.algo.psrl import PSRL
from metarl_run.algo.ucrl2 import UCRL2
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.types import Percept

S, A, H = 2, 2, 3


OPTIONS = ("psrl", "opsrl", "ucrl2", "beb", "epsilon_greedy_mdp", "greedy_mdp")


NEAR_NOTHING = {"reward_precision": 1e-4, "concentration": 1e-4}


def family(**changes):
    tasks = {"mean_reward": ["normal", 1, 1], "concentration": 1.0}
    sizes = {"horizon": H, "num_states": S, "num_actions": A}
    return RandomMDP(**(sizes | changes), reward_deviation=1.0, meta_train=tasks, meta_test=tasks)


def make(kind, prior=None, of=None, **settings):
    of = of or family()
    weights = {"reward_mean": 0.0, "reward_precision": 1.0, "noise_precision": 1.0, "concentration": 1.0}
    return kind(
        family=of,
        observation_space=of.observation_space,
        action_space=of.action_space,
        prior=Prior(**(weights | (prior or {}))),
        **settings,
    )


EACH = {
    "psrl": functools.partial(make, PSRL),
    "opsrl": functools.partial(make, OPSRL, num_samples=3),
    "ucrl2": functools.partial(make, UCRL2, NEAR_NOTHING, confidence=0.05, scale=0.1),
    "beb": functools.partial(make, BEB, scale=0.01),
    "greedy": functools.partial(make, EpsilonGreedyMDP, NEAR_NOTHING, epsilon=0.0),
}


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def nothing_seen(agent, tasks=1, episodes=1):
    of = agent.experience
    counts = of.initial_memory(tasks, torch.device("cpu"))
    belief = of.belief(counts, torch.ones(tasks, 1, dtype=torch.bool))
    return belief._replace(episodes=belief.episodes + episodes)


def make_percept(state, action, reward, ended):
    """A percept from nested lists `[M][B]`."""
    return Percept(
        one_hot(torch.tensor(state), S).float(), torch.tensor(action), torch.tensor(reward), torch.tensor(ended)
    )


def step(agent, algo, percept, generator=None):
    """Draw, then act: the distribution and the agent afterwards."""
    agent = algo.draw(agent, percept, generator or drawn())
    distribution, memory = algo.act(agent, percept)
    return distribution, agent._replace(memory=memory)


def after(agent, algo, *percepts):
    """Action probabilities of a single env after these percepts."""
    for percept in percepts:
        distribution, agent = step(agent, algo, make_percept(*([[part]] for part in percept)))
    return distribution.logits.softmax(-1)[0, 0].tolist()
