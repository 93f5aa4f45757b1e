"""Normalising constants of policy losses: per task in adaptation, shared by the meta-batch in meta-learning."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_run.maths.returns import masked_mean, num_episodes, unit_of
from metarl_run.types import Rollout


class Normaliser(NamedTuple):
    """Divisors of sums over a task's steps.

    Attributes:
        steps: number of steps, `[…]` or one for all tasks.
        n: number of steps or of episodes, `[…]` or one for all tasks.
        std: σ, `[…]` or one for all tasks; infinite where all returns are equal, so that rounding noise has no effect.
        mean: Ā, the mean advantage that is subtracted; None for each task's own.
    """

    steps: Tensor
    n: Tensor
    std: Tensor
    mean: Tensor | None = None

    def __call__(self, total: Tensor) -> Tensor:
        """Σ / (n σ) of each task."""
        return total / (self.n.clamp(min=1) * self.std)

    def over_steps(self, x: Tensor, alive: Tensor) -> Tensor:
        """The mean over steps, `[…, T, B]` → `[…]`."""
        return (x * alive).sum((-2, -1)) / self.steps.clamp(min=1)


class Spread(NamedTuple):
    """Sums over steps from which the standard deviation of advantages is computed.

    Attributes:
        steps: N.
        advantages: Σ (A − Ā)², A = G − b, Ā the task's mean.
        returns: Σ G².
    """

    steps: Tensor
    advantages: Tensor
    returns: Tensor

    @property
    def std(self) -> Tensor:
        """σ = √(Σ (A − Ā)² / N), infinite if it is not above rounding noise."""
        n = self.steps.clamp(min=1)
        return unit_of(self.advantages / n, self.returns / n)


def spread(returns: Tensor, baseline: Tensor, alive: Tensor) -> Spread:
    """The sums of each task, `[…, T, B]` → `[…]`."""
    advantage = returns - baseline
    error = advantage - masked_mean(advantage, alive)[..., None, None]
    total = [(x.square() * alive).sum((-2, -1)) for x in (error, returns)]
    return Spread(alive.sum((-2, -1)), *total)


def pooled(spreads: Iterable[Spread]) -> Spread:
    """The sums over all tasks of all batches."""
    return Spread(*(torch.stack([part.sum() for part in parts]).sum() for parts in zip(*spreads, strict=True)))


def own_counts(rollout: Rollout, *, per_step: bool) -> tuple[Tensor, Tensor]:
    """Number of steps taken, and n: the same or the number of episodes begun, `[…]`."""
    steps = rollout.alive.sum((-2, -1))
    return steps, steps if per_step else num_episodes(rollout.alive, rollout.ended)


def shared_counts(rollouts: Sequence[Rollout], *, per_step: bool) -> tuple[Tensor, Tensor]:
    """T · B, and n: the same or the mean number of episodes; equal for all tasks, whatever their episodes' lengths."""
    like = rollouts[0].reward
    steps = like.new_tensor(fmean(rollout.alive[0].numel() for rollout in rollouts))
    if per_step:
        return steps, steps
    episodes = [num_episodes(rollout.alive, rollout.ended).to(like.dtype).mean() for rollout in rollouts]
    return steps, torch.stack(episodes).mean()


# --- Constants of a batch of which the parts are looked at one by one, perhaps in several processes ---


class PartOfBatch(NamedTuple):
    """Sums over one rollout of some tasks of a meta-batch.

    Attributes:
        tasks: m.
        size: T · B, including padding.
        episodes: number of episodes begun, of all m tasks.
        spread: sums over all m tasks.
    """

    tasks: Tensor
    size: Tensor
    episodes: Tensor
    spread: Spread


def part_of_batch(returns: Tensor, baseline: Tensor, rollout: Rollout) -> PartOfBatch:
    """The sums of one rollout `[M, T, B]`."""
    episodes = num_episodes(rollout.alive, rollout.ended).to(rollout.reward.dtype).sum()
    tasks, size = (episodes.new_tensor(x) for x in (len(rollout.alive), rollout.alive[0].numel()))
    return PartOfBatch(tasks, size, episodes, pooled([spread(returns, baseline, rollout.alive)]))


def counts_of_parts(parts: Sequence[Sequence[PartOfBatch]], *, per_step: bool) -> tuple[Tensor, Tensor]:
    """`shared_counts` of a meta-batch, in whose rollouts T is the longest of any part.

    Args:
        parts: `[part][rollout]`.
        per_step: n is the number of steps.
    """
    rollouts = list(zip(*parts, strict=True))
    steps = torch.stack([torch.stack([part.size for part in of]).max() for of in rollouts]).mean()
    if per_step:
        return steps, steps
    episodes, tasks = (
        torch.stack([torch.stack([getattr(part, name) for part in of]).sum() for of in rollouts])
        for name in ("episodes", "tasks")
    )
    return steps, (episodes / tasks).mean()


class PartOfTask(NamedTuple):
    """Sums over some environments of one task.

    Attributes:
        steps: number of steps taken, N.
        episodes: number of episodes begun.
        mean: Ā, the mean of advantages G − b.
        advantages: Σ (A − Ā)².
        returns: Σ G².
    """

    steps: Tensor
    episodes: Tensor
    mean: Tensor
    advantages: Tensor
    returns: Tensor


def part_of_task(returns: Tensor, baseline: Tensor, rollout: Rollout) -> PartOfTask:
    """The sums of one rollout `[T, B]`."""
    own = spread(returns, baseline, rollout.alive)
    mean = masked_mean(returns - baseline, rollout.alive)
    return PartOfTask(own.steps, num_episodes(rollout.alive, rollout.ended), mean, own.advantages, own.returns)


def of_whole_task(parts: Sequence[PartOfTask]) -> PartOfTask:
    """The sums over all environments.

        Σ (A − Ā)² = Σₚ [ Σ (A − Āₚ)² + Nₚ (Āₚ − Ā)² ]

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
    """
    steps, episodes, mean, advantages, returns = (torch.stack(x) for x in zip(*parts, strict=True))
    N = steps.sum()
    whole = (mean * steps).sum() / N.clamp(min=1)
    between = (steps * (mean - whole).square()).sum()
    return PartOfTask(N, episodes.sum(), whole, advantages.sum() + between, returns.sum())
