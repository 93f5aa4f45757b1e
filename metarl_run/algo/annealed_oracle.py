"""Annealed oracle: an agent that knows the task, and acts less and less at random."""

from typing import Any, ClassVar

import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.q.annealing import EPISODE, annealed, episode_of, epsilon_greedy
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count, Fraction
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class AnnealedOracle(MetaAlgorithm):
    """Choose an optimal action with probability 1 − εₖ in episode k, else any: histories of an apparent learner.

        εₖ = ε₀ + (ε₁ − ε₀) min(k / (n − 1), 1)

    Args:
        family: knows the optimal actions.
        first_epsilon: ε₀ in [0, 1].
        last_epsilon: ε₁ in [0, 1].
        episodes: n ≥ 1, after which ε stays the same.

    Differs from the paper: ε is constant within an episode.
    Source: Zisman et al. (2024), arXiv:2312.12275, AD-ε.
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    family: TaskFamily
    first_epsilon: Fraction
    last_epsilon: Fraction
    episodes: Count

    def begin(self, task: Any) -> AgentState:
        M, S = task.num_tasks, self.family.observation_space.shape[0]
        device = task.mean_reward.device
        best = self.family.optimal_action(task, torch.arange(S, device=device).expand(M, S))
        assert best is not None  # of a tabular family
        return AgentState({}, {"best": best, EPISODE: torch.full((M, 1), -1, device=device)})

    def start(self, num_tasks: int) -> AgentState:
        raise ValueError("AnnealedOracle starts from the task itself; call begin(task)")

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        episode = episode_of(agent.memory, percept)
        action = agent.memory["best"].gather(1, percept.observation.argmax(-1))
        chosen = action.unsqueeze(-1) == torch.arange(getattr(self.family.action_space, "n", 0), device=action.device)
        ε = annealed(self.first_epsilon, self.last_epsilon, episode, self.episodes)
        return epsilon_greedy(chosen, ε), {**agent.memory, EPISODE: episode}
