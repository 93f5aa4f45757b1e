"""RL³: RL² that is told what a planner would think."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.tabular_model import TabularModel
from metarl_run.algo.rl2 import RL2
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import NonNegative, Real, Reals
from metarl_run.learner.base import num_actions
from metarl_run.types import AgentState, Memory, Percept, Rollout


class RL3(RL2):
    """RL² whose every input also holds Q-estimates and visits of the current state, from a model learned in the task.

        start:  h₀ = 0, no counts
        adapt:  hₜ₊₁ = f_θ(hₜ, (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁, Q̂ₜ(sₜ, ·), nₜ(sₜ, ·))),    aₜ ~ π_θ(· | hₜ₊₁)
        learn:  as RL²

    Q̂ and n are transformed: every set of values less its mean over actions, that mean per step left, 1 / √(1 + n), and
    how much of the episode and of the lifetime is over.

    Args:
        family: says how long an episode is.
        inputs: `all`, or the `statistics` alone: RL³-Markov, which needs no memory in the network.
        reward_prior, reward_weight, transition_weight, optimism: see `metarl_run.algo.bayes.tabular_model`.

    Differs from the paper: Q̂ is that of the steps left in the episode, not of a horizon that never shrinks; values are
    less their mean over actions, not their maximum, and not divided by a constant; visits are read as 1 / √(1 + n), not
    as n / 10; the time is read, too; the network is a GRU unless another is chosen. The planner may have a prior and
    optimism, which the paper's has not: experiment=rl3_mdp_n10 is this variant, told how tasks are distributed, and
    experiment=rl3_mdp_n10_paper has neither.
    What `RL2` does differently from its paper holds here, too.
    Source: Bhatia et al. (2023), arXiv:2306.15909, and the authors' code for how statistics are scaled.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers",)
    requires: ClassVar[tuple[str, ...]] = ("tabular", "critic")
    compilable: ClassVar[bool] = False  # its model looks at numbers
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {"inputs": {"all": ("memory",)}}

    family: TaskFamily
    inputs: Literal["all", "statistics"]
    reward_prior: Real
    reward_weight: NonNegative
    transition_weight: NonNegative
    optimism: Reals

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lifetime = self.episodes * self.family.horizon
        self.model = TabularModel(
            num_states=self.family.observation_space.shape[0],
            num_actions=num_actions(self.action_space),
            horizon=self.family.horizon,
            reward_prior=self.reward_prior,
            reward_weight=self.reward_weight,
            transition_weight=self.transition_weight,
            optimism=self.optimism,
        )

    def num_inputs(self) -> int:
        sets, A = len(self.optimism), num_actions(self.action_space)
        statistics = sets * (A + 1) + A + 2
        return statistics + (super().num_inputs() if self.inputs == "all" else 0)

    def start(self, num_tasks: int) -> AgentState:
        agent = super().start(num_tasks)
        device = next(iter(self.meta_params.values())).device
        return agent._replace(memory={**self.model.initial_memory(num_tasks, device), **agent.memory})

    def sense(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "M B F"], Memory]:
        seen = self.model.observe(memory, percept)
        statistics = self.statistics(seen)
        if self.inputs == "statistics":
            return statistics, seen
        x, _ = super().sense(percept, memory)
        return torch.cat([x, statistics], -1), seen

    @torch.no_grad()
    def senses(self, lifetimes: Rollout) -> Float[Tensor, "T N F"]:
        percepts = lifetimes.percepts()
        T, N = lifetimes.reward.shape
        memory = self.model.initial_memory(N, lifetimes.reward.device)
        inputs = []
        for t in range(T):
            x, memory = self.sense(Percept(*(part[t].unsqueeze(1) for part in percepts)), memory)
            inputs.append(x.squeeze(1))
        return torch.stack(inputs)

    def statistics(self, seen: Memory) -> Float[Tensor, "M B F"]:
        """What the model says of the current state."""
        q, visits = self.model.values(seen)  # [M, B, C, A] and [M, B, A]
        horizon, step = self.model.horizon, seen["step"] - 1
        level = q.mean(-1)
        left = (horizon - step).clamp(min=1).unsqueeze(-1)
        over = torch.stack([step / horizon, (seen["lived"] - 1) / self.lifetime], -1)
        return torch.cat([(q - level.unsqueeze(-1)).flatten(2), level / left, (1 + visits).rsqrt(), over], -1)
