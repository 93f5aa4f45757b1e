"""The keys of a run that belong to no group, with their kinds; conf/train.yaml gives them their values."""

from dataclasses import dataclass
from typing import Literal

from metarl_run.kinds import Count, Whole, Words


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
class Settings:
    """What a run is told besides its components.

    Attributes:
        seed: the one source of randomness.
        device: `auto` takes a GPU if there is one.
        threads: CPU threads of torch; part of the result, since it orders sums.
        meta_iterations: meta-updates.
        meta_batch_size: tasks per meta-update, M.
        episodes_per_task: episodes per task and adaptation step, B.
        meta_test: the final evaluation.
        meta_validation: the evaluations in between, on held-out tasks of their own.
        validate_every: meta-iterations between two of them; 0 for none.
        checkpoint_every: meta-iterations between two checkpoints.
        checkpoint: run folder or checkpoint whose meta-parameters to start from.
        resume: run folder to continue.
        allow_changes: continue even though keys that matter to the result were changed.
        plugins: packages outside metarl_run whose classes a `_target_` may name.
        output_root: folder under which run folders are made.
    """

    seed: Whole
    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    meta_iterations: Whole
    meta_batch_size: Count
    episodes_per_task: Count
    meta_test: MetaTest
    meta_validation: MetaTest
    validate_every: Whole
    checkpoint_every: Count
    checkpoint: str | None
    resume: str | None
    allow_changes: bool
    plugins: Words
    output_root: str
