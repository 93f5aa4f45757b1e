"""Losses of a continuous model: prediction of lifetimes from their beginnings, and λ-returns."""

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


class RegressionData(NamedTuple):
    """Inputs and targets of the last layer, at T steps of N lifetimes.

    Attributes:
        φ: features of each member.
        y: outputs, of which the last is the reward.
        counts: 1 where an output was observed, else 0: the last step of an episode has no successor state.
    """

    φ: Float[Tensor, "N E T F"]
    y: Float[Tensor, "N T D1"]
    counts: Float[Tensor, "N T D1"]


def model_loss(
    model: ContinuousModel,
    params: Params,
    lifetimes: Rollout,
    weights: Float[Tensor, "E N"],
    generator: torch.Generator,
    *,
    contexts: int,
    targets: int,
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of later steps given a prefix, and cross-entropy of their terminations.

    Args:
        model: the dynamics model.
        params: θ.
        lifetimes: experience to learn from, `[T, N, …]`.
        weights: weight of each lifetime for each member.
        generator: source of the random prefixes and targets.
        contexts: prefixes per lifetime.
        targets: steps to predict per prefix.
    """
    data, length = regression_data(model, params, lifetimes), lifetimes.alive.sum(0)
    N, device = len(length), length.device
    n, σ = torch.arange(N, device=device).unsqueeze(-1), model.noise(params).unsqueeze(1)
    z = running.normalised(params, "state", lifetimes.observation[:-1].transpose(0, 1))
    before = torch.cat([z, one_hot(lifetimes.action.T, model.num_actions).to(z.dtype)], -1)
    nll, ends = z.new_zeros(()), z.new_zeros(())
    for _ in range(contexts):
        u = torch.rand(N, 1 + targets, generator=generator, device=device)
        t = (length * u[:, :1].square().squeeze(-1)).long().unsqueeze(-1)  # favours short prefixes
        at = t + ((length.unsqueeze(-1) - t) * u[:, 1:]).long()  # [N, J], later steps
        both = model.posteriors(params, *sums_after(data, t))
        mean, spread = model.expected(both, data.φ[n, :, at].transpose(1, 2))  # [N, E, J, D + 1]
        variance = σ.square() * (1 + spread)
        error = (data.y[n, at].unsqueeze(1) - mean).square()
        terms = 0.5 * (error / variance + (2 * math.pi * variance).log()) * data.counts[n, at].unsqueeze(1)
        nll = nll + (terms.sum(-1).mean(-1) * weights.T).mean()
        after = model.next_state(params, z[n, at].unsqueeze(1), mean[..., :-1].detach())
        logit = model.ends(params, before[n, at].unsqueeze(1).expand(-1, model.members, -1, -1), after)
        ended = lifetimes.terminated.T[n, at].to(z.dtype).unsqueeze(1).expand_as(logit)
        ends = ends + binary_cross_entropy_with_logits(logit, ended)
    return nll / contexts, ends / contexts


def regression_data(model: ContinuousModel, params: Params, lifetimes: Rollout) -> RegressionData:
    """Inputs and targets of the last layer at each step of N lifetimes."""
    T, N = lifetimes.reward.shape
    s = lifetimes.observation[:-1]
    φ = model.features_of(params, s.flatten(0, 1), lifetimes.action.flatten())
    y = model.outputs(params, s, lifetimes.observation[1:], lifetimes.reward)
    followed = (lifetimes.alive & ~lifetimes.ended).unsqueeze(-1).expand(-1, -1, model.size)
    counts = torch.cat([followed, lifetimes.alive.unsqueeze(-1)], -1).to(y.dtype)
    return RegressionData(
        φ.view(-1, T, N, model.features).permute(2, 0, 1, 3), y.transpose(0, 1), counts.transpose(0, 1)
    )


def sums_after(data: RegressionData, t: Int[Tensor, "N 1"]) -> tuple[Tensor, Tensor]:
    """Φᵀ Φ and Φᵀ Y of the first t steps of each lifetime, as `ContinuousDynamics.observe` accumulates them."""
    φ, T = data.φ.unsqueeze(2), data.φ.shape[2]
    counts = data.counts * (torch.arange(T, device=t.device) < t).unsqueeze(-1)
    which = counts[..., [0, -1]].mT[:, None, :, :, None]
    squares = (φ * which).mT @ φ  # [N, E, 2, F, F]
    return squares, data.φ.mT @ (data.y * counts).unsqueeze(1)


def value_loss(model: ContinuousModel, params: Params, lifetimes: Rollout, *, value_lambda: float) -> Tensor:
    """Squared error of V to λ-returns, in units of 1 / (1 − γ) rewards.

    The state after a truncated episode's last step is not observed; its value is approximated by that of the last one.
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
