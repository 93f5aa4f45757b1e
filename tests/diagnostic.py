"""Small families and agents whose returns are known without running anything."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import Task, TaskFamily
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Percept, Rollout

NUM_ACTIONS = 6


@dataclass(frozen=True)
class Bonus(Task):
    """Tasks that add a number to every reward."""

    bonus: Tensor


class Clock(NamedTuple):
    time: Tensor


class PaysAction(TaskFamily):
    """Reward = action + the task's bonus; observation = steps so far; ends by itself after `length` steps, if ever."""

    provides = ("discrete_actions",)

    def __init__(self, *, horizon: int, length: int | None = None, uneven: bool = False) -> None:
        self.horizon, self.length, self.uneven = horizon, length, uneven
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(NUM_ACTIONS)

    def sample(self, num_tasks: int, split: str, generator: torch.Generator) -> Bonus:
        return Bonus(torch.rand(num_tasks, generator=generator))

    def reset(self, task: Bonus, num_episodes: int, generator: torch.Generator) -> Clock:
        return Clock(torch.zeros(task.num_tasks, num_episodes))

    def step(self, task: Bonus, state: Clock, action: Tensor, noise: None) -> tuple[Clock, Tensor, Tensor]:
        time = state.time + 1
        limit = self.length if self.length is not None else torch.inf
        if self.uneven:  # slot b ends after b + 1 steps
            limit = torch.arange(1, time.shape[1] + 1).expand_as(time)
        return Clock(time), action + task.bonus[:, None], time >= limit

    def observe(self, task: Bonus, state: Clock) -> Tensor:
        return state.time.unsqueeze(-1).clone()


class Succeeds(PaysAction):
    """Its second step succeeds and no other, so that episodes of one step never do; `time` counts the steps."""

    outcomes: ClassVar = {"success": "max", "time": "last"}

    def outcomes_of(self, task: Bonus, state: Clock) -> dict[str, Tensor]:
        return {"success": (state.time == 2).float(), "time": state.time.clone()}


def surely(action: Tensor) -> Categorical:
    """The distribution that always gives `action`."""
    logits = torch.full((*action.shape, NUM_ACTIONS), -torch.inf)
    return Categorical(logits.scatter(-1, action.long().unsqueeze(-1), 0.0))


class CountsAdaptations(MetaAlgorithm):
    """Acts by the number of times `adapt` was called."""

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={"count": torch.zeros(num_tasks)}, memory={})

    def act(self, agent: AgentState, percept: Percept):
        return surely(agent.params["count"].unsqueeze(-1).expand_as(percept.last_reward)), agent.memory

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        return agent._replace(params={"count": agent.params["count"] + 1})


class CountsEpisodes(MetaAlgorithm):
    """Acts by the number of episodes its memory has seen end."""

    remembers = True

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory={"ended": torch.full((num_tasks, 1), -1)})  # the first percept says ended

    def act(self, agent: AgentState, percept: Percept):
        ended = agent.memory["ended"] + percept.last_ended
        return surely(ended), {"ended": ended}

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        return agent._replace(memory=rollout.memory)
