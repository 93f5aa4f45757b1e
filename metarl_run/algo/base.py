"""What a meta-algorithm is: how an agent starts in a new task, how it adapts, and how the meta-parameters improve.

Adaptation is a map (AgentState, Rollout) → AgentState. Gradient-based methods rewrite `params`, methods with memory
rewrite `memory`; all live the same lifetimes, in meta-training and meta-testing alike. Algorithms import neither
environments nor rollouts: lifetimes on fresh tasks reach them through `live`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from metarl_run.policy import Distribution
from metarl_run.types import AgentState, Lifetime, Memory, Percept, Rollout

Live = Callable[[int], Lifetime]
"""`live(adaptation_steps)`: lifetimes on fresh meta-training tasks."""


class MetaAlgorithm(ABC):
    """One way to behave and adapt in a new task. Hand-made agents stop here: their meta-training is empty.

    Attributes:
        provides, requires: words that must match between the chosen components; see `metarl_run.config`.
        remembers: the agent carries its memory from episode to episode, so a lifetime is one rollout of many episodes.
        acts_on_memory: `act` looks at the memory, where there is one; else `adapt` alone does.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[bool] = False
    acts_on_memory: ClassVar[bool] = True

    def begin(self, task: Any) -> AgentState:
        """The agents before any experience in `task`. Only a privileged agent looks at more than how many there are."""
        return self.start(task.num_tasks)

    @abstractmethod
    def start(self, num_tasks: int) -> AgentState:
        """The agents before any experience, one per task."""

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        """The agents with what they draw for themselves before they act, such as a hypothesis of the task.

        Most draw nothing: the randomness of the action itself is not theirs, but that of its distribution.
        """
        return agent

    @abstractmethod
    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """The distribution of the next action in every slot, and the memory after seeing `percept`.

        An agent without memory looks at the observation alone.
        """

    @abstractmethod
    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        """The agents after learning from `rollout`: step k → k + 1. Differentiable where gradients are enabled."""
