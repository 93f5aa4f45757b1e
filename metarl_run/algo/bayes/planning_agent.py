"""Base of the classical agents that plan before every episode in an MDP estimated from their experience."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.bayes.tabular_posterior import Belief, Experience, Prior
from metarl_run.env.base import TaskFamily
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class PlanningAgent(MetaAlgorithm):
    """Plan an episode's action values from the belief at its first step, then act on them and keep counting.

        Q = plan(belief) at an episode's first step,        aₜ ~ behaviour(Qₜ(sₜ, ·))

    Args:
        family: gives the horizon.
        observation_space: of the task family; states are one-hot.
        action_space: of the task family.
        prior: the belief before any experience.
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    family: TaskFamily
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    prior: Prior

    def __post_init__(self) -> None:
        super().__post_init__()
        self.horizon = self.family.horizon
        self.experience = Experience(
            num_states=self.observation_space.shape[0],
            num_actions=num_actions(self.action_space),
            horizon=self.horizon,
            prior=self.prior,
        )

    @abstractmethod
    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        """Action values to act on at each step of the coming episode.

        Args:
            belief: of the N envs that begin an episode.
            generator: of the agents' own random draws.
        """

    def behaviour(self, q: Float[Tensor, "M B A"]) -> Categorical:
        """The policy for given action values: greedy, ties broken uniformly."""
        return Categorical(torch.where(q == q.amax(-1, keepdim=True), 0.0, -math.inf))

    def begin(self, task: Any) -> AgentState:
        return self.initial_agents(task.num_tasks, task.mean_reward.device)

    def start(self, num_tasks: int) -> AgentState:
        return self.initial_agents(num_tasks, torch.device("cpu"))

    def initial_agents(self, num_tasks: int, device: torch.device) -> AgentState:
        """The agents before any experience and any plan, all action values 0, their memory on `device`."""
        S, A = self.experience.num_states, self.experience.num_actions
        q = torch.zeros(num_tasks, 1, self.horizon, S, A, device=device)
        return AgentState(params={}, memory={**self.experience.initial_memory(num_tasks, device), "q": q})

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        """The agents with a new plan in every env that begins an episode, from all experience including `percept`."""
        begins = percept.last_ended
        if not begins.any():
            return agent
        belief = self.experience.belief(self.experience.observe(agent.memory, percept), begins)
        old = agent.memory["q"].expand(*begins.shape, -1, -1, -1)
        q = old.index_put((begins,), self.plan(belief, generator))
        return agent._replace(memory={**agent.memory, "q": q})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        seen, q = self.experience.observe(agent.memory, percept), agent.memory["q"]
        t = (seen["step"] - 1).clamp(max=self.horizon - 1)
        row = (t * q.shape[3] + seen["state"])[..., None, None].expand(*t.shape, 1, q.shape[4])
        now = q.flatten(2, 3).expand(*t.shape, -1, -1).gather(2, row).squeeze(2)
        return self.behaviour(now), {**seen, "q": q}
