"""Meta-gradients: the learner's own hyperparameters, meta-learned over tasks."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.algo.base import Agents, Live, Losses, MetaLearner
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.algo.gradient.intrinsic_reward import IntrinsicReward
from metarl_run.algo.gradient.learned_hyperparameters import BoundedHyperparameter, LearnedHyperparameters
from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import (
    Bounds,
    Count,
    Fraction,
    ListOf,
    Positive,
    PositiveBounds,
    Widths,
)
from metarl_run.learner.base import Output
from metarl_run.learner.normaliser import Normaliser
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.returns import discounted_returns, masked_mean, mean_of_others
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Params, Rollout

Learned = Annotated[
    Sequence[str],
    ListOf(Literal["step_size", "discount", "gae_lambda", "entropy_weight", "intrinsic_reward", "initialisation"]),
]
Scheduled = Annotated[Sequence[str], ListOf(Literal["step_size", "discount", "gae_lambda", "entropy_weight"])]

REWARD = "intrinsic_reward."
"""Prefix of ψ among the meta-parameters."""


class MetaGradient(GradientBased, MetaLearner):
    """Meta-learn hyperparameters η of the inner learner, and an intrinsic reward that only the inner learner sees.

        start:  φ₀ = random, the same for all tasks
        adapt:  φₖ₊₁ = φₖ − αₖ ∇ L(φₖ, rolloutₖ; γₖ, λₖ, cₖ, r + r_ψ)
        learn:  ∇_η  (1/M) Σᵢ (1/K) Σₖ L′(φₖⁱ, rolloutₖⁱ; γ′, r)        k in [1, K], the rollouts held fixed

    η contains any of α, γ, λ, the entropy weight c_e, ψ and φ₀; the others stay as configured. L′ is the learner's
    policy loss alone, with full returns under a fixed γ′ and the mean return of the other episodes at the same step as
    baseline: no element of η enters it, so only better agents reduce it. Its normaliser is shared by all tasks and
    steps k.

    Args:
        learner: supplies the policy, L and the initial hyperparameters.
        observation_space: observations of the task family.
        action_space: actions of the task family.
        streams: random streams of the initial ψ.
        adaptation_steps: K in meta-training; later steps use the hyperparameters of step K.
        learned: elements of η, among `step_size`, `discount`, `gae_lambda`, `entropy_weight`, `intrinsic_reward` and
            `initialisation`.
        scheduled: hyperparameters with a value for each step k; the others have one for all steps.
        by_layer: α has a value for each weight and bias.
        step_size_bounds: bounds of α, > 0, on a logarithmic scale.
        discount_bounds: bounds of γ.
        gae_lambda_bounds: bounds of λ.
        entropy_weight_bounds: bounds of c_e.
        reward_scale: largest |r_ψ|, in units of the task's reward.
        reward_hidden: units of each hidden layer of r_ψ.
        reward_activation: activation of its hidden layers.
        outer_discount: γ′.
        outer_steps: L′ of `all` adapted agents, or of the `last` alone.
        meta_optimizer: update rule of the hyperparameters.
        network_optimizer: update rule of ψ and φ₀.

    Differs from the paper: many short lifetimes from the start, and the exact derivative through all their steps, in
    place of one long lifetime and a decayed trace of derivatives. Learners hold V constant in the policy loss, so no
    derivative flows through V: the α of V's layers and V's φ₀ keep their initial values.
    Source: Xu, van Hasselt & Silver (2018), arXiv:1805.09801, for γ and λ; Zahavy et al. (2020), arXiv:2002.12928, for
    c_e and the sigmoids; Zheng et al. (2018), arXiv:1804.06459, for r_ψ.
    """

    learner: PolicyGradient
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    streams: Streams
    adaptation_steps: Count
    first_order: bool = field(init=False, default=False)
    learned: Learned
    scheduled: Scheduled
    by_layer: bool
    step_size_bounds: PositiveBounds
    discount_bounds: Bounds
    gae_lambda_bounds: Bounds
    entropy_weight_bounds: Bounds
    reward_scale: Positive
    reward_hidden: Widths
    reward_activation: Literal["tanh", "relu"]
    outer_discount: Fraction
    outer_steps: Literal["all", "last"]
    meta_optimizer: GradientRule
    network_optimizer: GradientRule

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)
    requires: ClassVar[tuple[str, ...]] = ("policy_gradient",)
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "learned": {"gae_lambda": ("critic",), "entropy_weight": ("critic",)}
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counted = slice(1, None) if self.outer_steps == "all" else slice(-1, None)
        self.outer_learner = self.learner.with_hyperparameters({"discount": self.outer_discount})
        bounds = {
            "step_size": self.step_size_bounds,
            "discount": self.discount_bounds,
            "gae_lambda": self.gae_lambda_bounds,
            "entropy_weight": self.entropy_weight_bounds,
        }
        chosen = [name for name in bounds if name in self.learned]
        self.hyperparameters = LearnedHyperparameters(
            {name: BoundedHyperparameter(bounds[name], logarithmic=name == "step_size") for name in chosen},
            {name: self.adaptation_steps if name in self.scheduled else 1 for name in chosen},
            {name: self.adapted if name == "step_size" and self.by_layer else [] for name in chosen},
        )
        start = {name: self.inner_lr if name == "step_size" else getattr(self.learner, name) for name in chosen}
        hyperparameters = self.hyperparameters.init(start, next(iter(self.initial.values())).device)
        parts: Params = {}
        self.intrinsic_reward = None
        if "intrinsic_reward" in self.learned:
            self.intrinsic_reward = IntrinsicReward(
                observation_space=self.observation_space,
                action_space=self.action_space,
                scale=self.reward_scale,
                hidden=self.reward_hidden,
                activation=self.reward_activation,
            )
            parts |= {REWARD + name: ψ for name, ψ in self.intrinsic_reward.init(self.streams("init", 1)).items()}
        if "initialisation" in self.learned:
            parts |= self.initial
        self.meta_params = {name: x.requires_grad_() for name, x in (hyperparameters | parts).items()}
        self.optimizers = {
            "numbers": (self.meta_optimizer, hyperparameters),
            "networks": (self.network_optimizer, parts),
        }
        for rule, params in self.optimizers.values():
            rule.attach(params)

    # --- Adapting ---

    def start(self, num_tasks: int) -> AgentState:
        agent = super().start(num_tasks)
        device = next(iter(agent.params.values())).device
        return agent._replace(memory={"step": torch.zeros(num_tasks, dtype=torch.int64, device=device)})

    def adapt(self, agent: AgentState, rollout: Rollout, behaviour: Distribution | None = None) -> AgentState:
        k = agent.memory["step"]
        current = self.hyperparameters.at(self.meta_params, k)
        α = current.pop("step_size", None)

        def step(name: str, φ: Tensor, gradient: Tensor) -> Tensor:
            if α is None:
                return φ - self.inner_lr * gradient
            own = α[:, self.adapted.index(name)] if α.dim() == 2 else α
            return φ - own.view(-1, *[1] * (φ.dim() - 1)) * gradient

        def move(agent: AgentState, gradients: Params) -> AgentState:
            moved = {name: step(name, agent.params[name], gradient) for name, gradient in gradients.items()}
            return agent._replace(params=agent.params | moved)

        learner = self.learner.with_hyperparameters(current)
        agent = self.descend(agent, self.with_intrinsic_reward(rollout), behaviour, learner, move)
        return agent._replace(memory={"step": k + 1})

    def with_intrinsic_reward(self, rollout: Rollout) -> Rollout:
        """The rollout with r + r_ψ in place of r."""
        if self.intrinsic_reward is None:
            return rollout
        return rollout._replace(reward=rollout.reward + self.intrinsic_reward(self.ψ, rollout))

    @property
    def ψ(self) -> Params:
        """Parameters of the intrinsic reward."""
        return {name.removeprefix(REWARD): x for name, x in self.meta_params.items() if name.startswith(REWARD)}

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetime = live(self.adaptation_steps)
        if not self.meta_params:
            return {}
        objective = MetaObjective(self, self.meta_losses, lifetime)
        loss, gradients, _ = objective.gradient(list(self.meta_params.values()))
        by_name = dict(zip(self.meta_params, gradients, strict=True))
        metrics = {"loss": loss}
        for kind, (rule, params) in self.optimizers.items():
            if params:
                own = [by_name[name] for name in params]
                metrics[f"gradient_norm/{kind}"] = rule.step(own, objective.task_at_fault)
        with torch.no_grad():
            current = self.current_values(lifetime.rollouts[0])
        return metrics | {f"learned/{name}": value for name, value in current.items()}

    def meta_losses(
        self,
        agents: Agents,
        rollouts: Sequence[Rollout],
        behaviours: Sequence[Distribution | None] | None = None,
        batch: MetaBatch | None = None,
    ) -> Losses:
        """(1/K) Σₖ L′(φₖ, rolloutₖ) of each task, `[M]`.

        Args:
            agents: φ₀, …, φ_K.
            rollouts: 0, …, K.
            behaviours: policies that collected them; None if the agents did.
            batch: the whole meta-batch if these tasks are a part of it.
        """
        behaviours = behaviours or [None] * len(agents)
        steps = list(zip(agents, rollouts, behaviours, strict=True))[self.counted]
        batch = batch or self.meta_batch([({}, rollout) for _, rollout, _ in steps])
        losses = torch.stack([self.outer_loss(*step, batch.normaliser) for step in steps]).mean(0)
        # The loss does not depend on V's φ₀; where that is learned, autograd needs it in the graph, with gradient 0
        initial = [φ for name, φ in agents[0].params.items() if name in self.meta_params]
        return losses + sum((0 * φ.flatten(1).sum(1) for φ in initial), losses.new_zeros(())), {}

    def outer_loss(
        self, agent: AgentState, rollout: Rollout, behaviour: Distribution | None, shared: Normaliser | None
    ) -> Tensor:
        """L′ of each task, `[M]`."""
        output = self.output(agent.params, rollout)
        return self.outer_learner.policy_loss(
            output, rollout, behaviour, None, *self.outer_returns(rollout), shared=shared
        )

    def outer_returns(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Full returns under γ′, and the mean of the other episodes' at the same step, `[M, T, B]`."""
        G = discounted_returns(rollout.reward, rollout.ended, discount=self.outer_discount)
        return G, mean_of_others(G, rollout.alive)

    def meta_batch(self, experience: Sequence[tuple[Output, Rollout]]) -> MetaBatch:
        rollouts = [rollout for _, rollout in experience]
        returns = [(*self.outer_returns(rollout), rollout) for rollout in rollouts]
        return MetaBatch(rollouts, self.outer_learner.shared_normaliser(returns))

    def current_values(self, rollout: Rollout) -> dict[str, Tensor]:
        """The current hyperparameters by name, and the mean |r_ψ| over a rollout."""
        values = self.hyperparameters.by_name(self.meta_params)
        if self.intrinsic_reward is not None:
            r_ψ = self.intrinsic_reward(self.ψ, rollout)
            values["intrinsic_reward"] = masked_mean(r_ψ.abs(), rollout.alive).mean()
        return values

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        initial = {
            name: θ.detach() for name, θ in self.initial.items()
        }  # drawn at random, so saved even if not learned
        return {**super().state(), "network_optimizer": self.network_optimizer.state(), "initial": initial}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.network_optimizer.load_state(state["network_optimizer"])
        with torch.no_grad():
            for name, θ in self.initial.items():
                θ.copy_(state["initial"][name])
