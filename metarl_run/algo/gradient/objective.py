"""Meta-objective: the loss after adaptation as a function of θ, on one recorded lifetime."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from metarl_run.algo.base import Agents, Losses, finite_mean
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.errors import located
from metarl_run.learner.base import Output
from metarl_run.learner.normaliser import PartOfBatch, part_of_batch
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution, each
from metarl_run.types import AgentState, Divided, Lifetime, Rollout

MetaLosses = Callable[..., Losses]
"""(agents, rollouts, behaviour=None, surrogate=None, batch=None) → meta-losses."""


@dataclass(eq=False)
class MetaObjective:
    """Adapt from θ on recorded rollouts and evaluate the meta-loss on the last one.

        φₖ₊₁(θ) = adapt(φₖ(θ), rolloutₖ),        L_meta(θ) = (1/M) Σᵢ L(φ_Kⁱ(θ), rollout_Kⁱ)

    The graph of the lifetime's own adaptation is used first. After θ has moved, agents are adapted anew, with
    likelihood ratios relative to the agents that collected the rollouts.

    A lifetime that is processed a few tasks at a time has no graph. Its gradient is a sum over parts, each adapted anew
    and freed before the next: K more first-order steps than with one graph of all tasks, but the memory of one part.

    Args:
        algo: starts and adapts the agents.
        losses: L of each task.
        lifetime: recorded rollouts, and the agents that collected them.
        whole: constants of the meta-batch that its tasks are a part of; None if they are all of it.
    """

    algo: GradientBased
    losses: MetaLosses
    lifetime: Lifetime
    whole: MetaBatch | None = None

    def __post_init__(self) -> None:
        agents = self.lifetime.agents
        self.rollouts = self.lifetime.rollouts
        self._with_graph: Agents | None = agents if self.lifetime.tasks_at_once is None else None
        self._recorded = [AgentState({n: p.detach() for n, p in a.params.items()}, a.memory) for a in agents]

    @property
    def num_tasks(self) -> int:
        """M."""
        return len(self.rollouts[0].reward)

    @cached_property
    def outputs(self) -> list[Output]:
        """Network output of the agent that collected each rollout, on that rollout."""
        with torch.no_grad():
            return [self.algo.output(a.params, r) for a, r in zip(self._recorded, self.rollouts, strict=True)]

    @cached_property
    def behaviours(self) -> list[Distribution]:
        """The policy of the agent that collected each rollout."""
        return [self.algo.learner.behaviour(output) for output in self.outputs]

    @cached_property
    def batch(self) -> MetaBatch:
        """Constants of the whole meta-batch; they do not change when θ moves."""
        if self.whole is not None:
            return self.whole
        objectives = [self]
        if self.lifetime.tasks_at_once is not None:
            objectives = [MetaObjective(self.algo, self.losses, part) for part in self.lifetime.parts()]
        experience = [list(zip(one.outputs, one.rollouts, strict=True))[self.algo.counted] for one in objectives]
        return self.algo.meta_batch(list(chain.from_iterable(experience)))

    def agents(self, share: float = 1.0) -> Agents:
        """φ₀(θ), …, φ_K(θ), with their graph where gradients are enabled.

        Args:
            share: share of each task's episodes to adapt on.
        """
        if self._with_graph is not None and share == 1:
            agents, self._with_graph = self._with_graph, None
            return agents
        anew = [self.algo.start(self.num_tasks)]
        for rollout, behaviour in zip(self.rollouts[:-1], self.behaviours, strict=False):
            anew.append(self.algo.adapt(anew[-1], *part(rollout, behaviour, share)))
        return anew

    @cached_property
    def parts(self) -> "list[MetaObjective]":
        """The objectives of the parts of tasks that are processed one after another."""
        if self.lifetime.tasks_at_once is None:
            return [self]
        return [MetaObjective(self.algo, self.losses, part, self.batch) for part in self.lifetime.parts()]

    def gradient(
        self, tensors: Sequence[Tensor], losses_of: "Callable[[MetaObjective], Losses] | None" = None
    ) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """The mean over tasks of some losses, its gradient, and metrics.

        Args:
            tensors: θ.
            losses_of: losses of the tasks of a part; None for L.

        Raises:
            NumericalError: naming the first task whose loss is not finite.
        """
        losses_of = losses_of or MetaObjective.own_losses
        terms, first = [], 0
        for part in self.parts:
            with located(first_task=first):
                terms.append(part.share_of_gradient(tensors, losses_of, self.num_tasks))
            first += part.num_tasks
        return summed(terms)

    def share_of_gradient(
        self, tensors: Sequence[Tensor], losses_of: "Callable[[MetaObjective], Losses]", num_tasks: int
    ) -> tuple[Tensor, Sequence[Tensor], dict[str, Tensor]]:
        """The losses of these tasks, and their terms of means over `num_tasks` tasks; the graph is freed on return."""
        losses, metrics = losses_of(self)
        share = self.num_tasks / num_tasks
        gradients = torch.autograd.grad(losses.mean() * share, tensors)
        return losses.detach(), gradients, {name: value * share for name, value in metrics.items()}

    def own_losses(self) -> Losses:
        """L of each task."""
        return self.losses(self.agents(), self.rollouts, batch=self.whole)

    def proximal_losses(self, agents: Agents, surrogate: Surrogate) -> Losses:
        """L with another surrogate, with ratios relative to the agent that collected the last rollout."""
        return self.losses(agents, self.rollouts, self.behaviours[-1], surrogate, self.batch)

    def divergence(self, agents: Agents, step: int, share: float = 1.0) -> Tensor:
        """KL(π_old ‖ π_φₖ(θ)) of each task, `[M]`; π_old collected rollout k.

        Args:
            agents: φ₀(θ), …, φ_K(θ).
            step: k.
            share: share of the task's episodes to estimate it from.
        """
        learner = self.algo.learner
        assert isinstance(learner, PolicyGradient)  # the configuration was checked for it
        rollout, behaviour = part(self.rollouts[step], self.behaviours[step], share)
        return learner.divergence(behaviour, self.algo.output(agents[step].params, rollout), rollout)

    def task_at_fault(self) -> str:
        """The first task whose own gradient is not finite; for error messages only."""
        gradients = zip(*(part.gradients_of_tasks() for part in self.parts), strict=True)
        return task_at_fault([torch.cat(rows) for rows in gradients])

    def gradients_of_tasks(self) -> Sequence[Tensor]:
        """Gradients of L with respect to each task's own copy of φ₀, `[M, …]` each, before summing over tasks."""
        agents = self.agents()
        losses, _ = self.losses(agents, self.rollouts, batch=self.whole)
        return torch.autograd.grad(losses.sum(), list(agents[0].params.values()), materialize_grads=True)


