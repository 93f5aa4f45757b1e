"""Bayesian linear regression against a Gaussian process with the same kernel."""

import torch

from metarl_run.algo.planning.last_layer import posterior

F, D, N = 4, 2, 7


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    prior, Φ, Y, φ = (torch.randn(shape, generator=generator).double() for shape in ((F, D), (N, F), (N, D), (5, F)))
    return prior, Φ, Y, φ


def test_predictions_are_those_of_the_gaussian_process_with_the_features_kernel():
    """k(x, x′) = σ² φᵀφ′, mean K̄₀ᵀφ, noise σ²: conditioning on the data as any Gaussian."""
    prior, Φ, Y, φ = data()
    gram = Φ @ Φ.T + torch.eye(N).double()
    weights = torch.linalg.solve(gram, φ @ Φ.T, left=False)
    mean = φ @ prior + weights @ (Y - Φ @ prior)
    spread = (φ * φ).sum(-1) - (weights * (φ @ Φ.T)).sum(-1)
    K = posterior(prior, Φ.T @ Φ, Φ.T @ Y)
    torch.testing.assert_close(φ @ K.mean, mean)
    torch.testing.assert_close(K.spread(φ), spread)


def test_before_any_data_it_is_the_prior():
    prior, _, _, φ = data()
    K = posterior(prior, torch.zeros(F, F).double(), torch.zeros(F, D).double())
    torch.testing.assert_close(K.mean, prior)
    torch.testing.assert_close(K.spread(φ), (φ * φ).sum(-1))


def test_samples_have_the_moments_of_the_posterior():
    prior, Φ, Y, _ = data()
    K = posterior(*(x.expand(40_000, *x.shape) for x in (prior, Φ.T @ Φ, Φ.T @ Y)))
    σ = torch.tensor([0.5, 2.0]).double()
    draws = K.sample(σ, torch.Generator().manual_seed(1))
    torch.testing.assert_close(draws.mean(0), K.mean[0], atol=0.03, rtol=0)
    inverse = torch.linalg.inv(Φ.T @ Φ + torch.eye(F).double())
    for i in range(D):
        torch.testing.assert_close(torch.cov(draws[..., i].T), σ[i] ** 2 * inverse, atol=0.05, rtol=0)
    assert torch.corrcoef(torch.stack([draws[:, 0, 0], draws[:, 0, 1]]))[0, 1].abs() < 0.03
