"""Derivatives of meta-objectives on recorded data, by finite differences."""

import torch
from recorded import ALPHA, ROLLOUTS, M, parts, replay

from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.types import Rollout


def objective_of(algo, steps=1):
    return MetaObjective(algo, algo.meta_losses, replay(algo)(steps))


def moved(algo, direction, ε):
    """The algorithm with θ a little further along `direction`."""
    with torch.no_grad():
        for name, θ in algo.meta_params.items():
            θ.add_(direction[name], alpha=ε)
    return algo


def random_direction(meta_params, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(θ.shape, generator=g, dtype=torch.float64) for name, θ in meta_params.items()}


def slope(algo, objective, value, direction, ε=1e-5):
    """d value / d direction by central differences; θ ends where it was."""
    ends = []
    for shift in (ε, -2 * ε):
        moved(algo, direction, shift)
        ends.append(value(objective).item())
    moved(algo, direction, ε)
    return (ends[0] - ends[1]) / (2 * ε)


def along(gradient, direction):
    """The derivative along `direction` by a gradient: a mapping by name, or a list in the direction's order."""
    by_name = gradient if isinstance(gradient, dict) else dict(zip(direction, gradient, strict=True))
    return sum((by_name[name] * direction[name]).sum().item() for name in by_name)


def shares_taken(rollout):
    """Share of the T · B steps that each task took, `[M]`: a meta-objective divides all tasks' sums by T · B."""
    return rollout.alive.double().mean((1, 2))


def meta_objective(meta_params, steps, rollouts=ROLLOUTS):
    """(1/M) Σᵢ L(φ_K) written out for one task at a time, with no stack and no second derivatives."""
    learner, network, _ = parts()

    def loss(params, rollout, task):
        one = Rollout(*(field[task] for field in rollout.of_steps), memory={})
        return learner.loss(network(params, one.observation, {})[0], one)[0]

    total = 0.0
    for task in range(M):
        φ = {name: p.detach().clone().requires_grad_() for name, p in meta_params.items()}
        for rollout in rollouts[:steps]:
            g = torch.autograd.grad(loss(φ, rollout, task), list(φ.values()))
            φ = {n: (p - ALPHA * d).detach().requires_grad_() for (n, p), d in zip(φ.items(), g, strict=True)}
        total += loss(φ, rollouts[steps], task).item() * shares_taken(rollouts[steps])[task].item() / M
    return total


def finite_difference(direction, steps, ε=1e-5):
    _, _, θ = parts()
    ends = [meta_objective({name: p + sign * ε * direction[name] for name, p in θ.items()}, steps) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * ε)


def directions():
    _, _, θ = parts()
    for seed in range(3):
        g = torch.Generator().manual_seed(100 + seed)
        yield {name: torch.randn(p.shape, generator=g, dtype=torch.float64) for name, p in θ.items()}
