"""Base of algorithms that meta-train a sequence model on recorded histories, and adapt in its context."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import gymnasium
import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner, required_finite
from metarl_run.algo.in_context.encoding import Code, Encoding
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count, Positive, Whole
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Categorical
from metarl_run.network.base import Network
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

MakeNetwork = Callable[[int, Mapping[str, int], Mapping[str, int]], tuple[Network, Params]]
"""(input features, sizes of heads, sizes of constants) → the configured network and its initial parameters."""


class Histories(NamedTuple):
    """Windows of recorded histories, each of one task; what a dataset gives has these attributes.

    Attributes:
        rollout: `[T, N, …]`.
        optimal_action: an optimal action in the state of every step, `[T, N]`; None if the data have none.
        task: number of the task, `[N]`.
    """

    rollout: Rollout
    optimal_action: Int[Tensor, "T N"] | None
    task: Int[Tensor, " N"]


class Dataset(Protocol):
    """Recorded histories."""

    def sample(self, num_histories: int, length: int, generator: torch.Generator) -> Any:
        """Windows of `length` steps of histories drawn at random, see `Histories`."""


class InContext(MetaLearner):
    """Meta-train a sequence model on windows of recorded histories; adapt by what it reads of its own lifetime.

        start:  h₀, an empty context
        adapt:  hₜ₊₁ = f_θ(hₜ, xₜ),    aₜ ~ π_θ(· | hₜ₊₁)        xₜ: token of step t; h carries over between episodes
        learn:  ∇_θ of a loss on windows of L steps, each read from h₀

    θ is fixed during adaptation. Meta-training lives no lifetimes: the data hold what others lived.

    Args:
        dataset: the histories.
        make_network: constructs f_θ.
        family: the task family.
        observation_space, action_space: of the family.
        streams: random streams; windows are drawn by one of them.
        window: L ≥ 1, steps of a window.
        first_window: L₀ in [1, L], of the windows of the first meta-iteration, which grow geometrically to L; None for
            windows of L steps throughout. Each optimiser step learns from as many steps, so from more short windows.
        sequences: N ≥ 1, windows of one optimiser step, of L steps.
        updates: optimiser steps of a meta-iteration.
        encoding: of the tokens, see `metarl_run.algo.in_context.encoding`.
        permuted_actions: give the actions of every window another order, at random: further data, where no task tells
            its actions apart but by what they earn, as the arms of a bandit.
        final_lr: step size of the last meta-iteration, approached geometrically; None keeps that of `meta_optimizer`.
        meta_iterations: number of meta-iterations over which it changes.
        meta_optimizer: updates θ.

    Differs from the papers: one token per step, RL²'s, instead of one per transition or three per step.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers",)
    provides_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "encoding": {
            "step": ("observation_first",),
            "transition": ("observation_first",),
            "statistics": ("observation_first",),
        }
    }
    requires: ClassVar[tuple[str, ...]] = ("memory", "discrete_actions")
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "encoding": {"transition": ("tabular",), "coordinates": ("tabular",), "statistics": ("tabular",)}
    }
    remembers: ClassVar[bool] = True
    keeps_policy: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    """The loss reads optimal actions."""

    dataset: Any
    make_network: MakeNetwork
    family: TaskFamily
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    streams: Streams
    window: Count
    sequences: Count
    updates: Count
    encoding: Code
    first_window: Count | None = field(default=None)
    permuted_actions: bool = field(default=False)
    final_lr: Positive | None = field(default=None)
    meta_iterations: Whole = field(default=1)
    meta_params: Params = field(init=False)
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tokens = Encoding(
            code=self.encoding,
            observation_space=self.observation_space,
            action_space=self.action_space,
            side=getattr(self.family, "size", None),
        )
        self.network, self.meta_params = self.make_network(self.tokens.size, self.heads(), {})
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer.attach(self.meta_params)
        self.first_lr: float | None = getattr(self.meta_optimizer, "lr", None)
        if self.first_window is not None and self.first_window > self.window:
            raise ValueError(f"first_window must be at most window = {self.window}, got {self.first_window}")
        if self.final_lr is not None and self.first_lr is None:
            raise ValueError(f"final_lr must be null with {type(self.meta_optimizer).__name__}, which has no lr")
        self.iteration = torch.zeros((), dtype=torch.int64, device="cpu")

    # --- For each algorithm ---

    @abstractmethod
    def heads(self) -> dict[str, int]:
        """Outputs of the network: size by name."""

    @abstractmethod
    def policy(self, output: Output) -> Categorical:
        """π_θ(· | h)."""

    @abstractmethod
    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and metrics by name.

        Args:
            output: of the network at every step, `[T, N, ·]` per head.
            histories: `[T, N, …]`.
        """

    def updated(self) -> None:
        """Called after every optimiser step."""

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        memory = self.network.initial_memory(self.meta_params, num_tasks)
        return AgentState({}, {**memory, **self.tokens.start(num_tasks, next(iter(self.meta_params.values())))})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        return self.act_by(self.meta_params, agent, percept)

    def act_by(self, θ: Params, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        """`act` as an explicit function of θ."""
        x, remembered = self.tokens.token(percept, agent.memory)
        hidden = {name: tensor for name, tensor in agent.memory.items() if name not in remembered}
        output, hidden = self.network(θ, x, hidden)
        return self.policy(output), {**remembered, **hidden}

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        self.iteration += 1
        self._set_lr()
        generator = self.streams("dataset", int(self.iteration))
        every: list[dict[str, Tensor]] = []
        for _ in range(self.updates):
            histories = self.draw_histories(generator)
            output = self.network.sequence(self.meta_params, self.tokens.tokens(histories.rollout))
            loss, metrics = self.loss(output, histories)
            gradients = torch.autograd.grad(required_finite("meta-loss", loss), self.meta_optimizer.tensors)
            norm = self.meta_optimizer.step(gradients, lambda: "the mean over histories")
            self.updated()
            every.append({"loss": loss.detach(), "gradient_norm": norm, **metrics})
        return {name: torch.stack([of[name] for of in every]).mean() for name in every[0]}

    def draw_histories(self, generator: torch.Generator) -> Histories:
        """N windows, their actions in another order if `permuted_actions`."""
        length = self._between(self.first_window, self.window)
        drawn = self.dataset.sample(round(self.sequences * self.window / length), round(length), generator)
        histories = Histories(drawn.rollout, drawn.optimal_action, drawn.task)
        return permuted(histories, self.action_space, generator) if self.permuted_actions else histories

    def _set_lr(self) -> None:
        if self.final_lr is not None and self.first_lr is not None:
            vars(self.meta_optimizer)["lr"] = self._between(self.first_lr, self.final_lr)

    def _between(self, first: float | None, last: float) -> float:
        """A number of this meta-iteration, on the geometric way from the first one's to the last one's."""
        f = min(max(int(self.iteration) - 1, 0) / max(self.meta_iterations - 1, 1), 1.0)
        return last if first is None else float(first * (last / first) ** f)

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        return {**super().state(), "iteration": self.iteration}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.iteration.copy_(state["iteration"])


def permuted(histories: Histories, action_space: gymnasium.Space[Any], generator: torch.Generator) -> Histories:
    """The histories with the actions of each in a random order of their own."""
    rollout, label, task = histories
    N, A = rollout.reward.shape[1], int(getattr(action_space, "n", 0))
    order = torch.rand(N, A, generator=generator, device=generator.device).argsort(-1)
    n = torch.arange(N, device=order.device)
    renamed = rollout._replace(action=order[n, rollout.action])
    return Histories(renamed, None if label is None else order[n, label], task)


def mean_over_steps(x: Float[Tensor, "T N"], rollout: Rollout) -> Tensor:
    """The mean over all steps that are no padding."""
    return (x * rollout.alive).sum() / rollout.alive.sum().clamp(min=1)
