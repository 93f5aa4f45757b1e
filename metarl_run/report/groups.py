"""Groups of a sweep's jobs: those that differ in nothing but their seed, and the curve over those that finished."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl_run.evaluation import curve_of
from metarl_run.report.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Group:
    """All seeds of one algorithm on one family.

    Attributes:
        variant: what else tells the group from others, `key=value …`; empty if nothing does.
        curve: over the finished seeds, see `metarl_run.evaluation`; None if there is none.
        wall_seconds: of one job, the mean over those finished.
    """

    algo: str
    env: str
    variant: str
    seeds: Sequence[int | None]  # None where a job left too little to tell
    failed_seeds: Sequence[int | None]
    curve: Mapping[str, Sequence[float]] | None
    wall_seconds: float | None

    @property
    def label(self) -> str:
        return f"{self.algo} {self.variant}".strip()

    @property
    def optimum(self) -> float | None:
        """The expected return of the best policies, the same at every adaptation step; None where it is not known."""
        return self.curve["optimum"][0] if self.curve and "optimum" in self.curve else None

    @property
    def points(self) -> list[dict[str, float]]:
        """The curve point by point."""
        curve = self.curve or {}
        return [dict(zip(curve, values, strict=True)) for values in zip(*curve.values(), strict=True)]

    @property
    def num_finished(self) -> int:
        return len(self.seeds) - len(self.failed_seeds)

    @property
    def finished(self) -> str:
        """Seeds with a result of those started: `2/2`."""
        return f"{self.num_finished}/{len(self.seeds)}"


def grouped(jobs: Sequence[Job]) -> list[Group]:
    """Groups in the order of env, algo and variant."""
    together: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        together.setdefault((job.choices["env"], job.choices["algo"]), []).append(job)
    groups = []
    for (env, algo), members in sorted(together.items()):
        variants: dict[str, list[Job]] = {}
        for job, variant in zip(members, variants_of(members), strict=True):
            variants.setdefault(variant, []).append(job)
        groups += [group_of(algo, env, variant, same) for variant, same in sorted(variants.items())]
    return groups


def variants_of(members: Sequence[Job]) -> list[str]:
    """For each job of one algo and env, what tells it from the others apart from its seed."""
    descriptions: list[list[str]] = [[] for _ in members]
    skip: tuple[str, ...] = ("algo._target_", "env._target_")
    for room in ("learner", "network"):
        found = {job.choices[room] for job in members if room in job.choices}
        if len(found) > 1:
            # The keys of two different learners differ anyhow; the names say it better.
            skip += (f"{room}.",)
            for job, words in zip(members, descriptions, strict=True):
                words.append(f"{room}={job.choices.get(room, '?')}")
    configured = [job for job in members if job.config]
    for key in sorted({key for job in configured for key in job.config}):
        if key.startswith(skip) or len({repr(job.config.get(key)) for job in configured}) == 1:
            continue
        for job, words in zip(members, descriptions, strict=True):
            words.append(f"{key}={compact(job.config.get(key, '?'))}")
    return [" ".join(words) for words in descriptions]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def group_of(algo: str, env: str, variant: str, jobs: Sequence[Job]) -> Group:
    finished = [job for job in jobs if job.problem is None]
    # Jobs are the strata: a seed that was run twice is two agents.
    rows = [{**row, "seed": job.name} for job in finished for row in job.rows]
    return Group(
        algo=algo,
        env=env,
        variant=variant,
        seeds=[job.seed for job in jobs],
        failed_seeds=[job.seed for job in jobs if job.problem is not None],
        curve=curve_of(rows) if rows else None,
        wall_seconds=sum(job.wall_seconds for job in finished) / len(finished) if finished else None,
    )
