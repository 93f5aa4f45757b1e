"""RL³: RL² with action-value estimates of a planner as additional inputs."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.tabular_model import TabularModel
from metarl_run.algo.rl2 import RL2
from metarl_run.component import field
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import NonNegative, Real, Reals
from metarl_run.learner.base import num_actions
from metarl_run.types import AgentState, Memory, Percept, Rollout


class RL3(RL2):
    """Extend RL²'s inputs by Q-estimates and visit counts of the current state, from a model estimated in the task.

        start:  h₀ = 0, no counts
        adapt:  hₜ₊₁ = f_θ(hₜ, (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁, Q̂ₜ(sₜ, ·), nₜ(sₜ, ·))),    aₜ ~ π_θ(· | hₜ₊₁)
        learn:  as RL²

    The network reads Q̂ and n as: each set of values minus its mean over actions, that mean divided by the remaining
    steps, and 1 / √(1 + n); and, with them, the elapsed fractions of the episode and of the lifetime.

    Args:
        family: gives the horizon.
        inputs: `all`, or the `statistics` alone: RL³-Markov, which needs no memory in the network.
        reward_prior, reward_weight, transition_weight, optimism, unseen_value: of the estimates, see
            `metarl_run.algo.bayes.tabular_model`.

    Differs from the paper: Q̂ is for the remaining steps of the episode, not for a fixed horizon; values are centred by
    their mean over actions, not their maximum, and not divided by a constant; visits enter as 1 / √(1 + n), not as
    n / 10; time is an input; the network is a GRU unless another is chosen. The planner may have a prior and optimism,
    unlike the paper's: experiment=rl3_mdp_n10 is this variant, with the true prior over tasks, and
    experiment=rl3_mdp_n10_paper has neither. Unvisited pairs may be worth more than the paper's 0, in `reward_prior`
    and `unseen_value`. The differences of `RL2` from its paper apply here as well.
    Source: Bhatia et al. (2023), arXiv:2306.15909, and the authors' code for the scaling of statistics.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers", "divides")
    requires: ClassVar[tuple[str, ...]] = ("tabular", "critic")
    compilable: ClassVar[bool] = False  # its model branches on values of tensors
    provides_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {"inputs": {"all": ("observation_first",)}}
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {"inputs": {"all": ("memory",)}}

    family: TaskFamily
    inputs: Literal["all", "statistics"]
    reward_prior: Real
    reward_weight: NonNegative
    transition_weight: NonNegative
    optimism: Reals
    unseen_value: Real = field(default=0.0)

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
            unseen_value=self.unseen_value,
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
        x, before = super().sense(percept, memory)
        return torch.cat([x, statistics], -1), {**seen, **before}

    @torch.no_grad()
    def senses(self, lifetimes: Rollout) -> Float[Tensor, "T N F"]:
        percepts = lifetimes.percepts()
        T, N = lifetimes.reward.shape
        memory = self.start(N).memory
        inputs = []
        for t in range(T):
            x, memory = self.sense(Percept(*(part[t].unsqueeze(1) for part in percepts)), memory)
            inputs.append(x.squeeze(1))
        return torch.stack(inputs)

    def statistics(self, seen: Memory) -> Float[Tensor, "M B F"]:
        """Features of the current state under the model."""
        q, visits = self.model.values(seen)  # [M, B, C, A] and [M, B, A]
        horizon, step = self.model.horizon, seen["step"] - 1
        level = q.mean(-1)
        to_go = (horizon - step).clamp(min=1).unsqueeze(-1)
        elapsed = torch.stack([step / horizon, (seen["lived"] - 1) / self.lifetime], -1)
        return torch.cat([(q - level.unsqueeze(-1)).flatten(2), level / to_go, (1 + visits).rsqrt(), elapsed], -1)
