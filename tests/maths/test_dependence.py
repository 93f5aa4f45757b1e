"""Shuffle tests on policies whose answer is known: one action, one per state, one per task, one per state and task."""

import pytest
import torch

from metarl_run.maths.dependence import dependence

N, T, S, A = 200, 400, 3, 4


def states():
    return torch.randint(S, (N, T), generator=torch.Generator().manual_seed(1))


def told(action, state=None):
    state = states() if state is None else state
    return dependence(action, state, num_actions=A, generator=torch.Generator().manual_seed(2))


def test_one_action_depends_on_nothing():
    assert told(torch.full((N, T), 2)) == (1.0, 1.0, 1.0)


def test_one_action_in_every_state_depends_on_the_state_alone():
    """Three states are about as frequent: after shuffling, the commonest action has a little over a third."""
    result = told(states())
    assert result.share == 1.0 and result.memory_shuffled == 1.0
    assert 1 / 3 < result.states_shuffled < 1 / 3 + 0.05
    assert result.on_state > 0.6 and result.on_memory == 0.0


def test_one_action_in_every_task_depends_on_the_memory_alone():
    action = torch.arange(N).remainder(A).unsqueeze(1).expand(N, T)
    result = told(action)
    assert result.share == 1.0 and result.states_shuffled == 1.0
    assert 1 / A < result.memory_shuffled < 1 / A + 0.05


def test_one_action_in_every_state_of_every_task_depends_on_both():
    action = (states() + torch.arange(N).unsqueeze(1)).remainder(A)
    result = told(action)
    assert result.share == 1.0
    assert result.on_state > 0.6 and result.on_memory > 0.6


def test_random_actions_depend_on_nothing():
    result = told(torch.randint(A, (N, T), generator=torch.Generator().manual_seed(3)))
    assert abs(result.on_state) < 0.005 and abs(result.on_memory) < 0.005


@pytest.mark.parametrize("action", [[[0, 0, 1, 1]], [[0, 1, 0, 1]]])
def test_shares_by_hand(action):
    """Two states, twice each: both times the same action, or one of each kind."""
    result = told(torch.tensor(action), torch.tensor([[0, 0, 1, 1]]))
    assert result.share == (1.0 if action[0][1] == 0 else 0.5)
    assert result.memory_shuffled == result.share, "one lifetime: permuted within a state, the counts stay"
