"""Posterior probability that an arm is best, against integrals done by hand and by another quadrature."""

import pytest
import torch
from scipy import integrate, stats

from metarl_run.maths.posterior import best_of_bernoulli, best_of_gaussian, experience, total_variation


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_arms_about_which_the_same_is_known_are_equally_likely_the_best():
    assert best_of_bernoulli(tensor(0, 0, 0, 0), tensor(0, 0, 0, 0)).tolist() == pytest.approx([0.25] * 4)
    assert best_of_gaussian(tensor(3, 3), tensor(1.2, 1.2), 0.3).tolist() == pytest.approx([0.5] * 2)


def test_one_success_and_one_failure_by_hand():
    """Densities 2 μ and 1: P(first best) = ∫ 2 μ · μ dμ = 2/3. Densities 2 μ and 2 (1 − μ): ∫ 2 μ (2 μ − μ²) = 5/6."""
    assert best_of_bernoulli(tensor(1, 0), tensor(1, 0)).tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-5)
    assert best_of_bernoulli(tensor(1, 1), tensor(1, 0)).tolist() == pytest.approx([5 / 6, 1 / 6], abs=1e-5)
    assert best_of_bernoulli(tensor(1, 0, 0), tensor(1, 0, 0))[0].item() == pytest.approx(2 / 4, abs=1e-5)  # ∫ 2 μ μ²


def test_gaussian_arms_as_by_adaptive_quadrature_of_truncated_normals():
    pulls, rewards, σ = (4, 1, 2), (2.0, 0.9, 1.5), 0.3

    def arm(n, total):
        mean, deviation = total / n, σ / n**0.5
        return stats.truncnorm(-mean / deviation, (1 - mean) / deviation, mean, deviation)

    arms = [arm(*known) for known in zip(pulls, rewards, strict=True)]
    for best, mine in enumerate(best_of_gaussian(tensor(*pulls), tensor(*rewards), σ).tolist()):
        others = [one for i, one in enumerate(arms) if i != best]
        exact, _ = integrate.quad(lambda μ: arms[best].pdf(μ) * others[0].cdf(μ) * others[1].cdf(μ), 0, 1)  # noqa: B023
        assert mine == pytest.approx(exact, abs=2e-5)


def test_after_hundreds_of_pulls_the_quadrature_still_holds():
    """Two normal posteriors of deviation σ/√n, .02 apart: P = Φ(.02 √(n/2) / σ)."""
    n, σ = 500, 0.3
    exact = stats.norm.cdf(0.02 * (n / 2) ** 0.5 / σ)
    p = best_of_gaussian(torch.tensor([n, n], dtype=torch.float32), torch.tensor([0.52 * n, 0.5 * n]), σ)
    assert p[0].item() == pytest.approx(exact, abs=1e-3)


def test_total_variation_is_the_largest_difference_over_events():
    assert total_variation(tensor(0.5, 0.3, 0.2), tensor(0.2, 0.3, 0.5)).item() == pytest.approx(0.3)
    assert total_variation(tensor(1, 0), tensor(0, 1)).item() == 1


def test_experience_counts_what_was_before_each_step():
    pulls, rewards = experience(torch.tensor([[1], [0], [1]]), torch.tensor([[2.0], [3.0], [5.0]]), 2)
    assert pulls[:, 0].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert rewards[:, 0].tolist() == [[0, 0], [0, 2], [3, 2]]
