"""Classical agents for Bernoulli bandits, small and with known priors, for their tests."""

import gymnasium
import torch

from metarl_run.algo.epsilon_greedy import EpsilonGreedy
from metarl_run.algo.gittins import Gittins
from metarl_run.algo.optimistic_thompson import OptimisticThompson
from metarl_run.algo.thompson import Thompson
from metarl_run.algo.ucb1 import UCB1
from metarl_run.env.bandit import Bandit
from metarl_run.types import Percept


def make(kind, arms=2, successes=1.0, failures=1.0, **settings):
    space = gymnasium.spaces.Discrete(arms)
    return kind(action_space=space, prior_successes=successes, prior_failures=failures, **settings)


def agents(arms=2, **prior):
    return {
        "gittins": make(Gittins, arms, discount=0.9, **prior),
        "thompson": make(Thompson, arms, **prior),
        "optimistic_thompson": make(OptimisticThompson, arms, samples=3, **prior),
        "ucb1": make(UCB1, arms, exploration=0.5, **prior),
        "epsilon_greedy": make(EpsilonGreedy, arms, epsilon=0.3, **prior),
        "greedy": make(EpsilonGreedy, arms, epsilon=0.0, **prior),
    }


AGENTS = sorted(agents())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def percept(arm, reward):
    """The percept after each task's pull, with one env per task."""
    arm, reward = torch.as_tensor(arm).view(-1, 1), torch.as_tensor(reward, dtype=torch.float32).view(-1, 1)
    return Percept(torch.ones(len(arm), 1, 1), arm, reward, torch.ones_like(arm, dtype=torch.bool))


def after(algo, pulls, rng=None):
    """The distribution of the next pull and the memory, in one task, after pulls `[(arm, reward), …]`."""
    agent = algo.start(1)
    for arm, reward in [(0, 0), *pulls]:
        observed = percept([arm], [reward])
        agent = algo.draw(agent, observed, rng) if rng else agent
        distribution, memory = algo.act(agent, observed)
        agent = agent._replace(memory=memory)
    return distribution, memory


def probabilities(algo, pulls):
    return after(algo, pulls)[0].logits.softmax(-1).flatten().tolist()


def family_of(arms):
    mean = {"mean": ["uniform", 0, 1]}
    return Bandit(horizon=1, num_arms=arms, reward="bernoulli", reward_deviation=1.0, meta_train=mean, meta_test=mean)
