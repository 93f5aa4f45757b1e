"""CartPoles stepped with random actions drawn in advance, episode after episode.

The project and the hand-written JAX have per-task physics, gymnax and gymnasium one physics. Every subject resets ended
episodes and computes each step's observation, reward and ends; none stores them.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import batch, built, stepping
from benchmarks.timing import PROJECT, Case, Work

STEPS = 100
SHAPES = {20: (20, 1), 800: (40, 20), 16384: (128, 128)}
"""Number of parallel environments, as tasks × episodes."""


def cases(tiny: bool) -> Iterator[Case]:
    for envs, (tasks, episodes) in SHAPES.items():
        if not tiny or envs == 20:
            yield Case(
                "step",
                f"batch {envs}",
                {"batch": envs},
                STEPS * envs,
                {
                    PROJECT: partial(project, tasks, episodes),
                    "gymnasium": partial(gymnasium, envs),
                    "gymnax": partial(gymnax, envs),
                    "jax": partial(jax, tasks, episodes),
                },
            )


def project(num_tasks: int, episodes: int) -> Work:
    family, _ = built("env=cartpole_family", "env.horizon=500")
    env = batch(family, num_tasks, episodes)
    generator = torch.Generator().manual_seed(1)
    actions = torch.randint(2, (STEPS, num_tasks, episodes), generator=generator).unbind()
    return stepping(env, actions)


def gymnasium(envs: int) -> Work:
    from benchmarks.peers import gymnasium_cartpole

    return gymnasium_cartpole.stepping(envs, STEPS)


def gymnax(envs: int) -> Work:
    from benchmarks.peers import gymnax_cartpole

    return gymnax_cartpole.stepping(envs, STEPS)


def jax(num_tasks: int, episodes: int) -> Work:
    from benchmarks.peers import jax_cartpole

    family, _ = built("env=cartpole_family", "env.horizon=500")
    return jax_cartpole.stepping(batch(family, num_tasks, episodes).task, episodes, STEPS, family.horizon)
