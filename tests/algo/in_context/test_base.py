"""What algorithms in context share: acting is reading a sequence, learning lives nothing, resuming goes on exactly."""

import pytest
import torch
from context_lab import Recorded, learner_of, not_lived, rollout_of

from metarl_run.algo.dpt import DPT
from metarl_run.algo.ic_iql import ICIQL
from metarl_run.env.bandit import Bandit
from metarl_run.types import Percept

UNIFORM = {"mean": ["uniform", 0, 1]}
FAMILY = Bandit(horizon=1, num_arms=3, reward="gaussian", reward_deviation=0.3, meta_train=UNIFORM, meta_test=UNIFORM)


def recorded(T=9, N=20):
    g = torch.Generator().manual_seed(0)
    action, reward = torch.randint(3, (T, N), generator=g), torch.randn(T, N, generator=g)
    return Recorded(rollout_of(action, reward), torch.randint(3, (T, N), generator=g))


@pytest.mark.parametrize("encoding", ["step", "transition"])
def test_acting_step_by_step_is_reading_the_whole_sequence(encoding):
    algo = learner_of(DPT, FAMILY, recorded(), encoding=encoding)
    rollout = recorded().rollout
    whole = algo.policy(algo.network.sequence(algo.meta_params, algo.tokens.tokens(rollout))).log_probs()
    agent, percepts = algo.start(20), rollout.percepts()
    for t, expected in enumerate(whole):
        policy, memory = algo.act(agent, Percept(*(part[t].unsqueeze(1) for part in percepts)))
        agent = agent._replace(memory=memory)
        torch.testing.assert_close(policy.log_probs().squeeze(1), expected)


def test_what_is_saved_goes_on_as_what_was_never_stopped():
    def made():
        values = {"discount": 0.9, "target_rate": 0.1, "expectile": 0.7, "inverse_temperature": 3.0}
        return learner_of(ICIQL, FAMILY, recorded(), final_lr=1e-4, meta_iterations=4, **values)

    one, other = made(), made()
    for _ in range(2):
        one.meta_update(not_lived)
    other.load_state(one.state())
    assert one.meta_optimizer.lr == pytest.approx(3e-3 * (1e-4 / 3e-3) ** (1 / 3))
    for algo in (one, other):
        algo.meta_update(not_lived)
    assert all(torch.equal(θ, other.meta_params[name]) for name, θ in one.meta_params.items())
    assert all(torch.equal(θ, other.slow[name]) for name, θ in one.slow.items())
    assert one.meta_optimizer.lr == other.meta_optimizer.lr < 3e-3


def test_windows_grow_and_each_step_learns_from_as_many_steps():
    algo = learner_of(DPT, FAMILY, recorded(), window=8, first_window=2, sequences=5, meta_iterations=3)
    shapes = []
    for _ in range(3):
        algo.meta_update(not_lived)
        shapes.append(tuple(algo.draw_histories(torch.Generator().manual_seed(0)).rollout.reward.shape))
    assert shapes == [(2, 20), (4, 10), (8, 5)]
    with pytest.raises(ValueError, match="first_window must be at most window = 8, got 9"):
        learner_of(DPT, FAMILY, recorded(), window=8, first_window=9)


def test_a_step_size_that_changes_needs_an_optimizer_that_has_one():
    algo = learner_of(DPT, FAMILY, recorded())
    del algo.meta_optimizer.lr
    algo.final_lr = 1e-4
    with pytest.raises(ValueError, match="final_lr must be null with Adam, which has no lr"):
        algo.__post_init__()