Term = tuple[Tensor, Sequence[Tensor], dict[str, Tensor]]
"""Losses of the tasks of a part, and their terms of the mean gradient and of metrics."""


def summed(terms: Sequence[Term]) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """The mean loss, its gradient and metrics: sums in the order of the parts.

    Raises:
        NumericalError: naming the first task whose loss is not finite.
    """
    losses, gradients, metrics = zip(*terms, strict=True)
    return (
        finite_mean(torch.cat(losses)),
        [torch.stack(shares).sum(0) for shares in zip(*gradients, strict=True)],
        {name: torch.stack([each[name] for each in metrics]).sum(0) for name in metrics[0]},
    )


class DividedObjective:
    """`MetaObjective` of a meta-batch in parts that live by themselves, perhaps in several processes.

    Its value and gradient depend on the parts and their order, not on the processes: each part's terms are computed
    from its own lifetimes by the same operations wherever it is, and every process adds all terms in the same order.

    Args:
        algo: starts and adapts the agents.
        losses: L of each task.
        lifetimes: with the graph of their adaptation.
    """

    def __init__(self, algo: GradientBased, losses: MetaLosses, lifetimes: Divided) -> None:
        self.lifetimes = lifetimes
        parts = [MetaObjective(algo, losses, one) for one in lifetimes.here]
        batch = _batch_of(algo, parts, lifetimes)
        self.parts = [replace(part, whole=batch) for part in parts]

    def gradient(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """The mean loss over tasks, its gradient with respect to `tensors`, and metrics by name.

        Raises:
            NumericalError: naming the first task whose loss is not finite.
        """
        own, M = MetaObjective.own_losses, self.lifetimes.num_tasks
        return summed(self.lifetimes.of_parts(lambda i: self.parts[i].share_of_gradient(tensors, own, M)))

    def task_at_fault(self) -> str:
        """See `MetaObjective.task_at_fault`."""
        gradients = zip(*self.lifetimes.of_parts(lambda i: self.parts[i].gradients_of_tasks()), strict=True)
        return task_at_fault([torch.cat(rows) for rows in gradients])

    def agents(self, share: float = 1.0) -> Agents:
        raise NotImplementedError(UNDIVIDED)

    def proximal_losses(self, agents: Agents, surrogate: Surrogate) -> Losses:
        raise NotImplementedError(UNDIVIDED)

    def divergence(self, agents: Agents, step: int, share: float = 1.0) -> Tensor:
        raise NotImplementedError(UNDIVIDED)


UNDIVIDED = "only a rule that follows the gradient alone can be given parts of a meta-batch"


def _batch_of(algo: GradientBased, parts: Sequence[MetaObjective], lifetimes: Divided) -> MetaBatch:
    """Constants of the whole meta-batch, from sums over its parts."""
    learner, counted = algo.learner, algo.counted
    if not isinstance(learner, PolicyGradient):
        return MetaBatch([], None)

    def sums(i: int) -> list[PartOfBatch]:
        outputs, rollouts = parts[i].outputs[counted], parts[i].rollouts[counted]
        with torch.no_grad():
            constants = (learner.returns_and_baseline(*one) for one in zip(outputs, rollouts, strict=True))
            return [part_of_batch(*both, rollout) for both, rollout in zip(constants, rollouts, strict=True)]

    return MetaBatch([], learner.normaliser_of_batch(lifetimes.of_parts(sums)))


def part(rollout: Rollout, behaviour: Distribution, share: float) -> tuple[Rollout, Distribution]:
    """The rollout and policy of a share of each task's envs, at least one."""
    envs = max(1, round(share * rollout.reward.shape[-1]))
    if envs == rollout.reward.shape[-1]:
        return rollout, behaviour
    return rollout.first_envs(envs), each(behaviour, lambda x: x[..., :envs, :])


def task_at_fault(stacks: Sequence[Tensor]) -> str:
    """The first task whose row in any of the stacks, `[M, …]` each, is not finite; for error messages."""
    finite = torch.stack([rows.flatten(1).isfinite().all(1) for rows in stacks]).all(0).tolist()
    return f"task {finite.index(False)}" if False in finite else "the mean over tasks"
