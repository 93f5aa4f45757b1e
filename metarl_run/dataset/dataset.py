"""Learning histories read from a dataset: windows of consecutive steps, of which only what is read is in memory."""

import functools
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from metarl_run.dataset.card import Card, read_card, require_shards
from metarl_run.dataset.shard import TERMINATED, TRUNCATED, Histories, map_shard
from metarl_run.types import Rollout


class Sample(NamedTuple):
    """Windows of N histories.

    Attributes:
        rollout: consecutive steps of each history, `[T, N, …]`, with T + 1 observations; where a history is shorter
            than T its window is the whole history, followed by padding that is not alive. Its memory is empty.
        optimal_action: of what each step acted on, anything in padding; None in a dataset without labels.
        task: index of each history's task.
        history: index of each history in the dataset.
        start: the step of its history that each window begins with.
    """

    rollout: Rollout
    optimal_action: Int[Tensor, "T N"] | None
    task: Int[Tensor, " N"]
    history: Int[Tensor, " N"]
    start: Int[Tensor, " N"]


class Dataset:
    """Learning histories in a folder, see `metarl_run.dataset.card`.

    The card is read when something is first asked of the dataset, so that an agent can be built before its data are
    collected, and act without them. Shards are mapped into memory when a history of theirs is first read; then their
    hashes are checked.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[int, Histories] = {}

    @classmethod
    def open(cls, folder: str | Path) -> "Dataset":
        """The dataset in `folder`, whose card and the sizes of its files are looked at now.

        Raises:
            StateError: if there is none, or it is damaged.
        """
        dataset = cls(Path(folder))
        _ = dataset.card
        return dataset

    @functools.cached_property
    def card(self) -> Card:
        """What the histories are.

        Raises:
            StateError: if there is no dataset, or it is damaged.
        """
        card = read_card(self.folder)
        require_shards(self.folder, card)
        return card

    @functools.cached_property
    def _first(self) -> Tensor:
        """Index of the first history of each shard, and the number of all."""
        histories = torch.tensor([shard.histories for shard in self.card.shards])
        return torch.cat([histories.new_zeros(1), histories.cumsum(0)])

    @property
    def num_histories(self) -> int:
        return self.card.num_histories

    @property
    def num_tasks(self) -> int:
        return self.card.num_tasks

    @property
    def labels(self) -> bool:
        """An optimal action is known of every step."""
        return self.card.labels

    def sample(self, num_histories: int, length: int | None, generator: torch.Generator) -> Sample:
        """Windows of random histories at random places, all equally likely, with replacement.

        Args:
            num_histories: N.
            length: T, steps of a window; None for whole histories.
            generator: the only randomness; the sample is on its device.

        Raises:
            StateError: if a shard is damaged.
        """
        device = generator.device
        history = torch.randint(self.num_histories, (num_histories,), generator=generator, device=device)
        place = torch.rand(num_histories, dtype=torch.float64, generator=generator, device=device)
        return self._read(history.cpu(), length, place.cpu(), device)

    def read(self, history: Int[Tensor, " N"], length: int | None = None) -> Sample:
        """The first steps of given histories.

        Args:
            history: their indices.
            length: T; None for whole histories.
        """
        return self._read(history.cpu(), length, torch.zeros(len(history), dtype=torch.float64), history.device)

    def _read(self, history: Tensor, length: int | None, place: Tensor, device: torch.device) -> Sample:
        """Windows of T steps, which begin after the fraction `place` of where they could."""
        N, card = len(history), self.card
        shard_of = torch.searchsorted(self._first, history, right=True) - 1
        parts = [(self._shard(s), (shard_of == s).nonzero().squeeze(1)) for s in sorted({*shard_of.tolist()})]
        begin, steps = torch.empty(N, dtype=torch.int64), torch.empty(N, dtype=torch.int64)
        in_shard = history - self._first[shard_of]
        for shard, where in parts:
            begin[where] = shard.first[in_shard[where]]
            steps[where] = shard.first[in_shard[where] + 1] - begin[where]
        T = int(steps.max()) if length is None else length
        choices = (steps - T).clamp(min=0) + 1
        start = torch.minimum((place * choices).long(), choices - 1)
        alive = torch.arange(T)[:, None] < (steps - start)
        row = torch.arange(T + 1)[:, None].clamp(max=steps - start) + start  # padding repeats the last observation
        step = row[:-1].clamp(max=steps - 1) + begin
        row = row + begin + in_shard

        def gathered(name: str, index: Tensor) -> Tensor:
            found = torch.empty(0)
            for shard, where in parts:
                x: Tensor = getattr(shard, name)
                if not found.numel():
                    found = x.new_empty(*index.shape, *x.shape[1:])
                if len(parts) == 1:
                    return x[index]
                found[:, where] = x[index[:, where]]
            return found

        observation = gathered("observation", row).to(device)
        if card.one_hot:
            observation = torch.nn.functional.one_hot(observation.long(), card.num_features)
        action, ended = gathered("action", step).to(device), gathered("ended", step).to(device)
        alive = alive.to(device)
        rollout = Rollout(
            observation.float(),
            action.long() if card.num_actions is not None else action,
            gathered("reward", step).to(device) * alive,
            (ended & TERMINATED).bool() & alive,
            (ended & TRUNCATED).bool() & alive,
            alive,
            {},
        )
        optimal = gathered("optimal_action", step).to(device).long() if card.labels else None
        task = history // card.histories_per_task
        return Sample(rollout, optimal, task.to(device), history.to(device), start.to(device))

    def _shard(self, index: int) -> Histories:
        if index not in self._shards:
            record = self.card.shards[index]
            self._shards[index] = map_shard(self.folder / record.file, record, self.card)
        return self._shards[index]
