"""Outer update of agents with memory: several passes of a base learner over whole lifetimes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.base import required_finite
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Distribution, each
from metarl_run.types import Rollout


@dataclass(kw_only=True)
class Outer:
    """Improve a policy on lifetimes, treating each as one episode and back-propagating through all of it.

    A pass takes one optimiser step per minibatch of lifetimes. Passes end early once the policy has moved further than
    `max_kl` from the one that collected the lifetimes.

    Args:
        learner: gives the loss and the number of passes.
        optimizer: updates the parameters.
        minibatches: optimiser steps per pass.
        max_kl: limit on the mean over steps of KL(π_old ‖ π), nats.
        auxiliary: a further loss, of the outputs and the lifetimes that they are of, with its metrics; None for none.
    """

    learner: Critic
    optimizer: GradientRule
    minibatches: int
    max_kl: float
    auxiliary: Callable[[Output, Rollout], tuple[Tensor, dict[str, Tensor]]] | None = None

    def improve(
        self, outputs: Callable[[slice], Output], lifetimes: Rollout, policy: Distribution
    ) -> dict[str, Tensor]:
        """Update the parameters and return metrics of the first minibatch of the last pass.

        Args:
            outputs: the network's outputs before every step of the selected lifetimes, `[T, n, ·]` per head,
                differentiable in the parameters.
            lifetimes: `[T, N, …]`; to the learner they are envs of one task.
            policy: distribution that the actions were sampled from, `[T, N]`.

        Raises:
            NumericalError: if a loss or gradient is not finite; the parameters are then still finite.
        """
        # A lifetime's end is terminal: there is no value to bootstrap from.
        lifetimes = lifetimes._replace(terminated=lifetimes.terminated | lifetimes.last)
        minibatches = min(self.minibatches, lifetimes.reward.shape[1])
        parts = [slice(first, None, minibatches) for first in range(minibatches)]
        behaviours = [each(policy, partial(select, index=part)) for part in parts]
        experiences = [lifetimes.envs(part) for part in parts]
        metrics: dict[str, Tensor] = {}
        steps = 0
        for _ in range(self.learner.epochs):
            for part, behaviour, experience in zip(parts, behaviours, experiences, strict=True):
                output = with_end(outputs(part))
                kl = self.learner.divergence(behaviour, output, experience).detach()
                if kl > self.max_kl:
                    return {**metrics, "kl": kl, "steps": torch.tensor(steps)}
                loss, learner_metrics = self.learner.loss(output, experience, behaviour)
                if self.auxiliary is not None:
                    further, metrics_of_it = self.auxiliary(output, experience)
                    loss, learner_metrics = loss + further, {**learner_metrics, **metrics_of_it}
                gradients = torch.autograd.grad(required_finite("meta-loss", loss), self.optimizer.tensors)
                norm = self.optimizer.step(gradients, lambda: "the mean over lifetimes")
                steps += 1
                if part == parts[0]:
                    metrics = {"loss": loss.detach(), "gradient_norm": norm, **learner_metrics}
        return {**metrics, "kl": kl, "steps": torch.tensor(steps)}


def select(x: Tensor, index: slice) -> Tensor:
    """Select lifetimes, `[T, N, …]` → `[T, n, …]`."""
    return x[:, index].contiguous()


def with_end(output: Output) -> Output:
    """Pad with zeros, `[T, N, ·]` → `[T + 1, N, ·]`: the value after the last step is never used."""
    return {head: pad(value, (0, 0, 0, 0, 0, 1)) for head, value in output.items()}
