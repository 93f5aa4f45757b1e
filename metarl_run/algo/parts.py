"""Adaptation of some tasks at a time: what bounds the memory of adapting to a large meta-batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.types import AgentState, Rollout, chunks


def adapt_in_parts(algo: MetaAlgorithm, agent: AgentState, rollout: Rollout, tasks_at_once: int | None) -> AgentState:
    """The agents after learning from `rollout`, as of `algo.adapt`, which knows no task's neighbours.

    Args:
        algo: how agents adapt.
        agent: M of them.
        rollout: what they lived through.
        tasks_at_once: so many adapt at a time, and no graph is kept: it would hold the memory of all; None for all at
            once, with their graph where gradients are enabled.
    """
    if tasks_at_once is None:
        return algo.adapt(agent, rollout)
    with torch.no_grad():
        parts = [algo.adapt(agent.tasks(i), rollout.tasks(i)) for i in chunks(len(rollout.reward), tasks_at_once)]
    return AgentState(_joined([part.params for part in parts]), _joined([part.memory for part in parts]))


def _joined(records: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([record[name] for record in records]) for name in records[0]}
