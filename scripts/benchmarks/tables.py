"""Tabular MDPs lived through and evaluated: 10 episodes in each of 1000, as a run's meta-test does it.

The agent acts at random, and what it earns in expectation and could earn at most is computed by planning, as always in
tabular tasks. It stands in for the hand-made agents, which will take its place.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import built
from benchmarks.timing import PROJECT, Case, Work
from metarl_run.evaluation import evaluate, joined
from metarl_run.seeding import Streams

EPISODES = 10
CONFIG = ("algo=random", "env=random_mdp")


def cases(tiny: bool) -> Iterator[Case]:
    mdps = 20 if tiny else 1000
    family, _ = built(*CONFIG)
    yield Case(
        "tables",
        "random agent",
        {"mdps": mdps, "episodes": EPISODES, "horizon": family.horizon},
        mdps * EPISODES * family.horizon,
        {PROJECT: partial(project, mdps)},
    )


def project(mdps: int) -> Work:
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
            adaptation_steps=EPISODES - 1,
            episodes_per_task=1,
        )
        joined(list(parts))

    return work
