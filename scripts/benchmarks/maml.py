"""One meta-iteration of MAML with exact second derivatives: rollout, adaptation, rollout, meta-gradient, Adam.

Project and peer both use REINFORCE on whole episodes, the mean return at the step as baseline, normalised advantages
and Loaded DiCE, on equally many data. No CartPole falls, and the optimiser's steps are too small to change anything, so
that every repetition does the same work.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import LASTING, batch, built
from benchmarks.timing import COMPILED, PROJECT, Case, Work
from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.lifetime import live
from metarl_run.rollout import collect
from metarl_run.types import Lifetime

CONFIG = ("algo=maml", "algo.adaptation_steps=1", "algo.meta_optimizer.lr=1e-8", *LASTING)


def cases(tiny: bool) -> Iterator[Case]:
    M, B = (2, 3) if tiny else (40, 20)
    family, _ = built(*CONFIG)
    yield Case(
        "maml",
        f"{M} × {B} × 2 × {family.horizon}",
        {"tasks": M, "episodes": B, "rollouts": 2, "horizon": family.horizon},
        2 * M * B * family.horizon,
        {
            PROJECT: partial(project, M, B),
            COMPILED: partial(project, M, B, compiled=True),
            "jax": partial(jax, M, B),
        },
    )


def project(M: int, B: int, *, compiled: bool = False) -> Work:
    family, algo = built(*CONFIG)
    env, generator = batch(family, M, B), torch.Generator().manual_seed(1)
    how = CompiledRollouts(algo) if compiled else collect

    def live_here(adaptation_steps: int) -> Lifetime:
        return live(algo, env, generator, adaptation_steps=adaptation_steps, collect=how)

    def work() -> None:
        algo.meta_update(live_here)

    return work


def jax(M: int, B: int) -> Work:
    from benchmarks.peers import jax_maml

    family, algo = built(*CONFIG)
    env = batch(family, M, B)
    return jax_maml.meta_iteration(
        env.task, algo.meta_params, B, family.horizon, inner_lr=algo.inner_lr, discount=algo.learner.discount
    )
