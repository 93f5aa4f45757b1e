"""Execution of one evaluation job: build the agent, run it in the tasks part by part and store each part's returns.

Parts already in the folder are kept, so an interrupted job resumes.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarl_run.algo.base import MetaAlgorithm, MetaLearner
from metarl_run.config.secret import masked
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import parallel
from metarl_run.errors import NumericalError, RunError
from metarl_run.evaluation import episode_outcomes, episode_sums
from metarl_run.lifetime import live
from metarl_run.maths.planning import optimal_value
from metarl_run.report.tasks import hash_of_tasks
from metarl_run.run.agent import load_trained, set_up
from metarl_run.run.folder import versions
from metarl_run.run.products import choice_of_job
from metarl_run.run.run import run
from metarl_run.seeding import Streams
from metarl_run.system.atomic import refusals
from metarl_run.system.crash import Contained
from metarl_run.system.interruption import StopRequest
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob


def run_job(folder: Path, job: EvaluationJob, stop: StopRequest, *, shared: Path | None = None) -> None:
    """Finish `job` in `folder` and record there that it is complete, or how it failed.

    Args:
        folder: of the job.
        job: what to do.
        stop: stop requests.
        shared: file with the libraries that multiply in all jobs of the table, see `metarl_run.run.products`.

    Raises:
        RunError: see `metarl_run.errors`.
        Interrupted: on a stop request, after finished parts are saved.
    """
    store.prepare(folder, job)
    names = ("column", "block", "phase", "setting", "agent_seed")
    about = {name: getattr(job, name) for name in names}
    try:
        with Contained(folder, job.config["plugins"]):
            _run_parts(folder, job, stop, shared)
    except RunError as error:
        details = {"where": error.where, "reason": masked(error.reason), "exit_code": error.exit_code}
        store.write_outcome(folder, {"status": "failed", **about, "error": details})
        raise
    store.write_outcome(folder, {"status": "complete", **about, "versions": versions()})


def _run_parts(folder: Path, job: EvaluationJob, stop: StopRequest, shared: Path | None) -> None:
    if job.training is not None and job.trained_in is not None:
        with refusals(job.trained_in, "make"):
            job.trained_in.mkdir(parents=True, exist_ok=True)
        run(job.training, job.trained_in, stop, shared=shared)
    _, streams, family, algo = set_up(job.config, seed=job.seed, products=choice_of_job(job.config, shared))
    if isinstance(algo, MetaLearner) and job.trained_in is not None:
        load_trained(algo, family, job.trained_in, f"the run of {job.column} in {job.family}")
    for index, part in enumerate(job.parts):
        stop.check()
        stored = store.read_part(folder, part)
        if stored is not None and str(stored["family_version"]) in ("", family.full_version):
            continue
        start = time.perf_counter()
        found = returns_of(algo, family, streams, job, index, len(part))
        totals = found["totals"]
        if not np.isfinite(totals).all():
            task, column = np.argwhere(~np.isfinite(totals))[0]
            where = f"return of task {part.start + task} after {job.episodes[column]} episodes"
            raise NumericalError(where, f"must be finite, got {totals[task, column]}")
        about = {"seconds": time.perf_counter() - start, "family_version": family.full_version}
        store.write_part(folder, part, {**found, **about})


def returns_of(
    algo: MetaAlgorithm, family: TaskFamily, streams: Streams, job: EvaluationJob, index: int, num_tasks: int
) -> dict[str, np.ndarray]:
    """The sum of rewards over the first n episodes in each task of a part, for each reported n.

    Where an outcome such as `success` is asked for: its value in the n-th episode.

    Tasks and randomness depend only on the seed, the phase and the part, so all agents meet the same tasks, and the
    first n episodes of a longer lifetime equal a lifetime of n episodes.

    Args:
        algo: the agent.
        family: the distribution over tasks.
        streams: random streams of the table's seed.
        job: gives phase and episodes.
        index: index of the part.
        num_tasks: number of tasks in the part.

    Returns:
        `totals`, the sums, `[tasks, n…]`; `optimum`, the planned value of one episode, `[tasks]`, empty without a
        planning discount; `tasks_hash`, the hash of the tasks.
    """
    name = f"table/{job.phase}"
    task = family.sample(num_tasks, "meta_test", streams(f"{name}/tasks", index))
    env = parallel(family, task, episodes_per_task=1, generator=streams(f"{name}/env", index))
    with torch.no_grad():
        lifetime = live(algo, env, streams(f"{name}/actions", index), adaptation_steps=job.episodes[-1] - 1)
    last = [n - 1 for n in job.episodes]
    tasks_hash = np.array(hash_of_tasks(task.hashes()))
    if job.outcome is not None:
        asked = {job.outcome: family.outcomes[job.outcome]}
        found = [episode_outcomes(rollout, asked)[job.outcome] for rollout in lifetime.rollouts]
        outcomes = torch.cat(found, 1).squeeze(-1).double()[:, last]
        return {"totals": outcomes.cpu().numpy(), "optimum": np.empty(0), "tasks_hash": tasks_hash}
    by_episode = torch.cat([episode_sums(rollout.reward, rollout) for rollout in lifetime.rollouts], 1).squeeze(-1)
    return {
        "totals": (by_episode.double().cumsum(1)[:, last] * family.reward_unit).cpu().numpy(),
        "optimum": planned_value(family, task, job.planning_discount),
        "tasks_hash": tasks_hash,
    }


def planned_value(family: TaskFamily, task: Any, discount: float | None) -> np.ndarray:
    """Value of an episode under the optimal policy of each of M tasks, by value iteration; empty without a discount.

    V(s) = maxₐ [r(s, a) + γ Σₛ′ P(s′ | s, a) V(s′)], over the horizon
    """
    if discount is None:
        return np.empty(0)
    value = optimal_value(discount * task.transition.double(), task.mean_reward.double(), horizon=family.horizon)
    return np.asarray((task.start.double() * value).sum(-1).cpu())
