"""CAVIA: adapt a few inputs of the network, meta-learn the rest."""

from typing import Any

import gymnasium
import torch
from torch import Tensor

from metarl_run.algo.maml import MAML
from metarl_run.algo.rl2 import MakeNetwork
from metarl_run.component import field
from metarl_run.kinds import Count
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.network.constants import everywhere
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

CONTEXT = "context"


class CAVIA(MAML):
    """Give the network inputs that stand for the task, and let gradient steps adapt these inputs alone.

        start:  c₀ = 0                                     output = f_θ(s, cₖ)
        adapt:  cₖ₊₁ = cₖ − α ∇_c L(θ, cₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ L(θ, c_Kⁱ, rollout_Kⁱ)        through all K steps

    θ is the same in every task. The context shifts what the first layer sees, so tasks with other goals are learned
    sooner than tasks in which an action has the opposite effect. A linear network that starts at 0, such as
    `network=table`, never learns to use it: the derivatives by c and by its weights are both 0 there.

    Args:
        context_size: entries of c.
        action_space: of the task family.
        num_inputs: features of an observation.
        make_network: makes f_θ, whose inputs are an observation followed by c.

    Differs from the paper: Adam instead of TRPO follows the meta-gradient unless `meta_optimizer` says otherwise.
    Source: Zintgraf et al. (2019), arXiv:1810.03642, Eq. 3 and 4 and section 3.2.
    """

    context_size: Count
    action_space: gymnasium.Space[Any]
    num_inputs: Count
    make_network: MakeNetwork
    network: Network = field(init=False)
    meta_params: Params = field(init=False)
    head_only: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        heads, constants = self.learner.heads(self.action_space), self.learner.constants(self.action_space)
        self.network, self.meta_params = self.make_network(self.num_inputs + self.context_size, heads, constants)
        super().__post_init__()  # which needs both of them
        self.adapted = [CONTEXT]

    def start(self, num_tasks: int) -> AgentState:
        stacks = {name: θ.expand(num_tasks, *θ.shape).clone() for name, θ in self.initial.items()}
        c = next(iter(stacks.values())).new_zeros(num_tasks, 1, self.context_size).requires_grad_()
        return AgentState(params={**stacks, CONTEXT: c}, memory={})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        return self.learner.policy(self.at(agent.params, percept.observation)), agent.memory

    def output(self, params: Params, rollout: Rollout) -> Output:
        return self.at(params, rollout.observation)

    def at(self, params: Params, observation: Tensor) -> Output:
        """f_θ(s, c) at each observation, `[M, …, D]`."""
        θ = {name: φ for name, φ in params.items() if name != CONTEXT}
        return self.network(θ, torch.cat([observation, everywhere(params[CONTEXT], observation)], -1), {})[0]
