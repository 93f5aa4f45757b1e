"""What is believed about a tabular MDP after some experience in it, as a Bayesian says it."""

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
"""Names of what is remembered of the episodes that are over."""

REMEMBERED = (*COUNTS, "pairs", "nexts", "rewards", "state", "step")
"""Names of all that is remembered."""


class Prior(Component):
    """What is believed of every row P(· | s, a) and every mean reward r(s, a) before any experience.

        P(· | s, a) ~ Dirichlet(α₀, …, α₀),        r(s, a) ~ N(μ₀, 1 / τ₀),        a reward ~ N(r(s, a), 1 / τ)

    Args:
        reward_mean: μ₀, in units of the reward.
        reward_precision: τ₀, one over a variance; near 0 for no belief at all.
        noise_precision: τ, of one reward around its mean.
        concentration: α₀; 1 is uniform over all distributions, near 0 for no belief at all.

    Source: Osband, Russo and Van Roy (2013), arXiv:1306.0940; DeGroot (1970), Optimal Statistical Decisions.
    """

    reward_mean: Real
    reward_precision: Positive
    noise_precision: Positive
    concentration: Positive


class Belief(NamedTuple):
    """The posterior of some slots, `[…]`.

    Attributes:
        prior: the belief before any experience.
        transitions: n(s, a, s′), by next state first: products with values then run along memory.
        visits: n(s, a), which rewards were seen for.
        total_reward: Σ r of these.
        episodes: how many were begun.
    """

    prior: Prior
    transitions: Float[Tensor, "*N S_next S A"]
    visits: Float[Tensor, "*N S A"]
    total_reward: Float[Tensor, "*N S A"]
    episodes: Float[Tensor, "*N"]

    @property
    def reward_precision(self) -> Float[Tensor, "*N S A"]:
        """τ₀ + n τ, of the belief about the mean reward."""
        return self.prior.reward_precision + self.prior.noise_precision * self.visits

    @property
    def reward_mean(self) -> Float[Tensor, "*N S A"]:
        """(τ₀ μ₀ + τ Σ r) / (τ₀ + n τ)."""
        prior = self.prior
        weighted = prior.reward_precision * prior.reward_mean + prior.noise_precision * self.total_reward
        return weighted / self.reward_precision

    @property
    def concentration(self) -> Float[Tensor, "*N S_next S A"]:
        """α₀ + n(s, a, s′)."""
        return self.prior.concentration + self.transitions

    def mean(self) -> tuple[Float[Tensor, "*N S A S_next"], Float[Tensor, "*N S A"]]:
        """The expected transitions and mean rewards."""
        α = self.concentration
        return (α / α.sum(-3, keepdim=True)).movedim(-3, -1), self.reward_mean

    def sample(self, generator: torch.Generator) -> tuple[Float[Tensor, "*N S A S_next"], Float[Tensor, "*N S A"]]:
        """Transitions and mean rewards of an MDP drawn from the posterior."""
        noise = torch.randn(self.visits.shape, generator=generator, device=self.visits.device)
        reward = self.reward_mean + noise * self.reward_precision.rsqrt()
        return dirichlet(self.concentration, generator, dim=-3).movedim(-3, -1), reward


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What every slot counts along its lifetime, and the belief that the counts make.

    Counts are of the episodes that are over; the one that goes on is kept step by step until it ends. That is cheaper
    than touching every count at every step, and no belief is asked for in between. What follows the last step of an
    episode is not seen, only its reward; so no end of an episode is ever believed in.

    Args:
        num_states: S.
        num_actions: A.
        horizon: H, steps of an episode, at most.
        prior: the belief before any experience.
    """

    num_states: int
    num_actions: int
    horizon: int
    prior: Prior

    def initial_memory(self, num_tasks: int, device: torch.device) -> Memory:
        """Nothing was seen yet."""
        S, A, H = self.num_states, self.num_actions, self.horizon
        nothing = torch.zeros(num_tasks, 1, device=device)
        return {
            "transitions": nothing.new_zeros(num_tasks, 1, S, S, A),  # [M, B, s′, s, a]
            "visits": nothing.new_zeros(num_tasks, 1, S, A),
            "total_reward": nothing.new_zeros(num_tasks, 1, S, A),
            "episodes": nothing,
            "pairs": nothing.new_zeros(num_tasks, 1, H, dtype=torch.int64),  # s A + a of the episode's steps
            "nexts": nothing.new_zeros(num_tasks, 1, H, dtype=torch.int64),  # the states they led to
            "rewards": nothing.new_zeros(num_tasks, 1, H),
            "state": nothing.long(),
            "step": nothing.long(),  # of the episode, this one included
        }

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """What is remembered after what `percept` says about the step before."""
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
        """The counts once the episodes that have ended, after so many steps, are among them."""
        number = torch.arange(1, self.horizon + 1, device=steps.device)
        taken = (number <= steps.unsqueeze(-1)) & ended.unsqueeze(-1)
        followed = taken & (number < steps.unsqueeze(-1))
        pairs, nexts = memory["pairs"], memory["nexts"]
        return {
            "transitions": _added(
                memory["transitions"], nexts * (self.num_states * self.num_actions) + pairs, followed
            ),
            "visits": _added(memory["visits"], pairs, taken),
            "total_reward": _added(memory["total_reward"], pairs, taken * memory["rewards"]),
            "episodes": memory["episodes"] + ended,
        }

    def belief(self, memory: Memory, slots: Bool[Tensor, "M B"]) -> Belief:
        """The posterior of some slots, `[N, …]`."""
        everywhere = bool(slots.all())
        counts = (memory[name] for name in COUNTS)
        return Belief(self.prior, *(x.flatten(0, 1) if everywhere else x[slots] for x in counts))


def _added(table: Tensor, places: Tensor, amounts: Tensor) -> Tensor:
    """`table`, `[M, B, …]`, with `amounts`, `[M, B, H]`, more at the `places` of each slot."""
    return table.flatten(2).scatter_add(2, places, amounts.to(table.dtype)).view(table.shape)
