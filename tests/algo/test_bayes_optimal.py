"""RL² against the best that any agent can do: the Bayes-optimal two-armed bandit, by dynamic programming."""

import functools

import pytest
import torch

from metarl_run.config.compose import compose_points
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.lifetime import live
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams

PULLS = 4


@functools.cache
def bayes_optimal(wins=(0, 0), losses=(0, 0), left=PULLS):
    """The largest expected number of wins, arms' probabilities being uniform: Beta(1 + wins, 1 + losses) afterwards."""
    if left == 0:
        return 0.0
    values = []
    for arm in range(2):
        p = (1 + wins[arm]) / (2 + wins[arm] + losses[arm])
        won, lost = (tuple(count + (other == arm) for other, count in enumerate(counts)) for counts in (wins, losses))
        values.append(p * (1 + bayes_optimal(won, losses, left - 1)) + (1 - p) * bayes_optimal(wins, lost, left - 1))
    return max(values)


def test_two_pulls_by_hand():
    """The first pull is even; after a win (2/3 on that arm) stay, after a loss (1/3) try the other (1/2)."""
    assert bayes_optimal(left=1) == 0.5
    assert bayes_optimal(left=2) == pytest.approx(0.5 * (1 + 2 / 3) + 0.5 * 0.5)


def test_rl2_approaches_the_bayes_optimal_bandit_within_three_per_cent():
    config = (
        compose_points(
            [
                *("algo=rl2", "env=bandit", "env.num_arms=2", "logger=files", "network.hidden=16"),
                *(f"algo.episodes={PULLS}", "algo.minibatches=2", "algo.max_kl=0.1", "algo.meta_optimizer.lr=1e-2"),
                *("learner.discount=1", "learner.epochs=4"),
            ]
        )
        .points[0]
        .config
    )
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)

    def lives(adaptation_steps, num_tasks=512):
        tasks = family.sample(num_tasks, "meta_train", generator)
        env = TaskVectorEnv(family, tasks, episodes_per_task=1, generator=generator)
        with torch.no_grad():
            return live(algo, env, generator, adaptation_steps=adaptation_steps)

    def earned():
        reward = lives(PULLS - 1, num_tasks=20_000).rollouts[0].reward
        assert reward.shape[1] == PULLS
        return float(reward.sum(1).mean())

    assert earned() < 0.9 * bayes_optimal()  # it starts at random, which earns 2
    for _ in range(60):
        algo.meta_update(lives)
    assert 0.97 * bayes_optimal() < earned() < 1.02 * bayes_optimal()
