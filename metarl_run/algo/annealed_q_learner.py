"""Q-learning with ε-greedy actions whose ε decreases: the learner whose histories in-context agents imitate."""

from typing import Any, ClassVar

import gymnasium
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.q.annealing import EPISODE, annealed, episode_of, epsilon_greedy
from metarl_run.kinds import Count, Fraction
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class AnnealedQLearner(MetaAlgorithm):
    """Run Q-learning from zeros after every step of a lifetime, one table for all steps of an episode.

        Q(s, a) ← Q(s, a) + α (r + γ [episode goes on] maxₐ′ Q(s′, a′) − Q(s, a)),        aₜ ~ εₖ-greedy in episode k
        εₖ = ε₀ + (ε₁ − ε₀) min(k / (n − 1), 1)

    Among equal values of Q the action is drawn. An episode that is truncated ends as one that terminates.

    Args:
        observation_space: of the task family; states are one-hot.
        action_space: of the task family.
        step_size: α in [0, 1].
        discount: γ in [0, 1], per step.
        first_epsilon: ε₀ in [0, 1].
        last_epsilon: ε₁ in [0, 1].
        episodes: n ≥ 1, after which ε stays the same.

    Source: Watkins & Dayan (1992), Machine Learning 8; Tarasov et al. (2025), arXiv:2502.17666, for this setting.
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    step_size: Fraction
    discount: Fraction
    first_epsilon: Fraction
    last_epsilon: Fraction
    episodes: Count

    def begin(self, task: Any) -> AgentState:
        return self._start(task.num_tasks, task.mean_reward.device)

    def start(self, num_tasks: int) -> AgentState:
        return self._start(num_tasks, torch.device("cpu"))

    def _start(self, num_tasks: int, device: torch.device) -> AgentState:
        S, A = self.observation_space.shape[0], num_actions(self.action_space)
        q, nothing = torch.zeros(num_tasks, 1, S * A, device=device), torch.zeros(num_tasks, 1, device=device).long()
        return AgentState({}, {"q": q, "state": nothing, EPISODE: nothing - 1})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        A, state = num_actions(self.action_space), percept.observation.argmax(-1)
        q = agent.memory["q"].expand(*state.shape, -1)
        begun = agent.memory[EPISODE] >= 0
        row = state.unsqueeze(-1) * A + torch.arange(A, device=q.device)
        pair = (agent.memory["state"] * A + percept.last_action).unsqueeze(-1)
        value = torch.where(percept.last_ended, 0.0, q.gather(-1, row).amax(-1))
        δ = percept.last_reward + self.discount * value - q.gather(-1, pair).squeeze(-1)
        q = q.scatter_add(-1, pair, (self.step_size * δ * begun).unsqueeze(-1))
        values, episode = q.gather(-1, row), episode_of(agent.memory, percept)
        ε = annealed(self.first_epsilon, self.last_epsilon, episode, self.episodes)
        return epsilon_greedy(values == values.amax(-1, keepdim=True), ε), {"q": q, "state": state, EPISODE: episode}
