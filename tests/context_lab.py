"""Recorded histories in memory, in the place of a dataset on disk, and algorithms that learn from them."""

import torch

from metarl_run.algo.in_context.base import Histories
from metarl_run.algo.meta_optimizer.adam import Adam
from metarl_run.env.bandit import Bandit
from metarl_run.network.min_gru import MinGRU
from metarl_run.seeding import Streams
from metarl_run.types import Rollout

UNIFORM = {"mean": ["uniform", 0, 1]}


def bandit(arms=2):
    return Bandit(
        horizon=1, num_arms=arms, reward="bernoulli", reward_deviation=0.0, meta_train=UNIFORM, meta_test=UNIFORM
    )


def rollout_of(action, reward, observation=None, terminated=None, truncated=None, alive=None):
    """A rollout `[T, N]` of lists or tensors; every step ends an episode unless told otherwise."""
    action, reward = torch.as_tensor(action), torch.as_tensor(reward, dtype=torch.float32)
    T, N = action.shape
    yes = torch.ones(T, N, dtype=torch.bool)

    def given(x, otherwise):
        return otherwise if x is None else torch.as_tensor(x)

    return Rollout(
        given(observation, torch.ones(T + 1, N, 1)).float(),
        action,
        reward,
        given(terminated, yes if truncated is None else ~yes),
        given(truncated, ~yes),
        given(alive, yes),
        {},
    )


class Recorded:
    """Whole histories `[T, H]`, of which windows are drawn."""

    def __init__(self, rollout, optimal_action=None, task=None):
        self.rollout, self.optimal_action = rollout, optimal_action
        self.task = torch.arange(rollout.reward.shape[1]) if task is None else task

    def sample(self, num_histories, length, generator):
        T, H = self.rollout.reward.shape
        column = torch.randint(H, (num_histories,), generator=generator)
        first = int(torch.randint(T - length + 1, (), generator=generator))
        rows = slice(first, first + length)
        parts = [x[first : first + length + (i == 0)][:, column] for i, x in enumerate(self.rollout.of_steps)]
        label = None if self.optimal_action is None else self.optimal_action[rows][:, column]
        return Histories(Rollout(*parts, {}), label, self.task[column])


def learner_of(kind, family, dataset=None, *, lr=3e-3, network=MinGRU, hidden=16, seed=0, **changes):
    """An algorithm in context, with a small network."""
    streams = Streams(seed, torch.device("cpu"))

    def make_network(num_inputs, heads, constants):
        made = (
            network(num_inputs=num_inputs, heads=heads, hidden=hidden)
            if network is MinGRU
            else network(num_inputs, heads)
        )
        return made, made.init(streams("init"))

    settings = {"window": 5, "sequences": 8, "updates": 1, "encoding": "step", **changes}
    return kind(
        dataset=dataset,
        make_network=make_network,
        family=family,
        observation_space=family.observation_space,
        action_space=family.action_space,
        streams=streams,
        meta_optimizer=Adam(lr=lr, decay=0.0, max_grad_norm=10.0),
        **settings,
    )


def not_lived(adaptation_steps, agents=None, *, again=False):
    """`live` of an algorithm that learns from what others lived."""
    raise AssertionError("lives")
