"""RL² with a GRU of 256 units in random MDPs of 10 states: 512 lifetimes of 10 episodes × 10 steps.

The rollout by `live`, the update by `meta_update`: PPO, 4 passes in 4 minibatches each. The project also measures how
far the policy has moved, before every step; the peer does not.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import batch, built
from benchmarks.timing import PROJECT, Case, Work
from metarl_run.lifetime import live

EPISODES, HORIZON, PASSES, MINIBATCHES = 10, 10, 4, 4
CONFIG = (
    "algo=rl2",
    "env=random_mdp",
    "network=gru",
    f"env.horizon={HORIZON}",
    f"algo.episodes={EPISODES}",
    f"algo.minibatches={MINIBATCHES}",
    f"learner.epochs={PASSES}",
    "algo.max_kl=1e6",  # no pass is left out
    "algo.meta_optimizer.lr=1e-8",  # every repetition does the same work
)


def cases(tiny: bool) -> Iterator[Case]:
    lifetimes, hidden = (8, 16) if tiny else (512, 256)
    for part in ("rollout", "update"):
        yield Case(
            "rl2",
            part,
            {"lifetimes": lifetimes, "lifetime_steps": EPISODES * HORIZON, "hidden": hidden},
            lifetimes * EPISODES * HORIZON,
            {PROJECT: partial(project, part, lifetimes, hidden), "jax": partial(jax, part, lifetimes, hidden)},
        )


def project(part: str, lifetimes: int, hidden: int) -> Work:
    family, algo = built(*CONFIG, f"network.hidden={hidden}")
    env, generator = batch(family, lifetimes, 1), torch.Generator().manual_seed(1)
    lived = live(algo, env, generator, adaptation_steps=EPISODES - 1)

    def rollout() -> None:
        live(algo, env, generator, adaptation_steps=EPISODES - 1)

    def update() -> None:
        algo.meta_update(lambda _: lived)

    return rollout if part == "rollout" else update


def jax(part: str, lifetimes: int, hidden: int) -> Work:
    from benchmarks.peers import jax_rl2

    family, algo = built(*CONFIG, f"network.hidden={hidden}")
    task = batch(family, lifetimes, 1).task
    return jax_rl2.work(part, task, algo.meta_params, EPISODES, HORIZON, PASSES, MINIBATCHES)
