"""Thompson sampling: its draws, and how often each arm is chosen."""

import math

import pytest
import scipy
import torch
from bandit_lab import after, agents, generator, make, percept

from metarl_run.algo.thompson import Thompson


def test_thompson_sampling_pulls_the_arm_of_the_largest_draw():
    algo = make(Thompson, 3)
    observed = percept([0], [0])
    for seed in range(20):
        agent = algo.draw(algo.start(1), observed, generator(seed))
        distribution, memory = algo.act(agent, observed)
        assert distribution.logits.argmax() == memory["hypothesis"].argmax()
        assert torch.equal(memory["hypothesis"], agent.memory["hypothesis"])
    draws = [algo.draw(algo.start(1), observed, generator(seed)).memory["hypothesis"].max() for seed in range(9)]
    assert len({float(x) for x in draws}) == 9


def test_thompson_sampling_matches_the_probability_that_an_arm_is_better():
    """P(X₀ > X₁) with X₀ ~ Beta(3, 2), X₁ ~ Beta(2, 4), by quadrature."""
    N = 100_000
    wanted, _ = scipy.integrate.quad(lambda x: scipy.stats.beta(3, 2).pdf(x) * scipy.stats.beta(2, 4).cdf(x), 0, 1)
    algo, observed = make(Thompson), percept([0] * N, [0] * N)
    agent = algo.start(N)
    memory = {
        **agent.memory,
        "successes": torch.tensor([3.0, 2.0]).expand(N, 1, 2),
        "failures": torch.tensor([2.0, 4.0]).expand(N, 1, 2),
    }
    agent = algo.draw(agent._replace(memory=memory), observed, generator())
    share = algo.act(agent, observed)[0].logits[..., 0].eq(0).double().mean().item()
    assert share == pytest.approx(wanted, abs=5 * math.sqrt(wanted * (1 - wanted) / N))


@pytest.mark.parametrize("name", ["thompson", "optimistic_thompson"])
def test_a_hypothesis_is_drawn_from_the_latest_counts(name):
    """After 400 wins of arm 1, seen one by one, it is close to 1; before, it is anywhere."""
    algo = agents()[name]
    _, memory = after(algo, [(1, 1)] * 400, generator())
    assert memory["hypothesis"][0, 0, 1] > 0.97
    observed = percept([1], [1])
    agent = algo.start(1)._replace(memory=after(algo, [(1, 1)] * 400)[1])
    counts = agent.memory["successes"].clone()
    agent = algo.draw(agent, observed, generator())
    assert torch.equal(agent.memory["successes"], counts), "to draw is not yet to count"
