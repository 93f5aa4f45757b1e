"""Classical agents for Bernoulli bandits: their counts, and their earnings against exact enumeration."""

import itertools

import pytest
import scipy
import torch
from bandit_lab import AGENTS, after, agents, family_of, generator, probabilities

from metarl_run.algo.bayes.bandit_agent import BanditAgent
from metarl_run.config.compose import compose_points
from metarl_run.env.bandit import BanditTask
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError
from metarl_run.lifetime import live

# --- Counts ---


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_counts_what_each_arm_paid_and_nothing_before_its_first_pull(name):
    algo: BanditAgent = agents(3, successes=2.0, failures=0.5)[name]
    _, memory = after(algo, [])
    assert memory["successes"].tolist() == [[[2, 2, 2]]] and memory["failures"].tolist() == [[[0.5, 0.5, 0.5]]]
    _, memory = after(algo, [(1, 1), (1, 0), (2, 0), (1, 1), (0, 1)])
    assert memory["successes"].tolist() == [[[3, 4, 2]]]
    assert memory["failures"].tolist() == [[[0.5, 1.5, 1.5]]]
    assert memory["pulls"].tolist() == [[6]]


@pytest.mark.parametrize("name", AGENTS)
def test_every_env_of_every_task_counts_for_itself(name):
    algo, M, B, n = agents(4)[name], 3, 2, 12
    family = family_of(4)
    env = TaskVectorEnv(family, family.sample(M, "meta_test", generator()), episodes_per_task=B, generator=generator(1))
    rollout = live(algo, env, generator(2), adaptation_steps=n).rollouts[0]
    action, reward = rollout.action[:, :n], rollout.reward[:, :n]  # the reward of the last pull is not observed
    for arm in range(4):
        pulled = action == arm
        assert torch.equal(rollout.memory["successes"][..., arm], 1 + (pulled * reward).sum(1))
        assert torch.equal(rollout.memory["failures"][..., arm], 1 + (pulled * (1 - reward)).sum(1))


# --- Earnings ---


def expected(name, p, n):
    """The exact expected sum of rewards of n pulls of arms that pay with probabilities p, by enumeration."""

    def of_next(history):
        if name in ("thompson", "optimistic_thompson"):
            counts = [[1 + sum(r == won for a, r in history if a == arm) for won in (1, 0)] for arm in range(2)]
            better, _ = scipy.integrate.quad(
                lambda x: scipy.stats.beta(*counts[0]).pdf(x) * scipy.stats.beta(*counts[1]).cdf(x), 0, 1
            )
            return [better, 1 - better]
        return probabilities(agents()[name], history)

    total = 0.0
    for history in itertools.product(itertools.product((0, 1), (0, 1)), repeat=n):
        chance = 1.0
        for t, (arm, reward) in enumerate(history):
            chance *= p[arm] if reward else 1 - p[arm]
            if chance:
                chance *= of_next(list(history[:t]))[arm]
            if not chance:
                break
        total += chance * sum(reward for _, reward in history)
    return total


@pytest.mark.parametrize("name", ["gittins", "thompson", "ucb1", "epsilon_greedy", "greedy"])
def test_three_pulls_earn_what_enumeration_says(name):
    p, n, M = (0.3, 0.8), 3, 40_000
    family, algo = family_of(2), agents()[name]
    env = TaskVectorEnv(
        family, BanditTask(torch.tensor(p).expand(M, 1, 2)), episodes_per_task=1, generator=generator(3)
    )
    earned = live(algo, env, generator(4), adaptation_steps=n - 1).rollouts[0].reward.sum((1, 2))
    assert earned.mean().item() == pytest.approx(expected(name, p, n), abs=5 * earned.std().item() / M**0.5)


# --- Refusals ---


@pytest.mark.parametrize("algo", AGENTS)
def test_a_family_that_is_no_bernoulli_bandit_is_refused_in_one_line(algo):
    for env in ("cartpole_family", "random_mdp", "bandit_gaussian"):
        with pytest.raises(ConfigError) as refusal:
            compose_points(["logger=files", f"algo={algo}", f"env={env}"])
        assert refusal.value.where == "algo"
        assert f"which env={env} does not provide" in refusal.value.reason
        assert "env=bandit" in refusal.value.hint
    assert compose_points(["logger=files", f"algo={algo}", "env=bandit"]).points
