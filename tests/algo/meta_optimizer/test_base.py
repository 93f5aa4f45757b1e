"""Gradient-based meta-optimisers: clipping, and gradients that are not finite."""

import pytest
import torch

from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.errors import NumericalError


def test_a_meta_gradient_that_is_not_finite_moves_nothing():
    optimizer = SGD(lr=0.1, max_grad_norm=1.0)
    θ = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(2, requires_grad=True)}
    optimizer.attach(θ)
    with pytest.raises(NumericalError, match="of b: must be finite, got inf in task 7"):
        optimizer.step((torch.ones(2), torch.tensor([0.0, torch.inf])), lambda: "task 7")
    assert torch.equal(θ["a"], torch.ones(2))


def test_the_meta_gradient_is_scaled_to_the_largest_norm():
    optimizer = SGD(lr=1.0, max_grad_norm=1.0)
    θ = {"a": torch.zeros(2, requires_grad=True)}
    optimizer.attach(θ)
    assert optimizer.step((torch.tensor([3.0, 4.0]),), str).item() == pytest.approx(5)
    assert θ["a"].tolist() == pytest.approx([-0.6, -0.8])
    optimizer.step((torch.tensor([0.3, 0.4]),), str)  # already short enough
    assert θ["a"].tolist() == pytest.approx([-0.9, -1.2])
