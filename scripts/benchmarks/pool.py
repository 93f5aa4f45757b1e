"""`env=gymnasium` beside the same environments in a plain Python loop: 200 HalfCheetahs, 20 steps after a reset.

All subjects take the same actions from the same states; what the loop needs is what the environments themselves take,
so its ratio is the project's share of their speed. Two worker processes need `--threads 2` and the wall clock.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import built
from benchmarks.timing import PROJECT, Case, Work
from metarl_run.env.gymnasium import SEEDS
from metarl_run.env.vector import parallel

TASKS, EPISODES, STEPS = 10, 20, 20
ENV = "HalfCheetah-v5"
LOOP, ASYNC = "gymnasium", f"{PROJECT} async"


def cases(tiny: bool) -> Iterator[Case]:
    tasks = 2 if tiny else TASKS
    subjects = {
        PROJECT: partial(project, tasks),
        LOOP: partial(loop, tasks),
        ASYNC: partial(project, tasks, "env.vector=async", "env.workers=2"),
    }
    yield Case("pool", ENV, {"batch": tasks * EPISODES}, tasks * EPISODES * STEPS, subjects)


def drawn(tasks: int) -> torch.Tensor:
    return 2 * torch.rand(STEPS, tasks, EPISODES, 6, generator=torch.Generator().manual_seed(1)) - 1


def project(tasks: int, *others: str) -> Work:
    family, _ = built("env=gymnasium", f"env.id={ENV}", "env.horizon=1000", *others)
    generator = torch.Generator().manual_seed(0)
    task = family.sample(tasks, "meta_train", generator)
    env = parallel(family, task, episodes_per_task=EPISODES, generator=generator)
    actions = drawn(tasks).unbind()

    def work() -> None:
        generator.manual_seed(0)
        with torch.inference_mode():
            env.start()
            for action in actions:
                env.advance(action)

    return work


def loop(tasks: int) -> Work:
    from benchmarks.peers import gymnasium_loop

    envs = gymnasium_loop.made(ENV, {}, tasks * EPISODES)
    seeds = torch.randint(SEEDS, (len(envs),), generator=torch.Generator().manual_seed(0)).tolist()
    actions = drawn(tasks).flatten(1, 2).numpy()

    def work() -> None:
        for env, seed in zip(envs, seeds, strict=True):
            env.reset(seed=seed)
        for row in actions:
            for env, action in zip(envs, row, strict=True):
                env.step(action)

    return work
