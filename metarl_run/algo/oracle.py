"""Oracle: an agent that knows the task and acts optimally in it."""

import math
from typing import Any, ClassVar

import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import TaskFamily
from metarl_run.maths.distributions import Categorical
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.types import AgentState, Memory, Percept


class Oracle(MetaAlgorithm):
    """Act greedily on the exact optimal action values of the task: the upper bound for every agent.

        Qₜ(s, a) by value iteration over the horizon,        aₜ = argmaxₐ Qₜ(sₜ, a)

    Args:
        family: gives the horizon.

    Source: Bellman (1957), Dynamic Programming.
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)

    family: TaskFamily

    def __post_init__(self) -> None:
        super().__post_init__()
        self.horizon = self.family.horizon

    def begin(self, task: Any) -> AgentState:
        q = finite_horizon_q(task.transition, task.mean_reward, horizon=self.horizon)
        return AgentState(params={}, memory={"q": q, "t": q.new_zeros(task.num_tasks, 1, dtype=torch.int64)})

    def start(self, num_tasks: int) -> AgentState:
        raise ValueError("Oracle starts from the task itself; call begin(task)")

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        q, t = agent.memory["q"], agent.memory["t"]
        t = torch.where(percept.last_ended, 0, t)
        state = percept.observation.argmax(-1)
        task = torch.arange(len(q), device=q.device).unsqueeze(-1)
        best = q[task, t.clamp(max=self.horizon - 1), state].argmax(-1, keepdim=True)
        logits = torch.full((*state.shape, q.shape[-1]), -math.inf, device=q.device).scatter(-1, best, 0.0)
        return Categorical(logits), {"q": q, "t": t + 1}
