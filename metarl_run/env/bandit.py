"""Bandits with Bernoulli or Gaussian arms, whose means are unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import MUTED, Canvas, bars
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions, NonNegative, ProbabilityIf, Several
from metarl_run.maths.bandits import bayes_optimal_rewards

Arms = Annotated[dict[str, Any], Distributions("mean"), ProbabilityIf("mean", "reward", "bernoulli")]


@dataclass(frozen=True)
class BanditTask(Task):
    """M bandits, each an MDP with one state that ends after every step.

    Attributes:
        mean_reward: of each arm.
    """

    mean_reward: Float[Tensor, "M 1 A"]

    @property
    def transition(self) -> Float[Tensor, "M 1 A 1"]:
        """P(s′ | s, a) = 0: no episode continues."""
        return torch.zeros_like(self.mean_reward).unsqueeze(-1)

    @property
    def start(self) -> Float[Tensor, "M 1"]:
        return torch.ones_like(self.mean_reward[..., 0])


class BanditState(NamedTuple):
    """The only state, one-hot."""

    one_hot: Float[Tensor, "M B 1"]


class Bandit(TaskFamily):
    """Maximise the reward of n pulls with unknown arms, each pull an episode of one step.

        r ∈ {0, 1}, P(r = 1) = μ(a)        or        r ~ N(μ(a), σ²)

    Task: the mean reward μ(a) of each arm, all from one distribution. Observation: 1, the only state one-hot. Action:
    one of A arms. Termination: at every step, so a lifetime of n pulls is n consecutive episodes. Optimal expected
    return of an episode: maxₐ μ(a).

    Differs from the paper: there the agent observes a constant 0, which is equivalent up to a bias of the network.

    Args:
        num_arms: A.
        reward: distribution of an arm's rewards.
        reward_deviation: σ, standard deviation of a Gaussian reward.
        meta_train: the distribution of each arm's mean in meta-training.
        meta_test: the same in meta-testing.

    Raises:
        ValueError: if the mean of a Bernoulli arm could be drawn outside [0, 1].

    Source: Bernoulli arms: Duan et al. (2016), arXiv:1611.02779. Gaussian arms: Sutton & Barto (2018),
    Reinforcement Learning.
    """

    num_arms: Several
    reward: Literal["bernoulli", "gaussian"]
    reward_deviation: NonNegative
    meta_train: Arms
    meta_test: Arms

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular")
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("num_arms",)}
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True
    provides_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "reward": {"bernoulli": ("bandit",), "gaussian": ("gaussian_bandit",)}
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bernoulli = self.reward == "bernoulli"
        self.arms: dict[Split, Arms] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
        self.action_space = gymnasium.spaces.Discrete(self.num_arms)

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> BanditTask:
        mean = sample(self.arms[split]["mean"], num_tasks * self.num_arms, generator)
        return BanditTask(mean_reward=mean.view(num_tasks, 1, self.num_arms))

    def bayes_optimal_returns(self, episodes: int) -> tuple[float, ...] | None:
        """Of a few pulls of Bernoulli arms with uniform means, see `metarl_run.maths.bandits`."""
        if not self.bernoulli or self.meta_test["mean"] != ["uniform", 0, 1]:
            return None
        return bayes_optimal_rewards(num_arms=self.num_arms, pulls=episodes)

    def reset(self, task: BanditTask, num_episodes: int, generator: torch.Generator) -> BanditState:
        return BanditState(torch.ones(task.num_tasks, num_episodes, 1, device=generator.device))

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Float[Tensor, "1 M B"]:
        """u ~ U[0, 1) of Bernoulli arms, ε ~ N(0, 1) of Gaussian ones."""
        noise = torch.empty(1, num_tasks, num_episodes, device=generator.device)
        return noise.uniform_(generator=generator) if self.bernoulli else noise.normal_(generator=generator)

    def step(
        self, task: BanditTask, state: BanditState, action: Int[Tensor, "M B"], noise: Float[Tensor, "1 M B"]
    ) -> tuple[BanditState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        mean = task.mean_reward.squeeze(1).gather(1, action)
        (chance,) = noise.unbind()
        reward = (chance < mean).float() if self.bernoulli else torch.add(mean, chance, alpha=self.reward_deviation)
        return state, reward, torch.ones_like(mean, dtype=torch.bool)

    def observe(self, task: BanditTask, state: BanditState) -> Float[Tensor, "M B 1"]:
        return state.one_hot.clone()

    def render(self, task: BanditTask, state: BanditState, past: Sequence[Step] = ()) -> np.ndarray:
        """The mean reward of every arm, with the number of its pulls below and the latest in colour."""
        canvas, arms = Canvas(0.0, 1.0), [int(step.action) for step in past]
        pulls = [str(arms.count(arm)) for arm in range(self.num_arms)]
        bars(canvas, (0.05, 0.16), (0.95, 0.82), task.mean_reward.flatten().tolist(), arms[-1] if arms else None, pulls)
        canvas.text((0.05, 0.93), "mean reward of each arm", MUTED, anchor="lm")
        canvas.text((0.05, 0.04), "pulls", MUTED, anchor="lm")
        if past:
            canvas.text((0.95, 0.04), f"latest reward {past[-1].reward:.3g}", anchor="rm")
        return canvas.array()
