"""Experience of a user's environments since the last adaptation, as the rollouts that agents adapt to."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_run.errors import StateError
from metarl_run.types import Memory, Rollout


class Step(NamedTuple):
    """One step of N environments.

    Attributes:
        observation: `[N, D]`, that it acted on.
        action: as the policy chose it, `[N]` or `[N, d]`.
        reward: `[N]`.
        terminated: `[N]`.
        truncated: `[N]`, never where terminated.
        real: `[N]`, false where the environment was only reset.
        after: observations that it led to, `[N, D]`; None where nobody has told.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    real: Tensor
    after: Tensor | None


class Experience:
    """Steps of N environments, those of a task in a row, one after the other.

    Args:
        num_tasks: M; each has N / M of the environments.
        num_envs: N.
        device: of all tensors.
        needs_ends: whether agents read the observation after an episode that was truncated.
    """

    def __init__(self, num_tasks: int, num_envs: int, device: torch.device, *, needs_ends: bool) -> None:
        self.num_tasks, self.num_envs, self.device, self.needs_ends = num_tasks, num_envs, device, needs_ends
        self.steps: list[Step] = []
        self.begun_before = torch.zeros(num_envs, dtype=torch.bool, device=device)

    def forget(self) -> None:
        """Begin anew. Of episodes under way the rest is left out, too: their beginning had another policy."""
        if self.steps:
            last = self.steps[-1]
            self.begun_before = last.real & ~(last.terminated | last.truncated)
        self.steps = []

    def know_after(self, observation: Tensor) -> None:
        """The observations after the last step, if they were not known yet."""
        if self.steps and self.steps[-1].after is None:
            self.steps[-1] = self.steps[-1]._replace(after=observation)

    def rollouts(self, memory: Memory) -> Iterator[tuple[Tensor, Rollout]]:
        """Tasks that have equally many finished episodes, and these episodes: each in an environment of its own.

        So they look as in meta-training, whether they were run side by side or one after the other.

        Args:
            memory: the agents' after the last step.

        Raises:
            StateError: if a task has no finished episode, or the end of one is not known but needed.
        """
        if not self.steps:
            raise StateError("adapt", "there is no experience yet", "call act and observe first")
        real = torch.stack([step.real for step in self.steps])  # [T, N]
        terminated = torch.stack([step.terminated for step in self.steps]) & real
        truncated = torch.stack([step.truncated for step in self.steps]) & real
        ended = terminated | truncated
        self._require_ends(truncated)
        begun = real.cumsum(0)
        episode = ended.cumsum(0) - ended.long()  # of each step
        finished = ended.sum(0)
        steps_before = torch.where(ended, begun, 0).cummax(0).values.roll(1, 0)  # of the episodes before this one
        steps_before[0] = 0
        place = begun - 1 - steps_before
        kept = real & (episode < finished) & (episode >= self.begun_before.long())
        counts = (finished - self.begun_before.long()).clamp(min=0)  # [N]
        per_task = counts.view(self.num_tasks, -1)
        totals = per_task.sum(1)
        if not bool(totals.all()):
            which = f"task {int((totals == 0).nonzero()[0])} has" if self.num_tasks > 1 else "there is"
            raise StateError("adapt", f"{which} no finished episode yet", "go on until an episode ends")
        before = (per_task.cumsum(1) - per_task).flatten()  # episodes of the task in its earlier environments
        column = before + episode - self.begun_before.long()
        task = torch.arange(self.num_envs, device=self.device) // (self.num_envs // self.num_tasks)
        for number in sorted({*totals.tolist()}):
            tasks = (totals == number).nonzero().squeeze(1)
            where = kept & (totals == number)[task]
            row = torch.full_like(totals, -1).index_copy(0, tasks, torch.arange(len(tasks), device=self.device))
            index = (row[task].expand_as(where)[where], place[where], column[where])
            yield tasks, self._rollout(where, index, (terminated, truncated), (len(tasks), number), memory, tasks)

    def _rollout(
        self,
        where: Tensor,
        index: tuple[Tensor, Tensor, Tensor],
        ends: tuple[Tensor, Tensor],
        size: tuple[int, int],
        memory: Memory,
        tasks: Tensor,
    ) -> Rollout:
        """The steps `where`, each at its place: task, time and column."""
        M, E = size
        T = int(index[1].max()) + 1

        def laid_out(x: Tensor) -> Tensor:
            return x.new_zeros(M, T, E, *x.shape[2:]).index_put(index, x[where])

        seen = torch.stack([step.observation for step in self.steps])
        after = torch.stack([seen[t] if step.after is None else step.after for t, step in enumerate(self.steps)])
        observation = seen.new_zeros(M, T + 1, E, seen.shape[-1])
        m, t, e = index
        observation[m, t + 1, e] = after[where]
        observation[m, t, e] = seen[where]  # the same, where an episode goes on
        action, reward = map(torch.stack, zip(*((step.action, step.reward) for step in self.steps), strict=True))
        terminated, truncated = map(laid_out, ends)
        alive = laid_out(torch.ones_like(where))
        mine = {name: x[tasks] for name, x in memory.items()}
        return Rollout(observation, laid_out(action), laid_out(reward), terminated, truncated, alive, mine)

    def _require_ends(self, truncated: Tensor) -> None:
        if not self.needs_ends:
            return
        for step, of_step in zip(self.steps, truncated.any(1).tolist(), strict=True):
            if of_step and step.after is None:
                reason = "needs what the environment showed at the end of an episode that was truncated"
                raise StateError("adapt", reason, "agent.observe(reward, terminated, truncated, observation)")
