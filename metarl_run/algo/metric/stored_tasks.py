"""What is kept of the meta-training tasks: experience in each, and what the policy of one earns in another."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.component import Component
from metarl_run.maths.returns import unit_of
from metarl_run.types import Rollout


class StoredTasks(Component):
    """Experience in N tasks, and the regret of every task's policy in every other, as far as it was tried.

    Both are replaced as policies improve: experience by pages, the oldest first; a regret whenever it is tried anew.
    Each meta-update tries one more partner of all tasks, so that all have been tried after N − 1 of them.

    Args:
        num_tasks: N.
        num_features: F, of one step.
        pages: parts of a task's experience that are replaced one after another.
        page: steps each.
        generator: chooses the steps that are kept.
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
        self.earned = torch.full((N, N), torch.nan, device=device)  # [task, whose policy]
        self.written = torch.zeros((), dtype=torch.int64, device="cpu")  # pages, ever

    @property
    def experience(self) -> Float[Tensor, "N E F"]:
        """The steps that are kept of each task."""
        return self.steps[:, : min(int(self.written), self.pages) * self.page]

    @property
    def partner(self) -> int:
        """k: the policy to be tried in task i is that of task i + k, counted round."""
        return 1 + int(self.written) // 2 % max(1, self.num_tasks - 1)

    def keep(self, rollout: Rollout, x: Float[Tensor, "N T B F"], partner: int) -> None:
        """Take down what the policies of tasks i + `partner` did in tasks i: a page of steps, and mean returns.

        Args:
            rollout: one episode per slot.
            x: what is read of every step.
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
        """What each policy (column) earns less in each task (row) than the task's own, at least 0; which were tried.

        In units of the mean over all that were tried, but for the tasks' own, which have none. One that was not tried
        counts as the mean of its task.
        """
        tried = ~self.earned.isnan()
        regret = (self.earned.diagonal().unsqueeze(1) - self.earned.nan_to_num()).clamp(min=0) * tried
        others = (tried.sum(1, keepdim=True) - 1).clamp(min=1)
        usual = regret.sum() / others.sum()
        regret = regret.where(tried, regret.sum(1, keepdim=True) / others)
        return regret / unit_of(usual.square(), self.earned.nan_to_num().square().mean()), tried

    def split(self) -> Float[Tensor, "N E 1"]:
        """Which steps of each task are taken for little experience in it: 1 at n of them at random, else 0.

        n is uniform on a logarithmic scale, from 1 to half of all steps.
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
        """Continue from what `state` returned."""
        for name in ("steps", "earned", "written"):
            getattr(self, name).copy_(state[name])
        self.generator.set_state(state["generator"])
