"""Bounded hyperparameters by hand and at their extremes."""

import math

import pytest
import torch

from metarl_run.algo.gradient.learned_hyperparameters import MARGIN, BoundedHyperparameter, LearnedHyperparameters

BOUNDS = [(0.0, 1.0, False), (0.1, 0.7, False), (-0.3, 0.2, False), (0.01, 100.0, True), (0.1, 0.7, True)]


@pytest.mark.parametrize(("low", "high", "logarithmic"), BOUNDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_raw_value_leads_out_of_the_bounds(low, high, logarithmic, dtype):
    extremes = torch.tensor([-math.inf, -1e30, -100, -20, -1, 0, 1, 20, 100, 1e30, math.inf], dtype=dtype)
    q = BoundedHyperparameter([low, high], logarithmic=logarithmic)(extremes)
    bounds = torch.tensor([low, high], dtype=dtype)
    assert (q >= bounds[0]).all() and (q <= bounds[1]).all()
    assert (q.diff() >= 0).all()
    torch.testing.assert_close(q[[0, -1]], bounds)


def test_half_way_is_the_arithmetic_or_geometric_mean():
    x = torch.zeros((), dtype=torch.float64)
    assert BoundedHyperparameter([0.2, 1.0])(x).item() == pytest.approx(0.6)
    assert BoundedHyperparameter([0.01, 100.0], logarithmic=True)(x).item() == pytest.approx(1.0)
    assert BoundedHyperparameter([1.0, 16.0], logarithmic=True)(
        torch.tensor(3.0).double().log()
    ).item() == pytest.approx(8.0)


@pytest.mark.parametrize(("low", "high", "logarithmic"), BOUNDS)
def test_it_starts_at_the_given_value(low, high, logarithmic):
    learned = BoundedHyperparameter([low, high], logarithmic=logarithmic)
    for share in (0.01, 0.3, 0.99):
        q = low * (high / low) ** share if logarithmic else low + share * (high - low)
        assert learned(torch.tensor(learned.raw(q), dtype=torch.float64)).item() == pytest.approx(q, rel=1e-12)


def test_a_start_at_a_bound_or_beyond_is_a_little_inside_with_a_slope():
    learned = BoundedHyperparameter([0.0, 2.0])
    for given, reached in ((0.0, 2 * MARGIN), (-5.0, 2 * MARGIN), (2.0, 2 - 2 * MARGIN), (9.0, 2 - 2 * MARGIN)):
        x = torch.tensor(learned.raw(given), dtype=torch.float64).requires_grad_()
        assert learned(x).item() == pytest.approx(reached)
        (slope,) = torch.autograd.grad(learned(x), x)
        assert slope.item() == pytest.approx(2 * MARGIN * (1 - MARGIN))


def test_a_value_for_each_step_and_layer_that_has_one_of_its_own():
    bounds = {name: BoundedHyperparameter([0.1, 0.9]) for name in ("shared", "stepwise", "layered")}
    learned = LearnedHyperparameters(
        hyperparameters=bounds,
        steps={"shared": 1, "stepwise": 3, "layered": 3},
        layers={"shared": [], "stepwise": [], "layered": ["w", "b"]},
    )
    x = learned.init({"shared": 0.3, "stepwise": 0.5, "layered": 0.7}, torch.device("cpu"))
    assert {name: tuple(of.shape) for name, of in x.items()} == {"shared": (1,), "stepwise": (3,), "layered": (3, 2)}
    for name, wanted in (("shared", 0.3), ("stepwise", 0.5), ("layered", 0.7)):
        torch.testing.assert_close(learned.values(x)[name], torch.full_like(x[name], wanted))
