"""One seed, many independent streams of randomness, each with a name.

    generator = Streams(seed, device)("meta_train/tasks", iteration)

A stream is a pure function of (seed, name, index): nothing is carried from one iteration to the next, so a run resumed
at iteration i draws exactly what the uninterrupted run would have drawn, and reading one stream never moves another.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


def derived_seed(seed: int, name: str, *index: int) -> int:
    """A 63-bit seed that depends on every part of (seed, name, index)."""
    label = "/".join([str(seed), name, *map(str, index)])
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Streams:
    """Named generators of one run.

    Args:
        seed: the run's seed, any integer; 0 is a seed like any other.
        device: where the generators live.
    """

    seed: int
    device: torch.device

    def __call__(self, name: str, *index: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derived_seed(self.seed, name, *index))

    def numpy(self, name: str, *index: int) -> np.random.Generator:
        """The same for statistics that run in numpy."""
        return np.random.default_rng(derived_seed(self.seed, name, *index))
