"""Groups of a sweep's jobs that differ only in their seed, with the curve over finished jobs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metarl_run.maths.statistics import curve_of, lifetime_statistics, outcomes_in
from metarl_run.report.coarse import mean_or_none
from metarl_run.report.names import display_name
from metarl_run.report.sweep.jobs import Job
from metarl_run.report.tasks import TaskCounts

NAMES = ("experiment", "budget", "learner", "network")
"""Choices that may differ between the jobs of one algo and env."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """All seeds of one algorithm on one family.

    A seed counts once: of several jobs with the same seed only the first finished one is used, even if their results
    differ, as on different machines.

    Attributes:
        variant: what distinguishes the group from others of its algo and env, `key=value …`; may be empty.
        curve: statistics over finished seeds, see `metarl_run.evaluation`; None if none finished.
        lifetime_return: statistics over finished seeds, see `metarl_run.maths.statistics.lifetime_statistics`; None if
            not recorded.
        published: the published result that the jobs reproduce, if any.
        panel: panel of the picture that the group is drawn in; None for the panel of its env.
        meta_train_env_steps: environment steps of meta-training, mean over finished jobs; None if not recorded.
        wall_seconds, cpu_seconds: time per job, mean over finished jobs; None if not recorded.
        tasks: held-out tasks of the job with the fewest distinct ones; None if not recorded.
        family_versions: known versions of the task family among finished jobs, each once.
        tasks_hashes: hash of the held-out tasks of each finished seed, as far as known.
        left_out: a line for each job that repeats a seed.
        jobs: those that count, finished or not.
        repeats: those that do not, since they repeat a seed.
    """

    algo: str
    env: str
    variant: str
    seeds: Sequence[int | None]  # None where a job's files do not record it
    failed_seeds: Sequence[int | None]
    curve: Mapping[str, Sequence[Any]] | None
    lifetime_return: Mapping[str, Any] | None
    published: Mapping[str, Any] | None
    panel: str | None
    meta_train_env_steps: float | None
    wall_seconds: float | None
    cpu_seconds: float | None
    tasks: TaskCounts | None = None
    family_versions: Sequence[str] = ()
    tasks_hashes: Mapping[int | None, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    jobs: Sequence[Job] = ()
    repeats: Sequence[Job] = ()

    @property
    def label(self) -> str:
        return f"{self.algo} {self.variant}".strip()

    @property
    def name(self) -> str:
        """The label in words: `RL² network=lstm`."""
        return f"{display_name('algo', self.algo)} {self.variant}".strip()

    @property
    def optimum(self) -> float | None:
        """Expected return of the optimal policies, equal at every adaptation step; None if unknown."""
        return self.curve["optimum"][0] if self.curve and "optimum" in self.curve else None

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of the curve."""
        curve = self.curve or {}
        return [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]

    @property
    def outcomes(self) -> list[str]:
        """Names of the outcomes in the curve, such as `success`."""
        return outcomes_in(self.curve or {})

    @property
    def num_finished(self) -> int:
        return len(self.seeds) - len(self.failed_seeds)

    @property
    def finished(self) -> str:
        """Finished seeds of those started: `2/2`."""
        return f"{self.num_finished}/{len(self.seeds)}"


def grouped(jobs: Sequence[Job]) -> list[Group]:
    """Groups ordered by env, algo and variant."""
    methods: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        methods.setdefault((job.choices["env"], job.choices["algo"]), []).append(job)
    groups = []
    for (env, algo), members in sorted(methods.items()):
        variants: dict[str, list[Job]] = {}
        for job, variant in zip(members, variants_of(members), strict=True):
            variants.setdefault(variant, []).append(job)
        groups += [group_of(algo, env, variant, same) for variant, same in sorted(variants.items())]
    return groups


def outcomes_of(groups: Sequence[Group]) -> list[str]:
    """Names of all outcomes of the groups."""
    return list(dict.fromkeys(name for group in groups for name in group.outcomes))


