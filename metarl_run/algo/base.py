"""Interface of meta-algorithms: how an agent starts in a new task, adapts, and how the meta-parameters improve.

Adaptation is a map (AgentState, Rollout) → AgentState. Gradient-based methods rewrite `params`, methods with memory
rewrite `memory`; all run the same lifetimes, in meta-training and meta-testing alike. Algorithms import neither
environments nor rollouts: they collect lifetimes through `live`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.errors import NumericalError, located
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.types import AgentState, Divided, Lifetime, Memory, Params, Percept, Rollout, chunks

Agents = Sequence[AgentState]
"""φ₀, …, φ_K of one lifetime: the agents before and after each adaptation."""

Losses = tuple[Tensor, dict[str, Tensor]]
"""The loss of each task, `[M]`, and metrics by name, averaged over tasks."""


@runtime_checkable
class Live(Protocol):
    """Lifetimes in meta-training tasks.

    `live(adaptation_steps)`: in fresh tasks.
    `live(adaptation_steps, again=True)`: in the tasks of the previous call, with the same randomness.
    `live(adaptation_steps, agents)`: of given agents, each in a standing task of its own. Standing tasks are drawn once
    per run, as many as a meta-batch has tasks: task i is the same in every call.
    """

    def __call__(self, adaptation_steps: int, agents: AgentState | None = None, *, again: bool = False) -> Lifetime: ...


@runtime_checkable
class LiveDivided(Protocol):
    """`live(adaptation_steps)`: lifetimes in fresh meta-training tasks, in parts."""

    def __call__(self, adaptation_steps: int) -> Divided: ...


@runtime_checkable
class Divides(Protocol):
    """A meta-learner that can learn from a meta-batch in parts; its class provides `divides`."""

    def divided_update(self, live: LiveDivided) -> dict[str, Tensor]:
        """`meta_update` on lifetimes in parts; the result does not depend on where these live."""


class MetaAlgorithm(Component, ABC):
    """A way to behave and adapt in a new task. Classical agents derive from it directly: they have no meta-training.

    Attributes:
        provides, requires: capabilities that must match between the chosen components; see `metarl_run.config`.
        compilable: `act` is a pure function without data-dependent control flow or random draws; see
            `metarl_run.compiled.rollouts`. An agent that remembers also has an `act_by`, whose first argument is θ.
        remembers: the agent carries its memory from episode to episode, so a lifetime is one rollout of many episodes.
        keeps_policy: the action distributions of rollouts are kept, see `metarl_run.types.Lifetime`.
        acts_on_memory: `act` reads the memory; otherwise only `adapt` does.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    compilable: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    keeps_policy: ClassVar[bool] = False
    acts_on_memory: ClassVar[bool] = True

    def begin(self, task: Any) -> AgentState:
        """The agents before any experience in `task`. Only a privileged agent reads more than the number of tasks."""
        return self.start(task.num_tasks)

    @abstractmethod
    def start(self, num_tasks: int) -> AgentState:
        """The agents before any experience, one per task."""

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        """The agents after drawing what they need before they act, such as a hypothesis about the task.

        Most draw nothing: the action itself is sampled elsewhere, from the distribution that `act` returns.
        """
        return agent

    @abstractmethod
    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """The distribution of the next action in every env, and the memory after seeing `percept`.

        An agent without memory reads only the observation.
        """

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        """The agents after learning from `rollout`: step k → k + 1. Differentiable where gradients are enabled.

        An agent that learns while it acts just keeps the memory that the rollout ended with.
        """
        return agent._replace(memory=rollout.memory)


class Later(NamedTuple):
    """A tensor that a state has only once there is experience: in a form, in the place of the tensor."""

    tensor: Tensor


