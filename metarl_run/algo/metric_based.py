"""Act as in the tasks that are near: a learned metric of tasks, and a kernel over the policies of stored ones."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.metric.stored_tasks import StoredTasks
from metarl_run.algo.metric.task_embedding import TaskEmbedding, log_kernel, place
from metarl_run.component import field
from metarl_run.errors import NumericalError
from metarl_run.kinds import Count, NonNegative, Positive, Widths
from metarl_run.learner.base import BaseLearner, Output
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Percept, Rollout


class MetricBased(MetaLearner):
    """Keep the meta-training tasks, each with a policy φᵢ and a place eᵢ; in a new task, mix those of the nearest.

        start:  g₀ unknown, Λ₀ = 0
        adapt:  gₜ, Λₜ: place and precision after t steps, see `metarl_run.algo.metric.task_embedding`
        act:    wᵢ ∝ N(gₜ | eᵢ, 1 / Λₜ + τ / 2),    output = Σᵢ wᵢ output(φᵢ, s)        logits, action values or means
        learn:  φᵢ by the base learner in task i
                θ by  mean over (i, j) of (‖eᵢ − eⱼ‖ − √ρᵢⱼ)²  −  c · mean over j of Σᵢ pᵢⱼ log wᵢ(experience in j)

    where ρᵢⱼ is the regret of policy i in task j, in units of u, and pᵢⱼ ∝ exp(−ρᵢⱼ). So a squared distance is a
    regret; the weights begin equal and are sharpened as Λ grows, until exp(−‖g − eᵢ‖² / τ) is left, which is exp(−ρ) at
    τ = 1. τ → 0 would follow the nearest task alone, τ → ∞ all alike. Places of the stored tasks come from the
    experience that is kept of each; in the second term, from the part of it that is not the query.

    Args:
        learner: trains each stored policy, and says what its outputs mean.
        network: of the policies.
        observation_space: of the task family.
        action_space: of the task family.
        streams: of initial parameters, and of what is kept.
        meta_batch_size: N, the tasks that are stored.
        embedding: L, size of a place.
        hidden: units of each hidden layer of the encoder.
        activation: of its hidden layers.
        temperature: τ.
        tolerance: u, in units of the usual regret of one task's policy in another: those that serve a task much worse
            are not mixed in.
        contrast_weight: c.
        pages: parts of a task's experience; two are replaced per meta-iteration.
        page: steps per part.
        embedding_steps: of the encoder's optimiser per meta-iteration.
        meta_optimizer: how the φᵢ follow.
        embedding_optimizer: how θ, the encoder, follows.

    Differs from the papers: the kernel is over policies, not labels, and its distance is learned from regrets; the
    contrast's positives are all policies that serve the task, by how well, not the task's own experience alone.
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
        self.places = torch.zeros(N, self.size, device=self.streams.device)
        policies = {f"policy.{name}": φ for name, φ in self.policies.items()}
        self.meta_params = {**policies, **{f"encoder.{n}": x for n, x in θ.items()}, "places": self.places}
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
        return AgentState(params={}, memory=self.embedding.initial_memory(num_tasks, self.places.device))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """An agent with parameters is the policy of a stored task; it learns nothing by memory."""
        if agent.params:
            return self.learner.policy(self.network(agent.params, percept.observation, {})[0]), agent.memory
        memory = self.embedding.observe(self.encoder, agent.memory, percept)
        return self.learner.policy(self.mixture(self.weights(memory), percept.observation)), memory

    def weights(self, memory: Memory) -> Float[Tensor, "M B N"]:
        """w, after what is remembered."""
        return log_kernel(memory["weighted"], memory["precision"], self.places, self.temperature).softmax(-1)

    def mixture(self, w: Float[Tensor, "M B N"], observation: Float[Tensor, "M B D"]) -> Output:
        """Σᵢ wᵢ output(φᵢ, s)."""
        rows = observation.flatten(0, 1).expand(len(self.places), -1, -1)
        outputs, _ = self.network(self.policies, rows, {})
        M, B, N = w.shape
        return {head: torch.einsum("mbn,nmbo->mbo", w, y.view(N, M, B, -1)) for head, y in outputs.items()}

    def place(self, memory: Memory) -> Float[Tensor, "M B L"]:
        """g, after what is remembered."""
        return place(memory["weighted"], memory["precision"])

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        own = {name: φ.detach() for name, φ in self.policies.items()}
        partner = self.stored.partner
        rollouts = {}
        for k in (0, partner):
            visitors = {name: φ.roll(-k, 0) for name, φ in own.items()}
            rollouts[k] = live(0, AgentState(visitors, {})).rollouts[0]
            self.stored.keep(rollouts[k], self.embedding.inputs_of(rollouts[k]), k)
        told = self.improve_policies(rollouts[0])
        for _ in range(self.embedding_steps):
            told |= self.improve_embedding()
        with torch.no_grad():
            weighted, λ = self.embedding.sights(self.encoder, self.stored.experience)
            self.places.copy_(place(weighted.sum(1), λ.sum(1)))
        visited = rollouts[partner].reward.sum(1).mean()
        return {**told, "return_of_own": rollouts[0].reward.sum(1).mean(), "return_of_other": visited}

    def improve_policies(self, rollout: Rollout) -> dict[str, Tensor]:
        """As many steps as the learner has epochs, of each stored policy in its own task."""
        behaviour: Distribution | None = None
        for _ in range(self.learner.epochs):
            output, _ = self.network(self.policies, rollout.observation, {})
            losses, metrics = self.learner.loss(output, rollout, behaviour)
            gradients = torch.autograd.grad(required_finite(losses.sum()), self.meta_optimizer.tensors)
            norm = self.meta_optimizer.step(gradients, lambda: "a stored task")
            if behaviour is None:
                behaviour = self.learner.behaviour(output)
        return {"loss": losses.detach().mean(), "gradient_norm": norm, **metrics}

    def improve_embedding(self) -> dict[str, Tensor]:
        """One step of the encoder; how well distances are regrets, and what is lost to the best of weights in nats."""
        weighted, λ = self.embedding.sights(self.encoder, self.stored.experience)
        query = self.stored.split()
        rest = 1 - query
        e = place((weighted * rest).sum(1), (λ * rest).sum(1))
        log_w = log_kernel((weighted * query).sum(1), (λ * query).sum(1), e, self.temperature).log_softmax(-1)
        regret, tried = self.stored.regret()
        ρ = regret / self.tolerance
        log_p = (-ρ).log_softmax(-1)
        contrast = (log_p.exp() * (log_p - log_w)).sum(-1).mean()
        scaling = stress(e, ρ, tried)
        loss = required_finite(scaling + self.contrast_weight * contrast)
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


def stress(places: Float[Tensor, "N L"], regret: Float[Tensor, "N N"], tried: Bool[Tensor, "N N"]) -> Tensor:
    """The mean of (‖eᵢ − eⱼ‖ − √ρᵢⱼ)² over the pairs that were tried: regret regression."""
    square = (places.unsqueeze(0) - places.unsqueeze(1)).square().sum(-1)
    distance = (square + 1e-6).sqrt()  # whose derivative is finite at 0
    return ((distance - regret.sqrt()).square() * tried).sum() / tried.sum()


def required_finite(loss: Tensor) -> Tensor:
    """`loss`.

    Raises:
        NumericalError: unless it is finite.
    """
    if not torch.isfinite(loss):
        raise NumericalError("meta-loss", f"must be finite, got {loss.item()}", "lower meta_optimizer.lr")
    return loss
