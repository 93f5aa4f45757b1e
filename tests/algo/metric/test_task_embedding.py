"""Task embeddings: the kernel against Gaussian densities, and one transition by hand."""

import math

import gymnasium
import pytest
import torch
from metric_lab import A, D, L, N, randn

from metarl_run.algo.metric.task_embedding import TaskEmbedding, log_kernel
from metarl_run.types import Percept

OBSERVATIONS, ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (D,)), gymnasium.spaces.Discrete(A)


def test_weights_by_hand():
    """Two embeddings at ±1 on a line, observed at ½ with precision 2: variances ½ + τ / 2 = 1."""
    w = log_kernel(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([[1.0], [-1.0]]), temperature=1.0).softmax(-1)
    near, far = math.exp(-0.5 * 0.5**2), math.exp(-0.5 * 1.5**2)
    torch.testing.assert_close(w, torch.tensor([near, far]) / (near + far))


def test_the_kernel_is_the_gaussian_that_it_says():
    embeddings, λ, f, τ = randn(N, L), randn(7, L, seed=1).exp(), randn(7, L, seed=2), 0.6
    Λ, g = λ.sum(0), (λ * f).sum(0) / λ.sum(0)
    density = torch.distributions.Normal(embeddings, (1 / Λ + τ / 2).sqrt()).log_prob(g).sum(-1)
    ours = log_kernel((λ * f).sum(0), Λ, embeddings, τ)
    torch.testing.assert_close(ours.softmax(-1), density.softmax(-1))


def kernel(temperature, precision):
    g, embeddings = randn(L, seed=3), randn(N, L)
    w = log_kernel(g * precision, torch.full((L,), precision), embeddings, temperature).softmax(-1)
    return w, (g - embeddings).square().sum(-1)


def test_limits_of_the_kernel():
    """Without experience or with τ → ∞ all tasks alike; with much of it exp(−‖g − e‖² / τ); then τ → 0: the nearest."""
    even = torch.full((N,), 1 / N)
    torch.testing.assert_close(kernel(1.0, 0.0)[0], even)
    torch.testing.assert_close(kernel(1e6, 1e4)[0], even, rtol=0, atol=1e-4)
    w, distance = kernel(0.7, 1e6)
    torch.testing.assert_close(w, (-distance / 0.7).softmax(-1), rtol=1e-3, atol=1e-5)
    w, distance = kernel(1e-4, 1e6)
    assert w[distance.argmin()] > 0.999


def test_more_experience_of_the_same_embedding_sharpens_the_weights():
    entropies = [
        -(w * w.log()).sum() for w in (kernel(0.5, precision)[0] for precision in (0.0, 0.1, 1.0, 10.0, 100.0))
    ]
    assert entropies == sorted(entropies, reverse=True)


def test_the_evidence_of_a_step_by_hand():
    """Linear u, v and w: λ = softplus(w), f = u v."""
    embedding = TaskEmbedding(
        observation_space=OBSERVATIONS, action_space=ACTIONS, size=1, hidden=[], activation="tanh"
    )
    params = {name: torch.zeros_like(θ) for name, θ in embedding.init(torch.Generator()).items()}
    params["u.0.weight"][D + A + 1 * A + 2] = 3.0  # second observation × action 2
    params["v.0.weight"][0] = 2.0  # reward
    params["v.0.weight"][2] = 10.0  # change of the second observation
    params["w.0.bias"] += 1.0
    now = Percept(torch.tensor([[[0.0, 0.7]]]), torch.tensor([[2]]), torch.tensor([[5.0]]), torch.tensor([[False]]))
    weighted, λ = embedding.evidence(params, embedding.inputs(now, torch.tensor([[[0.3, 0.5]]])))
    assert λ.item() == pytest.approx(math.log(1 + math.e))
    assert weighted.item() / λ.item() == pytest.approx(3 * 0.5 * (2 * 5 + 10 * 0.2), rel=1e-5)
