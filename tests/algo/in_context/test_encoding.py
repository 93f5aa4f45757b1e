"""Tokens by hand, and that those of whole sequences are those of one step after another."""

import math

import gymnasium
import pytest
import torch
from context_lab import rollout_of

from metarl_run.algo.in_context.encoding import Encoding
from metarl_run.types import Percept


def make(code, states=8, actions=3, side=2):
    return Encoding(
        code=code,
        observation_space=gymnasium.spaces.Box(0.0, 1.0, (states,)),
        action_space=gymnasium.spaces.Discrete(actions),
        side=side,
    )


def sequence(T=6, N=3, states=8, actions=3):
    g = torch.Generator().manual_seed(0)
    state = torch.randint(states, (T + 1, N), generator=g)
    observation = torch.nn.functional.one_hot(state, states)
    action, reward = torch.randint(actions, (T, N), generator=g), torch.rand(T, N, generator=g)
    truncated = torch.zeros(T, N, dtype=torch.bool)
    truncated[2] = True
    return rollout_of(action, reward, observation, truncated=truncated)


@pytest.mark.parametrize("code", ["step", "transition", "coordinates", "statistics"])
def test_tokens_of_a_sequence_are_those_of_its_steps(code):
    encoding, rollout = make(code), sequence()
    whole, percepts = encoding.tokens(rollout), rollout.percepts()
    memory = encoding.start(3, torch.zeros(()))
    assert whole.shape[-1] == encoding.size
    for t, expected in enumerate(whole):
        x, memory = encoding.token(Percept(*(part[t].unsqueeze(1) for part in percepts)), memory)
        assert torch.equal(x.squeeze(1), expected)


def test_coordinates_by_hand():
    """State 6 of two layers of 2 × 2 cells: layer 1, y = 1, x = 0; from state 1, y = 0, x = 1, by action 2, paid 5."""
    observation = torch.eye(8)[[1, 6, 6]].unsqueeze(1)
    rollout = rollout_of([[2], [0]], [[5.0], [0.0]], observation, truncated=torch.zeros(2, 1, dtype=torch.bool))
    first, second = make("coordinates").tokens(rollout).squeeze(1).tolist()
    before = [1, 0, 0, 1, 0, 0, 1]  # y, x, a
    assert second == [0, 1, 1, 0, 0, 1, 0, 0, 1, 5, 0, *before, *(5 * b for b in before)]
    assert first[:7] == [1, 0, 0, 1, 1, 0, 1] and first[9:11] == [0, 1] and not any(first[-14:-10] + first[-7:])


def test_statistics_are_those_of_the_current_state_by_hand():
    """Action 2 in state 1, paid 5, and in it again: n = 1, 5 / 2; the other actions were never taken."""
    observation = torch.eye(8)[[1, 1, 1]].unsqueeze(1)
    rollout = rollout_of([[2], [2]], [[5.0], [3.0]], observation, truncated=torch.zeros(2, 1, dtype=torch.bool))
    whole = make("statistics").tokens(rollout).squeeze(1)
    assert whole[0, -15:].tolist() == pytest.approx([0, 0, 0, 1, 1, 1, *[0] * 6, 0.1, 0.1, 0.1])
    of_mean = [0, 0, 2.5, 1, 1, 2**-0.5, 0, 0, math.log(2)]
    assert whole[1, -15:].tolist() == pytest.approx([*of_mean, 0, 0, 0.5 / 2**0.5, 0.1, 0.1, 0.1 * 2**0.5])


def test_coordinates_need_a_grid():
    for side in (None, 3):
        with pytest.raises(ValueError, match="encoding must be step or transition where states are no cells of a grid"):
            make("coordinates", side=side)
