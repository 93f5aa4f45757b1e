"""The keys of a run that belong to no group, with their kinds; conf/train.yaml gives them their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metarl_run.kinds import Count, Names, NonNegative, Real, Whole


@dataclass(frozen=True, kw_only=True)
class MetaTest:
    """How held-out tasks are lived.

    Attributes:
        num_tasks: held-out tasks M.
        adaptation_steps: K, steps of adaptation; may exceed meta-training's.
        episodes_per_task: B, episodes per task and adaptation step.
    """

    num_tasks: Count
    adaptation_steps: Whole
    episodes_per_task: Count


@dataclass(frozen=True, kw_only=True)
class Published:
    """The result of a paper that a run is to reproduce; null where there is none.

    Attributes:
        lifetime_return: the sum of rewards over a lifetime, not discounted, mean over tasks.
        deviation: what the paper gives as its ±.
        num_tasks: that the paper's mean is over; has a default, since older run folders lack it.
        source: paper and table.
    """

    lifetime_return: Real | None
    deviation: NonNegative | None
    source: str | None
    num_tasks: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is told besides its components.

    Attributes:
        seed: the one source of randomness.
        device: `auto` takes a GPU if there is one.
        threads: CPU threads of torch; part of the result, since it orders sums.
        compile: rollouts of meta-training as compiled programs; of agents that remember, what they do at a step.
        meta_iterations: meta-updates.
        meta_batch_size: tasks per meta-update, M.
        meta_batch_chunk: tasks that a meta-update learns from at a time, which bounds its memory; null for all.
        episodes_per_task: episodes per task and adaptation step, B.
        meta_test: the final evaluation.
        meta_validation: the evaluations in between, on held-out tasks of their own.
        validate_every: meta-iterations between two of them; 0 for none.
        checkpoint_every: meta-iterations between two checkpoints.
        published: a paper's result for this very experiment.
        budget: which of `budgets` counts, null where there are none.
        budgets: numbers that values refer to as `${budgets.${budget}.…}`, a mapping for each budget.
        checkpoint: run folder or checkpoint to start from, see `metarl_run.config.taken`.
        resume: run folder to continue.
        allow_changes: continue even though keys that matter to the result were changed.
        plugins: packages outside metarl_run whose classes a `_target_` may name.
        output_root: folder under which run folders are made.
        panel: of a sweep's picture in which the run is drawn, null for that of its family.
        sweep: parts of a sweep over listed runs, see `metarl_run.config.sweep`; null where there is none.
        table: a paper's table that is to be made instead of a run; see `metarl_run.config.table`.
    """

    seed: Whole
    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    compile: bool
    meta_iterations: Whole
    meta_batch_size: Count
    meta_batch_chunk: Count | None
    episodes_per_task: Count
    meta_test: MetaTest
    meta_validation: MetaTest
    validate_every: Whole
    checkpoint_every: Count
    published: Published
    budget: str | None
    budgets: Mapping[str, Mapping[str, Any]]
    checkpoint: str | None
    resume: str | None
    allow_changes: bool
    plugins: Names
    output_root: str
    panel: str | None
    sweep: object
    table: Mapping[str, Any] | None
