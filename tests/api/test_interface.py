"""Observations and actions of users' environments, converted for agents and back."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl_run.api.interface import Interface, of_envs
from metarl_run.errors import ConfigError


def trained(size, actions, *others):
    """For an agent that was trained on `size` features and these actions."""
    return Interface("Family", (spaces.Box(-np.inf, np.inf, (size,)), actions), *others)


def test_spaces_are_flattened_as_in_training():
    seen = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2,))})
    interface = trained(5, spaces.Discrete(6), seen, spaces.MultiDiscrete([2, 3]))
    one = {"a": 2, "b": np.array([0.5, -0.5], np.float32)}
    assert interface.observations(one, 1, single=True).tolist() == [[0, 0, 1, 0.5, -0.5]]
    two = {"a": np.array([2, 0]), "b": np.array([[0.5, -0.5], [1, 1]], np.float32)}
    assert interface.observations(two, 2, single=False).tolist() == [[0, 0, 1, 0.5, -0.5], [1, 0, 0, 1, 1]]
    assert interface.actions(torch.tensor([4]), single=True).tolist() == [1, 1]
    assert interface.actions(torch.tensor([4, 2]), single=False).tolist() == [[1, 1], [0, 2]]


def test_actions_lie_in_the_action_space():
    counted = trained(1, spaces.Discrete(3), None, spaces.Discrete(3, start=5))
    assert counted.actions(torch.tensor([0, 2]), single=False).tolist() == [5, 7]
    assert counted.actions(torch.tensor([1]), single=True) in spaces.Discrete(3, start=5)
    box = spaces.Box(np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32))
    real = trained(1, box)
    chosen = real.actions(torch.tensor([[-3.0, 7.0]]), single=True)
    assert chosen.tolist() == [-1, 7] and chosen in box
    square = trained(1, spaces.Box(-1, 1, (4,)), None, spaces.Box(-1, 1, (2, 2)))
    assert square.actions(torch.zeros(3, 4), single=False).shape == (3, 2, 2)


def test_an_observation_is_copied():
    """Environments may write the next one into the same array."""
    shown = np.zeros(2, np.float32)
    x = trained(2, spaces.Discrete(2)).observations(shown, 1, single=True)
    shown[:] = 1
    assert x.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (spaces.Discrete(2), spaces.Discrete(3)),
        (spaces.Discrete(2), spaces.Box(-1, 1, (2,))),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (3,))),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,))),
        (spaces.Discrete(2), spaces.Text(3)),
    ],
    ids=str,
)
def test_other_actions_are_refused(own, other):
    with pytest.raises(ConfigError, match=r"action_space must be like that of Family"):
        trained(1, own, None, other)
    with pytest.raises(ConfigError, match=r"observation_space must be like that of"):
        trained(1, own, spaces.Text(3))


def test_what_is_no_environment_is_refused():
    with pytest.raises(ConfigError, match="must be a number, an Env or a VectorEnv of Gymnasium, got str"):
        of_envs("CartPole-v1")
