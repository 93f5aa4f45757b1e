"""Replay buffer of recent lifetimes."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.base import Later
from metarl_run.component import Component
from metarl_run.types import Rollout

FIELDS = Rollout._fields[:6]


class Replay(Component):
    """Ring buffer of the latest lifetimes, each padded to the same number of steps.

    Args:
        capacity: largest number of lifetimes.
        steps: steps of the longest lifetime.
    """

    capacity: int
    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept: dict[str, Tensor] = {}
        self.seen = 0

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, lifetimes: Rollout) -> None:
        """Add `lifetimes`, `[T, N, …]`; if there are more than `capacity`, the last ones."""
        N = lifetimes.reward.shape[1]
        lifetimes = lifetimes.envs(slice(max(0, N - self.capacity), None))
        missing = self.steps - len(lifetimes.reward)
        new = {name: self._padded(getattr(lifetimes, name), missing) for name in FIELDS}
        if not self.kept:
            self.kept = {name: x.new_zeros(len(x), self.capacity, *x.shape[2:]) for name, x in new.items()}
        kept = min(N, self.capacity)
        place = (self.seen + N - kept + torch.arange(kept, device=lifetimes.reward.device)) % self.capacity
        for name, x in new.items():
            self.kept[name].index_copy_(1, place, x)
        self.seen += N

    @staticmethod
    def _padded(x: Tensor, steps: int) -> Tensor:
        return pad(x, (0, 0) * (x.dim() - 1) + (0, steps))

    def sample(self, number: int, generator: torch.Generator) -> Rollout:
        """Lifetimes drawn with replacement, `[T, number, …]`."""
        place = torch.randint(len(self), (number,), generator=generator, device=generator.device)
        return Rollout._make([*(self.kept[name][:, place] for name in FIELDS), {}, {}])

    def state(self) -> dict[str, Tensor]:
        """The contents, and the number of lifetimes ever added."""
        return {**self.kept, "seen": torch.tensor(self.seen, device="cpu")}

    def form(self, num_features: int) -> dict[str, Tensor | Later]:
        """Form of the state with observations of `num_features` numbers and discrete actions."""
        of_steps = torch.empty(self.steps, self.capacity, device="meta")
        kinds = {"action": of_steps.long(), "reward": of_steps} | {
            "observation": of_steps.new_empty(self.steps + 1, self.capacity, num_features)
        }
        return {**{name: Later(kinds.get(name, of_steps.bool())) for name in FIELDS}, "seen": torch.tensor(0)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: if the contents are not those of as many lifetimes.
        """
        if int(state["seen"]) < 0 or any((name in state) != bool(state["seen"] > 0) for name in FIELDS):
            raise ValueError(f"seen must be the number of lifetimes ever added, got {int(state['seen'])}")
        self.kept = {name: state[name].clone() for name in FIELDS if name in state}
        self.seen = int(state["seen"])
