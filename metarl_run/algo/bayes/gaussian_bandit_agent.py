"""Base of the classical agents for Gaussian bandits: they count pulls, add up rewards and learn nothing else."""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class GaussianBanditAgent(MetaAlgorithm):
    """Keep each arm's number of pulls n(a) and sum of rewards Σr(a), and choose by these.

    The memory holds `arm_pulls` and `total_reward`, `[M, B, A]`, and `pulls`, `[M, B]`, the number of pulls including
    the coming one.

    Args:
        action_space: one action per arm.
    """

    requires: ClassVar[tuple[str, ...]] = ("gaussian_bandit",)
    remembers: ClassVar[bool] = True

    action_space: gymnasium.Space[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_arms = num_actions(self.action_space)

    def begin(self, task: Any) -> AgentState:
        return self.initial_agents(task.num_tasks, task.mean_reward.device)

    def start(self, num_tasks: int) -> AgentState:
        return self.initial_agents(num_tasks, torch.device("cpu"))

    def initial_agents(self, num_tasks: int, device: torch.device) -> AgentState:
        """The agents before any experience, their memory on `device`."""
        memory = {
            "arm_pulls": torch.zeros(num_tasks, 1, self.num_arms, device=device),
            "total_reward": torch.zeros(num_tasks, 1, self.num_arms, device=device),
            "pulls": torch.zeros(num_tasks, 1, dtype=torch.int64, device=device),
        }
        return AgentState(params={}, memory=memory)

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        memory = self.observe(agent.memory, percept)
        return Categorical(self.logits(memory)), memory

    @abstractmethod
    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        """Unnormalised log-probabilities of the next pull, given the counts."""

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous pull, which `percept` reports; before the first pull there is none to count."""
        M, B = percept.last_reward.shape
        memory = {name: x.expand(M, B, *x.shape[2:]) for name, x in memory.items()}
        arm, reward = percept.last_action.unsqueeze(-1), percept.last_reward.unsqueeze(-1)
        happened = (memory["pulls"] > 0).to(reward.dtype).unsqueeze(-1)
        return {
            **memory,
            "arm_pulls": memory["arm_pulls"].scatter_add(-1, arm, happened),
            "total_reward": memory["total_reward"].scatter_add(-1, arm, happened * reward),
            "pulls": memory["pulls"] + 1,
        }
