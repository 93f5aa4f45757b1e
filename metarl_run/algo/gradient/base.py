"""Base of gradient-based methods: agents start at θ and adapt by gradient steps on the base learner's loss."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm, require_finite_losses
from metarl_run.algo.gradient.inner_rule import SGD, InnerRule
from metarl_run.component import field
from metarl_run.errors import NumericalError
from metarl_run.kinds import Positive
from metarl_run.learner.base import BaseLearner, Output
from metarl_run.learner.normaliser import Normaliser
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.network.base import Network
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

Move = Callable[[AgentState, Params], AgentState]
"""(agents, gradient of every adapted parameter) → the agents after one step."""


class MetaBatch(NamedTuple):
    """Constants of a whole meta-batch, shared by the parts of it that are processed one after another.

    Attributes:
        rollouts: the rollouts of all tasks that enter the meta-loss.
        normaliser: shared normaliser of the tasks' policy losses in the meta-objective; None if the learner has none.
    """

    rollouts: Sequence[Rollout]
    normaliser: Normaliser | None


class GradientBased(MetaAlgorithm):
    """Agents that adapt by plain gradient descent.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)        as many such steps as the learner has epochs

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to the outputs that the learner reads.
        meta_params: θ.
        inner_lr: α > 0.

    Attributes:
        first_order: treat ∇L as a constant when differentiating through φₖ₊₁.
        head_only: adapt only the network's last layer.
        inner_rule: direction of a step given ∇L; plain gradient descent unless an algorithm replaces it.
        inner_surrogate: surrogate of the gradient steps if not the learner's own; all have the same first derivative.
        counted: slice of a lifetime's rollouts that enter the meta-loss.
    """

    learner: BaseLearner
    network: Network
    meta_params: Params
    inner_lr: Positive
    first_order: bool = field(init=False)
    head_only: bool = field(init=False, default=False)
    inner_rule: InnerRule = field(init=False, default=SGD())
    inner_surrogate: Surrogate | None = field(init=False, default=None)
    counted: slice = field(init=False, default=slice(-1, None))

    acts_on_memory: ClassVar[bool] = False  # at most the inner rule has a memory
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.initial = {name: tensor.requires_grad_() for name, tensor in self.meta_params.items()}
        head = self.network.head_names()
        if self.head_only:
            self.network.keep_heads_apart()
        self.adapted = [name for name in self.initial if not self.head_only or name in head]
        self.meta_params = self.initial | self.learned_beside()

    def learned_beside(self) -> Params:
        """Further meta-parameters besides the initialisation."""
        return {}

    def start(self, num_tasks: int) -> AgentState:
        stacks = {name: θ.expand(num_tasks, *θ.shape).clone() for name, θ in self.initial.items()}
        return AgentState(
            params=stacks, memory=self.inner_rule.initial_memory({name: stacks[name] for name in self.adapted})
        )

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        output, memory = self.network(agent.params, percept.observation, agent.memory)
        return self.learner.policy(output), memory

    def output(self, params: Params, rollout: Rollout) -> Output:
        """Network output at every row of the rollout's observations."""
        return self.network(params, rollout.observation, {})[0]

    def loss(
        self,
        params: Params,
        rollout: Rollout,
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L of each task, `[M]`, each normalised by its own experience, and the learner's metrics.

        Args:
            params: the agents' parameters.
            rollout: experience of each task.
            behaviour: policy that collected it; None if it is the policy of `params`.
            surrogate: replaces a policy-gradient learner's own.
        """
        return self.loss_of(self.learner, self.output(params, rollout), rollout, behaviour, surrogate)

    def meta_batch(self, experience: Sequence[tuple[Output, Rollout]]) -> MetaBatch:
        """Constants of the whole meta-batch that its parts need.

        Args:
            experience: network outputs and rollouts that enter the meta-loss.
        """
        rollouts = [rollout for _, rollout in experience]
        if not isinstance(self.learner, PolicyGradient):
            return MetaBatch(rollouts, None)
        with torch.no_grad():
            constants = [
                (*self.learner.returns_and_baseline(output, rollout), rollout) for output, rollout in experience
            ]
            return MetaBatch(rollouts, self.learner.shared_normaliser(constants))

    def loss_of(
        self,
        learner: BaseLearner,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None,
        surrogate: Surrogate | None,
        shared: Normaliser | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The learner's loss of each task, with the given surrogate and shared normaliser, if any."""
        if surrogate is None and shared is None:
            return learner.loss(output, rollout, behaviour)
        assert isinstance(learner, PolicyGradient)  # the configuration was checked for it
        return learner.loss(output, rollout, behaviour, surrogate, shared)

    def adapt(self, agent: AgentState, rollout: Rollout, behaviour: Distribution | None = None) -> AgentState:
        """The agents after gradient steps on `rollout`.

        Args:
            agent: φₖ.
            rollout: experience of each task.
            behaviour: policy that collected it; None if it is the policy of φₖ.
        """
        return self.descend(agent, rollout, behaviour, self.learner, self.move)

    def descend(
        self, agent: AgentState, rollout: Rollout, behaviour: Distribution | None, learner: BaseLearner, move: Move
    ) -> AgentState:
        """The agents after as many steps as the learner has epochs.

        Args:
            agent: φₖ.
            rollout: experience of each task.
            behaviour: as in `adapt`.
            learner: defines the loss.
            move: update of the agents by its gradients.

        Raises:
            NumericalError: if a loss or gradient is not finite, naming the first task and parameter.
        """
        differentiable = torch.is_grad_enabled()
        for epoch in range(learner.epochs):
            with torch.enable_grad():
                φ = agent.params
                if not differentiable:
                    φ = {name: p.detach().requires_grad_() for name, p in φ.items()}
                output = self.output(φ, rollout)
                losses, _ = self.loss_of(learner, output, rollout, behaviour, self.inner_surrogate)
                require_finite_losses(f"inner loss of {type(learner).__name__}", losses)
                # Tasks do not share parameters here, so the gradient of the sum is every task's own gradient.
                gradients = torch.autograd.grad(
                    losses.sum(),
                    [φ[name] for name in self.adapted],
                    create_graph=differentiable and not self.first_order,
                )
            require_finite_gradients(self.adapted, gradients)
            agent = move(agent, dict(zip(self.adapted, gradients, strict=True)))
            if behaviour is None and epoch + 1 < learner.epochs:  # later epochs are off-policy
                behaviour = learner.behaviour(output)
        return agent

    def move(self, agent: AgentState, gradients: Params) -> AgentState:
        """The agents after one step, given the gradient of every adapted parameter."""
        directions, memory = self.inner_rule.directions(gradients, agent.memory)
        moved = {name: self.step(name, agent.params[name], d) for name, d in directions.items()}
        return AgentState(agent.params | moved, memory)

    def step(self, name: str, φ: Tensor, direction: Tensor) -> Tensor:
        """The parameter `name` after one step from `φ`."""
        return φ - self.inner_lr * direction


def require_finite_gradients(names: Sequence[str], gradients: Sequence[Tensor]) -> None:
    """Raise NumericalError if an inner gradient is not finite, naming its parameter and task.

    Args:
        names: of the parameters.
        gradients: one per parameter, `[M, …]`.
    """
    if all_finite(*gradients):
        return
    for name, gradient in zip(names, gradients, strict=True):
        found = first_not_finite(gradient)
        if found is not None:
            (task, *_), got = found
            raise NumericalError(f"inner gradient of {name}", f"must be finite, got {got}", task=task)
