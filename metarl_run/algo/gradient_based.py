"""What gradient-based methods share: agents that start at θ and adapt by gradient steps on the base learner's loss."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.errors import NumericalError
from metarl_run.learner.base import BaseLearner
from metarl_run.network.base import Network
from metarl_run.policy import Categorical
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout


class GradientBased(MetaAlgorithm):
    """Agents that adapt by plain gradient descent.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to what the learner reads.
        meta_params: θ.
        inner_lr: α > 0.
        first_order: treat ∇L as a constant when differentiating through φₖ₊₁.
    """

    def __init__(
        self, learner: BaseLearner, network: Network, meta_params: Params, inner_lr: float, *, first_order: bool
    ) -> None:
        self.learner, self.network, self.inner_lr, self.first_order = learner, network, inner_lr, first_order
        self.meta_params = {name: tensor.requires_grad_() for name, tensor in meta_params.items()}

    def start(self, num_tasks: int) -> AgentState:
        stacks = {name: θ.expand(num_tasks, *θ.shape).clone() for name, θ in self.meta_params.items()}
        return AgentState(params=stacks, memory={})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        output, memory = self.network(agent.params, percept.observation, agent.memory)
        return self.learner.policy(output), memory

    def loss(self, params: Params, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """L of each task, `[M]`, and the learner's metrics."""
        output: Mapping[str, Tensor]
        output, _ = self.network(params, rollout.observation, {})
        return self.learner.loss(output, rollout)

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            φ = agent.params
            if not differentiable:
                φ = {name: tensor.detach().requires_grad_() for name, tensor in φ.items()}
            losses, _ = self.loss(φ, rollout)
            # Tasks do not share parameters here, so the gradient of the sum is every task's own gradient.
            gradients = torch.autograd.grad(
                losses.sum(), list(φ.values()), create_graph=differentiable and not self.first_order
            )
        return AgentState(
            params={
                name: tensor - self.inner_lr * g
                for (name, tensor), g in zip(agent.params.items(), gradients, strict=True)
            },
            memory=agent.memory,
        )


def finite_mean(losses: Tensor) -> Tensor:
    """The mean over tasks of their meta-losses `[M]`.

    Raises:
        NumericalError: naming the first task whose loss is not finite.
    """
    mean = losses.mean()
    if not torch.isfinite(mean):
        bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        raise NumericalError(
            "meta-loss", f"must be finite, got {losses[bad[0]].item()} in task {bad[0]}", "lower inner_lr"
        )
    return mean
