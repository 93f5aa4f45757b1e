"""Interface of base learners: from network outputs to a policy, and from one task's experience to a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.maths.distributions import Distribution, each
from metarl_run.types import Rollout

Output = Mapping[str, Tensor]
"""Network outputs at some observations: one tensor per head."""


class BaseLearner(Component, ABC):
    """The policy and the loss of ONE task. Code reads `[T, B, …]`; leading axes are batched and never summed over.

    A learner reads network outputs, never parameters: the same loss serves every network, and the gradient of a sum of
    losses over a stack of agents is the stack of their gradients.

    Attributes:
        provides, requires: capabilities that must match between the chosen components; see `metarl_run.config`.
        epochs: gradient steps per adaptation.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    epochs: int = field(init=False, default=1)

    @abstractmethod
    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        """Network outputs that the learner needs: size by name."""

    def constants(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        """Learned outputs that do not depend on the observation: size by name; they start at 0."""
        return {}

    @abstractmethod
    def policy(self, output: Output) -> Distribution:
        """The distribution of the next action."""

    @abstractmethod
    def loss(
        self, output: Output, rollout: Rollout, behaviour: Distribution | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each task, and metrics by name.

        Args:
            output: network output at every row of `rollout.observation`: `[…, T + 1, B, ·]` per head.
            rollout: experience to improve the policy on.
            behaviour: policy that collected the rollout, `[…, T, B]`; None if it is the policy of `output`.
        """

    def behaviour(self, output: Output) -> Distribution:
        """The policy of these outputs at the T rows that were acted on, detached."""
        return each(self.policy(rows(output)), Tensor.detach)


def rows(output: Output) -> Output:
    """The output at the T rows that were acted on: `[…, T + 1, B, ·]` → `[…, T, B, ·]`."""
    return {head: value[..., :-1, :, :] for head, value in output.items()}


def action_size(action_space: gymnasium.Space[Any]) -> int:
    """Number of discrete actions, or dimension of a continuous one."""
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
