"""MuJoCo's robots stepped with actions drawn in advance, every task with body masses of its own.

The project steps all environments in one native call, on as many threads as it is given. Gymnasium's environments step
one after another: fewer of them, for more steps, and all with the same model. Both compute observation and reward.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.project import batch, built, stepping
from benchmarks.timing import PROJECT, Case, Work

TASKS, EPISODES, STEPS = 40, 20, 20
FEWER = 20
"""One in so many environments of Gymnasium."""

ROBOTS = {
    "half_cheetah": ("env=half_cheetah_dir", "HalfCheetah-v5", {}),
    "ant": ("env=ant_dir", "Ant-v5", {}),
    "hopper": ("env=hopper_params", "Hopper-v5", {"terminate_when_unhealthy": False}),
}


def cases(tiny: bool) -> Iterator[Case]:
    tasks = 2 if tiny else TASKS
    for robot, (option, env_id, arguments) in ROBOTS.items():
        if not tiny or robot == "half_cheetah":
            steps = tasks * EPISODES * STEPS
            subjects = {
                PROJECT: partial(project, option, tasks),
                "gymnasium": partial(gymnasium, env_id, arguments, tasks * EPISODES // FEWER, FEWER * STEPS),
            }
            yield Case("mujoco", robot, {"batch": tasks * EPISODES}, steps, subjects)


def project(option: str, tasks: int) -> Work:
    family, _ = built(option, "env.horizon=1000")
    generator = torch.Generator().manual_seed(1)
    if "params" not in option:
        mass = torch.from_numpy(family.model.body_mass.copy())
        masses = {"body_mass": mass * (0.5 + torch.rand(tasks, len(mass), generator=generator))}
        all_tasks = lambda task: masses if task.num_tasks == tasks else {}  # noqa: E731 - not the one of resets
        family.parameters = all_tasks  # type: ignore[method-assign]
    env = batch(family, tasks, EPISODES)
    low, high = (torch.from_numpy(bound) for bound in (family.action_space.low, family.action_space.high))
    draws = torch.rand(STEPS, tasks, EPISODES, len(low), generator=generator)
    actions = (low + draws * (high - low)).unbind()
    return stepping(env, actions)


def gymnasium(env_id: str, arguments: dict[str, bool], envs: int, steps: int) -> Work:
    from benchmarks.peers import gymnasium_loop

    return gymnasium_loop.stepping(env_id, arguments, envs, steps)
