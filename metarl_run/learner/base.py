"""What a base learner is: how outputs of a network become a policy, and how one task's experience becomes a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.maths.distributions import Distribution, each
from metarl_run.types import Rollout

Output = Mapping[str, Tensor]
"""What a network put out at some observations: one tensor per head."""


class BaseLearner(Component, ABC):
    """The loss of ONE task. Code reads `[T, B, …]`; leading axes are carried along and never summed over.

    A learner sees what the network put out, never its parameters, so the same loss serves every network, and the
    gradient of a sum of losses over a stack of agents is the stack of their gradients.

    Attributes:
        provides, requires: words that must match between the chosen components; see `metarl_run.config`.
        epochs: gradient steps that one adaptation takes on one rollout.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    epochs: int = field(init=False, default=1)

    @abstractmethod
    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        """The outputs this learner needs of its network: a name and a size each."""

    def constants(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        """Learned outputs that do not depend on the observation: a name and a size each; they start at 0."""
        return {}

    @abstractmethod
    def policy(self, output: Output) -> Distribution:
        """The distribution of the next action."""

    @abstractmethod
    def loss(
        self, output: Output, rollout: Rollout, behaviour: Distribution | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each task, and quantities worth logging.

        Args:
            output: of the network at every row of `rollout.observation`: `[…, T + 1, B, ·]` per head.
            rollout: what the policy that is to be improved lived through.
            behaviour: the policy that collected the rollout, `[…, T, B]`; None if that is this one.
        """

    def behaviour(self, output: Output) -> Distribution:
        """The policy that these outputs make at the T rows that were acted on, as a constant."""
        return each(self.policy(rows(output)), Tensor.detach)


def rows(output: Output) -> Output:
    """The output at the T rows that were acted on: `[…, T + 1, B, ·]` → `[…, T, B, ·]`."""
    return {head: value[..., :-1, :, :] for head, value in output.items()}


def action_size(action_space: gymnasium.Space[Any]) -> int:
    """How many actions there are, or how many numbers an action is."""
    match action_space:
        case gymnasium.spaces.Discrete():
            return int(action_space.n)
        case gymnasium.spaces.Box(shape=(size,)):
            return int(size)
    raise ValueError(f"action_space must be Discrete or a Box of one axis, got {action_space}")


def num_actions(action_space: gymnasium.Space[Any]) -> int:
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise ValueError(f"action_space must be Discrete, got {action_space}")
    return int(action_space.n)
