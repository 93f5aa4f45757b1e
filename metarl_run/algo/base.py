"""What a meta-algorithm is: how an agent starts in a new task, how it adapts, and how the meta-parameters improve.

Adaptation is a map (AgentState, Rollout) → AgentState. Gradient-based methods rewrite `params`, methods with memory
rewrite `memory`; all live the same lifetimes, in meta-training and meta-testing alike. Algorithms import neither
environments nor rollouts: lifetimes on fresh tasks reach them through `live`.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from metarl_run.policy import Distribution
from metarl_run.types import AgentState, Lifetime, Memory, Percept, Rollout


@runtime_checkable
class Live(Protocol):
    """Lifetimes in meta-training tasks.

    `live(adaptation_steps)`: in fresh tasks.
    `live(adaptation_steps, again=True)`: in the tasks of the call before, with the same randomness.
    `live(adaptation_steps, agents)`: of given agents, each in a standing task of its own. A run has as many standing
    tasks as its meta-batches have tasks, drawn from the same distribution once: task i is the same in every call.
    """

    def __call__(self, adaptation_steps: int, agents: AgentState | None = None, *, again: bool = False) -> Lifetime: ...


class MetaAlgorithm(ABC):
    """One way to behave and adapt in a new task. Hand-made agents stop here: their meta-training is empty.

    Attributes:
        provides, requires: words that must match between the chosen components; see `metarl_run.config`.
        compilable: `act` depends on its arguments alone, looks at no number of theirs, and nothing is drawn; see
            `metarl_run.compiled`. An agent that remembers has an `act_by` besides, whose first argument is θ.
        remembers: the agent carries its memory from episode to episode, so a lifetime is one rollout of many episodes.
        keeps_policy: what its actions were chosen from is kept, see `metarl_run.types.Lifetime`.
        acts_on_memory: `act` looks at the memory, where there is one; else `adapt` alone does.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    compilable: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    keeps_policy: ClassVar[bool] = False
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

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        """The agents after learning from `rollout`: step k → k + 1. Differentiable where gradients are enabled.

        Who learns while it acts has nothing to do: it goes on with the memory that it ended with.
        """
        return agent._replace(memory=rollout.memory)
