"""Draws against the distributions of scipy."""

import numpy as np
import pytest
import scipy
import torch

from metarl_run.maths.sampling import beta, dirichlet, gamma


@pytest.mark.parametrize("α", [0.2, 1.0, 1.3, 2.0, 7.5, 200.0])
def test_gamma_draws_are_distributed_as_in_scipy(α):
    draws = gamma(torch.full((100, 400), α), torch.Generator().manual_seed(1))
    assert draws.shape == (100, 400)
    assert scipy.stats.kstest(draws.flatten().double().numpy(), scipy.stats.gamma(α).cdf).pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([draws.flatten()[:-1], draws.flatten()[1:]]))[0, 1]) < 0.02


@pytest.mark.parametrize("α", [(1.0, 1.0, 1.0), (2.0, 1.0, 30.0), (0.3, 1.5, 0.05), (1e-3, 1e-3, 2.0)], ids=str)
def test_each_part_of_a_dirichlet_is_a_beta(α):
    concentration = torch.tensor(α).expand(20_000, 3)
    p = dirichlet(concentration, torch.Generator().manual_seed(2), dim=-1).double()
    torch.testing.assert_close(p.sum(-1), torch.ones(20_000, dtype=p.dtype))
    for i in range(3):
        theory = scipy.stats.beta(α[i], sum(α) - α[i])
        among = p[:, i].numpy()
        for bound in (0.001, 0.1, 0.5, 0.9, 0.999):  # where α is small most draws are 0 or 1 to the last digit
            expected = theory.cdf(bound)
            assert abs((among < bound).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-4


def test_a_dirichlet_of_hardly_any_weight_still_gives_distributions():
    p = dirichlet(torch.full((1000, 10), 1e-5), torch.Generator().manual_seed(0), dim=-1)
    assert p.isfinite().all()
    torch.testing.assert_close(p.sum(-1), torch.ones(1000))
    assert (p.amax(-1) > 0.99).float().mean() > 0.99
    assert scipy.stats.chisquare(p.argmax(-1).bincount(minlength=10).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("s", "f"), [(1, 1), (1, 7), (40, 2), (251, 252), (0.5, 0.5), (0.5, 30)])
def test_beta_draws_are_distributed_as_in_scipy(s, f):
    N = 50_000
    x, rest = beta(
        torch.full((N,), float(s)), torch.full((N,), float(f)), torch.Generator().manual_seed(int(s + 2 * f))
    )
    torch.testing.assert_close(x + rest, torch.ones(N))
    assert scipy.stats.kstest(x.double().numpy(), scipy.stats.beta(s, f).cdf).pvalue > 1e-3
