"""Adam against torch's."""

import torch

from metarl_run.algo.meta_optimizer.adam import Adam


def test_adam_is_torchs_adam():
    g = torch.Generator().manual_seed(0)
    θ = {"a": torch.randn(3, generator=g, requires_grad=True), "b": torch.randn(2, 2, generator=g, requires_grad=True)}
    reference = [p.detach().clone().requires_grad_() for p in θ.values()]
    ours, torchs = Adam(lr=0.01, decay=0.0, max_grad_norm=1e9), torch.optim.Adam(reference, lr=0.01)
    ours.attach(θ)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=g) for p in reference]
        ours.step(gradients, str)
        for p, gradient in zip(reference, gradients, strict=True):
            p.grad = gradient.clone()
        torchs.step()
    for p, r in zip(θ.values(), reference, strict=True):
        torch.testing.assert_close(p, r, rtol=1e-6, atol=1e-7)
