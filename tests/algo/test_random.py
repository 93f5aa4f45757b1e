"""Random actions: uniform over whatever there is to choose from."""

import gymnasium
import numpy as np
import pytest
import scipy
import torch
from recorded import random_rollout

from metarl_run.algo.random import Random
from metarl_run.maths.distributions import sampling_noise
from metarl_run.types import Percept

M, B = 40, 50
PERCEPT = Percept(torch.zeros(M, B, 3), torch.zeros(M, B), torch.zeros(M, B), torch.ones(M, B, dtype=torch.bool))


def drawn(space):
    """The distribution in every slot, and 20 actions in each."""
    algo = Random(action_space=space)
    distribution, _ = algo.act(algo.start(M), PERCEPT)
    return distribution, torch.stack(
        [distribution.sample(noise) for noise in sampling_noise(space, (20, M, B), torch.Generator())]
    )


def test_discrete_actions_are_equally_likely():
    distribution, actions = drawn(gymnasium.spaces.Discrete(5))
    torch.testing.assert_close(distribution.log_prob(actions[0]), torch.full((M, B), 0.2).log())
    assert scipy.stats.chisquare(actions.flatten().bincount(minlength=5).numpy()).pvalue > 1e-3


def test_a_box_is_filled_evenly():
    low, high = np.float32([-0.1, 2]), np.float32([0.1, 5])
    distribution, actions = drawn(gymnasium.spaces.Box(low, high))
    assert actions.shape == (20, M, B, 2)
    torch.testing.assert_close(distribution.log_prob(actions[0]), torch.full((M, B), 0.2 * 3).log().neg())
    for i in range(2):
        x = actions[..., i].flatten().double().numpy()
        assert low[i] <= x.min() and x.max() <= high[i]
        assert scipy.stats.kstest(x, scipy.stats.uniform(low[i], high[i] - low[i]).cdf).pvalue > 1e-3


def test_an_agent_that_does_not_adapt_keeps_what_it_remembers():
    algo, memory = Random(action_space=gymnasium.spaces.Discrete(2)), {"seen": torch.ones(M, B)}
    rollout = random_rollout(0)._replace(memory=memory)
    assert algo.adapt(algo.start(M), rollout).memory is memory


def test_a_box_without_bounds_is_refused():
    with pytest.raises(ValueError, match="action_space must have bounds to be uniform over, got Box"):
        Random(action_space=gymnasium.spaces.Box(0, np.inf, (2,)))
