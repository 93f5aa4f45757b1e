"""A learned optimizer: the inner update rule itself is meta-learned."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from metarl_run.algo.base import Live
from metarl_run.algo.gradient_based import GradientBased
from metarl_run.algo.inner_rule import RULES
from metarl_run.algo.learned_rule import LearnedRule
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.algo.meta_objective import Agents, Losses, MetaObjective
from metarl_run.algo.meta_optimizer import GradientRule
from metarl_run.kinds import Count, Positive, checked
from metarl_run.learner.base import BaseLearner, Output
from metarl_run.learner.surrogate import Surrogate
from metarl_run.network.base import Network
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Params, Rollout

PREFIX = "rule."


class LearnedOptimizer(GradientBased, MetaLearner):

    @checked
    def __init__(
        self,
        *,
        learner: BaseLearner,
        network: Network,
        meta_params: Params,
        streams: Streams,
        rule: Literal["sgd", "adam"],
        inner_lr: Positive,
        hidden: Count,
        adaptation_steps: Count,
        first_order: bool,
        meta_gradient: Literal["truncated", "evolution"],
        deviation: Positive,
        pairs: Count,
        meta_optimizer: GradientRule,
    ) -> None:
        super().__init__(learner, network, meta_params, inner_lr, first_order=first_order)
        self.learned_rule = LearnedRule(base=RULES[rule], names=self.adapted, hidden=hidden)
        self.adaptation_steps = adaptation_steps
        self.meta_gradient, self.deviation, self.pairs = meta_gradient, deviation, pairs
        ψ = self.learned_rule.init(streams("init", 1))
        self.meta_params = {name: w.requires_grad_() for name, w in ψ.items()}
        self.meta_optimizer = meta_optimizer
        meta_optimizer.attach(self.meta_params)
        self.noise = streams("evolution")

    def start(self, num_tasks: int) -> AgentState:
        agent = super().start(num_tasks)
        ψ = {PREFIX + name: w.expand(num_tasks, *w.shape) for name, w in self.meta_params.items()}
        return agent._replace(memory={**ψ, **self.learned_rule.blank(agent.params)})

    def move(self, agent: AgentState, gradients: Params) -> AgentState:
        ψ = {name: agent.memory[PREFIX + name] for name in self.meta_params}
        directions, memory = self.learned_rule.directions(ψ, gradients, agent.memory)
        moved = {name: self.step(name, agent.params[name], u) for name, u in directions.items()}
        return AgentState(agent.params | moved, memory)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(MetaObjective(self, self.losses_along, live(self.adaptation_steps)))

    def losses_along(
        self,
        agents: Agents,
        rollouts: Sequence[Rollout],
        behaviour: Output | None = None,
        surrogate: Surrogate | None = None,
    ) -> Losses:
        """The mean over k of L(φₖ, rolloutₖ), k in [1, K], of each task, `[M]`."""
        lived = list(zip(agents, rollouts, strict=True))[1:]
        losses = [self.loss(agent.params, rollout, None, surrogate)[0] for agent, rollout in lived]
        return torch.stack(losses).mean(0), {}
