"""Predicted rewards of the actions that were taken, by hand."""

import pytest
import torch

from metarl_run.algo.memory.prediction import reward_error
from metarl_run.types import Rollout


def test_only_taken_actions_of_steps_that_count_are_compared():
    """Two steps of two lifetimes, the last of which is padding: errors 1, 3 and 2, squared 1, 9 and 4."""
    predicted = torch.tensor([[[1.0, 50.0], [50.0, 4.0]], [[50.0, 2.0], [99.0, 99.0]], [[99.0, 99.0], [99.0, 99.0]]])
    predicted.requires_grad_()
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    lifetimes = Rollout(
        torch.zeros(3, 2, 1),
        torch.tensor([[0, 1], [1, 0]]),
        torch.tensor([[2.0, 1.0], [0.0, 0.0]]),
        nothing,
        nothing,
        torch.tensor([[True, True], [True, False]]),
        {},
    )
    error = reward_error({"reward": predicted}, lifetimes)
    assert error.item() == pytest.approx((1 + 9 + 4) / 3)
    (slope,) = torch.autograd.grad(error, predicted)
    assert slope.flatten().tolist() == pytest.approx([-2 / 3, 0, 0, 2, 0, 4 / 3, 0, 0, 0, 0, 0, 0])
