"""MBIE-EB on a hand-computed MDP."""

import math

import gymnasium
import pytest
import torch

from metarl_run.algo.mbie_eb import MBIEEB
from metarl_run.types import Percept


class Family:
    horizon = 2


def agent(**changes):
    settings = {"reward_prior": 0.0, "reward_weight": 1.0, "transition_weight": 0.0, "bonus": 0.0}
    space = gymnasium.spaces.Box(0, 1, (2,))
    return MBIEEB(
        family=Family(), observation_space=space, action_space=gymnasium.spaces.Discrete(2), **(settings | changes)
    )


def percept(state, action, reward, ended):
    one_hot = torch.eye(2)[state].view(1, 1, 2)
    return Percept(one_hot, torch.tensor([[action]]), torch.tensor([[reward]]), torch.tensor([[ended]]))


def probabilities(algo, *percepts):
    now = algo.start(1)
    for seen in percepts:
        policy, memory = algo.act(now, seen)
        now = now._replace(memory=memory)
    return policy.logits.exp().flatten().tolist()


START = percept(0, 0, 0.0, True)


@pytest.mark.parametrize(
    ("bonus", "expected"),
    [
        # r̂(0, 0) = .6 / 2 = .3 after one reward of .6, and the bonus β / √2; the untried action has 0 + β, which is
        # more from β (1 − 1/√2) = .3 on, β = 1.024.
        (0.0, [1.0, 0.0]),
        (1.0, [1.0, 0.0]),
        (1.05, [0.0, 1.0]),
    ],
)
def test_the_bonus_decides_between_what_paid_and_what_was_never_tried(bonus, expected):
    # The second step is back in state 0 with one step to go: no transition matters.
    assert probabilities(agent(bonus=bonus), START, percept(0, 0, 0.6, False)) == expected


def test_ties_are_broken_uniformly():
    (first, second) = probabilities(agent(bonus=0.5), START)
    assert first == second == 1.0  # unnormalised: logits 0 and 0


def test_it_plans_ahead_with_what_the_same_episode_has_shown():
    # Episode 1: action 1 leads from 0 to 1 and pays nothing, there action 0 pays 1. In episode 2 from state 0 with two
    # steps to go: Q(0, 1) = 0 + r̂(1, 0) = 1/2, Q(0, 0) = 0.
    episode = [START, percept(1, 1, 0.0, False), percept(0, 0, 1.0, True)]
    assert probabilities(agent(), *episode) == [0.0, 1.0]
    assert math.isclose(sum(probabilities(agent(), *episode[:2])), 2.0)  # nothing is known of state 1
