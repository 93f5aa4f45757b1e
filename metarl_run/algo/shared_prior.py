"""Shared prior."""

from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Live
from metarl_run.algo.gradient_based import GradientBased
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.algo.meta_objective import Losses, MetaObjective
from metarl_run.algo.meta_optimizer import GradientRule
from metarl_run.kinds import Count, NonNegative, Positive, checked
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output, rows
from metarl_run.learner.surrogate import Surrogate
from metarl_run.network.base import Network
from metarl_run.returns import masked_mean
from metarl_run.types import Params, Rollout


class SharedPrior(GradientBased, MetaLearner):
    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)
    requires: ClassVar[tuple[str, ...]] = ("critic",)

    @checked
    def __init__(
        self,
        *,
        learner: Critic,
        network: Network,
        meta_params: Params,
        adaptation_steps: Count,
        inner_lr: Positive,
        kl_weight: NonNegative,
        entropy_weight: NonNegative,
        ages: str,
        epochs: Count,
        value_weight: NonNegative,
        meta_optimizer: GradientRule,
    ) -> None:
        super().__init__(learner, network, meta_params, inner_lr, first_order=True)
        self.critic = learner
        self.adaptation_steps, self.epochs = adaptation_steps, epochs
        self.kl_weight, self.entropy_weight, self.value_weight = kl_weight, entropy_weight, value_weight
        self.ages = ages
        self.meta_optimizer = self.rule = meta_optimizer
        meta_optimizer.attach(self.meta_params)

    def _loss(self, output: Output, rollout: Rollout, behaviour: Output | None, surrogate: Surrogate | None):
        return super()._loss(output, self.regularised(output, rollout), behaviour, surrogate)

    def regularised(self, output: Output, rollout: Rollout) -> Rollout:
        with torch.no_grad():
            log_π = self.critic.log_prob(output, rollout)
            log_π0 = self.critic.log_prob(self.output(self.initial, rollout), rollout)
            extra = self.kl_weight * (log_π0 - log_π) - self.entropy_weight * log_π
        return rollout._replace(reward=rollout.reward + extra * rollout.alive)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        objective = MetaObjective(self, self.distilled, live(self.adaptation_steps))
        first: dict[str, Tensor] = {}
        for _ in range(self.epochs):
            loss, gradients, metrics = objective.gradient(self.rule.tensors, self.distilled)
            norm = self.rule.step(gradients, objective.task_at_fault)
            first = first or {"loss": loss, "gradient_norm": norm, **metrics}
        return first

    def distilled(self, objective: MetaObjective) -> Losses:
        agents = objective.agents()
        rollout, expert = objective.rollouts[-1], objective.behaviours[-1]
        with torch.no_grad():
            target, _ = self.critic.returns_and_baseline(expert, rollout)
        kls, errors = [], []
        ages = {"zero": [0], "all": range(self.adaptation_steps), "last": [self.adaptation_steps - 1], "one": [1]}[self.ages]
        for k in ages:
            output = self.output(agents[k].params, rollout)
            kls.append(self.critic.divergence(expert, output, rollout))
            v = self.critic.value(rows(output))
            errors.append(masked_mean(((v - target) / self.critic.value_scale) ** 2, rollout.alive))
        kl, error = torch.stack(kls), torch.stack(errors)
        return kl.mean(0) + self.value_weight * error.mean(0), {
            "kl_first": kl[0].detach().mean(), "kl_last": kl[-1].detach().mean(), "value_error": error.detach().mean(),
        }
