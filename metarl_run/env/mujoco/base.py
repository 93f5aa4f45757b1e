"""Base of the families whose dynamics are MuJoCo's."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metarl_run.component import field
from metarl_run.env.base import Step, Task, TaskFamily
from metarl_run.env.mujoco.package import mujoco_quietly
from metarl_run.env.mujoco.simulator import MujocoState, Simulator
from metarl_run.kinds import Count, NonNegative


class MujocoFamily(TaskFamily):
    """A family on a model of MuJoCo's, whose reward and observation are tensor expressions on physics states.

    The models are those of Gymnasium's v5 environments. Results do not depend on the number of threads.

    Args:
        control_cost: weight of −‖a‖² in the reward.
        start_noise: scale of the noise of start states.
        action_repeat: n, steps for which an action is held; the horizon counts actions, their reward is the sum.

    Attributes:
        model_file: the model, in Gymnasium's assets.
        frame_skip: substeps per step.
        derived: fields of MjData that states carry, see `MujocoState`.
    """

    control_cost: NonNegative
    start_noise: NonNegative
    action_repeat: Count = field(default=1)

    model_file: ClassVar[str]
    frame_skip: ClassVar[int]
    derived: ClassVar[tuple[str, ...]] = ()
    provides: ClassVar[tuple[str, ...]] = ("continuous_actions",)
    simulated: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.simulator = Simulator(self.model_file, self.frame_skip, self.derived)
        # Resets of a few environments must not replace the parameters of all others.
        alike = self.starts_alike
        self._resets = self.simulator if alike else Simulator(self.model_file, self.frame_skip, self.derived)
        self.model = self.simulator.model
        self.dt: float = self.simulator.dt
        self.init_qpos = torch.from_numpy(self.model.qpos0.copy())
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        self.action_space = gymnasium.spaces.Box(low, high)
        rest = self.simulator.forward(self.init_qpos.view(1, 1, -1), self.init_qpos.new_zeros(1, 1, self.model.nv), {})
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, self.observe(None, rest).shape[2:])

    @property
    def software(self) -> str:
        return f"mujoco {mujoco_quietly().__version__}"

    def reset(self, task: Task, num_episodes: int, generator: torch.Generator) -> MujocoState:
        shape = (task.num_tasks, num_episodes)
        qpos, qvel = self.start(shape, generator)
        return self._resets.forward(self.init_qpos.to(qpos) + qpos, qvel, self.parameters(task))

    def step(
        self,
        task: Any,
        state: MujocoState,
        action: Float[Tensor, "M B d"],
        noise: None,
        alive: Bool[Tensor, "M B"] | None = None,
    ) -> tuple[MujocoState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        action = action.double()
        total, healthy = action.new_zeros(action.shape[:2]), torch.ones_like(action[..., 0], dtype=torch.bool)
        for n in range(self.action_repeat):
            going = healthy if alive is None else healthy & alive
            after = self.simulator.step(state, action, self.parameters(task), going if n or alive is not None else None)
            reward = self.reward(task, state, after) - self.control_cost * action.square().sum(-1)
            total += reward * healthy
            state, healthy = after, healthy & self.healthy(after)
        return state, total.float(), ~healthy

    def observe(self, task: Any, state: MujocoState) -> Float[Tensor, "M B D"]:
        return torch.cat([state.qpos[..., 1:], state.qvel], -1).float()

    def render(self, task: Any, state: MujocoState, past: Sequence[Step] = ()) -> np.ndarray:
        return self.simulator.picture(state)

    def start(
        self, shape: tuple[int, int], generator: torch.Generator
    ) -> tuple[Float64[Tensor, "M B nq"], Float64[Tensor, "M B nv"]]:
        """Offsets of the first positions, uniform in ±start_noise, and first velocities, normal with that scale."""
        velocity = torch.randn(*shape, self.model.nv, generator=generator, dtype=torch.float64, device=generator.device)
        return self.uniform((*shape, self.model.nq), generator), velocity * self.start_noise

    def uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> Float64[Tensor, "..."]:
        """Draws from U[−start_noise, start_noise]."""
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return (2 * u - 1) * self.start_noise

    def field(self, state: MujocoState, name: str) -> Float64[Tensor, "M B ..."]:
        """A derived field, in MjData's shape."""
        shape = getattr(self.simulator.data, name).shape
        return state.derived[..., self.simulator.slice_of(name)].reshape(*state.derived.shape[:2], *shape)

    def parameters(self, task: Any) -> dict[str, Tensor]:
        """Fields of MjModel in which tasks differ, `[M, …]`; the same object for the same task."""
        return {}

    @abstractmethod
    def reward(self, task: Any, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        """The reward of a step, without the cost of its controls."""

    def healthy(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        """The episode goes on."""
        return torch.ones_like(state.qpos[..., 0], dtype=torch.bool)
