"""What a base learner is: how outputs of a network become a policy, and how one task's experience becomes a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
from torch import Tensor

from metarl_run.policy import Categorical
from metarl_run.types import Rollout


class BaseLearner(ABC):
    """The loss of ONE task. Code reads `[T, B, …]`; leading axes are carried along and never summed over.

    A learner sees what the network put out, never its parameters, so the same loss serves every network, and the
    gradient of a sum of losses over a stack of agents is the stack of their gradients.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        """The outputs this learner needs of its network: a name and a size each."""

    @abstractmethod
    def policy(self, output: Mapping[str, Tensor]) -> Categorical:
        """The distribution of the next action."""

    @abstractmethod
    def loss(self, output: Mapping[str, Tensor], rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each task, and quantities worth logging.

        Args:
            output: of the network at every row of `rollout.observation`: `[…, T + 1, B, ·]` per head.
            rollout: what the policy that is to be improved lived through.
        """


def num_actions(action_space: gymnasium.Space[Any]) -> int:
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise ValueError(f"action_space must be Discrete, got {action_space}")
    return int(action_space.n)
