"""Learned intrinsic reward, which only the inner learner sees."""

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.component import Component
from metarl_run.learner.base import action_size
from metarl_run.learner.inputs import action_features, observation_size
from metarl_run.network.mlp import MLP
from metarl_run.types import Params, Rollout


class IntrinsicReward(Component):
    """Reward of a step in addition to the task's own.

        r_ψ(s, a) = c tanh f_ψ(s, a)

    Args:
        observation_space: observations of the task family.
        action_space: actions of the task family.
        scale: c > 0, in units of the task's reward.
        hidden: units of each hidden layer of f.
        activation: activation of its hidden layers.

    Source: Zheng et al. (2018), arXiv:1804.06459.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    scale: float
    hidden: Sequence[int]
    activation: Literal["tanh", "relu"]

    def __post_init__(self) -> None:
        super().__post_init__()
        inputs = observation_size(self.observation_space) + action_size(self.action_space)
        self.network = MLP(num_inputs=inputs, heads={"reward": 1}, hidden=self.hidden, activation=self.activation)

    def init(self, generator: torch.Generator) -> Params:
        """Initial ψ, with rewards near 0."""
        return self.network.init(generator)

    def __call__(self, ψ: Params, rollout: Rollout) -> Tensor:
        """r_ψ of each step, `[M, T, B]`; 0 at padding."""
        s = rollout.observation[..., :-1, :, :]
        a = action_features(rollout.action, self.action_space).to(s.dtype)
        output, _ = self.network(ψ, torch.cat([s, a], -1), {})
        return self.scale * output["reward"].squeeze(-1).tanh() * rollout.alive
