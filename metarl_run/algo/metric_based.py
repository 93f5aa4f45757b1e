"""Metric-based agent: a learned metric of tasks, and a kernel-weighted mixture of the policies of stored tasks."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner, require_finite_losses, required_finite
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.metric.stored_tasks import StoredTasks
from metarl_run.algo.metric.task_embedding import TaskEmbedding, fused, log_kernel
from metarl_run.component import field
from metarl_run.kinds import Count, NonNegative, Positive, Widths
from metarl_run.learner.base import BaseLearner, Output
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Percept, Rollout


class MetricBased(MetaLearner):
    """Store meta-training tasks, each with a policy φᵢ and an embedding eᵢ; in a new task, mix the nearest policies.

        start:  g₀ unknown, Λ₀ = 0
        adapt:  gₜ, Λₜ: embedding and precision after t steps, see `metarl_run.algo.metric.task_embedding`
        act:    wᵢ ∝ N(gₜ | eᵢ, 1 / Λₜ + τ / 2),    output = Σᵢ wᵢ output(φᵢ, s)        logits, action values or means
        learn:  φᵢ by the base learner in task i
                θ by  mean over (i, j) of (‖eᵢ − eⱼ‖ − √ρᵢⱼ)²  −  c · mean over j of Σᵢ pᵢⱼ log wᵢ(experience in j)

    where ρᵢⱼ is the regret of policy i in task j, in units of u, and pᵢⱼ ∝ exp(−ρᵢⱼ). A squared distance thus estimates
    a regret. The weights start equal and sharpen as Λ grows, towards exp(−‖g − eᵢ‖² / τ), which is exp(−ρ) at τ = 1;
    τ → 0 selects the nearest task, τ → ∞ weighs all equally. Embeddings of the stored tasks are computed from their
    stored experience; in the second term, from the part of it outside the query.

    Args:
        learner: trains each stored policy, and interprets its outputs.
        network: network of the policies.
        observation_space: observations of the task family.
        action_space: actions of the task family.
        streams: random streams of initial parameters and of the task store.
        meta_batch_size: N, number of stored tasks.
        embedding: L, size of an embedding.
        hidden: units of each hidden layer of the encoder.
        activation: activation of its hidden layers.
        temperature: τ.
        tolerance: u, in units of the mean regret of one task's policy in another: policies with a larger regret get
            little weight.
        contrast_weight: c.
        pages: pages of experience per task; two are replaced per meta-iteration.
        page: steps per page.
        embedding_steps: optimiser steps of the encoder per meta-iteration.
        meta_optimizer: update rule of the φᵢ.
        embedding_optimizer: update rule of θ, the encoder.

    Differs from the papers: the kernel mixes policies, not labels, and its distance is learned from regrets; the
    contrast's positives are all policies, weighted by their regret in the task, not the task's own experience alone.
    Source: Vinyals et al. (2016), arXiv:1606.04080, and Snell et al. (2017), arXiv:1703.05175, for the kernel;
    Kruskal (1964), "Multidimensional scaling by optimizing goodness of fit to a nonmetric hypothesis", for the first
    term of the loss; Fu et al. (2020), arXiv:2009.13891, for the contrast of tasks; Li et al. (2020), arXiv:2010.01112,
    for learning the metric apart from the policies.
    """

    remembers: ClassVar[bool] = True

    learner: BaseLearner
    network: Network
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    streams: Streams
    meta_batch_size: Count
    size: Count = field(alias="embedding")
    hidden: Widths
    activation: Literal["tanh", "relu"]
    temperature: Positive
    tolerance: Positive
    contrast_weight: NonNegative
    pages: Count
    page: Count
    embedding_steps: Count
    meta_optimizer: GradientRule
    embedding_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        N = self.meta_batch_size
        self.embedding = TaskEmbedding(
            observation_space=self.observation_space,
            action_space=self.action_space,
            size=self.size,
            hidden=self.hidden,
            activation=self.activation,
        )
        singles = [self.network.init(self.streams("init", i)) for i in range(N)]
        self.policies = {name: torch.stack([φ[name] for φ in singles]).requires_grad_() for name in singles[0]}
        θ = self.embedding.init(self.streams("init", N))
        self.encoder = {name: x.requires_grad_() for name, x in θ.items()}
        self.task_embeddings = torch.zeros(N, self.size, device=self.streams.device)
        policies = {f"policy.{name}": φ for name, φ in self.policies.items()}
        self.meta_params = {**policies, **{f"encoder.{n}": x for n, x in θ.items()}, "places": self.task_embeddings}
        self.meta_optimizer.attach(self.policies)
        self.embedding_optimizer.attach(self.encoder)
        self.stored = StoredTasks(
            num_tasks=N,
            num_features=self.embedding.num_features,
            pages=self.pages,
            page=self.page,
            generator=self.streams("stored_tasks"),
        )

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory=self.embedding.initial_memory(num_tasks, self.task_embeddings.device))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """An agent with parameters follows the policy of a stored task and has no memory."""
        if agent.params:
            return self.learner.policy(self.network(agent.params, percept.observation, {})[0]), agent.memory
        memory = self.embedding.observe(self.encoder, agent.memory, percept)
        return self.learner.policy(self.mixture(self.weights(memory), percept.observation)), memory

    def weights(self, memory: Memory) -> Float[Tensor, "M B N"]:
        """w given the experience in memory."""
        return log_kernel(memory["weighted"], memory["precision"], self.task_embeddings, self.temperature).softmax(-1)

    def mixture(self, w: Float[Tensor, "M B N"], observation: Float[Tensor, "M B D"]) -> Output:
        """Σᵢ wᵢ output(φᵢ, s)."""
        rows = observation.flatten(0, 1).expand(len(self.task_embeddings), -1, -1)
        outputs, _ = self.network(self.policies, rows, {})
        M, B, N = w.shape
        return {head: torch.einsum("mbn,nmbo->mbo", w, y.view(N, M, B, -1)) for head, y in outputs.items()}

    def inferred_embedding(self, memory: Memory) -> Float[Tensor, "M B L"]:
        """g given the experience in memory."""
        return fused(memory["weighted"], memory["precision"])

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        own = {name: φ.detach() for name, φ in self.policies.items()}
        partner = self.stored.partner
        rollouts = {}
        for k in (0, partner):
            visitors = {name: φ.roll(-k, 0) for name, φ in own.items()}
            rollouts[k] = live(0, AgentState(visitors, {})).rollouts[0]
            self.stored.keep(rollouts[k], self.embedding.inputs_of(rollouts[k]), k)
        metrics = self.improve_policies(rollouts[0])
        for _ in range(self.embedding_steps):
            metrics |= self.improve_embedding()
        with torch.no_grad():
            weighted, λ = self.embedding.evidence(self.encoder, self.stored.experience)
            self.task_embeddings.copy_(fused(weighted.sum(1), λ.sum(1)))
        visited = rollouts[partner].reward.sum(1).mean()
        return {**metrics, "return_of_own": rollouts[0].reward.sum(1).mean(), "return_of_other": visited}

    def improve_policies(self, rollout: Rollout) -> dict[str, Tensor]:
        """Train each stored policy in its own task, by as many steps as the learner has epochs."""
        behaviour: Distribution | None = None
        for _ in range(self.learner.epochs):
            output, _ = self.network(self.policies, rollout.observation, {})
            losses, metrics = self.learner.loss(output, rollout, behaviour)
            require_finite_losses("meta-loss", losses)
            gradients = torch.autograd.grad(losses.sum(), self.meta_optimizer.tensors)
            norm = self.meta_optimizer.step(gradients, lambda: "a stored task")
            if behaviour is None:
                behaviour = self.learner.behaviour(output)
        return {"loss": losses.detach().mean(), "gradient_norm": norm, **metrics}

    def improve_embedding(self) -> dict[str, Tensor]:
        """One step of the encoder; metrics: the stress of the embedding, and KL(p ‖ w) in nats."""
        weighted, λ = self.embedding.evidence(self.encoder, self.stored.experience)
        query = self.stored.split()
        rest = 1 - query
        e = fused((weighted * rest).sum(1), (λ * rest).sum(1))
        log_w = log_kernel((weighted * query).sum(1), (λ * query).sum(1), e, self.temperature).log_softmax(-1)
        regret, evaluated = self.stored.regret()
        ρ = regret / self.tolerance
        log_p = (-ρ).log_softmax(-1)
        contrast = (log_p.exp() * (log_p - log_w)).sum(-1).mean()
        scaling = stress(e, ρ, evaluated)
        loss = required_finite("meta-loss of the embedding", scaling + self.contrast_weight * contrast)
        gradients = torch.autograd.grad(loss, self.embedding_optimizer.tensors)
        self.embedding_optimizer.step(gradients, lambda: "a stored task")
        return {"stress": scaling.detach(), "contrast": contrast.detach()}

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        others = {"embedding_optimizer": self.embedding_optimizer.state(), "stored": self.stored.state()}
        return {**super().state(), **others}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.embedding_optimizer.load_state(state["embedding_optimizer"])
        self.stored.load_state(state["stored"])


def stress(e: Float[Tensor, "N L"], regret: Float[Tensor, "N N"], evaluated: Bool[Tensor, "N N"]) -> Tensor:
    """Regret regression: the mean of (‖eᵢ − eⱼ‖ − √ρᵢⱼ)² over the evaluated pairs."""
    square = (e.unsqueeze(0) - e.unsqueeze(1)).square().sum(-1)
    distance = (square + 1e-6).sqrt()  # finite derivative at 0
    return ((distance - regret.sqrt()).square() * evaluated).sum() / evaluated.sum()
