"""Bayesian posterior over a tabular MDP, from counts of transitions and rewards."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.component import Component
from metarl_run.kinds import Positive, Real
from metarl_run.maths.sampling import dirichlet
from metarl_run.types import Memory, Percept

COUNTS = ("transitions", "visits", "total_reward", "episodes")
"""Keys of the memory that hold counts of finished episodes."""

REMEMBERED = (*COUNTS, "pairs", "nexts", "rewards", "state", "step")
"""All keys of the memory."""


class Prior(Component):
    """Independent priors of every row P(· | s, a) and every mean reward r(s, a).

        P(· | s, a) ~ Dirichlet(α₀, …, α₀),        r(s, a) ~ N(μ₀, 1 / τ₀),        a reward ~ N(r(s, a), 1 / τ)

    Args:
        reward_mean: μ₀, in units of the reward.
        reward_precision: τ₀ > 0, an inverse variance; nearly flat close to 0.
        noise_precision: τ > 0, of one reward around its mean.
        concentration: α₀ > 0; 1 is uniform over all distributions, close to 0 the posterior mean is empirical.

    Source: Osband, Russo and Van Roy (2013), arXiv:1306.0940; DeGroot (1970), Optimal Statistical Decisions.
    """

    reward_mean: Real
    reward_precision: Positive
    noise_precision: Positive
    concentration: Positive


class Belief(NamedTuple):
    """Posterior of a selection of envs, `[…]`.

    Attributes:
        prior: the belief before any experience.
        transitions: n(s, a, s′), next state first, so that products with values read memory contiguously.
        visits: n(s, a), the number of rewards observed.
        total_reward: Σ r of these.
        episodes: number of episodes begun.
    """

    prior: Prior
    transitions: Float[Tensor, "*N S_next S A"]
    visits: Float[Tensor, "*N S A"]
    total_reward: Float[Tensor, "*N S A"]
    episodes: Float[Tensor, "*N"]

    @property
    def reward_precision(self) -> Float[Tensor, "*N S A"]:
        """Posterior precision τ₀ + n τ of the mean reward."""
        return self.prior.reward_precision + self.prior.noise_precision * self.visits

    @property
    def reward_mean(self) -> Float[Tensor, "*N S A"]:
        """Posterior mean (τ₀ μ₀ + τ Σ r) / (τ₀ + n τ) of the mean reward."""
        prior = self.prior
        weighted = prior.reward_precision * prior.reward_mean + prior.noise_precision * self.total_reward
        return weighted / self.reward_precision

    @property
    def concentration(self) -> Float[Tensor, "*N S_next S A"]:
        """Dirichlet parameters α₀ + n(s, a, s′)."""
        return self.prior.concentration + self.transitions

    def mean(self) -> tuple[Float[Tensor, "*N S A S_next"], Float[Tensor, "*N S A"]]:
        """Posterior means of transitions and rewards."""
        α = self.concentration
        return (α / α.sum(-3, keepdim=True)).movedim(-3, -1), self.reward_mean

    def sample(self, generator: torch.Generator) -> tuple[Float[Tensor, "*N S A S_next"], Float[Tensor, "*N S A"]]:
        """Transitions and mean rewards of an MDP drawn from the posterior."""
        noise = torch.randn(self.visits.shape, generator=generator, device=self.visits.device)
        reward = self.reward_mean + noise * self.reward_precision.rsqrt()
        return dirichlet(self.concentration, generator, dim=-3).movedim(-3, -1), reward


@dataclass(frozen=True, kw_only=True)
class Experience:
    """Counts that every env collects along its lifetime, and the posterior that they imply.

    Counts cover finished episodes; the current episode is kept step by step until it ends. This is cheaper than
    updating all counts at every step, and no posterior is needed in between. The last step of an episode contributes
    its reward but no transition, since its next state is not observed.

    Args:
        num_states: S.
        num_actions: A.
        horizon: H, maximum length of an episode.
        prior: the belief before any experience.
    """

    num_states: int
    num_actions: int
    horizon: int
    prior: Prior

    def initial_memory(self, num_tasks: int, device: torch.device) -> Memory:
        """The memory before any experience."""
        S, A, H = self.num_states, self.num_actions, self.horizon
        nothing = torch.zeros(num_tasks, 1, device=device)
        return {
            "transitions": nothing.new_zeros(num_tasks, 1, S, S, A),  # [M, B, s′, s, a]
            "visits": nothing.new_zeros(num_tasks, 1, S, A),
            "total_reward": nothing.new_zeros(num_tasks, 1, S, A),
            "episodes": nothing,
            "pairs": nothing.new_zeros(num_tasks, 1, H, dtype=torch.int64),  # s A + a of each step of the episode
            "nexts": nothing.new_zeros(num_tasks, 1, H, dtype=torch.int64),  # their next states
            "rewards": nothing.new_zeros(num_tasks, 1, H),
            "state": nothing.long(),
            "step": nothing.long(),  # of the episode, including the current one
        }

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports."""
        shape, ended = percept.last_reward.shape, percept.last_ended
        old = {name: memory[name].expand(*shape, *memory[name].shape[2:]) for name in REMEMBERED}
        state, step = percept.observation.argmax(-1), old["step"]
        place = (step - 1).clamp(0, self.horizon - 1).unsqueeze(-1)
        pair = old["state"] * self.num_actions + percept.last_action
        new = {
            **old,
            "pairs": old["pairs"].scatter(2, place, pair.unsqueeze(-1)),
            "nexts": old["nexts"].scatter(2, place, state.unsqueeze(-1)),
            "rewards": old["rewards"].scatter(2, place, percept.last_reward.unsqueeze(-1)),
            "state": state,
            "step": torch.where(ended, 0, step) + 1,
        }
        return {**new, **self._counted(new, ended, step)} if ended.any() else new

    def _counted(self, memory: Memory, ended: Bool[Tensor, "M B"], steps: Int[Tensor, "M B"]) -> Memory:
        """The counts including the episodes that have just ended, each after its number of `steps`."""
        step = torch.arange(1, self.horizon + 1, device=steps.device)
        taken = (step <= steps.unsqueeze(-1)) & ended.unsqueeze(-1)
        followed = taken & (step < steps.unsqueeze(-1))
        pairs, nexts = memory["pairs"], memory["nexts"]
        return {
            "transitions": _added(
                memory["transitions"], nexts * (self.num_states * self.num_actions) + pairs, followed
            ),
            "visits": _added(memory["visits"], pairs, taken),
            "total_reward": _added(memory["total_reward"], pairs, taken * memory["rewards"]),
            "episodes": memory["episodes"] + ended,
        }

    def belief(self, memory: Memory, envs: Bool[Tensor, "M B"]) -> Belief:
        """Posterior of the selected envs, `[N, …]`."""
        all_envs = bool(envs.all())
        counts = (memory[name] for name in COUNTS)
        return Belief(self.prior, *(x.flatten(0, 1) if all_envs else x[envs] for x in counts))


def _added(table: Tensor, places: Tensor, amounts: Tensor) -> Tensor:
    """`table`, `[M, B, …]`, plus `amounts`, `[M, B, H]`, at the `places` of each env."""
    return table.flatten(2).scatter_add(2, places, amounts.to(table.dtype)).view(table.shape)
