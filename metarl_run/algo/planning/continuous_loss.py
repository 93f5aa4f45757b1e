"""What a continuous model learns from: lifetimes whose beginnings are to predict their rest, and λ-returns."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from metarl_run.algo.planning import running_statistics as running
from metarl_run.algo.planning.continuous_model import ContinuousModel
from metarl_run.maths.returns import generalized_advantages, masked_mean
from metarl_run.types import Params, Rollout


class Steps(NamedTuple):
    """What T steps of N lifetimes teach.

    Attributes:
        φ: features of each member.
        y: outputs, of which the last is the reward.
        counts: 1 where an output was seen, else 0: what follows the last step of an episode is not.
    """

    φ: Float[Tensor, "N E T F"]
    y: Float[Tensor, "N T D1"]
    counts: Float[Tensor, "N T D1"]


def model_loss(
    model: ContinuousModel,
    params: Params,
    lifetimes: Rollout,
    shares: Float[Tensor, "E N"],
    generator: torch.Generator,
    *,
    contexts: int,
    targets: int,
) -> tuple[Tensor, Tensor]:
    """−log p of steps to come, and the cross-entropy of the ends among them.

    Args:
        shares: how much each lifetime counts for each member.
        contexts: beginnings of each lifetime that its rest is predicted from.
        targets: steps of that rest.
    """
    steps, length = taught(model, params, lifetimes), lifetimes.alive.sum(0)
    N, device = len(length), length.device
    n, σ = torch.arange(N, device=device).unsqueeze(-1), model.noise(params).unsqueeze(1)
    z = running.normalised(params, "state", lifetimes.observation[:-1].transpose(0, 1))
    before = torch.cat([z, one_hot(lifetimes.action.T, model.num_actions).to(z.dtype)], -1)
    surprise, ends = z.new_zeros(()), z.new_zeros(())
    for _ in range(contexts):
        u = torch.rand(N, 1 + targets, generator=generator, device=device)
        t = (length * u[:, :1].square().squeeze(-1)).long().unsqueeze(-1)  # short beginnings more often than long
        at = t + ((length.unsqueeze(-1) - t) * u[:, 1:]).long()  # [N, J], steps to come
        both = model.posteriors(params, *sums_after(steps, t))
        mean, spread = model.expected(both, steps.φ[n, :, at].transpose(1, 2))  # [N, E, J, D + 1]
        variance = σ.square() * (1 + spread)
        error = (steps.y[n, at].unsqueeze(1) - mean).square()
        nll = 0.5 * (error / variance + (2 * math.pi * variance).log()) * steps.counts[n, at].unsqueeze(1)
        surprise = surprise + (nll.sum(-1).mean(-1) * shares.T).mean()
        after = model.moved(params, z[n, at].unsqueeze(1), mean[..., :-1].detach())
        logit = model.ends(params, before[n, at].unsqueeze(1).expand(-1, model.members, -1, -1), after)
        ended = lifetimes.terminated.T[n, at].to(z.dtype).unsqueeze(1).expand_as(logit)
        ends = ends + binary_cross_entropy_with_logits(logit, ended)
    return surprise / contexts, ends / contexts


def taught(model: ContinuousModel, params: Params, lifetimes: Rollout) -> Steps:
    """What each step of N lifetimes teaches."""
    T, N = lifetimes.reward.shape
    s = lifetimes.observation[:-1]
    φ = model.featured(params, s.flatten(0, 1), lifetimes.action.flatten())
    y = model.outputs(params, s, lifetimes.observation[1:], lifetimes.reward)
    followed = (lifetimes.alive & ~lifetimes.ended).unsqueeze(-1).expand(-1, -1, model.size)
    counts = torch.cat([followed, lifetimes.alive.unsqueeze(-1)], -1).to(y.dtype)
    return Steps(φ.view(-1, T, N, model.features).permute(2, 0, 1, 3), y.transpose(0, 1), counts.transpose(0, 1))


def sums_after(steps: Steps, t: Int[Tensor, "N 1"]) -> tuple[Tensor, Tensor]:
    """The squares and products, see `ContinuousDynamics.observe`, after the first t steps of each lifetime."""
    φ, T = steps.φ.unsqueeze(2), steps.φ.shape[2]
    counts = steps.counts * (torch.arange(T, device=t.device) < t).unsqueeze(-1)
    which = counts[..., [0, -1]].mT[:, None, :, :, None]
    squares = (φ * which).mT @ φ  # [N, E, 2, F, F]
    return squares, steps.φ.mT @ (steps.y * counts).unsqueeze(1)


def value_loss(model: ContinuousModel, params: Params, lifetimes: Rollout, *, value_lambda: float) -> Tensor:
    """The squared error of V to λ-returns, in units of 1 / (1 − γ) rewards.

    What an episode that was cut off led to is not seen; it is taken to be worth as much as the state before it.
    """
    v = model.value(params, running.normalised(params, "state", lifetimes.observation))
    known = v.detach()
    reward = lifetimes.reward + model.discount * known[:-1] * lifetimes.truncated
    advantage = generalized_advantages(
        reward, known, lifetimes.ended, lifetimes.ended, discount=model.discount, gae_lambda=value_lambda
    )
    scale = running.std(params, "reward") / (1 - model.discount)
    error = (v[:-1] - known[:-1] - advantage) / scale
    return 0.5 * masked_mean(error.square(), lifetimes.alive)
