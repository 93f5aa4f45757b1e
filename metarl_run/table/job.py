"""What one cell, or several that share a lifetime, asks for: one agent that lives in many tasks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metarl_run.config.plan import Plan
from metarl_run.config.table import Table

Phase = Literal["tuning", "reporting"]
"""A setting is chosen by jobs in other tasks than those whose returns are reported."""


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    """One agent, and the tasks that it lives in.

    Rows that differ in nothing but n share one job, the longest: an agent that does not know n lives the first n
    episodes of a longer job as it would live n.

    Attributes:
        column, block: whose cells it is for.
        phase: what its returns are for.
        setting: of the column's grid; empty without one.
        folder: below the table's, the same whenever the same is asked for.
        family: what of the task family differs from the table's, in a word.
        config: of family and agent, resolved.
        identity: what the returns depend on, as plain containers: stored with them, and compared before they are used.
        seed: of the table: the tasks and all that happens in them.
        tasks: how many.
        tasks_at_once: lived side by side.
        episodes: the lifetimes n that are read, ascending; the last is the one lived.
        planning_discount: γ with which the value of an episode is planned and stored; None if it is not wanted.
        trained_in: run folder with the agent's meta-parameters; None for a hand-made agent.
        training: the run to bring to its end there before; None if it is finished.
        agent_seed, budget: of the run that meta-trains it; None for a hand-made agent.
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
        """The tasks, as many at a time as live side by side."""
        starts = range(0, self.tasks, self.tasks_at_once)
        return [range(first, min(first + self.tasks_at_once, self.tasks)) for first in starts]

    @property
    def drawn_from(self) -> dict[str, Any]:
        """What decides which tasks these are: jobs alike in it are lived in the same tasks, in the same order."""
        return {key: self.identity.get(key) for key in ("env", "table_seed", "tasks_at_once", "phase", "device")}

    @property
    def name(self) -> str:
        """For people."""
        setting = [f"{key}={value}" for key, value in self.setting.items()]
        seed = [] if self.agent_seed is None else [f"seed {self.agent_seed}"]
        tuning = ["tuning"] if self.phase == "tuning" else []
        told = [self.column, self.block, self.family, f"n={self.episodes[-1]}", *setting, *seed, *tuning]
        return ", ".join(filter(None, told))


INFLUENTIAL = ("env", "learner", "network", "algo", "plugins", "threads", "device")
"""Keys of a configuration that matter to what an agent does in given tasks."""


def identity_of(config: Mapping[str, Any], table: Table, phase: Phase, **more: Any) -> dict[str, Any]:
    """What the returns of a job depend on, besides which tasks and how many episodes are lived.

    Args:
        config: of family and agent.
        table: that the job is for.
        phase: of the job.
        more: whatever else matters.
    """
    return {
        **{key: config[key] for key in INFLUENTIAL},
        **shared_identity(table, config["seed"]),
        "phase": phase,
        **more,
    }


def shared_identity(table: Table, seed: int) -> dict[str, Any]:
    """What all jobs of a table have in common.

    Args:
        table: what is asked for.
        seed: of the table.
    """
    discount = table.planning_discount if table.measure == "fraction_of_optimum" else None
    return {"table_seed": seed, "tasks_at_once": table.tasks_at_once, "planning_discount": discount}


def slug(words: Sequence[object]) -> str:
    """Words as the name of a folder."""
    return re.sub(r"[^\w.=-]+", "-", "_".join(str(word) for word in words)).strip("-.") or "-"
