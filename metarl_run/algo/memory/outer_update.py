"""Outer update of agents with memory: several passes of a base learner over whole lifetimes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.base import required_finite
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output
from metarl_run.learner.normaliser import Normaliser, PartOfTask, part_of_task
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

    def improve_divided(
        self,
        outputs: Sequence[Callable[[slice], Output]],
        lifetimes: Sequence[Rollout],
        policies: Sequence[Distribution],
        of_parts: Callable[[Callable[[int], Any]], list[Any]],
    ) -> dict[str, Tensor]:
        """`improve` on lifetimes in parts, each minibatch a share of every part.

        To the learner all are envs of one task: the mean and the standard deviation of advantages, and the KL, are
        those of the whole minibatch, computed from sums over its parts. Losses and gradients are added in the order of
        the parts. Metrics that are no sums, such as the explained variance, are means over parts, weighted by
        their steps.

        Args:
            outputs, lifetimes, policies: of the parts here, see `improve`.
            of_parts: computes a function of the number of a part here, for every part wherever it is.
        """
        lifetimes = [each._replace(terminated=each.terminated | each.last) for each in lifetimes]
        fewest = min(map(int, of_parts(lambda i: torch.tensor(lifetimes[i].reward.shape[1]))))
        minibatches = min(self.minibatches, fewest)
        minibatch = [slice(first, None, minibatches) for first in range(minibatches)]
        behaviours = [[each(policy, partial(select, index=of)) for of in minibatch] for policy in policies]
        experiences = [[of_part.envs(of) for of in minibatch] for of_part in lifetimes]
        metrics: dict[str, Tensor] = {}
        steps = 0
        for _ in range(self.learner.epochs):
            for number, of in enumerate(minibatch):
                looks = [
                    Look(self.learner, partial(made, of), behaviour[number], experience[number])
                    for made, behaviour, experience in zip(outputs, behaviours, experiences, strict=True)
                ]
                sums = of_parts(lambda i, looks=looks: looks[i].sums())  # type: ignore[misc]
                constants = self.learner.normaliser_of_task([part for part, _ in sums])
                kl = torch.stack([part for _, part in sums]).sum() / constants.steps.clamp(min=1)
                if kl > self.max_kl:
                    return {**metrics, "kl": kl, "steps": torch.tensor(steps)}
                share = partial(self._share, constants=constants)
                terms = of_parts(lambda i, looks=looks, share=share: share(looks[i]))  # type: ignore[misc]
                losses, gradients, of_learner = zip(*terms, strict=True)
                loss = required_finite("meta-loss", torch.stack(losses).sum())
                total = [torch.stack(shares).sum(0) for shares in zip(*gradients, strict=True)]
                norm = self.optimizer.step(total, lambda: "the mean over lifetimes")
                steps += 1
                if number == 0:
                    summed = {name: torch.stack([each[name] for each in of_learner]).sum() for name in of_learner[0]}
                    metrics = {"loss": loss, "gradient_norm": norm, **summed}
        return {**metrics, "kl": kl, "steps": torch.tensor(steps)}

    def _share(self, look: "Look", constants: Normaliser) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """The terms of one part in the loss of a minibatch, its gradient and metrics."""
        loss, metrics = self.learner.loss_given(
            look.output, look.experience, look.behaviour, None, look.returns, look.baseline, constants
        )
        weight = look.experience.alive.sum() / constants.steps
        metrics["explained_variance"] = metrics["explained_variance"] * weight
        if self.auxiliary is not None:
            further, of_it = self.auxiliary(look.output, look.experience)
            loss = loss + weight * further
            metrics = {**metrics, **{name: weight * x for name, x in of_it.items()}}
        return loss.detach(), torch.autograd.grad(loss, self.optimizer.tensors), metrics


class Look:
    """One part of a minibatch, before the constants of the whole are known.

    Args:
        learner: gives returns and baselines.
        output: computes the network's outputs before every step.
        behaviour: policy that collected the experience.
        experience: `[T, n, …]`.
    """

    def __init__(
        self, learner: Critic, output: Callable[[], Output], behaviour: Distribution, experience: Rollout
    ) -> None:
        self.learner, self.behaviour, self.experience, self.make = learner, behaviour, experience, output

    def sums(self) -> tuple[PartOfTask, Tensor]:
        """Sums over the part's lifetimes, and that of KL(π_old ‖ π) over their steps."""
        self.output = with_end(self.make())
        kl = self.learner.divergence(self.behaviour, self.output, self.experience).detach()
        with torch.no_grad():
            self.returns, self.baseline = self.learner.returns_and_baseline(self.output, self.experience)
            return part_of_task(self.returns, self.baseline, self.experience), kl * self.experience.alive.sum()


def select(x: Tensor, index: slice) -> Tensor:
    """Select lifetimes, `[T, N, …]` → `[T, n, …]`."""
    return x[:, index].contiguous()


def with_end(output: Output) -> Output:
    """Pad with zeros, `[T, N, ·]` → `[T + 1, N, ·]`: the value after the last step is never used."""
    return {head: pad(value, (0, 0, 0, 0, 0, 1)) for head, value in output.items()}
