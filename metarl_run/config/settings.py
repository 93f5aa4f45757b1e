"""The keys of a run that belong to no group, with their kinds; conf/train.yaml gives them their values.

What a key affects is declared with it, and nowhere else:

    agent         the behaviour of an agent in given tasks
    training      the meta-parameters that meta-training ends with
    evaluation    the meta-test: its tasks, and the episodes that agents have in them
    monitoring    evaluations in the course of meta-training, not its result
    indirectly    the values of other keys, or the code that these refer to
    nothing       where a run is kept, when it is saved, who hears of it
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metarl_run.kinds import Count, Names, NonNegative, Positive, Real, Threads, Whole

MOST_POINTS = 10_000
"""Jobs of one sweep."""

MOST_RANKS = 2**20
"""Processes of one run, more than any machine has."""

PATHS = ("checkpoint", "resume", "output_root", "dataset")
"""Keys that hold paths, in which `~` is the home folder."""

Affects = Literal["agent", "training", "evaluation", "monitoring", "indirectly", "nothing"]

GROUPS_AFFECT: Mapping[str, Affects] = {
    "env": "agent",
    "learner": "agent",
    "network": "agent",
    "algo": "agent",
    "logger": "nothing",
}


def affects(what: Affects, *, with_table: bool = False, default: Any = dataclasses.MISSING) -> Any:
    """Declaration of a key.

    Args:
        what: the key affects.
        with_table: the key may be given with a table, whose cells choose all others.
        default: its value in run folders that are older than the key.
    """
    return dataclasses.field(default=default, metadata={"affects": what, "with_table": with_table})


@dataclass(frozen=True, kw_only=True)
class MetaTest:
    """Evaluation on held-out tasks.

    Attributes:
        num_tasks: held-out tasks M.
        adaptation_steps: K, steps of adaptation; may exceed meta-training's.
        episodes_per_task: B, episodes per task and adaptation step.
    """

    num_tasks: Count
    adaptation_steps: Whole
    episodes_per_task: Count


@dataclass(frozen=True, kw_only=True)
class Normalise:
    """Scale of what agents see, see `metarl_run.env.normalisation`.

    Attributes:
        observations: by running mean and standard deviation.
        rewards: by the running standard deviation of discounted returns.
        reward_unit: rewards are divided by it, unless they are normalised.
    """

    observations: bool
    rewards: bool
    reward_unit: Positive


@dataclass(frozen=True, kw_only=True)
class Published:
    """The result of a paper that a run is to reproduce; null where there is none.

    Attributes:
        lifetime_return: the sum of rewards over a lifetime, not discounted, mean over tasks.
        deviation: the paper's ±.
        num_tasks: that the paper's mean is over; has a default, since older run folders lack it.
        source: paper and table.
    """

    lifetime_return: Real | None
    deviation: NonNegative | None
    source: str | None
    num_tasks: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Keys of a run besides its components.

    Attributes:
        seed: the one source of randomness.
        device: `auto` takes a GPU if there is one.
        threads: CPU threads; `auto` takes one for each CPU that the process may use, shared among runs side by side.
        products: library that multiplies in networks; `auto` measures which is fast on this processor, and records it.
        compile: run meta-training's rollouts as compiled programs; `auto` where that saves time.
        meta_iterations: meta-updates.
        meta_batch_size: tasks per meta-update, M.
        meta_batch_chunk: tasks that a meta-update learns from at a time, which bounds its memory; null for all. Part of
            the result, since it orders sums.
        meta_batch_parts: parts of a meta-batch that live by themselves, with randomness of their own; null for one.
            Part of the result, which does not depend on how many ranks they are divided among.
        distributed: ranks, processes that these parts are divided among; 1 is this process alone.
        episodes_per_task: episodes per task and adaptation step, B.
        normalise: scale of observations and rewards as agents see them; reports are in the task's own units.
        meta_test: the final evaluation.
        meta_validation: the evaluations in between, on held-out tasks of their own.
        validate_every: meta-iterations between two of them; 0 for none.
        checkpoint_every: meta-iterations between two checkpoints.
        published: a paper's result for this very experiment.
        dataset: folder of learning histories to learn from; null for none, or for those that `collect` describes.
        collect: learning histories that are collected before they are learned from; see `metarl_run.config.collection`.
        budget: which of `budgets` counts, null where there are none.
        budgets: numbers that values refer to as `${budgets.${budget}.…}`, a mapping for each budget.
        checkpoint: run folder or checkpoint to start from, see `metarl_run.config.inherited`.
        resume: run folder to continue.
        allow_changes: continue even though keys that matter to the result were changed.
        retry_failed: run jobs of a sweep again that failed before; what the machine was at fault for always is.
        objective: number that a job returns to a sweeper that searches, see `metarl_run.config.objective`.
        plugins: packages outside metarl_run whose classes a `_target_` may name.
        output_root: folder under which run folders are made.
        film: format of a film of one held-out task, before adaptation and after each step; null for none.
        report: write report.html at the end of the run or sweep.
        panel: of a sweep's picture in which the run is drawn, null for that of its family.
        sweep: parts of a sweep over listed runs, see `metarl_run.config.sweep`; null where there is none.
        table: a paper's table to make instead of a run; see `metarl_run.config.table`.
    """

    seed: Whole = affects("training", with_table=True)
    device: Literal["auto", "cpu", "cuda"] = affects("agent", with_table=True)
    threads: Threads = affects("nothing", with_table=True)
    products: Literal["auto", "mkl", "onednn"] = affects("training", with_table=True, default="auto")
    compile: Literal["auto", True, False] = affects("training")
    meta_iterations: Whole = affects("training")
    meta_batch_size: Count = affects("training")
    meta_batch_chunk: Count | None = affects("training")
    meta_batch_parts: Count | None = affects("training", default=None)
    distributed: Count | None = affects("nothing", default=None)
    episodes_per_task: Count = affects("training")
    normalise: Normalise = affects("agent", default=Normalise(observations=False, rewards=False, reward_unit=1.0))
    meta_test: MetaTest = affects("evaluation")
    meta_validation: MetaTest = affects("monitoring")
    validate_every: Whole = affects("monitoring")
    checkpoint_every: Count = affects("nothing")
    published: Published = affects("nothing")
    dataset: str | None = affects("training", default=None)
    collect: Mapping[str, Any] | None = affects("training", default=None)
    budget: str | None = affects("indirectly")
    budgets: Mapping[str, Mapping[str, Any]] = affects("nothing")
    checkpoint: str | None = affects("training")
    resume: str | None = affects("nothing")
    allow_changes: bool = affects("nothing")
    retry_failed: bool = affects("nothing", default=True)
    objective: str = affects("nothing", default="meta_test.mean")
    plugins: Names = affects("indirectly", with_table=True)
    output_root: str = affects("nothing", with_table=True)
    film: Literal["gif", "mp4"] | None = affects("nothing", default=None)
    report: bool = affects("nothing", default=True)
    panel: str | None = affects("nothing")
    sweep: object = affects("nothing")
    table: Mapping[str, Any] | None = affects("nothing", with_table=True)


def of_older_runs() -> dict[str, Any]:
    """Values of the keys that older run folders lack, as plain containers."""
    defaults = {key.name: key.default for key in dataclasses.fields(Settings)}
    plain = {name: dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x for name, x in defaults.items()}  # type: ignore[arg-type]
    return {name: value for name, value in plain.items() if value is not dataclasses.MISSING}


def keys_that_affect(*what: Affects) -> tuple[str, ...]:
    """Groups and keys that affect one of some things."""
    groups = [group for group, of in GROUPS_AFFECT.items() if of in what]
    return *groups, *(key.name for key in dataclasses.fields(Settings) if key.metadata["affects"] in what)


def keys_with_table() -> tuple[str, ...]:
    """Keys that may be given with a table."""
    return tuple(key.name for key in dataclasses.fields(Settings) if key.metadata["with_table"])
