"""The model that RL³ learns inside a task, against counts kept by hand and the planner for known MDPs."""

import itertools

import pytest
import torch
from torch.nn.functional import one_hot

from metarl_run.algo.bayes.tabular_model import TabularModel
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.types import Percept

S, A, H = 4, 3, 5


def model(**changes):
    priors = {"reward_prior": 0.0, "reward_weight": 0.0, "transition_weight": 0.0, "optimism": [0.0]}
    return TabularModel(num_states=S, num_actions=A, horizon=H, **(priors | changes))


def make_percept(state, action, reward, ended):
    return Percept(one_hot(state, S).float(), action, reward, ended)


def random_percepts(steps, M=3, B=2, seed=0):
    """Percepts of randomly acting envs, with episodes of uneven length."""
    generator = torch.Generator().manual_seed(seed)
    action, reward = torch.zeros(M, B, dtype=torch.int64), torch.zeros(M, B)
    ended, step = torch.ones(M, B, dtype=torch.bool), torch.zeros(M, B, dtype=torch.int64)
    for _ in range(steps):
        state = torch.randint(S, (M, B), generator=generator)
        yield make_percept(state, action, reward, ended)
        step = torch.where(ended, 0, step) + 1
        action = torch.randint(A, (M, B), generator=generator)
        reward = torch.randn(M, B, generator=generator)
        ended = (torch.rand(M, B, generator=generator) < 0.3) | (step >= H)


@pytest.mark.parametrize(
    "priors", [{}, {"reward_prior": 1.0, "reward_weight": 2.0, "transition_weight": 0.5, "optimism": [0.0, 0.7]}]
)
def test_values_are_those_of_the_counts_kept_by_hand(priors):
    """Env by env, step by step, with plain loops."""
    of = model(**priors)
    percepts = list(random_percepts(40))
    memory = of.initial_memory(3, torch.device("cpu"))
    M, B = percepts[0].last_reward.shape
    led, total, n = torch.zeros(M, B, S, A, S), torch.zeros(M, B, S, A), torch.zeros(M, B, S, A)
    step = torch.zeros(M, B, dtype=torch.int64)
    before = None
    for percept in percepts:
        memory = of.observe(memory, percept)
        state = percept.observation.argmax(-1)
        step = torch.where(percept.last_ended, 0, step + 1)
        q, visits = of.values(memory)
        for env in itertools.product(range(M), range(B)):
            if before is not None:
                at = (*env, before[env], percept.last_action[env])
                n[at] += 1
                total[at] += percept.last_reward[env]
                led[(*at, state[env])] += float(not percept.last_ended[env])
            w, α = of.reward_weight, of.transition_weight
            r = (total[env] + w * of.reward_prior) / (n[env] + w).clamp(min=1e-9)
            P = (led[env] + α) / (led[env].sum(-1, keepdim=True) + α * S).clamp(min=1e-9)
            for c, β in enumerate(of.optimism):
                bonus = β / (n[env] + 1).sqrt()
                wanted = finite_horizon_q(P, r + bonus, horizon=H - int(step[env]))[0, state[env]]
                torch.testing.assert_close(q[env][c], wanted, rtol=1e-4, atol=1e-4)
            assert torch.equal(visits[env], n[env][state[env]])
        before = state


def test_once_every_pair_was_visited_the_values_are_those_of_the_mdp():
    """Deterministic transitions and rewards, so that one visit tells all: then Q is exact value iteration's."""
    generator = torch.Generator().manual_seed(3)
    to, reward = torch.randint(S, (S, A), generator=generator), torch.randn(S, A, generator=generator)
    wanted = finite_horizon_q(one_hot(to, S).float(), reward, horizon=H)
    of = model()
    memory = of.initial_memory(1, torch.device("cpu"))
    state, action, last, ended, step = 0, 0, 0.0, True, 0
    known, compared = torch.zeros(S, A, dtype=torch.bool), 0
    for _ in range(400):
        percept = make_percept(
            torch.tensor([[state]]), torch.tensor([[action]]), torch.tensor([[last]]), torch.tensor([[ended]])
        )
        memory = of.observe(memory, percept)
        q, _ = of.values(memory)
        if known.all():
            torch.testing.assert_close(q[0, 0, 0], wanted[step, state])
            compared += 1
        action = int(torch.randint(A, (1,), generator=generator))
        last, step = float(reward[state, action]), step + 1
        ended = step == H
        known[state, action] |= not ended
        state, step = (int(torch.randint(S, (1,), generator=generator)), 0) if ended else (int(to[state, action]), step)
    assert compared > 200


