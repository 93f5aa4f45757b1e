"""A baseline fitted to each task's own returns, in closed form."""

import torch
from torch import Tensor

from metarl_run.maths.returns import first_step

RIDGE = 1e-5
LARGEST = 10.0  # observations are clipped to it, so that a square does not swamp the rest


def linear_baseline(observation: Tensor, returns: Tensor, alive: Tensor, ended: Tensor) -> Tensor:
    """The least-squares prediction of each step's return from its observation and time.

        b(s, t) = w · x,        x = (s, s², t, t², t³, 1),        w = (XᵀX + ρI)⁻¹ Xᵀ G        t in hundreds of steps

    It was fitted to the very episodes it is subtracted from, so it knows a little of their own luck: a bias of the
    order of features over steps.

    Args:
        observation: s of each step, `[…, T, B, D]`.
        returns: G, `[…, T, B]`.
        alive: steps that were taken, `[…, T, B]`.
        ended: step t was the last of its episode, `[…, T, B]`.

    Source: Duan et al. (2016), arXiv:1604.06778, appendix; the baseline of MAML's and Meta-SGD's experiments.
    """
    s = observation.double().clamp(-LARGEST, LARGEST)
    steps = torch.arange(ended.shape[-2], device=ended.device).unsqueeze(-1)
    t = ((steps - first_step(ended)).double() / 100).unsqueeze(-1)
    x = torch.cat([s, s**2, t, t**2, t**3, torch.ones_like(t)], -1).flatten(-3, -2)
    seen = x * alive.flatten(-2).unsqueeze(-1)
    G = returns.double().flatten(-2).unsqueeze(-1)
    gram = seen.mT @ x + RIDGE * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    w: Tensor = torch.linalg.solve(gram, seen.mT @ G)
    return (x @ w).view_as(returns).to(returns.dtype)
