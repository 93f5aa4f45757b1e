"""What an agent's actions depend on: shares of the commonest action, before and after shuffling.

An agent that has settled on a few actions whatever the state, or on one policy whatever the task, can have a smooth
learning curve and a return above chance. These numbers show it: they need actions and states alone.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor


class Dependence(NamedTuple):
    """Mean over steps of the share that the commonest action has among the steps of the same lifetime and state.

    Attributes:
        share: as it is.
        states_shuffled: after a permutation of the states within each lifetime.
        memory_shuffled: after a permutation of the actions taken in the same state among all lifetimes.
    """

    share: float
    states_shuffled: float
    memory_shuffled: float

    @property
    def on_state(self) -> float:
        """Dependence of actions on the state, in [0, 1): about 0 for an agent that ignores it."""
        return self.share - self.states_shuffled

    @property
    def on_memory(self) -> float:
        """Dependence of actions on what the lifetime has brought, in [0, 1): about 0 for one policy in all tasks."""
        return self.share - self.memory_shuffled


def dependence(
    action: Int[Tensor, "N T"], state: Int[Tensor, "N T"], *, num_actions: int, generator: torch.Generator
) -> Dependence:
    """Shares of the commonest action in N lifetimes of T steps.

    Shuffling keeps the size of every group, so the share that chance alone gives small groups is the same in all three.

    Args:
        action: in [0, num_actions).
        state: of any numbering from 0 on.
        num_actions: A.
        generator: of the permutations.
    """
    N, T = state.shape
    S, device = int(state.max()) + 1, state.device
    within = torch.rand(N, T, generator=generator, device=device).argsort(1)
    among = torch.rand(N * T, generator=generator, device=device)
    # In both orders states ascend; one keeps the order of steps, the other is random within a state.
    flat = state.flatten()
    ordered = flat.argsort(stable=True)
    mixed = torch.empty(N * T, dtype=torch.int64, device=device)
    by_chance = among.argsort()
    mixed[ordered] = by_chance[flat[by_chance].argsort(stable=True)]

    def share(action: Tensor, state: Tensor) -> float:
        lifetime = torch.arange(N, device=device).unsqueeze(1)
        cell = (lifetime * S + state) * num_actions + action
        counts = torch.bincount(cell.flatten(), minlength=N * S * num_actions).view(-1, num_actions)
        return float(counts.amax(-1).sum()) / (N * T)

    return Dependence(
        share(action, state),
        share(action, state.gather(1, within)),
        share(action.flatten()[mixed].view(N, T), state),
    )
