"""Random policies: one for each lifetime, the same in every state."""

from typing import Any, ClassVar

import gymnasium
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept

STEPS = 10
"""w is one of 0, 1 / 10, …, 1."""


class Dirichlet(MetaAlgorithm):
    """Draw a policy before the first step of a lifetime, and act by it throughout: data of every quality.

        π(a) = (1 − w) pₐ + w [a = j],        p ~ Dirichlet(1, …, 1),    w ~ U{0, .1, …, 1},    j ~ U{1, …, A}

    Args:
        action_space: discrete.

    Source: Lee et al. (2023), arXiv:2306.14892, Section 4: data of bandits.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)
    remembers: ClassVar[bool] = True

    action_space: gymnasium.Space[Any]

    def begin(self, task: Any) -> AgentState:
        device = next(iter(task.tensors().values())).device
        nothing = torch.zeros(task.num_tasks, 1, device=device)
        return AgentState({}, {"policy": nothing.new_zeros(task.num_tasks, 1, num_actions(self.action_space))})

    def start(self, num_tasks: int) -> AgentState:
        return AgentState({}, {"policy": torch.zeros(num_tasks, 1, num_actions(self.action_space))})

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        if bool(agent.memory["policy"][0, 0].any()):  # it is drawn
            return agent
        shape, A, device = percept.last_reward.shape, num_actions(self.action_space), generator.device
        p = torch.empty(*shape, A, device=device).exponential_(generator=generator)
        w = torch.randint(STEPS + 1, (*shape, 1), generator=generator, device=device) / STEPS
        favourite = torch.randint(A, (*shape, 1), generator=generator, device=device)
        π = ((1 - w) * p / p.sum(-1, keepdim=True)).scatter_add(-1, favourite, w)
        return agent._replace(memory={"policy": π})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        policy = agent.memory["policy"].expand(*percept.last_reward.shape, -1)
        return Categorical(policy.log()), agent.memory
