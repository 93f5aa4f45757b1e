"""What a meta-algorithm is: how an agent starts in a new task, how it adapts, and how the meta-parameters improve.

Adaptation is a map (AgentState, Rollout) → AgentState. Gradient-based methods rewrite `params`, methods with memory
rewrite `memory`; all live the same lifetimes, in meta-training and meta-testing alike. Algorithms import neither
environments nor rollouts: lifetimes on fresh tasks reach them through `live`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.errors import NumericalError
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution
from metarl_run.types import AgentState, Lifetime, Memory, Params, Percept, Rollout, chunks

Agents = Sequence[AgentState]
"""φ₀, …, φ_K of one lifetime."""

Losses = tuple[Tensor, dict[str, Tensor]]
"""Of each task, `[M]`, and quantities worth logging: means over tasks."""


@runtime_checkable
class Live(Protocol):
    """Lifetimes in meta-training tasks.

    `live(adaptation_steps)`: in fresh tasks.
    `live(adaptation_steps, again=True)`: in the tasks of the call before, with the same randomness.
    `live(adaptation_steps, agents)`: of given agents, each in a standing task of its own. A run has as many standing
    tasks as its meta-batches have tasks, drawn from the same distribution once: task i is the same in every call.
    """

    def __call__(self, adaptation_steps: int, agents: AgentState | None = None, *, again: bool = False) -> Lifetime: ...


class MetaAlgorithm(Component, ABC):
    """One way to behave and adapt in a new task. Hand-made agents stop here: their meta-training is empty.

    Attributes:
        provides, requires: words that must match between the chosen components; see `metarl_run.config`.
        compilable: `act` depends on its arguments alone, looks at no number of theirs, and nothing is drawn; see
            `metarl_run.compiled.rollouts`. An agent that remembers has an `act_by` besides, whose first argument is θ.
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


@runtime_checkable
class Stateful(Protocol):
    """Something with a state of its own to save and resume."""

    def state(self) -> dict[str, list[Tensor]]: ...

    def load_state(self, state: dict[str, list[Tensor]]) -> None: ...


@runtime_checkable
class Objective(Protocol):
    """The meta-objective as a meta-optimiser sees it: losses of tasks as a function of θ, on what was recorded."""

    def gradient(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Mean loss over tasks, its gradient with respect to `tensors`, and quantities worth logging."""

    def agents(self, share: float = 1.0) -> Agents:
        """φ₀(θ), …, φ_K(θ), adapted to a share of each task's episodes."""

    def proximal_losses(self, agents: Agents, surrogate: Surrogate) -> Losses:
        """Losses relative to the agents that collected the last rollout."""

    def divergence(self, agents: Agents, step: int, share: float = 1.0) -> Tensor:
        """KL of each task's policy φₖ(θ) from the one that collected rollout k = `step`, `[M]`."""

    def task_at_fault(self) -> str:
        """The first task whose gradient is not finite, for error messages."""


class MetaLearner(MetaAlgorithm):
    """A meta-algorithm with meta-parameters that improve over meta-iterations.

    Attributes:
        meta_params: θ, what is meta-learned: leaf tensors.
        meta_optimizer: how θ follows the meta-gradient.
    """

    meta_params: Params = field(init=False)
    meta_optimizer: Stateful

    @abstractmethod
    def meta_update(self, live: Live) -> dict[str, Tensor]:
        """Improve the meta-parameters once and return quantities worth logging."""

    def state(self) -> dict[str, Any]:
        """Everything that meta-training changes, as plain containers of tensors."""
        meta_params = {name: tensor.detach() for name, tensor in self.meta_params.items()}
        return {"meta_params": meta_params, "meta_optimizer": self.meta_optimizer.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.load_meta_params(state["meta_params"])
        self.meta_optimizer.load_state(state["meta_optimizer"])

    def load_meta_params(self, meta_params: Params) -> None:
        """Take over θ alone, in place, so that the optimiser goes on with the same tensors."""
        with torch.no_grad():
            for name, tensor in self.meta_params.items():
                tensor.copy_(meta_params[name])


def finite_mean(losses: Tensor) -> Tensor:
    """The mean over tasks of their meta-losses `[M]`.

    Raises:
        NumericalError: naming the first task whose loss is not finite.
    """
    mean = losses.mean()
    if not torch.isfinite(mean):
        bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        where = f"{losses[bad[0]].item()} in task {bad[0]}" if bad else f"{mean.item()} as the mean over tasks"
        raise NumericalError("meta-loss", f"must be finite, got {where}", "lower inner_lr")
    return mean


def adapt_in_parts(algo: MetaAlgorithm, agent: AgentState, rollout: Rollout, tasks_at_once: int | None) -> AgentState:
    """The agents after learning from `rollout`, as of `algo.adapt`, which knows no task's neighbours.

    Args:
        algo: how agents adapt.
        agent: M of them.
        rollout: what they lived through.
        tasks_at_once: so many adapt at a time, and no graph is kept: it would hold the memory of all; None for all at
            once, with their graph where gradients are enabled.
    """
    if tasks_at_once is None:
        return algo.adapt(agent, rollout)
    with torch.no_grad():
        parts = [algo.adapt(agent.tasks(i), rollout.tasks(i)) for i in chunks(len(rollout.reward), tasks_at_once)]
    return AgentState(_joined([part.params for part in parts]), _joined([part.memory for part in parts]))


def _joined(records: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([record[name] for record in records]) for name in records[0]}
