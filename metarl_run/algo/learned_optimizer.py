"""Learned optimizer: the inner update rule itself is meta-learned."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import Agents, Live, Losses, MetaLearner
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.algo.gradient.evolution import Evolution
from metarl_run.algo.gradient.inner_rule import RULES
from metarl_run.algo.gradient.learned_rule import LearnedRule
from metarl_run.algo.gradient.objective import MetaObjective, task_at_fault
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.kinds import Count, Positive
from metarl_run.maths.returns import unit_of
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Lifetime, Params, Rollout

PREFIX = "rule."


class LearnedOptimizer(GradientBased, MetaLearner):
    """Meta-learn the inner update rule; agents start from the same random initialisation as learning from scratch.

        start:  φ₀ = random,    h₀ = 0
        adapt:  φₖ₊₁ = φₖ − α u_ψ(∇ L(φₖ, rolloutₖ), hₖ),        see `metarl_run.algo.gradient.learned_rule` for u and h
        learn:  truncated   ∇_ψ (1/M) Σᵢ Σₖ wₖ L(φₖⁱ, rolloutₖⁱ),        k in [1, K]
                evolution   an estimate of ∇_ψ (1/M) Σᵢ Σₖ wₖ (−return of rolloutₖⁱ),
                            see `metarl_run.algo.gradient.evolution`

    The normaliser of L in the meta-loss is shared by all tasks and steps k. φ₀ is not learned. Before meta-training u
    is the step of a hand-designed rule, so that `scratch` with that rule is the start of the learning curve.
    Meta-training truncates lifetimes after K updates; the rule can be applied for longer.

    Args:
        streams: random streams of the rule's initial weights and of evolution's perturbations.
        rule: the hand-designed rule, see `metarl_run.algo.gradient.inner_rule`.
        hidden: units of each coordinate's memory.
        bound: B > 1: a step's size stays within [1 / B, B] of the hand-designed one's.
        adaptation_steps: K in meta-training.
        meta_gradient: `truncated` back-propagates through the K updates; `evolution` needs no derivatives.
        objective: `every_step`: wₖ = 1 / K; `last_step`: w_K = 1, the others 0.
        first_order: truncated: treat the gradients that the rule reads as constants, as in the paper.
        deviation: evolution: σ of the perturbations of ψ.
        meta_optimizer: update rule of ψ.

    Differs from the paper: each loss is that of a policy on its own episodes; the rule starts as a hand-designed one
    and stays within a bound of it; its network is one GRU with a linear shortcut, not two layers of LSTM, and also
    reads momenta and a one-hot parameter index: it does not transfer to a network with other parameters.
    Source: Andrychowicz et al. (2016), arXiv:1606.04474, Eq. 3 and section 2.1.
    """

    streams: Streams
    rule: Literal["sgd", "adam"]
    hidden: Count
    bound: Positive
    adaptation_steps: Count
    meta_gradient: Literal["truncated", "evolution"]
    objective: Literal["every_step", "last_step"]
    first_order: bool
    deviation: Positive
    meta_optimizer: GradientRule

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.learned_rule = LearnedRule(base=RULES[self.rule], names=self.adapted, hidden=self.hidden, bound=self.bound)
        self.meta_params = self.learned_rule.init(self.streams("init", 1))
        for ψ in self.meta_params.values():
            ψ.requires_grad_()
        self.counted = slice(1, None) if self.objective == "every_step" else slice(-1, None)
        self.meta_optimizer.attach(self.meta_params)
        self.evolution = Evolution(std=self.deviation, generator=self.streams("evolution"))

    # --- Adapting ---

    def start(self, num_tasks: int) -> AgentState:
        agent = super().start(num_tasks)
        ψ = {name: w.expand(num_tasks, *w.shape) for name, w in self.meta_params.items()}
        rule = {PREFIX + name: w for name, w in self.evolution.perturbed(ψ).items()}
        return agent._replace(memory={**rule, **self.learned_rule.initial_memory(agent.params)})

    def move(self, agent: AgentState, gradients: Params) -> AgentState:
        ψ = {name: agent.memory[PREFIX + name] for name in self.meta_params}
        directions, memory = self.learned_rule.directions(ψ, gradients, agent.memory)
        moved = {name: self.step(name, agent.params[name], u) for name, u in directions.items()}
        return AgentState(agent.params | moved, memory)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        if self.meta_gradient == "evolution":
            return self.evolve(live)
        return self.meta_optimizer.improve(MetaObjective(self, self.losses_along, live(self.adaptation_steps)))

    def losses_along(self, agents: Agents, rollouts: Sequence[Rollout], batch: MetaBatch | None = None) -> Losses:
        """Σₖ wₖ L(φₖ, rolloutₖ) of each task, `[M]`; `batch` is the whole meta-batch if these are a part of it."""
        steps = list(zip(agents, rollouts, strict=True))[self.counted]
        experience = [(self.output(agent.params, rollout), rollout) for agent, rollout in steps]
        shared = (batch or self.meta_batch(experience)).normaliser
        losses = [self.loss_of(self.learner, output, rollout, None, None, shared)[0] for output, rollout in experience]
        return torch.stack(losses).mean(0), {}

    def evolve(self, live: Live) -> dict[str, Tensor]:
        """A meta-update by evolution; both agents of a pair share all randomness, so that only their rules differ."""
        fitness = {}
        try:
            for self.evolution.sign in (1, -1):
                with torch.no_grad():
                    lifetime = live(self.adaptation_steps, again=self.evolution.sign < 0)
                fitness[self.evolution.sign] = self.fitness_of(lifetime)
        finally:
            self.evolution.sign = 0
        losses = [-g for g in self.evolution.gradients(normalised_difference(fitness[1], fitness[-1]))]
        norm = self.meta_optimizer.step([g.mean(0) for g in losses], lambda: task_at_fault(losses))
        return {"fitness": (fitness[1] + fitness[-1]).mean() / 2, "gradient_norm": norm}

    def fitness_of(self, lifetime: Lifetime) -> Float[Tensor, " M"]:
        """Σₖ wₖ of the mean return over episodes of each task."""
        returns = [rollout.reward.sum(1).mean(-1) for rollout in lifetime.rollouts[self.counted]]
        return torch.stack(returns).mean(0)

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        # φ₀ never changes, but ψ was learned for this φ₀
        initial = {name: φ.detach() for name, φ in self.initial.items()}
        return {**super().state(), "initial": initial, "evolution": self.evolution.generator.get_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        with torch.no_grad():
            for name, φ in self.initial.items():
                φ.copy_(state["initial"][name])
        self.evolution.generator.set_state(state["evolution"])


def normalised_difference(x: Float[Tensor, " M"], y: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """x − y over its root mean square, so that a meta-update does not depend on the unit of the reward."""
    return (x - y) / unit_of((x - y).square().mean(), x.square().mean())
