"""Distillation of a classical agent: what it would have done along lifetimes that another agent lived."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output, rows
from metarl_run.maths.distributions import Categorical
from metarl_run.maths.returns import masked_mean
from metarl_run.types import AgentState, Percept, Rollout

TEACHER = "teacher"
"""Among the outcomes of lifetimes: π*(a | hₜ) of every action, `[T, N, A]`."""


@torch.no_grad()
def labelled(teacher: MetaAlgorithm, lifetimes: Rollout, generator: torch.Generator) -> Rollout:
    """The lifetimes `[T, N, …]` with the teacher's action probabilities π*(· | hₜ) at every step.

    hₜ is the teacher's memory of the experience that was actually made, whoever chose the actions.

    Args:
        teacher: an agent that adapts by its memory as it acts.
        lifetimes: `[T, N, …]`.
        generator: of the teacher's own draws, such as a hypothesis about the task.
    """
    T, N = lifetimes.reward.shape
    percepts = lifetimes.percepts()
    agent = started(teacher, N, lifetimes.reward.device)
    labels = []
    for t in range(T):
        percept = Percept(*(part[t].unsqueeze(1) for part in percepts))
        agent = teacher.draw(agent, percept, generator)
        policy, memory = teacher.act(agent, percept)
        agent = agent._replace(memory=memory)
        labels.append(probabilities(policy).squeeze(1))
    return lifetimes._replace(outcomes={**lifetimes.outcomes, TEACHER: torch.stack(labels)})


def started(teacher: MetaAlgorithm, num_tasks: int, device: torch.device) -> AgentState:
    """The teacher before any experience, its memory on `device`."""
    agent = teacher.start(num_tasks)
    return agent._replace(memory={name: x.to(device) for name, x in agent.memory.items()})


def probabilities(policy: object) -> Float[Tensor, "*N A"]:
    """π(a) of every action."""
    assert isinstance(policy, Categorical)
    return policy.log_probs().exp()


def mixture(teacher: object, student: object, share: float) -> Categorical:
    """The policy β π* + (1 − β) π, whose action is the teacher's with probability β = `share`."""
    return Categorical((share * probabilities(teacher) + (1 - share) * probabilities(student)).log())


def cross_entropy(learner: Critic, output: Output, lifetimes: Rollout) -> Tensor:
    """Mean over steps of −Σₐ π*(a | hₜ) log π_θ(a | hₜ), nats.

    Args:
        learner: gives the policy.
        output: of the network, `[T + 1, N, ·]`.
        lifetimes: `[T, N, …]`, labelled.
    """
    policy = learner.policy(rows(output))
    assert isinstance(policy, Categorical)
    return -masked_mean((lifetimes.outcomes[TEACHER] * policy.log_probs()).sum(-1), lifetimes.alive)


def critic_alone(learner: Critic) -> Critic:
    """The learner without its policy's part: its loss is that of the value function."""
    alone = copy.copy(learner)
    alone.surrogate = _no_gain
    alone.entropy_weight = 0.0
    return alone


def _no_gain(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
    return torch.zeros_like(log_prob)
