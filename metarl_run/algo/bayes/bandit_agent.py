"""Bases of the classical agents for bandits: they count what each arm has paid and learn nothing else."""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium
import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.kinds import Positive
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class CountingAgent(MetaAlgorithm):
    """Keep statistics of each arm, and choose by these.

    The memory holds them, `[M, B, A]`, and `pulls`, `[M, B]`, the number of pulls including the coming one.

    Args:
        action_space: one action per arm.
    """

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
        arms = torch.ones(num_tasks, 1, self.num_arms, device=device)
        pulls = torch.zeros(num_tasks, 1, dtype=torch.int64, device=device)
        return AgentState(params={}, memory={**self.statistics(arms), "pulls": pulls})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        memory = self.observe(agent.memory, percept)
        return Categorical(self.logits(memory)), memory

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous pull, which `percept` reports; before the first pull there is none to count."""
        M, B = percept.last_reward.shape
        memory = {name: x.expand(M, B, *x.shape[2:]) for name, x in memory.items()}
        arm, reward = percept.last_action.unsqueeze(-1), percept.last_reward.unsqueeze(-1)
        happened = (memory["pulls"] > 0).to(reward.dtype).unsqueeze(-1)
        terms = self.terms(happened, reward)
        counted = {name: memory[name].scatter_add(-1, arm, term) for name, term in terms.items()}
        return {**memory, **counted, "pulls": memory["pulls"] + 1}

    @abstractmethod
    def statistics(self, arms: Float[Tensor, "M 1 A"]) -> Memory:
        """The statistics before the first pull; `arms` are ones."""

    @abstractmethod
    def terms(self, happened: Float[Tensor, "M B 1"], reward: Float[Tensor, "M B 1"]) -> Memory:
        """What a pull adds to the statistics of its arm: nothing if none `happened`, 0 instead of 1."""

    @abstractmethod
    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        """Unnormalised log-probabilities of the next pull, given the statistics."""


class BanditAgent(CountingAgent):
    """Count each arm's successes and failures, starting from independent Beta priors, and choose by these counts.

        start:                                   s(a) = prior_successes,    f(a) = prior_failures
        after pulling a with reward r ∈ {0, 1}:  s(a) ← s(a) + r,           f(a) ← f(a) + 1 − r

    The posterior of arm a's success probability is Beta(s(a), f(a)). The memory holds `successes` and `failures`.

    Args:
        prior_successes, prior_failures: parameters of each arm's Beta prior, > 0.
    """

    requires: ClassVar[tuple[str, ...]] = ("bandit",)

    prior_successes: Positive
    prior_failures: Positive

    def statistics(self, arms: Float[Tensor, "M 1 A"]) -> Memory:
        return {"successes": arms * self.prior_successes, "failures": arms * self.prior_failures}

    def terms(self, happened: Float[Tensor, "M B 1"], reward: Float[Tensor, "M B 1"]) -> Memory:
        return {"successes": happened * reward, "failures": happened * (1 - reward)}


def deterministic_logits(arm: Int[Tensor, "M B"], num_arms: int) -> Float[Tensor, "M B A"]:
    """Logits of the distribution that always chooses `arm`."""
    never = torch.full((*arm.shape, num_arms), -torch.inf, device=arm.device)
    return never.scatter(-1, arm.unsqueeze(-1), 0.0)
