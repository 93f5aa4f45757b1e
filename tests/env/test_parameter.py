"""Draws of task parameters: support and moments of every kind of distribution."""

import math

import pytest
import scipy
import torch

from metarl_run.env.parameter import in_turn, listed, sample, sample_alone
from metarl_run.kinds import distribution_problem

N = 20_000


def draws(spec, seed=0):
    return sample(spec, N, torch.Generator().manual_seed(seed))


REFERENCES = {
    "uniform": (["uniform", 5, 15], ("uniform", 5, 10)),
    "negative uniform": (["uniform", -3.0, -1.0], ("uniform", -3, 2)),
    "log_uniform": (["log_uniform", 0.01, 100], ("loguniform", 0.01, 100)),
    "normal": (["normal", 1, 2], ("norm", 1, 2)),
}
"""What is drawn from, and the same distribution as scipy knows it."""


@pytest.mark.parametrize(("spec", "reference"), REFERENCES.values(), ids=REFERENCES.keys())
def test_continuous_draws_follow_the_reference_distribution(spec, reference):
    name, *numbers = reference
    assert distribution_problem(spec) is None
    assert scipy.stats.kstest(draws(spec).double().numpy(), getattr(scipy.stats, name)(*numbers).cdf).pvalue > 1e-3


@pytest.mark.parametrize("spec", [3, 3.5, ["constant", 3.5], ["normal", 3.5, 0], ["choice", 3.5]])
def test_a_constant_is_constant(spec):
    value = spec if isinstance(spec, int) else 3.5
    assert torch.equal(draws(spec), torch.full((N,), float(value)))


def test_choice_draws_each_option_equally_often():
    values, counts = draws(["choice", -1, 1, 4]).unique(return_counts=True)
    assert values.tolist() == [-1, 1, 4]
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_several_intervals_are_drawn_in_proportion_to_their_lengths():
    x = draws(["uniform", 1, 5, 15, 20]).double()  # lengths 4 and 5
    low = x[x < 10]
    high = x[x > 10]
    assert low.min() >= 1 and low.max() <= 5 and high.min() >= 15 and high.max() <= 20
    assert len(low) / N == pytest.approx(4 / 9, abs=5 * math.sqrt(4 / 9 * 5 / 9 / N))
    assert scipy.stats.kstest(low.numpy(), scipy.stats.uniform(1, 4).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(high.numpy(), scipy.stats.uniform(15, 5).cdf).pvalue > 1e-3


def test_draws_are_reproducible_float32_and_differ_between_seeds():
    for spec in (["uniform", 0, 1], ["log_uniform", 1, 2], ["normal", 0, 1], ["choice", 1, 2]):
        assert draws(spec).dtype == torch.float32
        assert torch.equal(draws(spec), draws(spec))
        assert not torch.equal(draws(spec), draws(spec, seed=1))


@pytest.mark.parametrize(("number", "most"), [(1, 1), (3, 1), (4, 2), (10, 4)])
def test_few_values_are_drawn_in_turn(number, most):
    drawn = sample_alone(["choice", 4, -1, 1], number, torch.Generator().manual_seed(1))
    counts = drawn.unique(return_counts=True)[1]
    assert len(drawn) == number and counts.max() == most and counts.max() - counts.min() <= (number > 3)
    orders = {tuple(in_turn(torch.arange(3), 3, torch.Generator().manual_seed(seed)).tolist()) for seed in range(60)}
    assert len(orders) == 6


def test_a_continuum_is_drawn_as_ever():
    spec = ["uniform", 0, 1]
    a, b = (draw(spec, 5, torch.Generator().manual_seed(0)) for draw in (sample, sample_alone))
    assert torch.equal(a, b) and listed(spec) is None
    assert listed(["choice", 3, 1, 3]).tolist() == [1, 3] and listed(2).tolist() == [2]
