"""Gittins indices against published values, bounds by an independent backward induction, and each other."""

import gymnasium
import numpy as np
import pytest
import scipy
import torch

from metarl_run.algo.bayes.gittins_index import gittins_indices
from metarl_run.algo.gittins import Gittins


def table(discount, pulls=64, successes=1.0, failures=1.0):
    return gittins_indices(discount=discount, successes=successes, failures=failures, pulls=pulls)


def calibrated(a, b, discount, *, pulls, informed):
    """The index of Beta(a, b) by bisection, the arm being looked at for `pulls` pulls.

    Afterwards it pays its mean for ever, which is a bound from below; or, informed, it is known: one from above.
    """
    low, high = a / (a + b), 1.0
    while high - low > 1e-7:
        λ = (low + high) / 2
        s = np.arange(pulls + 1)
        a_n, b_n = a + s, b + pulls - s
        mean = a_n / (a + b + pulls)
        known = mean * (1 - scipy.special.betainc(a_n + 1, b_n, λ)) - λ * (1 - scipy.special.betainc(a_n, b_n, λ))
        v = λ + (known if informed else np.maximum(mean - λ, 0))  # in units of a reward at every step
        for n in range(pulls - 1, -1, -1):
            mean = (a + np.arange(n + 1)) / (a + b + n)
            v = (1 - discount) * mean + discount * (mean * v[1:] + (1 - mean) * v[:-1])
            v = np.maximum(v, λ) if n else v
        low, high = (λ, high) if v[0] > λ else (low, λ)
    return (low + high) / 2


@pytest.mark.parametrize(
    ("discount", "wins", "losses", "index"),
    [(0.9, 0, 0, 0.7029), (0.9, 1, 1, 0.6346), (0.9, 2, 2, 0.6010), (0.9, 9, 1, 0.8695), (0.99, 0, 0, 0.8699)],
)
def test_indices_are_those_that_were_published(discount, wins, losses, index):
    """Christian & Griffiths (2016), Algorithms to Live By, chapter 2, from the tables of Gittins' book."""
    assert table(discount)[wins + losses, wins].item() == pytest.approx(index, abs=1e-4)


def test_an_index_of_another_program():
    """Edwards' R package `gittins`, its test of Beta(3, 2) with γ = .8, to 1e-4."""
    assert table(0.8)[3, 2].item() == pytest.approx(0.67143994, abs=2e-4)


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 1), (0, 9), (9, 0), (30, 20), (5, 55)])
def test_indices_are_those_of_brute_force(discount, wins, losses):
    pulls = {0.5: 40, 0.9: 200, 0.99: 700}[discount]
    low, high = (calibrated(1 + wins, 1 + losses, discount, pulls=pulls, informed=known) for known in (False, True))
    assert high - low < 2e-5
    assert table(discount)[wins + losses, wins].item() == pytest.approx((low + high) / 2, abs=1e-4)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (10, 10), (3, 40), (30, 30), (8, 56)])
def test_where_the_future_is_long_an_index_lies_between_its_bounds(wins, losses):
    """γ = .9999: nothing, or all, being learned after 1000 pulls of the arm; up to the last row of the table."""
    low, high = (calibrated(1 + wins, 1 + losses, 0.9999, pulls=1000, informed=known) for known in (False, True))
    assert high - low < 3e-3
    assert low - 1e-4 < table(0.9999)[wins + losses, wins].item() < high + 1e-4


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.99])
def test_an_index_is_above_the_mean_rises_with_a_win_and_falls_with_a_loss(discount):
    index = table(discount).double()
    state = torch.ones_like(index).tril().bool()
    assert index[state].isfinite().all() and index[~state].isnan().all()
    n, s = state.nonzero().unbind(1)
    mean = (1 + s) / (2 + n)
    assert (index[n, s] > mean - 1e-6).all() and (index[state] < 1).all()
    before = n < len(index) - 1
    n, s = n[before], s[before]
    assert (index[n + 1, s + 1] > index[n, s]).all()
    assert (index[n + 1, s] < index[n, s]).all()


def test_a_more_patient_agent_values_the_unknown_more():
    short, middle, patient = (table(discount) for discount in (0.5, 0.9, 0.99))
    state = torch.ones_like(short).tril().bool()
    assert (short[state] <= middle[state] + 1e-5).all() and (middle[state] <= patient[state] + 1e-5).all()


def test_a_prior_is_worth_as_much_as_pulls():
    """After 2 wins and 1 loss Beta(1, 1) is Beta(3, 2)."""
    whole, later = table(0.9), table(0.9, pulls=32, successes=3.0, failures=2.0)
    for n, s in ((0, 0), (1, 1), (5, 2), (32, 20)):
        assert later[n, s].item() == pytest.approx(whole[n + 3, s + 2].item(), abs=1e-4)


def test_tables_of_any_size_agree():
    small, large = table(0.99, pulls=64), table(0.99, pulls=128)
    state = torch.ones_like(small).tril().bool()
    torch.testing.assert_close(small[state], large[:65, :65][state], rtol=0, atol=2e-4)


def test_a_longer_life_uses_a_larger_table_from_then_on(monkeypatch):
    monkeypatch.setattr("metarl_run.algo.gittins.gittins_indices", lambda pulls, **_: torch.zeros(pulls + 1, pulls + 1))
    arms = gymnasium.spaces.Discrete(2)
    algo = Gittins(action_space=arms, prior_successes=1.0, prior_failures=1.0, discount=0.5)
    assert [len(algo.table(pulls)) for pulls in (1, 128, 129, 512, 128)] == [129, 129, 513, 513, 129]
