"""Toy environments, which worker processes can import."""

import copy
import os
import time

import gymnasium
import numpy as np
from gymnasium import spaces

SPACES = {
    "box": spaces.Box(-np.inf, np.inf, (2, 3)),
    "vector": spaces.Box(-1, 1, (2,)),
    "bytes": spaces.Box(0, 255, (4, 4, 3), np.uint8),
    "discrete": spaces.Discrete(5, start=3),
    "multi_discrete": spaces.MultiDiscrete([2, 3], start=[1, 0]),
    "multi_binary": spaces.MultiBinary(3),
    "text": spaces.Text(4),
    "tuple": spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (2,)))),
    "dict": spaces.Dict({"a": spaces.MultiBinary(2), "b": spaces.Box(-1, 1, (1,))}),
}


class Toy(gymnasium.Env):
    """Counts steps: pays `bonus` plus the step's number, ends after `length` steps; the state says all it was told."""

    def __init__(self, observation="box", action="discrete", length=3, fault=None, at=2, bonus=0.0):
        self.observation_space, self.action_space = copy.deepcopy((SPACES[observation], SPACES[action]))
        self.length, self.fault, self.at, self.bonus, self.scale = length, fault, at, bonus, 1.0
        self.constructed_with, self.options = bonus, {"floor": {"tiles": 1}}
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.actions.append(action)
        self.steps += 1
        if self.steps == self.at:
            if self.fault == "raise":
                raise ValueError("broken gearbox")
            if self.fault == "hang":
                time.sleep(600)
            if self.fault == "die":
                os._exit(9)
        reward = self.bonus + self.scale * self.steps
        if self.fault == "nan" and self.steps == self.at:
            reward = float("nan")
        info = {"is_success": self.steps == 2, "steps": self.steps, "name": "toy"}
        return self.observation_space.sample(), reward, self.steps >= self.length, False, info


class WithTask(Toy):
    """Takes its task as a mapping."""

    def set_task(self, task):
        self.bonus = task["goal"]


class Unseeded(Toy):
    """Its rewards come from a clock."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, time.perf_counter(), terminated, truncated, info


def make(**arguments):
    return Toy(**arguments)


def make_with_task(**arguments):
    return WithTask(**arguments)


class Negative(gymnasium.RewardWrapper):
    """Changes the sign of rewards."""

    def reward(self, reward):
        return -reward


gymnasium.register("LabToy-v0", entry_point=Toy, max_episode_steps=7)
