"""Estimates of a tabular MDP from one lifetime, and the action values planned in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.types import Memory, Percept

MODEL = ("transition", "support", "reward", "visits", "state", "step", "lived")
"""Keys of the memory."""


@dataclass(frozen=True, kw_only=True)
class TabularModel:
    """Estimated transitions and rewards of each env, and finite-horizon action values of the estimated MDP.

        r̂(s, a) = (Σ r + w μ) / (n + w),        P̂(s′ | s, a) = (n(s, a, s′) + α) / (Σₛ″ n(s, a, s″) + α S)
        Q⁽ʰ⁾(s, a) = r̂(s, a) + β / √(n + 1) + Σₛ′ P̂(s′ | s, a) maxₐ′ Q⁽ʰ⁻¹⁾(s′, a′),        Q⁽⁰⁾ = 0,    h: steps to go

    With w = α = 0 these are maximum-likelihood estimates, with r̂ = μ and P̂ = 0 for unvisited pairs; as long as no
    successor of a pair is known, u (h − 1) takes the place of its sum over s′. The last step of an episode contributes
    its reward but no transition, since its next state is not observed.

    Args:
        num_states: S.
        num_actions: A.
        horizon: maximum length of an episode.
        reward_prior: μ, the estimated reward before any is observed, in units of the reward.
        reward_weight: w ≥ 0, number of observed rewards that μ counts as.
        transition_weight: α ≥ 0, pseudo-count of transitions to each state.
        optimism: β of each set of values, in units of the reward.
        unseen_value: u, worth of each further step from where no successor is known, in units of the reward; of no
            effect where α > 0.

    Source: Bhatia et al. (2023), arXiv:2306.15909 (μ = w = α = u = 0, one β = 0); Brafman and Tennenholtz (2002),
    "R-max", for large μ = u; Strehl and Littman (2008), "An analysis of model-based interval estimation", for β.
    """

    num_states: int
    num_actions: int
    horizon: int
    reward_prior: float
    reward_weight: float
    transition_weight: float
    optimism: Sequence[float]
    unseen_value: float = 0.0

    # Internally envs are the last axis, `[…, N]` with N = M·B, so that every operation reads memory contiguously.

    def initial_memory(self, num_tasks: int, device: torch.device) -> Memory:
        """The memory before any experience."""
        S, A = self.num_states, self.num_actions
        transition = 1 / S if self.transition_weight else 0.0
        nothing = torch.zeros(num_tasks, device=device)
        model = {
            "transition": torch.full((S, S, A, num_tasks), transition, device=device),  # [s′, s, a, N]
            "support": torch.full((S, A, num_tasks), float(S * self.transition_weight), device=device),
            "reward": torch.full((S, A, num_tasks), float(self.reward_prior), device=device),
            "visits": torch.zeros(S, A, num_tasks, device=device),
            "state": nothing.long(),
            "step": nothing.long(),  # of the episode, including the current one
            "lived": nothing.long(),  # steps of the lifetime, including the current one
        }
        return {name: envs_first(x, num_tasks, 1) for name, x in model.items()}

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports."""
        M, B = percept.last_reward.shape
        model = {name: envs_last(memory[name].expand(M, B, *memory[name].shape[2:])) for name in MODEL}
        state = percept.observation.argmax(-1).flatten()
        ended, r = percept.last_ended.flatten(), percept.last_reward.flatten()
        happened = (model["lived"] > 0).to(r.dtype)
        row = model["state"] * self.num_actions + percept.last_action.flatten()

        P, support = model["transition"].flatten(1, 2), model["support"].flatten(0, 1)
        followed = happened * ~ended
        at, weight = row.expand(len(P), 1, -1), support.gather(0, row[None])
        now = P.gather(1, at) * weight
        now.scatter_add_(0, state[None, None], followed[None, None])
        P = P.scatter(1, at, now / (weight + followed).clamp(min=1e-8))
        support = support.scatter_add(0, row[None], followed[None])

        reward, visits = model["reward"].flatten(0, 1), model["visits"].flatten(0, 1)
        n, mean = visits.gather(0, row[None]), reward.gather(0, row[None])
        reward = reward.scatter(0, row[None], mean + happened * (r - mean) / (n + self.reward_weight + 1))
        visits = visits.scatter_add(0, row[None], happened[None])

        after = {
            "transition": P.view_as(model["transition"]),
            "support": support.view_as(model["support"]),
            "reward": reward.view_as(model["reward"]),
            "visits": visits.view_as(model["visits"]),
            "state": state,
            "step": torch.where(ended, 0, model["step"]) + 1,
            "lived": model["lived"] + 1,
        }
        return {name: envs_first(x, M, B) for name, x in after.items()}

    def values(self, memory: Memory) -> tuple[Float[Tensor, "M B C A"], Float[Tensor, "M B A"]]:
        """Q of every set of values and the visits, of each action in the last observed state."""
        M, B = memory["state"].shape
        P, r, visits, state, step = (
            envs_last(memory[name]) for name in ("transition", "reward", "visits", "state", "step")
        )
        unseen = self.unseen_value * (envs_last(memory["support"]) == 0) if self.unseen_value else None
        _, A, N = r.shape
        left = self.horizon - step + 1
        bonus = (visits + 1).rsqrt()
        shortest, longest = int(left.min()), int(left.max())
        here = state.expand(1, A, N)
        to_each = P.unbind(0)
        sets = []
        for β in self.optimism:
            r_β = r + β * bonus
            chosen = v = torch.zeros_like(r[:, 0])
            for h in range(1, longest + 1):
                q = r_β.clone()
                if h > 1:
                    if unseen is not None:
                        q.add_(unseen, alpha=h - 1)
                    for to_next, worth in zip(to_each, v.unbind(0), strict=True):
                        q.addcmul_(to_next, worth)
                if h >= shortest:
                    at_hand = q.gather(0, here)[0]
                    chosen = torch.where(left == h, at_hand, chosen) if h > shortest else at_hand
                v = q.amax(1)
            sets.append(chosen)
        q = torch.stack(sets)  # [C, A, N]
        return envs_first(q, M, B), envs_first(visits.gather(0, here)[0], M, B)


def envs_last(x: Tensor) -> Tensor:
    """`[M, B, …]` → `[…, M·B]`, without a copy if it came from `envs_first`."""
    return x.flatten(0, 1).movedim(0, -1).contiguous()


def envs_first(x: Tensor, M: int, B: int) -> Tensor:
    """`[…, M·B]` → `[M, B, …]`, a view."""
    return x.movedim(-1, 0).view(M, B, *x.shape[:-1])
