"""Linear baseline fitted to each task's own returns, in closed form."""

import torch
from torch import Tensor

from metarl_run.maths.returns import first_step

RIDGE = 1e-5
LARGEST = 10.0  # bound of clipped observations: a large square would dominate the fit


def linear_baseline(observation: Tensor, returns: Tensor, alive: Tensor, ended: Tensor) -> Tensor:
    """Least-squares prediction of each step's return from its observation and time.

        b(s, t) = w · x,        x = (s, s², t, t², t³, 1),        w = (XᵀX + ρI)⁻¹ Xᵀ G        t in hundreds of steps

    It is fitted to the same episodes that it is subtracted from and therefore correlates with their noise: a bias of
    the order of features over steps.

    Args:
        observation: s of each step, `[…, T, B, D]`.
        returns: G, `[…, T, B]`.
        alive: true at steps that were taken, `[…, T, B]`.
        ended: true at the last step of an episode, `[…, T, B]`.

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
