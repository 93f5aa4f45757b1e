"""Store of meta-training tasks: experience in each, and the return of each task's policy in the others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.component import Component
from metarl_run.maths.returns import unit_of
from metarl_run.types import Rollout


class StoredTasks(Component):
    """Experience in N tasks, and the regret of each task's policy in the other tasks, for the pairs evaluated so far.

    Both are replaced as policies improve: experience page by page, the oldest first; a regret whenever its pair is
    evaluated again. Each meta-update evaluates one partner per task; after N − 1 updates all pairs have been.

    Args:
        num_tasks: N.
        num_features: F, features of one step.
        pages: pages of experience per task.
        page: steps per page.
        generator: samples the steps to keep.
    """

    num_tasks: int
    num_features: int
    pages: int
    page: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        super().__post_init__()
        N, device = self.num_tasks, self.generator.device
        self.steps = torch.zeros(N, self.pages * self.page, self.num_features, device=device)
        self.earned = torch.full((N, N), torch.nan, device=device)  # return, [task, policy]
        self.written = torch.zeros((), dtype=torch.int64, device="cpu")  # pages written so far

    @property
    def experience(self) -> Float[Tensor, "N E F"]:
        """The stored steps of each task."""
        return self.steps[:, : min(int(self.written), self.pages) * self.page]

    @property
    def partner(self) -> int:
        """k: the next policy to evaluate in task i is that of task (i + k) mod N."""
        return 1 + int(self.written) // 2 % max(1, self.num_tasks - 1)

    def keep(self, rollout: Rollout, x: Float[Tensor, "N T B F"], partner: int) -> None:
        """Store a page of steps and the mean returns of the policies of tasks i + `partner` in tasks i.

        Args:
            rollout: one episode per env.
            x: features of every step.
            partner: k; 0 is each task's own policy.
        """
        task = torch.arange(self.num_tasks, device=x.device)
        self.earned[task, (task + partner) % self.num_tasks] = rollout.reward.sum(1).mean(1)
        taken = rollout.alive.flatten(1).to(x.dtype)
        chosen = torch.multinomial(taken, self.page, replacement=True, generator=self.generator)
        first = int(self.written) % self.pages * self.page
        rows = chosen.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        self.steps[:, first : first + self.page] = x.flatten(1, 2).gather(1, rows)
        self.written += 1

    def regret(self) -> tuple[Float[Tensor, "N N"], Bool[Tensor, "N N"]]:
        """Regret of each policy (column) in each task (row), at least 0, and the pairs that were evaluated.

        The regret is the task's own policy's return minus that of the policy, in units of the mean over evaluated pairs
        of different tasks. A pair that was not evaluated gets the mean of its task.
        """
        evaluated = ~self.earned.isnan()
        regret = (self.earned.diagonal().unsqueeze(1) - self.earned.nan_to_num()).clamp(min=0) * evaluated
        others = (evaluated.sum(1, keepdim=True) - 1).clamp(min=1)
        mean = regret.sum() / others.sum()
        regret = regret.where(evaluated, regret.sum(1, keepdim=True) / others)
        return regret / unit_of(mean.square(), self.earned.nan_to_num().square().mean()), evaluated

    def split(self) -> Float[Tensor, "N E 1"]:
        """Random query of each task: 1 at n random steps, a small amount of experience, else 0.

        n is log-uniform between 1 and half of all steps.
        """
        N, E, _ = self.experience.shape
        device = self.experience.device
        n = (E / 2) ** torch.rand(N, 1, generator=self.generator, device=device)
        rank = torch.rand(N, E, generator=self.generator, device=device).argsort(-1)
        return (rank + 1 <= n).to(self.steps.dtype).unsqueeze(-1)

    def state(self) -> dict[str, Tensor]:
        """Everything that changes."""
        own = {"steps": self.steps, "earned": self.earned, "written": self.written}
        return {**own, "generator": self.generator.get_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: if the number of pages is none.
        """
        if state["written"] < 0:
            raise ValueError(f"written must be at least 0, got {int(state['written'])}")
        for name in ("steps", "earned", "written"):
            getattr(self, name).copy_(state[name])
        self.generator.set_state(state["generator"])
