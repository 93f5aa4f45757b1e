"""A stand-in for the package metaworld: the same names, two classes of toy environments, three variations of each."""

import pickle
from types import SimpleNamespace
from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

GOALS = 3


class SawyerXYZEnv(gymnasium.Env):
    """Says where its goal is; succeeds at its third step alone, in episodes of even positions."""

    max_path_length = 7
    made = 0

    def __init__(self, render_mode=None):
        type(self).made += 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (39,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)

    def set_task(self, task):
        data = pickle.loads(task.data)
        assert data["env_cls"] is type(self) and data["partially_observable"]
        self.goal = data["rand_vec"]

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation, {}

    @property
    def observation(self):
        return np.concatenate([self.goal, [self.steps], np.zeros(38 - len(self.goal))])

    def step(self, action):
        self.steps += 1
        success = float(self.steps == 3 and self.goal[0] % 2 == 0)
        return self.observation, 1.0, False, self.steps == self.max_path_length, {"success": success}


class Reach(SawyerXYZEnv):
    width = 1


class Push(SawyerXYZEnv):
    width = 2


class Open(SawyerXYZEnv):
    width = 2


class Task(NamedTuple):
    env_name: str
    data: bytes


CLASSES = {"reach-v3": Reach, "push-v3": Push, "open-v3": Open}
env_dict = SimpleNamespace(ALL_V3_ENVIRONMENTS=CLASSES)


def tasks_of(names, first):
    return [
        Task(
            name,
            pickle.dumps(
                {
                    "rand_vec": np.full(CLASSES[name].width, float(first + i)),
                    "env_cls": CLASSES[name],
                    "partially_observable": True,
                }
            ),
        )
        for name in names
        for i in range(GOALS)
    ]


class ML1:
    def __init__(self, name, seed=None):
        self.train_tasks, self.test_tasks = tasks_of([name], 10 * seed), tasks_of([name], 10 * (seed + 1))


class ML10:
    def __init__(self, seed=None):
        self.train_tasks, self.test_tasks = tasks_of(["reach-v3", "push-v3"], 0), tasks_of(["open-v3"], 0)
