"""Bayes-optimal play of bandits: by enumeration, and of published values."""

import pytest

from metarl_run.maths import bandits
from metarl_run.maths.bandits import bayes_optimal_rewards


def by_enumeration(num_arms, pulls, prior):
    """The value by going through every history, without merging any."""

    def value(counts, left):
        if not left:
            return 0.0
        totals = []
        for arm, (s, f) in enumerate(counts):
            μ = (prior[0] + s) / (sum(prior) + s + f)
            won, lost = ([*counts[:arm], after, *counts[arm + 1 :]] for after in ((s + 1, f), (s, f + 1)))
            totals.append(μ * (1 + value(won, left - 1)) + (1 - μ) * value(lost, left - 1))
        return max(totals)

    return value([(0, 0)] * num_arms, pulls)


@pytest.mark.parametrize(("num_arms", "pulls", "prior"), [(2, 4, (1, 1)), (3, 4, (1, 1)), (2, 5, (0.5, 2.0))])
def test_the_sum_is_the_value_of_every_history(num_arms, pulls, prior):
    rewards = bayes_optimal_rewards(num_arms=num_arms, pulls=pulls, successes=prior[0], failures=prior[1])
    assert sum(rewards) == pytest.approx(by_enumeration(num_arms, pulls, prior), abs=1e-12)


def test_two_arms_by_hand():
    """μ = 1/2, then 2/3 or a fresh arm's 1/2; after two wins 3/4: 41/18 for four pulls."""
    rewards = bayes_optimal_rewards(num_arms=2, pulls=4)
    assert rewards[:2] == pytest.approx((1 / 2, 1 / 2 * 2 / 3 + 1 / 2 * 1 / 2))
    assert sum(rewards) == pytest.approx(41 / 18, abs=1e-12)
    assert sum(bayes_optimal_rewards(num_arms=2, pulls=10)) == pytest.approx(6.0218, abs=5e-5)
    assert sum(bayes_optimal_rewards(num_arms=2, pulls=20)) == pytest.approx(12.4313, abs=5e-5)


def test_arms_that_no_lifetime_reaches_add_nothing():
    ten, fifty = (bayes_optimal_rewards(num_arms=arms, pulls=10) for arms in (10, 50))
    assert ten == fifty
    assert sum(ten) == pytest.approx(6.7140, abs=5e-5)


def test_too_many_sets_of_counts_have_no_value():
    assert bayes_optimal_rewards(num_arms=5, pulls=100) is None
    assert bandits.MOST_STATES >= 10_000
