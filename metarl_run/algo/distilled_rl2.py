"""Distilled RL²: a recurrent policy that starts from what a classical agent does, and is improved from there."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaAlgorithm, MetaLearner
from metarl_run.algo.memory.annealing import Annealing
from metarl_run.algo.memory.distillation import critic_alone, cross_entropy, labelled, mixture, started
from metarl_run.algo.memory.outer_update import Outer
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.rl2 import RL2
from metarl_run.kinds import Count, NonNegative, Positive, Whole
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Distribution
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Percept, Rollout

PREFIX = "teacher."
"""Prefix of the teacher's entries in the memory."""


class DistilledRL2(RL2):
    """Distil a classical agent π* into RL²'s network by DAgger, then improve it as RL² does, held close to π*.

        i ≤ N:  ∇_θ of C + the value function's loss,  on lifetimes of βᵢ π* + (1 − βᵢ) π_θ
        i > N:  ∇_θ of RL²'s loss + wᵢ C,              on lifetimes of π_θ
        βᵢ = max(1 − (i − 1) / n, 0),    C = −E[Σₐ π*(a | hₜ) log π_θ(a | hₜ)],
        hₜ: the experience that was made, whoever chose the actions

    wᵢ moves linearly from `teacher_weight` to `final_teacher_weight`. The agent that is tested is π_θ alone.

    Args:
        teacher: π*, a classical agent that adapts by its memory as it acts.
        streams: random streams of the teacher's own draws.
        distillation: N, meta-iterations of distillation; 0 is RL² held close to π* from the start.
        distillation_epochs: passes over the lifetimes of one of them.
        mixing: n ≥ 0, meta-iterations in which the teacher chooses some of the actions; 1 is all of them in the first
            one and none after it, 0 none at all.
        distillation_lr: step size of the last one, approached geometrically; None keeps that of its optimizer.
        teacher_weight: w of the first meta-iteration after them.
        final_teacher_weight: of the last meta-iteration.
        distillation_optimizer: updates θ in distillation.

    Differs from the papers: every meta-iteration learns from its own lifetimes, not from all earlier ones together; the
    weight of the cross-entropy follows a line, not population-based training.
    Source: Ross, Gordon and Bagnell (2011), arXiv:1011.0686, algorithm 3.1; Schmitt et al. (2018), arXiv:1803.03835,
    for the cross-entropy beside a policy gradient.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers", "observation_first")
    requires: ClassVar[tuple[str, ...]] = ("memory", "critic", "discrete_actions")
    compilable: ClassVar[bool] = False  # in distillation the teacher acts too, and draws

    teacher: MetaAlgorithm
    streams: Streams
    distillation: Whole
    distillation_epochs: Count
    mixing: Whole
    distillation_lr: Positive | None
    teacher_weight: NonNegative
    final_teacher_weight: NonNegative
    distillation_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.teacher, MetaLearner) or not self.teacher.remembers:
            kind = type(self.teacher).__name__
            raise ValueError(f"teacher must be a classical agent that adapts as it acts, got {kind}")
        self.distillation_optimizer.attach(self.meta_params)
        critic = critic_alone(self.learner)
        critic.epochs = self.distillation_epochs
        self.distiller = Outer(
            learner=critic,
            optimizer=self.distillation_optimizer,
            minibatches=self.minibatches,
            max_kl=math.inf,
            auxiliary=self.guidance,
        )
        self.distiller_annealing = Annealing(self.distiller, self.distillation, self.distillation_lr, None, None)
        rest = self.meta_iterations - self.distillation
        self.annealing.meta_iterations = max(rest, 1)
        self.outer.auxiliary = self.guidance
        self.iteration = torch.zeros((), dtype=torch.int64, device="cpu")
        self.share = 0.0  # β of the lifetimes that are being lived; 0 but for those of distillation

    # --- Acting: the student, or the mixture while distillation collects its lifetimes ---

    def start(self, num_tasks: int) -> AgentState:
        agent = super().start(num_tasks)
        if not self.share:
            return agent
        θ = next(iter(self.meta_params.values()))
        of_teacher = started(self.teacher, num_tasks, θ.device).memory
        return agent._replace(memory={**agent.memory, **{PREFIX + name: x for name, x in of_teacher.items()}})

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        if not self.share:
            return agent
        student, teacher = parted(agent.memory)
        teacher = self.teacher.draw(AgentState({}, teacher), percept, generator).memory
        return agent._replace(memory=joined(student, teacher))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        if not self.share:
            return super().act(agent, percept)
        student, teacher = parted(agent.memory)
        policy, student = super().act(agent._replace(memory=student), percept)
        of_teacher, teacher = self.teacher.act(AgentState({}, teacher), percept)
        return mixture(of_teacher, policy, self.share), joined(student, teacher)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        self.iteration += 1
        i = int(self.iteration)
        distilling = i <= self.distillation
        self.share = max(1 - (i - 1) / self.mixing, 0.0) if distilling and self.mixing else 0.0
        try:
            lifetimes, policy = live(self.episodes - 1).merged()
        finally:
            self.share = 0.0
        lifetimes = labelled(self.teacher, lifetimes, self.streams("teacher", i))
        x = self.senses(lifetimes)
        outer, annealing = (self.distiller, self.distiller_annealing) if distilling else (self.outer, self.annealing)
        annealing.advance()
        metrics = outer.improve(lambda part: self.network.sequence(self.meta_params, x[:, part]), lifetimes, policy)
        return {**metrics, "distilling": torch.tensor(float(distilling))}

    @property
    def weight(self) -> float:
        """w of the current meta-iteration; 1 in distillation."""
        i = int(self.iteration) - self.distillation
        if i <= 0:
            return 1.0
        f = min((i - 1) / max(self.meta_iterations - self.distillation - 1, 1), 1.0)
        return self.teacher_weight + (self.final_teacher_weight - self.teacher_weight) * f

    def guidance(self, output: Output, lifetimes: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """w C and, where rewards are predicted, the loss of that; and metrics."""
        C = cross_entropy(self.learner, output, lifetimes)
        loss, metrics = self.weight * C, {"cross_entropy": C.detach()}
        if self.predict == "nothing":
            return loss, metrics
        further, more = self.prediction_loss(output, lifetimes)
        return loss + further, {**metrics, **more}

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        of_distillation = {
            "distillation_optimizer": self.distillation_optimizer.state(),
            "distillation_annealing": self.distiller_annealing.state(),
        }
        return {**super().state(), **of_distillation, "meta_iteration": self.iteration}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.distillation_optimizer.load_state(state["distillation_optimizer"])
        self.distiller_annealing.load_state(state["distillation_annealing"])
        self.iteration.copy_(state["meta_iteration"])


def parted(memory: Memory) -> tuple[Memory, Memory]:
    """The student's entries and the teacher's."""
    teacher = {name.removeprefix(PREFIX): x for name, x in memory.items() if name.startswith(PREFIX)}
    return {name: x for name, x in memory.items() if not name.startswith(PREFIX)}, teacher


def joined(student: Memory, teacher: Memory) -> Memory:
    """One memory of both, from which `parted` recovers them."""
    return {**student, **{PREFIX + name: x for name, x in teacher.items()}}
