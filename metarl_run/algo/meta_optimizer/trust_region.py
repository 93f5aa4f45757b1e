"""Trust-region meta-update: a natural-gradient step bounded by the KL divergence of the adapted policies."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Agents, Objective, finite_mean
from metarl_run.algo.meta_optimizer.base import MetaOptimizer
from metarl_run.kinds import Count, Fraction, NonNegative, Positive
from metarl_run.learner.surrogate import ratio


class TrustRegion(MetaOptimizer):
    """TRPO: the steepest improvement within a KL divergence δ of the policies that collected the query rollouts.

        minimise   g·d        subject to        ½ dᵀ F d ≤ δ,        F = ∇²_θ (1/M) Σᵢ KL(π_oldⁱ ‖ π_φ_Kⁱ(θ))
        d = − √(2δ / xᵀ F x) x,        F x = g by conjugate gradients
        θ ← θ + βʲ d        for the first j at which the meta-loss is lower and the mean KL at most δ; else θ stays

    The meta-loss uses the likelihood-ratio surrogate. At the old parameters the KL has no gradient, so with
    J = ∂φ_K/∂θ its Hessian is exactly Jᵀ (∇²_φ KL) J: products with it need J and Jᵀ times a vector, but no third
    derivatives.

    The line search adapts anew from each candidate θ, on the rollouts of the old one. Surrogates of likelihood ratios
    reweigh them accordingly; `score` (and E-MAML, whose inner steps use it) does not, so that φ_K(θ) is off to first
    order in the step.

    Args:
        max_kl: δ, nats.
        iterations: conjugate-gradient iterations.
        damping: added to F's diagonal.
        backtracks: number of candidates j.
        backtrack: β in (0, 1].
        episodes: share of each task's episodes, at least one, that F is estimated from.

    Differs from the papers: products with F are exact (MAML uses finite differences), and F may be estimated from a
    share of the episodes.
    Source: Schulman et al. (2015), arXiv:1502.05477, appendix C; Finn et al. (2017), arXiv:1703.03400, section 5.3,
    for MAML.
    """

    requires: ClassVar[tuple[str, ...]] = ("policy_gradient", "actor_only")

    max_kl: Positive
    iterations: Count
    damping: NonNegative
    backtracks: Count
    backtrack: Fraction
    episodes: Fraction

    def improve(self, objective: Objective) -> dict[str, Tensor]:
        agents = objective.agents()
        losses, metrics = objective.proximal_losses(agents, ratio)
        loss = finite_mean(losses)
        gradients = torch.autograd.grad(loss, self.tensors, retain_graph=True)
        self.require_finite(gradients, objective.task_at_fault)
        g = flat(gradients)
        fisher = self.fisher(objective, agents)
        x = conjugate_gradients(fisher, g, iterations=self.iterations)
        step = -(2 * self.max_kl / (x @ fisher(x)).clamp(min=1e-12)).sqrt() * x
        moved, kl = self.search(objective, loss.detach(), step)
        return {"loss": loss.detach(), "gradient_norm": g.norm(), "kl": kl, "step_taken": moved, **metrics}

    def fisher(self, objective: Objective, agents: Agents) -> Callable[[Tensor], Tensor]:
        """v → (F + damping) v at the parameters that collected the rollouts."""
        leaves = [p.detach().requires_grad_() for p in agents[-1].params.values()]
        last = agents[-1]._replace(params=dict(zip(agents[-1].params, leaves, strict=True)))
        kl = objective.divergence([*agents[:-1], last], len(agents) - 1, self.episodes).mean()
        slope = torch.autograd.grad(kl, leaves, create_graph=True)
        φ = list((agents if self.episodes == 1 else objective.agents(self.episodes))[-1].params.values())
        # Jᵀw is linear in w, so its derivative along v is J v, whatever w is.
        w = [torch.zeros_like(p, requires_grad=True) for p in φ]
        transposed = torch.autograd.grad(φ, self.tensors, w, create_graph=True)

        def product(v: Tensor) -> Tensor:
            along = torch.autograd.grad(transposed, w, self.shaped(v), retain_graph=True)
            curved = torch.autograd.grad(slope, leaves, along, retain_graph=True)
            back = torch.autograd.grad(φ, self.tensors, curved, retain_graph=True)
            return flat(back) + self.damping * v

        return product

    def search(self, objective: Objective, before: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Backtracking line search along `step`: the share of the step that was taken, and the KL there."""
        start, parts = [θ.detach().clone() for θ in self.tensors], self.shaped(step)
        with torch.no_grad():
            for j in range(self.backtracks):
                share = self.backtrack**j
                for θ, origin, part in zip(self.tensors, start, parts, strict=True):
                    θ.copy_(origin + share * part)
                agents = objective.agents()
                after = objective.proximal_losses(agents, ratio)[0].mean()
                kl = objective.divergence(agents, len(agents) - 1).mean()
                if after < before and kl <= self.max_kl:
                    return before.new_tensor(share), kl
            for θ, origin in zip(self.tensors, start, strict=True):
                θ.copy_(origin)
        return before.new_zeros(()), before.new_zeros(())

    def shaped(self, v: Tensor) -> list[Tensor]:
        """A vector of all coordinates, split into one tensor per parameter."""
        parts = torch.split(v, [θ.numel() for θ in self.tensors])
        return [part.view_as(θ) for part, θ in zip(parts, self.tensors, strict=True)]


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, *, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """x with A x ≈ b, for a symmetric positive semi-definite A given by its products with vectors.

    Args:
        product: v → A v.
        b: right-hand side.
        iterations: maximum number of products.
        tolerance: on |b − A x|² relative to |b|².

    Source: Hestenes & Stiefel (1952).
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, error = b.clone(), b @ b
    enough = tolerance * error
    for _ in range(iterations):
        if error <= enough:
            break
        image = product(direction)
        α = error / (direction @ image)
        x = x + α * direction
        residual = residual - α * image
        previous, error = error, residual @ residual
        direction = residual + error / previous * direction
    return x
