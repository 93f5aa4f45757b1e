"""Evolution strategies: the gradient estimate, and its perturbations."""

import torch

from metarl_run.algo.gradient.evolution import Evolution


def test_evolution_estimates_the_gradient_of_a_quadratic():
    """The smoothed fitness of a quadratic F is F and a constant: E ĝ = ∇F exactly; 5 standard errors are allowed."""
    g, pairs = torch.Generator().manual_seed(3), 40_000
    A, c = torch.randn(4, 4, generator=g), torch.randn(4, generator=g)

    def fitness(ψ):
        x = torch.cat([ψ["a"].flatten(1), ψ["b"].flatten(1)], 1) - c
        return -0.5 * (x * (x @ (A @ A.T))).sum(1)

    θ = {"a": torch.ones(3), "b": torch.full((1,), -2.0)}
    true = -(A @ A.T) @ (torch.cat([*θ.values()]) - c)
    evolution = Evolution(std=0.5, generator=g)
    stack = {name: w.expand(pairs, *w.shape) for name, w in θ.items()}
    values = []
    for evolution.sign in (1, -1):
        values.append(fitness(evolution.perturbed(stack)))
    found = torch.cat(evolution.gradients(values[0] - values[1]), 1)
    error = (found.mean(0) - true).abs()
    assert (error <= 5 * found.std(0) / pairs**0.5).all()
    assert (error <= 0.1 * true.norm()).all()


def test_a_pair_is_mirrored_and_nothing_is_perturbed_outside_of_it():
    evolution = Evolution(std=0.25, generator=torch.Generator().manual_seed(0))
    ψ = {"a": torch.arange(6.0).view(3, 2)}
    assert evolution.perturbed(ψ) is ψ
    evolution.sign = 1
    plus = evolution.perturbed(ψ)["a"]
    evolution.sign = -1
    minus = evolution.perturbed(ψ)["a"]
    torch.testing.assert_close((plus + minus) / 2, ψ["a"])
    assert (plus - minus).unique().numel() == 6
