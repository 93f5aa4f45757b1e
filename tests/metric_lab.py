"""Sizes and random experience, for the tests of metric-based agents and of their parts."""

import torch

from metarl_run.types import Rollout

N, T, B, D, A, L = 4, 6, 3, 2, 3, 5


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def experience(seed=0, M=N):
    """One episode in each env, of 2 to T steps."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(2, T + 1, (M, 1, B), generator=g)
    length[0, 0, 0] = T
    time = torch.arange(T).view(1, T, 1)
    alive = time < length
    return Rollout(
        observation=torch.randn(M, T + 1, B, D, generator=g),
        action=torch.randint(A, (M, T, B), generator=g),
        reward=torch.randn(M, T, B, generator=g) * alive,
        terminated=(time == length - 1) & alive,
        truncated=torch.zeros(M, T, B, dtype=torch.bool),
        alive=alive,
        memory={},
    )
