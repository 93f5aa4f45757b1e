"""The outer learner of agents with memory: several passes of a base learner over whole lifetimes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.errors import NumericalError
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Distribution, each
from metarl_run.types import Rollout


@dataclass(kw_only=True)
class Outer:
    """Improve one policy on lifetimes, each an episode to it: back-propagation runs through all of it.

    A pass goes over the lifetimes in minibatches, each one step of the optimiser. The passes end early where the policy
    has moved further than `max_kl` from the one that lived.

    Args:
        learner: supplies the loss, and says how many passes.
        optimizer: how the parameters follow its gradient.
        minibatches: steps per pass.
        max_kl: nats, the mean over steps of KL(π_old ‖ π).
    """

    learner: Critic
    optimizer: GradientRule
    minibatches: int
    max_kl: float

    def improve(
        self, outputs: Callable[[slice], Output], lifetimes: Rollout, policy: Distribution
    ) -> dict[str, Tensor]:
        """Move the parameters; quantities worth logging, of the first minibatch of the last pass.

        Args:
            outputs: what the network puts out before every step of some lifetimes, `[T, n, ·]` per head, as a function
                of the parameters.
            lifetimes: `[T, N, …]`, slots of one task, as far as the learner knows.
            policy: what the actions were chosen from, `[T, N]`.

        Raises:
            NumericalError: if a loss or gradient is not finite; the parameters were finite before.
        """
        # A lifetime's end is the end: nothing that could be worth something follows.
        lifetimes = lifetimes._replace(terminated=lifetimes.terminated | lifetimes.last)
        minibatches = min(self.minibatches, lifetimes.reward.shape[1])
        parts = [slice(first, None, minibatches) for first in range(minibatches)]
        behaviours = [each(policy, partial(slots, index=part)) for part in parts]
        experiences = [lifetimes.envs(part) for part in parts]
        metrics: dict[str, Tensor] = {}
        steps = 0
        for _ in range(self.learner.epochs):
            for part, behaviour, experience in zip(parts, behaviours, experiences, strict=True):
                output = with_end(outputs(part))
                kl = self.learner.divergence(behaviour, output, experience).detach()
                if kl > self.max_kl:
                    return {**metrics, "kl": kl, "steps": torch.tensor(steps)}
                loss, told = self.learner.loss(output, experience, behaviour)
                if not torch.isfinite(loss):
                    raise NumericalError("meta-loss", f"must be finite, got {loss.item()}", "lower meta_optimizer.lr")
                gradients = torch.autograd.grad(loss, self.optimizer.tensors)
                norm = self.optimizer.step(gradients, lambda: "the mean over lifetimes")
                steps += 1
                if part == parts[0]:
                    metrics = {"loss": loss.detach(), "gradient_norm": norm, **told}
        return {**metrics, "kl": kl, "steps": torch.tensor(steps)}


def slots(x: Tensor, index: slice) -> Tensor:
    """Of some lifetimes, `[T, N, …]` → `[T, n, …]`."""
    return x[:, index].contiguous()


def with_end(output: Output) -> Output:
    """`[T, N, ·]` → `[T + 1, N, ·]`: zeros after the last step, whose value nobody asks for."""
    return {head: pad(value, (0, 0, 0, 0, 0, 1)) for head, value in output.items()}
