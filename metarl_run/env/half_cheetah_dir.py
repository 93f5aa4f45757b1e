"""Half-cheetahs that must run forward or backward."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.half_cheetah import HalfCheetah
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import listed, sample_alone
from metarl_run.kinds import Distributions

Directions = Annotated[dict[str, Any], Distributions("direction", among={"direction": (-1, 1)})]


@dataclass(frozen=True)
class HalfCheetahDirTask(Task):
    """M directions, 1 or −1."""

    direction: Float[Tensor, " M"]


class HalfCheetahDir(HalfCheetah):
    """Run in a direction that only the reward reveals.

        r = d (x′ − x) / Δt − c ‖a‖²,        Δt = 0.05 s,        c = `control_cost`

    Task: d, 1 (forward) or −1 (backward). Optimal return: not known.

    With both directions in meta-training there are no others to test on: results measure how fast an agent identifies
    its task, as in the papers.

    Differs from MAML's paper: v5's model and MuJoCo 4, whose x is the torso joint's instead of its centre of mass.

    Args:
        meta_train: the distribution of the direction in meta-training.
        meta_test: the same in meta-testing.

    Source: Finn et al. (2017), arXiv:1703.03400, section 5.3; reward, horizon and observation as Rakelly et al. (2019),
    arXiv:1903.08254, and Zintgraf et al. (2020), arXiv:1910.08348, use them.
    """

    meta_train: Directions
    meta_test: Directions

    def __post_init__(self) -> None:
        super().__post_init__()
        self.directions: dict[Split, Directions] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> HalfCheetahDirTask:
        return HalfCheetahDirTask(direction=sample_alone(self.directions[split]["direction"], num_tasks, generator))

    def all_tasks(self, split: Split) -> HalfCheetahDirTask | None:
        values = listed(self.directions[split]["direction"])
        return None if values is None else HalfCheetahDirTask(direction=values)

    def reward(self, task: HalfCheetahDirTask, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        return task.direction.unsqueeze(1) * self.velocity(before, after)
