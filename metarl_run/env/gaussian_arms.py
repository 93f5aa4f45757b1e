"""Base of the bandits whose Gaussian arms have means of a structure of their own."""

from typing import ClassVar

import gymnasium
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.bandit import BanditState, BanditTask
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import NonNegative, Several


class GaussianArms(TaskFamily):
    """Bandits with r ~ N(μ(a), σ²), each pull an episode of one step, see `metarl_run.env.bandit.Bandit`.

    Args:
        num_arms: A.
        reward_deviation: σ, standard deviation of a reward.
    """

    num_arms: Several
    reward_deviation: NonNegative

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular", "gaussian_bandit")
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("num_arms",)}
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
        self.action_space = gymnasium.spaces.Discrete(self.num_arms)

    def reset(self, task: BanditTask, num_episodes: int, generator: torch.Generator) -> BanditState:
        return BanditState(torch.ones(task.num_tasks, num_episodes, 1, device=generator.device))

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Float[Tensor, "1 M B"]:
        """ε ~ N(0, 1)."""
        return torch.empty(1, num_tasks, num_episodes, device=generator.device).normal_(generator=generator)

    def step(
        self, task: BanditTask, state: BanditState, action: Int[Tensor, "M B"], noise: Float[Tensor, "1 M B"]
    ) -> tuple[BanditState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        mean = task.mean_reward.squeeze(1).gather(1, action)
        reward = torch.add(mean, self.noise_of(action, noise[0]), alpha=self.reward_deviation)
        return state, reward, torch.ones_like(mean, dtype=torch.bool)

    def noise_of(self, action: Int[Tensor, "M B"], ε: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
        """The noise of these pulls in units of σ."""
        return ε

    def observe(self, task: BanditTask, state: BanditState) -> Float[Tensor, "M B 1"]:
        return state.one_hot.clone()