@runtime_checkable
class Stateful(Protocol):
    """An object whose state is saved in checkpoints, such as a meta-optimiser."""

    def state(self) -> dict[str, list[Tensor]]:
        """Everything that changes, as lists of tensors by name."""

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Continue from what `state` returned."""


@runtime_checkable
class Objective(Protocol):
    """The meta-objective as meta-optimisers see it: losses of tasks as a function of θ, on recorded lifetimes.

    θ is the current value of the meta-parameters: every call evaluates the objective where θ is then.
    """

    def gradient(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """Mean loss over tasks, its gradient with respect to `tensors`, and metrics by name."""

    def agents(self, share: float = 1.0) -> Agents:
        """φ₀(θ), …, φ_K(θ), adapted on a share of each task's episodes, with their graph."""

    def proximal_losses(self, agents: Agents, surrogate: Surrogate) -> Losses:
        """Losses of φ_K(θ) by `surrogate`, with likelihood ratios relative to the agents that collected the data."""

    def divergence(self, agents: Agents, step: int, share: float = 1.0) -> Tensor:
        """KL(π_old ‖ π_φₖ(θ)) of each task, `[M]`, from the policy that collected rollout k = `step`."""

    def task_at_fault(self) -> str:
        """The first task whose gradient is not finite, for error messages."""


class MetaLearner(MetaAlgorithm):
    """A meta-algorithm with meta-parameters that improve over meta-iterations.

    Attributes:
        meta_params: θ, leaf tensors by name.
        meta_optimizer: update rule of θ.
    """

    meta_params: Params = field(init=False)
    meta_optimizer: Stateful

    @abstractmethod
    def meta_update(self, live: Live) -> dict[str, Tensor]:
        """Improve the meta-parameters once; metrics by name."""

    def state(self) -> dict[str, Any]:
        """Everything that meta-training changes, as plain containers of tensors."""
        meta_params = {name: tensor.detach() for name, tensor in self.meta_params.items()}
        return {"meta_params": meta_params, "meta_optimizer": self.meta_optimizer.state()}

    def form(self) -> dict[str, Any]:
        """Form of every state: names, shapes, dtypes and kinds, which a checkpoint must have to be loaded.

        By default that of the agent before any experience, where an empty container stands for any of its kind.
        """
        return self.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned; what it is given has the form `form`."""
        self.load_meta_params(state["meta_params"])
        self.meta_optimizer.load_state(state["meta_optimizer"])

    def load_meta_params(self, meta_params: Params) -> None:
        """Copy θ alone, in place: the optimiser holds references to the same tensors."""
        with torch.no_grad():
            for name, tensor in self.meta_params.items():
                tensor.copy_(meta_params[name])


def finite_mean(losses: Tensor) -> Tensor:
    """The mean over tasks of their meta-losses `[M]`.

    Raises:
        NumericalError: naming the first task whose loss is not finite.
    """
    require_finite_losses("meta-loss", losses)
    return required_finite("meta-loss", losses.mean())


def require_finite_losses(quantity: str, losses: Tensor, hint: str | None = None) -> None:
    """Raise NumericalError if the loss of a task is not finite, naming the first such task.

    Args:
        quantity: name of the losses.
        losses: `[M]`.
        hint: the next step.
    """
    if not all_finite(losses):
        found = first_not_finite(losses)
        assert found is not None
        (task,), got = found
        raise NumericalError(quantity, f"must be finite, got {got}", hint, task=task)


def required_finite(quantity: str, x: Tensor) -> Tensor:
    """A number, checked.

    Raises:
        NumericalError: if it is not finite.
    """
    if not all_finite(x):
        raise NumericalError(quantity, f"must be finite, got {x.item()}")
    return x


def adapt_in_parts(algo: MetaAlgorithm, agent: AgentState, rollout: Rollout, tasks_at_once: int | None) -> AgentState:
    """The agents after learning from `rollout`, a few tasks at a time: the same as `algo.adapt` on all of them.

    Args:
        algo: adapts each task independently of the others.
        agent: M agents.
        rollout: their experience.
        tasks_at_once: number of tasks that adapt at a time, without a graph, which would hold the activations of all;
            None adapts all at once, with their graph where gradients are enabled.
    """
    if tasks_at_once is None:
        return algo.adapt(agent, rollout)
    parts = []
    for part in chunks(len(rollout.reward), tasks_at_once):
        with torch.no_grad(), located(first_task=part.start):
            parts.append(algo.adapt(agent.tasks(part), rollout.tasks(part)))
    return joined(parts)


def joined(parts: Sequence[AgentState]) -> AgentState:
    """The agents of all parts' tasks."""
    return AgentState(_joined([part.params for part in parts]), _joined([part.memory for part in parts]))


def _joined(records: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([record[name] for record in records]) for name in records[0]}
