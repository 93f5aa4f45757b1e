"""A classical agent in 1000 random MDPs, 100 episodes each: posterior sampling, which plans before every episode."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import built
from benchmarks.timing import PROJECT, Case, Work
from metarl_run.evaluation import evaluate, joined
from metarl_run.seeding import Streams

CONFIG = ("algo=psrl", "env=random_mdp")


def cases(tiny: bool) -> Iterator[Case]:
    mdps, episodes = (20, 3) if tiny else (1000, 100)
    family, _ = built(*CONFIG)
    yield Case(
        "tables",
        "psrl",
        {"mdps": mdps, "episodes": episodes, "horizon": family.horizon},
        mdps * episodes * family.horizon,
        {PROJECT: partial(project, mdps, episodes)},
    )


def project(mdps: int, episodes: int) -> Work:
    family, algo = built(*CONFIG)
    streams = Streams(0, torch.device("cpu"))

    def work() -> None:
        parts = evaluate(
            algo,
            family,
            streams,
            split="meta_test",
            iteration=0,
            num_tasks=mdps,
            adaptation_steps=episodes - 1,
            episodes_per_task=1,
        )
        joined(list(parts))

    return work
