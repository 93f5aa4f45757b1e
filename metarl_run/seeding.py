"""Independent streams of randomness from one seed, each with a name.

    generator = Streams(seed, device)("meta_train/tasks", iteration)

A stream is a pure function of (seed, name, index): nothing is carried from one iteration to the next, so a run resumed
at iteration i draws exactly what the uninterrupted run would have drawn, and one stream never advances another.
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
        device: of the generators.
    """

    seed: int
    device: torch.device

    def __call__(self, name: str, *index: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derived_seed(self.seed, name, *index))

    def numpy(self, name: str, *index: int) -> np.random.Generator:
        """The stream as a numpy generator, for statistics."""
        return np.random.default_rng(derived_seed(self.seed, name, *index))
