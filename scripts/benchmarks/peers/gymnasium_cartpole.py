"""Gymnasium's own vectorised CartPole."""

import gymnasium
import numpy as np

from benchmarks.timing import Work


def stepping(num_envs: int, steps: int) -> Work:
    env = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    actions = np.random.default_rng(1).integers(2, size=(steps, num_envs))

    def work() -> None:
        for action in actions:
            env.step(action)

    return work
