"""Act as in the tasks that are near."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.algo.base import Live
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.algo.meta_optimizer import GradientRule
from metarl_run.algo.task_embedding import TaskEmbedding, log_kernel, place, stress
from metarl_run.errors import NumericalError
from metarl_run.kinds import Count, NonNegative, Positive, Widths, checked
from metarl_run.learner.base import BaseLearner, Output
from metarl_run.network.base import Network
from metarl_run.policy import Distribution
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout


class MetricBased(MetaLearner):
    """TODO"""

    remembers: ClassVar[bool] = True

    @checked
    def __init__(
        self,
        *,
        learner: BaseLearner,
        network: Network,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        streams: Streams,
        meta_batch_size: Count,
        embedding: Count,
        hidden: Widths,
        activation: Literal["tanh", "relu"],
        temperature: Positive,
        regret_unit: Positive,
        stress_weight: NonNegative,
        pages: Count,
        page: Count,
        embedding_steps: Count,
        meta_optimizer: GradientRule,
        embedding_optimizer: GradientRule,
    ) -> None:
        N = meta_batch_size
        self.learner, self.network, self.action_space = learner, network, action_space
        self.temperature, self.regret_unit, self.stress_weight = temperature, regret_unit, stress_weight
        self.pages, self.page, self.embedding_steps = pages, page, embedding_steps
        self.embedding = TaskEmbedding(
            observation_space, action_space, size=embedding, hidden=hidden, activation=activation
        )
        inits = [network.init(streams("init", i)) for i in range(N)]
        self.policies = {name: torch.stack([p[name] for p in inits]).requires_grad_() for name in inits[0]}
        self.encoder = {n: θ.requires_grad_() for n, θ in self.embedding.init(streams("init", N)).items()}
        device = streams.device
        self.places = torch.zeros(N, embedding, device=device)
        self.meta_params = {f"policy.{n}": φ for n, φ in self.policies.items()}
        self.meta_params |= {f"encoder.{n}": θ for n, θ in self.encoder.items()}
        self.meta_params["places"] = self.places
        self.meta_optimizer, self.embedding_optimizer = meta_optimizer, embedding_optimizer
        meta_optimizer.attach(self.policies)
        embedding_optimizer.attach(self.encoder)
        self.experience = torch.zeros(N, pages * page, self.embedding.situation_size + self.embedding.outcome_size, device=device)
        self.earned = torch.full((N, N), torch.nan, device=device)  # [task, policy]
        self.updates = 0
        self.noise = streams("metric_based")

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        nothing = torch.zeros(num_tasks, 1, self.embedding.size, device=self.places.device)
        memory = {
            "weighted": nothing,
            "precision": nothing,
            "last": nothing.new_zeros(num_tasks, 1, self.embedding.observation_size),
            "lived": nothing.new_zeros(num_tasks, 1, 1),
        }
        return AgentState(params={}, memory=memory)

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        if agent.params:
            output, memory = self.network(agent.params, percept.observation, agent.memory)
            return self.learner.policy(output), memory
        memory = self.observe(agent.memory, percept)
        w = self.weights(memory)
        return self.learner.policy(self.mixture(w, percept.observation)), memory

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        M, B, D = percept.observation.shape
        last = memory["last"].expand(M, B, D)
        weighted, λ = self.embedding.sights(self.encoder, self.embedding.inputs(percept, last))
        lived = memory["lived"]
        return {
            "weighted": memory["weighted"] + lived * weighted,
            "precision": memory["precision"] + lived * λ,
            "last": percept.observation,
            "lived": torch.ones_like(weighted[..., :1]),
        }

    def weights(self, memory: Memory) -> Tensor:
        return log_kernel(memory["weighted"], memory["precision"], self.places, self.temperature).softmax(-1)

    def place(self, memory: Memory) -> Tensor:
        return place(memory["weighted"], memory["precision"])

    def mixture(self, w: Tensor, observation: Tensor) -> Output:
        M, B, D = observation.shape
        rows = observation.reshape(1, M * B, D).expand(len(self.places), -1, -1)
        outputs, _ = self.network(self.policies, rows, {})
        return {
            head: torch.einsum("xn,nxo->xo", w.flatten(0, 1), value).view(M, B, -1) for head, value in outputs.items()
        }

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        return agent._replace(memory=rollout.memory)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        N = len(self.places)
        k = 1 + self.updates % (N - 1) if N > 1 else 0
        own = {n: φ.detach() for n, φ in self.policies.items()}
        others = {n: φ.roll(-k, 0) for n, φ in own.items()}
        mine = live(0, AgentState(own, {})).rollouts[0]
        theirs = live(0, AgentState(others, {})).rollouts[0]
        number = torch.arange(N, device=self.places.device)
        self.earned[number, number] = mine.reward.sum(1).mean(1)
        self.earned[number, (number + k) % N] = theirs.reward.sum(1).mean(1)
        self.keep(mine, 2 * self.updates)
        self.keep(theirs, 2 * self.updates + 1)
        self.updates += 1
        told = self.improve_policies(mine)
        for _ in range(self.embedding_steps):
            told |= self.improve_embedding()
        with torch.no_grad():
            weighted, λ = self.embedding.sights(self.encoder, self.known_experience())
            self.places.copy_(place(weighted.sum(1), λ.sum(1)))
        return told | {"own": self.earned.diagonal().mean(), "other": theirs.reward.sum(1).mean()}

    def known_experience(self):
        return self.experience[:, : min(2 * self.updates, self.pages) * self.page]

    def keep(self, rollout: Rollout, number: int) -> None:
        x = self.embedding.inputs_of(rollout).flatten(1, 2)
        chosen = torch.multinomial(rollout.alive.flatten(1).float(), self.page, True, generator=self.noise)
        first = number % self.pages * self.page
        self.experience[:, first : first + self.page] = x.gather(1, chosen.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

    def improve_policies(self, rollout: Rollout) -> dict[str, Tensor]:
        behaviour = None
        for _ in range(self.learner.epochs):
            output, _ = self.network(self.policies, rollout.observation, {})
            losses, _ = self.learner.loss(output, rollout, behaviour)
            gradients = torch.autograd.grad(losses.sum(), self.meta_optimizer.tensors)
            norm = self.meta_optimizer.step(gradients, lambda: "a stored task")
            if behaviour is None:
                behaviour = {head: value.detach() for head, value in output.items()}
        return {"loss": losses.detach().mean(), "gradient_norm": norm}

    def improve_embedding(self) -> dict[str, Tensor]:
        x = self.known_experience()
        N, E, _ = x.shape
        weighted, λ = self.embedding.sights(self.encoder, x)
        u = torch.rand(N, 1, generator=self.noise, device=x.device)
        n = (E / 2) ** u  # log-uniform
        rank = torch.rand(N, E, generator=self.noise, device=x.device).argsort(-1)
        seen = (rank < n).to(x.dtype).unsqueeze(-1)
        query = [(part * seen).sum(1) for part in (weighted, λ)]
        e = place(*((part * (1 - seen)).sum(1) for part in (weighted, λ)))
        known = ~self.earned.isnan()
        regret = (self.earned.diagonal().unsqueeze(1) - self.earned.nan_to_num()).clamp(min=0) / self.regret_unit
        others = known & ~torch.eye(N, dtype=torch.bool, device=x.device)
        usual = (regret * others).sum(1, keepdim=True) / others.sum(1, keepdim=True).clamp(min=1)
        target = (-regret.where(known, usual)).softmax(-1)
        log_w = log_kernel(*query, e, self.temperature).log_softmax(-1)
        contrast = -(target * log_w).sum(-1).mean()
        scaling = stress(e, regret, known)
        loss = contrast + self.stress_weight * scaling
        gradients = torch.autograd.grad(loss, self.embedding_optimizer.tensors)
        self.embedding_optimizer.step(gradients, lambda: "a stored task")
        entropy = -(target * target.clamp(min=1e-20).log()).sum(-1).mean()
        return {"contrast": contrast.detach() - entropy, "stress": scaling.detach()}

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "embedding_optimizer": self.embedding_optimizer.state(),
            "noise": self.noise.get_state(),
            "experience": self.experience,
            "earned": self.earned,
            "updates": self.updates,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.embedding_optimizer.load_state(state["embedding_optimizer"])
        self.noise.set_state(state["noise"])
        self.experience.copy_(state["experience"])
        self.earned.copy_(state["earned"])
        self.updates = state["updates"]
