"""Gymnasium's environments in a plain Python loop."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from benchmarks.timing import Work
from metarl_run.env.mujoco.package import mujoco_quietly


def made(env_id: str, arguments: Mapping[str, Any], number: int) -> list[gymnasium.Env[Any, Any]]:
    """Environments without a time limit or checks."""
    mujoco_quietly()
    return [gymnasium.make(env_id, max_episode_steps=-1, disable_env_checker=True, **arguments) for _ in range(number)]


def stepping(env_id: str, arguments: Mapping[str, Any], number: int, steps: int) -> Work:
    envs = made(env_id, arguments, number)
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    space = envs[0].action_space
    assert isinstance(space, gymnasium.spaces.Box)
    draws = np.random.default_rng(1).uniform(space.low, space.high, (steps, number, *space.shape))
    actions = draws.astype(space.dtype)

    def work() -> None:
        for row in actions:
            for env, action in zip(envs, row, strict=True):
                env.step(action)

    return work
