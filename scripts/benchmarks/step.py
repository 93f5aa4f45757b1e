"""CartPoles stepped with random actions that were drawn ahead, episode after episode.

Per-task physics for the project and the hand-written JAX, one physics for gymnax and gymnasium. Every subject draws a
new start where an episode ends, and makes each step's observation, reward and ends; nobody keeps them.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import batch, built
from benchmarks.timing import PROJECT, Case, Work

STEPS = 100
SHAPES = {20: (20, 1), 800: (40, 20), 16384: (128, 128)}
"""Slots, and how many tasks × episodes they are."""


def cases(tiny: bool) -> Iterator[Case]:
    for slots, (tasks, episodes) in SHAPES.items():
        if not tiny or slots == 20:
            yield Case(
                "step",
                f"batch {slots}",
                {"batch": slots},
                STEPS * slots,
                {
                    PROJECT: partial(project, tasks, episodes),
                    "gymnasium": partial(gymnasium, slots),
                    "gymnax": partial(gymnax, slots),
                    "jax": partial(jax, tasks, episodes),
                },
            )


def project(num_tasks: int, episodes: int) -> Work:
    family, _ = built("env=cartpole_family", "env.horizon=500")
    env = batch(family, num_tasks, episodes)
    generator = torch.Generator().manual_seed(1)
    actions = torch.randint(2, (STEPS, num_tasks, episodes), generator=generator).unbind()
    with torch.inference_mode():
        env.start(episodes=2**30)

    def work() -> None:
        with torch.inference_mode():
            for action in actions:
                env.advance(action)

    return work


def gymnasium(slots: int) -> Work:
    from benchmarks.peers import gymnasium_cartpole

    return gymnasium_cartpole.stepping(slots, STEPS)


def gymnax(slots: int) -> Work:
    from benchmarks.peers import gymnax_cartpole

    return gymnax_cartpole.stepping(slots, STEPS)


def jax(num_tasks: int, episodes: int) -> Work:
    from benchmarks.peers import jax_cartpole

    family, _ = built("env=cartpole_family", "env.horizon=500")
    return jax_cartpole.stepping(batch(family, num_tasks, episodes).task, episodes, STEPS, family.horizon)