def test_the_last_step_of_an_episode_tells_its_reward_and_nothing_of_what_follows():
    of = model(reward_prior=0.5)
    memory = of.initial_memory(1, torch.device("cpu"))
    zero = torch.zeros(1, 1, dtype=torch.int64)
    memory = of.observe(memory, make_percept(zero, zero, torch.zeros(1, 1), torch.tensor([[True]])))
    q, visits = of.values(memory)
    assert visits.sum() == 0 and torch.equal(q, torch.full((1, 1, 1, A), 0.5))
    memory = of.observe(memory, make_percept(zero + 2, zero + 1, torch.full((1, 1), 3.0), torch.tensor([[True]])))
    assert memory["transition"].sum() == 0
    assert memory["visits"][0, 0, 0].tolist() == [0, 1, 0]
    assert memory["reward"][0, 0, 0].tolist() == [0.5, 3.0, 0.5]


def test_envs_learn_apart_and_the_old_memory_is_not_modified():
    of = model(transition_weight=1.0)
    together = of.initial_memory(3, torch.device("cpu"))
    alone = of.initial_memory(1, torch.device("cpu"))
    for percept in random_percepts(20):
        before = {name: x.clone() for name, x in together.items()}
        after = of.observe(together, percept)
        assert all(torch.equal(before[name], together[name]) for name in before)
        together = after
        alone = of.observe(alone, Percept(*(part[1:2, 1:2] for part in percept)))
        for name in together:
            assert torch.equal(together[name][1:2, 1:2], alone[name])


def test_more_optimism_is_worth_more_where_less_was_seen():
    of = model(optimism=[0.0, 1.0])
    memory = of.initial_memory(3, torch.device("cpu"))
    for percept in random_percepts(20):
        memory = of.observe(memory, percept)
    q, visits = of.values(memory)
    assert (q[:, :, 1] > q[:, :, 0]).all()
    last_step = memory["step"] == H
    gap = (q[:, :, 1] - q[:, :, 0])[last_step]
    torch.testing.assert_close(gap, (visits[last_step] + 1).rsqrt())


@pytest.mark.parametrize(
    ("u", "wanted"),
    [
        # In state 0 action 0 paid 2 and led to 1, where action 0 paid 3 in the last step: its successor is unknown.
        # Back in 0 with H = 5 steps to go. At 1 with 4 to go: max(3 + 3u, u + 3u), as untried actions have r̂ = u.
        (0.0, [2 + 3, 0, 0]),  # as published: whatever was not tried is worth nothing
        (1.0, [2 + (3 + 3 * 1), 5, 5]),  # the prior's mean
        (4.0, [2 + 4 * 4, 5 * 4, 5 * 4]),  # optimism: what was not tried is the best
    ],
)
def test_unvisited_pairs_are_worth_what_is_configured(u, wanted):
    of = model(reward_prior=u, unseen_value=u)
    memory = of.initial_memory(1, torch.device("cpu"))
    one = torch.ones(1, 1, dtype=torch.int64)
    for state, reward, ended in [(0, 0.0, True), (1, 2.0, False), (0, 3.0, True)]:
        percept = make_percept(state * one, 0 * one, torch.tensor([[reward]]), torch.tensor([[ended]]))
        memory = of.observe(memory, percept)
    q, _ = of.values(memory)
    assert q[0, 0, 0].tolist() == pytest.approx(wanted)
