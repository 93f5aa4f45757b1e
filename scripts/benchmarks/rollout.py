"""Rollouts with separate policy parameters per task: MLP 64 × 64 on CartPoles that do not fall.

The project runs a whole lifetime without adaptation: agents begin, environments start, everything is recorded.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import LASTING, batch, built
from benchmarks.timing import COMPILED, PROJECT, Case, Work
from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.lifetime import live
from metarl_run.rollout import collect

CONFIG = ("algo=maml", *LASTING)


def cases(tiny: bool) -> Iterator[Case]:
    M, B = (2, 3) if tiny else (40, 20)
    family, _ = built(*CONFIG)
    yield Case(
        "rollout",
        f"{M} × {B} × {family.horizon}",
        {"tasks": M, "episodes": B, "horizon": family.horizon},
        M * B * family.horizon,
        {
            PROJECT: partial(project, M, B),
            COMPILED: partial(project, M, B, compiled=True),
            "gymnax": partial(gymnax, M, B),
            "jax": partial(jax, M, B),
        },
    )


def project(M: int, B: int, *, compiled: bool = False) -> Work:
    family, algo = built(*CONFIG)
    env, generator = batch(family, M, B), torch.Generator().manual_seed(1)
    how = CompiledRollouts(algo) if compiled else collect

    def work() -> None:
        with torch.no_grad():
            lifetime = live(algo, env, generator, adaptation_steps=0, collect=how)
        assert lifetime.rollouts[0].reward.shape[1] == family.horizon  # no CartPole has fallen

    return work


def gymnax(M: int, B: int) -> Work:
    from benchmarks.peers import gymnax_cartpole

    family, algo = built(*CONFIG)
    env = batch(family, M, B)
    return gymnax_cartpole.rollout(env.task, algo.begin(env.task).params, B, family.horizon)


def jax(M: int, B: int) -> Work:
    from benchmarks.peers import jax_cartpole

    family, algo = built(*CONFIG)
    env = batch(family, M, B)
    return jax_cartpole.rollout(env.task, algo.begin(env.task).params, B, family.horizon)