def variants_of(members: Sequence[Job]) -> list[str]:
    """For each job of one algo and env, the settings besides the seed that distinguish it from the others.

    Chosen options come first, then values that they do not imply: two experiments or learners differ in many values.
    """
    words: list[tuple[str, ...]] = [() for _ in members]
    for name in NAMES:
        words = with_differences(name, [job.choices.get(name) for job in members], words, names=words)
    names = words
    for key in sorted({key for job in members for key in job.config} - {"algo._target_", "env._target_"}):
        values = [compact(job.config.get(key, "?")) if job.config else None for job in members]
        words = with_differences(key, values, words, names=names)
    return [" ".join(of_job) for of_job in words]


def with_differences(
    key: str, values: Sequence[str | None], words: Sequence[tuple[str, ...]], *, names: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """The words of every job with `key=value` added, unless jobs with equal names have equal known values."""
    found: dict[tuple[str, ...], set[str]] = {}
    for name, value in zip(names, values, strict=True):
        if value is not None:
            found.setdefault(name, set()).add(value)
    if all(len(of_name) == 1 for of_name in found.values()):
        return list(words)
    return [(*of_job, f"{key}={'?' if value is None else value}") for of_job, value in zip(words, values, strict=True)]


def lifetime_return_of(finished: Sequence[Job], *, same_tasks: bool) -> dict[str, float | None] | None:
    """Statistics of the lifetime return over seeds and tasks; None if a job did not record it."""
    values = [np.array(job.lifetime_returns) for job in finished]
    if not all(len(of_job) for of_job in values) or not values:
        return None
    return lifetime_statistics(values, same_tasks=same_tasks)


def in_same_tasks(jobs: Sequence[Job]) -> bool:
    """Check by their hash that all jobs were tested in the same tasks in the same order."""
    found = {job.tasks_hash for job in jobs}
    return len(found) == 1 and None not in found


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def group_of(algo: str, env: str, variant: str, jobs: Sequence[Job]) -> Group:
    counted, left_out = one_per_seed(jobs)
    finished = [job for job in counted if job.problem is None]
    rows = [{**row, "seed": job.name} for job in finished for row in job.rows]
    same_tasks = in_same_tasks(finished)
    return Group(
        algo=algo,
        env=env,
        variant=variant,
        seeds=[job.seed for job in counted],
        failed_seeds=[job.seed for job in counted if job.problem is not None],
        curve=curve_of(rows, same_tasks=same_tasks) if rows else None,
        lifetime_return=lifetime_return_of(finished, same_tasks=same_tasks),
        published=next((job.published for job in finished if job.published), None),
        panel=next((job.panel for job in jobs if job.panel), None),
        meta_train_env_steps=mean_or_none([job.meta_train_env_steps for job in finished]),
        wall_seconds=mean_or_none([job.wall_seconds for job in finished]),
        cpu_seconds=mean_or_none([job.cpu_seconds for job in finished]),
        tasks=min(
            (job.tasks for job in finished if job.tasks), key=lambda counts: counts["distinct"] or 0, default=None
        ),
        family_versions=list(dict.fromkeys(job.family_version for job in finished if job.family_version)),
        tasks_hashes={job.seed: job.tasks_hash for job in finished if job.tasks_hash},
        left_out=left_out,
        jobs=counted,
        repeats=[job for job in jobs if job not in counted],
    )


def one_per_seed(jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """One job of a group per seed, the first that finished, and a line for each of the others.

    A job with unknown seed counts by itself.
    """
    first: dict[int | str, Job] = {}
    for job in jobs:
        key = job.name if job.seed is None else job.seed
        if key not in first or (first[key].problem is not None and job.problem is None):
            first[key] = job
    counted = [job for job in jobs if job in first.values()]
    left_out = []
    for job in jobs:
        if job not in counted and job.seed is not None:
            kept = first[job.seed]
            differs = job.problem is None and job.rows != kept.rows
            note = ", with another result" if differs else ""
            left_out.append(f"{job.name} repeats seed {job.seed} of {kept.name}{note}")
    return counted, left_out
