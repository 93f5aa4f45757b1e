"""The meta-objective: what θ is worth, as a function of θ, on what one lifetime has recorded."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metarl_run.algo.gradient_based import GradientBased
from metarl_run.errors import NumericalError
from metarl_run.learner.base import Output
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.learner.surrogate import Surrogate
from metarl_run.types import AgentState, Lifetime, Rollout

Agents = Sequence[AgentState]


MetaLosses = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"""(agents, rollouts, behaviour=None, surrogate=None) → meta-loss of each task `[M]`, and quantities worth logging."""


class MetaObjective:
    """Adapt from θ on recorded rollouts, and measure what came of it on the last one.

        φₖ₊₁(θ) = adapt(φₖ(θ), rolloutₖ),        L_meta(θ) = (1/M) Σᵢ L(φ_Kⁱ(θ), rollout_Kⁱ)

    The lifetime adapted once already, and that graph is used first. After θ has moved, the agents are adapted anew,
    with likelihood ratios relative to the agents that collected the rollouts.

    Args:
        algo: how agents start and adapt.
        losses: L of each task.
        lifetime: what was recorded.
    """

    def __init__(self, algo: GradientBased, losses: MetaLosses, lifetime: Lifetime) -> None:
        self.algo, self.losses, self.rollouts = algo, losses, lifetime.rollouts
        self._lived: Agents | None = lifetime.agents
        self._behaviours: list[Output] | None = None
        self._recorded = [AgentState({n: p.detach() for n, p in a.params.items()}, a.memory) for a in lifetime.agents]

    @property
    def behaviours(self) -> list[Output]:
        """What the agent that collected each rollout had put out."""
        if self._behaviours is None:
            with torch.no_grad():
                self._behaviours = [
                    self.algo.output(agent.params, rollout)
                    for agent, rollout in zip(self._recorded, self.rollouts, strict=True)
                ]
        return self._behaviours

    def agents(self, share: float = 1.0) -> Agents:
        """φ₀(θ), …, φ_K(θ), with their graph where gradients are enabled.

        Args:
            share: of each task's episodes that is adapted to.
        """
        if self._lived is not None and share == 1:
            lived, self._lived = self._lived, None
            return lived
        agents = [self.algo.start(len(self.rollouts[0].reward))]
        for rollout, behaviour in zip(self.rollouts[:-1], self.behaviours, strict=False):
            agents.append(self.algo.adapt(agents[-1], *part(rollout, behaviour, share)))
        return agents

    def proximal_losses(self, agents: Agents, surrogate: Surrogate) -> tuple[Tensor, dict[str, Tensor]]:
        """L with another surrogate, relative to the agent that collected the last rollout."""
        return self.losses(agents, self.rollouts, self.behaviours[-1], surrogate)

    def divergence(self, agents: Agents, step: int, share: float = 1.0) -> Tensor:
        """KL of each task's policy φₖ(θ) from the one that collected rollout k, `[M]`.

        Args:
            agents: φ₀(θ), …, φ_K(θ).
            step: k.
            share: of the task's episodes that is looked at.
        """
        learner = self.algo.learner
        assert isinstance(learner, PolicyGradient)  # the configuration was checked for it
        rollout, behaviour = part(self.rollouts[step], self.behaviours[step], share)
        return learner.divergence(behaviour, self.algo.output(agents[step].params, rollout), rollout)

    def task_at_fault(self) -> str:
        """The first task whose own gradient is not finite; for error messages only."""
        agents = self.agents()
        losses, _ = self.losses(agents, self.rollouts)
        # Of the stack φ₀: its rows are the tasks' own gradients, before they meet in θ.
        return task_at_fault(torch.autograd.grad(losses.sum(), list(agents[0].params.values())))


def part(rollout: Rollout, behaviour: Output, share: float) -> tuple[Rollout, Output]:
    """A share of each task's slots, at least one, and what was put out there."""
    slots = max(1, round(share * rollout.reward.shape[-1]))
    if slots == rollout.reward.shape[-1]:
        return rollout, behaviour
    return rollout.first_slots(slots), {head: value[..., :slots, :] for head, value in behaviour.items()}


def task_at_fault(stacks: Sequence[Tensor]) -> str:
    """The first task whose row in one of the stacks, `[M, …]` each, is not finite; for error messages."""
    finite = torch.stack([rows.flatten(1).isfinite().all(1) for rows in stacks]).all(0).tolist()
    return f"task {finite.index(False)}" if False in finite else "the mean over tasks"


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
