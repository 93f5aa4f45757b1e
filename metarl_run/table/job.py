"""Evaluation jobs: one agent evaluated in many tasks, for one cell or for several that share a lifetime."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metarl_run.config.plan import Plan
from metarl_run.config.settings import keys_that_affect
from metarl_run.config.table import Table

Phase = Literal["tuning", "reporting"]
"""Settings are chosen on tuning tasks, which are disjoint from the reported ones."""


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """One agent and the tasks that it is evaluated in.

    Rows that differ only in n share the job with the largest n: an agent that does not know n acts the same in the
    first n episodes of a longer lifetime as in a lifetime of n episodes.

    Attributes:
        column, block: the cells that it supplies.
        phase: tuning or reporting.
        setting: the point of the column's grid; empty without a grid.
        folder: path below the table's folder, equal for equal requests.
        family: how the task family differs from the table's, for display.
        config: configuration of family and agent, resolved.
        identity: everything the returns depend on, as plain containers: stored with the returns and compared before
            they are reused.
        seed: the table's seed: determines the tasks and all randomness in them.
        tasks: number of tasks.
        tasks_at_once: tasks evaluated in parallel.
        episodes: lifetimes n to report, ascending; the last one is run.
        planning_discount: γ of the planned value of an episode; None if no value is planned.
        trained_in: run folder with the agent's meta-parameters; None for a classical agent.
        training: the run to finish there first; None if it is finished.
        agent_seed, budget: of the run that meta-trains the agent; None for a classical agent.
    """

    column: str
    block: str
    phase: Phase
    setting: Mapping[str, Any]
    folder: str
    family: str
    config: Mapping[str, Any]
    identity: Mapping[str, Any]
    seed: int
    tasks: int
    tasks_at_once: int
    episodes: tuple[int, ...]
    planning_discount: float | None
    trained_in: Path | None = None
    training: Plan | None = None
    agent_seed: int | None = None
    budget: str | None = None

    @property
    def parts(self) -> list[range]:
        """Task indices in chunks of `tasks_at_once`."""
        starts = range(0, self.tasks, self.tasks_at_once)
        return [range(first, min(first + self.tasks_at_once, self.tasks)) for first in starts]

    @property
    def outcome(self) -> str | None:
        """The outcome whose value in the last of the episodes is reported; None for the sum of rewards over them."""
        return self.identity.get("outcome")

    @property
    def drawn_from(self) -> dict[str, Any]:
        """The part of the identity that determines the tasks and their order."""
        return {key: self.identity.get(key) for key in ("env", "table_seed", "tasks_at_once", "phase", "device")}

    @property
    def name(self) -> str:
        """A label for people."""
        setting = [f"{key}={value}" for key, value in self.setting.items()]
        seed = [] if self.agent_seed is None else [f"seed {self.agent_seed}"]
        tuning = ["tuning"] if self.phase == "tuning" else []
        parts = [self.column, self.block, self.family, f"n={self.episodes[-1]}", *setting, *seed, *tuning]
        return ", ".join(filter(None, parts))


INFLUENTIAL = (*keys_that_affect("agent"), "plugins")
"""Configuration keys that affect an agent's behaviour in given tasks."""


def identity_of(config: Mapping[str, Any], table: Table, phase: Phase, **more: Any) -> dict[str, Any]:
    """Everything the returns of a job depend on, besides the choice of tasks and the number of episodes.

    Args:
        config: configuration of family and agent.
        table: the table that the job belongs to.
        phase: the job's phase.
        more: further influences.
    """
    return {
        **{key: config[key] for key in INFLUENTIAL},
        **({} if (products := config.get("products", "auto")) == "auto" else {"products": products}),
        **shared_identity(table, config["seed"]),
        "phase": phase,
        **more,
    }


def shared_identity(table: Table, seed: int) -> dict[str, Any]:
    """The part of the identity that all jobs of a table share.

    Args:
        table: the requested table.
        seed: the table's seed.
    """
    discount = table.planning_discount if table.measure == "fraction_of_optimum" else None
    identity = {"table_seed": seed, "tasks_at_once": table.tasks_at_once, "planning_discount": discount}
    return identity if table.outcome is None else {**identity, "outcome": table.outcome}


def slug(words: Sequence[object]) -> str:
    """A folder name made of words."""
    return re.sub(r"[^\w.=-]+", "-", "_".join(str(word) for word in words)).strip("-.") or "-"
