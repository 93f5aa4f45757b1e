"""One run in one folder: build the components, meta-train, meta-test, report.

Whatever state the folder is in, the run goes on from there: a new folder begins, a stopped run continues from its
newest checkpoint, a finished run is left alone.
"""

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_run.compiled.rollouts import CompiledRollouts
from metarl_run.config.build import build
from metarl_run.config.collection import dataset_folder, learns_from_data
from metarl_run.config.inherited import agent_record
from metarl_run.config.plan import Plan
from metarl_run.dataset.card import require_suited
from metarl_run.dataset.dataset import Dataset
from metarl_run.errors import ConfigError
from metarl_run.evaluation import Evaluation, task_counts
from metarl_run.logger.base import RunInfo, Sink
from metarl_run.maths.parallel import num_threads
from metarl_run.maths.statistics import curve_of, lifetime_statistics
from metarl_run.network.product import IN_USE, Choice
from metarl_run.report.compare import write_page_of_run
from metarl_run.report.folder import read_adaptation
from metarl_run.report.run import curve as curve_report
from metarl_run.report.run import learned as learned_report
from metarl_run.report.run import learning as learning_report
from metarl_run.report.tasks import hash_of_tasks
from metarl_run.rollout import collect
from metarl_run.run import checkpoint
from metarl_run.run.agent import set_up, take_over
from metarl_run.run.collecting import collect_histories
from metarl_run.run.compilation import compiles, evaluation_pays
from metarl_run.run.film import film, filmed
from metarl_run.run.folder import (
    is_over,
    json_bytes,
    logging_to,
    outcome_recorded,
    record_interruption,
    remember_family,
    remember_plan,
    require_own,
    require_unedited,
    status_of,
    versions,
    warn_of_other_sums,
    warn_of_other_versions,
)
from metarl_run.run.products import choice_of_run
from metarl_run.run.ranks import Ranks
from metarl_run.run.training import Training
from metarl_run.system.atomic import write_atomically
from metarl_run.system.crash import Contained
from metarl_run.system.interruption import StopRequest
from metarl_run.system.lock import locked, remove_lock

log = logging.getLogger(__name__)


def run(plan: Plan, folder: Path, stop: StopRequest, *, shared: Path | None = None, ranks: Ranks | None = None) -> None:
    """Bring the run in `folder` to its end.

    Args:
        plan: what to run.
        folder: of the run.
        stop: stop requests.
        shared: file with the libraries of the sweep or table that the run is part of, see `metarl_run.run.products`.
        ranks: processes of the run, of which this one leads; None for this one alone.

    Raises:
        RunError: see `metarl_run.errors`; it is recorded in summary.json, too.
        Interrupted: after saving, if a stop was asked for.
    """
    ranks = ranks or Ranks()
    require_own(folder)
    with locked(folder):
        changed = remember_plan(plan, folder)
        if is_over(folder):
            print(f"{folder} is {status_of(folder)}: nothing to do")
            ranks.tell(None)
            return
        with (
            contextlib.ExitStack() as stack,
            logging_to(folder / "train.log"),
            outcome_recorded(plan, folder),
            Contained(folder, plan.config["plugins"]),
            ranks.telling(),
            stop.obeyed_at_once(),  # until the training says otherwise
        ):
            stop.last_wish = partial(_leave, plan, folder)
            stack.callback(setattr, stop, "last_wish", None)
            warn_of_other_versions(folder)
            warn_of_other_sums(plan, folder)
            if changed:
                log.info("goes on with changes, see run.json")
            _live(plan, folder, stop, shared, ranks)


def _leave(plan: Plan, folder: Path, exit_code: int) -> None:
    """End at once, in the middle of anything."""
    record_interruption(plan, folder, exit_code)
    remove_lock(folder)


# --- The run itself ---


TRAINING = ("meta_iterations", "meta_batch_size", "meta_batch_chunk", "episodes_per_task")
"""Keys that all ranks train by."""


def _live(plan: Plan, folder: Path, stop: StopRequest, shared: Path | None, ranks: Ranks) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    config = plan.config
    if learns_from_data(config):
        _provide_data(plan, stop)
    _, streams, family, algo = set_up(config, products=choice_of_run(config, folder, shared))
    if config["checkpoint"]:
        take_over(algo, family, Path(config["checkpoint"]), plan.choices)

    sinks: dict[str, Sink] = {
        name: build(sink, {}, plugins=config["plugins"], where=f"logger.{name}")
        for name, sink in config["logger"].items()
    }
    compiled = CompiledRollouts(algo) if compiles(config, algo, family, folder) else None

    def planned(split: str) -> dict[str, Any]:
        pays = compiled is not None and evaluation_pays(config[split], algo, family)
        return {**config[split], "collect": compiled if pays else collect}

    training = Training(
        algo=algo,
        collect=compiled or collect,
        family=family,
        streams=streams,
        sinks=sinks,
        stop=stop,
        folder=folder,
        agent=agent_record(plan.config, plan.choices),
        meta_validation=planned("meta_validation"),
        meta_test=planned("meta_test"),
        parts=config.get("meta_batch_parts"),
        ranks=ranks,
        **{key: config[key] for key in (*TRAINING, "validate_every", "checkpoint_every")},
    )

    def take_up(saved: checkpoint.Checkpoint) -> None:
        for name, sink in sinks.items():
            sink.require_position(folder, saved.positions.get(name, {}))
        training.load(saved)

    with contextlib.ExitStack() as stack:
        saved = checkpoint.load_newest(folder / "checkpoints", take_up)
        if saved is not None:
            require_unedited(folder, saved.config)
            checkpoint.tidy(folder / "checkpoints", saved.iteration)
        version = remember_family(folder, family.full_version, goes_on=saved is not None)
        for name, sink in sinks.items():
            stack.callback(sink.close)
            sink.open(_run_info(plan, folder, training), saved.positions.get(name, {}) if saved else {})
        ranks.tell(Begun(config, {**IN_USE.choice}, compiled is not None, training.iteration, training.state()))
        training.meta_train()
        _log_waiting(ranks, time.perf_counter() - start)
        ranks.leave()
        evaluation = training.meta_test()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        summary = _summary(plan, training, evaluation, seconds, cpu_seconds) | {"family_version": version}
        write_atomically(folder / "summary.json", json_bytes({**summary, "status": "reporting"}))
        adaptation = read_adaptation(folder)
        pictures = [
            *curve_report.write(folder, adaptation),
            *learning_report.write(folder, adaptation),
            *learned_report.write(folder),
        ]
        if config["film"]:
            path = folder / f"behaviour.{config['film']}"
            try:
                pictures.append(film(algo, family, streams, path, **filmed(config)))
            except ConfigError as error:  # a finished run is not lost for want of a film
                log.warning("there is no film: %s", error.reason)
        if config["report"]:
            write_page_of_run(folder, summary, adaptation)
        for sink in sinks.values():
            sink.finish(summary, pictures)
        write_atomically(folder / "summary.json", json_bytes(summary))


def _provide_data(plan: Plan, stop: StopRequest) -> None:
    """Make sure that the data are there which the run learns from, and suit it."""
    config, folder = plan.config, dataset_folder(plan.config)
    assert folder is not None
    if config.get("dataset") is None:
        log.info("learns from histories in %s, which are collected unless they are there", folder)
        collect_histories(config, plan.choices, folder, stop)
    require_suited(Dataset.open(folder).card, config, folder)


# --- The other processes of a run that is distributed ---


class Begun(NamedTuple):
    """What the leader of a run has decided or read when meta-training begins.

    Attributes:
        config: of the run.
        products: libraries that multiply.
        compiled: rollouts of meta-training are compiled.
        iteration: meta-updates done.
        state: see `Training.state`.
    """

    config: Mapping[str, Any]
    products: Choice
    compiled: bool
    iteration: int
    state: dict[str, Any]


def follow(ranks: Ranks, stop: StopRequest) -> None:
    """Meta-train with the leader: nothing is read or written here.

    Args:
        ranks: processes of the run.
        stop: stop requests.

    Raises:
        RunError: that ended the run, whichever rank it comes from.
        Interrupted: at the end of a meta-iteration, if any rank was asked to stop.
    """
    with ranks.telling():
        begun = ranks.told()
        if begun is None:  # there is nothing left to do
            return
        config = begun.config
        _, streams, family, algo = set_up(config, products=begun.products)
        training = Training(
            algo=algo,
            collect=CompiledRollouts(algo) if begun.compiled else collect,
            family=family,
            streams=streams,
            sinks={},
            stop=stop,
            folder=Path(os.devnull),
            meta_validation={},
            meta_test={},
            validate_every=0,
            checkpoint_every=1,
            parts=config["meta_batch_parts"],
            ranks=ranks,
            **{key: config[key] for key in TRAINING},
        )
        training.load(checkpoint.Checkpoint(begun.iteration, begun.state, {}, None))
        training.meta_train()
    ranks.leave()


def _log_waiting(ranks: Ranks, seconds: float) -> None:
    if ranks.size > 1:
        share = 100 * ranks.seconds_waited / seconds
        log.info("%d ranks: the leader waited %.1f s for others, %.0f %%", ranks.size, ranks.seconds_waited, share)


def _run_info(plan: Plan, folder: Path, training: Training) -> RunInfo:
    return RunInfo(
        folder=folder,
        config=plan.config,
        algo=plan.choices["algo"],
        env=plan.choices["env"],
        learner=plan.choices["learner"],
        seed=plan.config["seed"],
        meta_iterations=training.meta_iterations,
        first_iteration=training.iteration,
        in_sweep=plan.in_sweep,
        sweep=plan.sweep,
    )


def _summary(
    plan: Plan, training: Training, evaluation: Evaluation, seconds: float, cpu_seconds: float
) -> dict[str, Any]:
    env_steps = training.env_steps + evaluation.env_steps
    published = plan.config["published"]
    return {
        "status": "complete",
        **{group: plan.choices[group] for group in ("algo", "env", "learner", "network")},
        "seed": plan.config["seed"],
        "meta_iterations": training.iteration,
        "meta_train_env_steps": training.env_steps,
        "meta_test": curve_of(evaluation.rows),
        "lifetime_return": lifetime_statistics([np.array(evaluation.lifetime_returns)]),
        **({"memory": dict(evaluation.diagnostics)} if evaluation.diagnostics else {}),
        **({"published": published} if published["lifetime_return"] is not None else {}),
        "wall_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "env_steps": env_steps,
        "env_steps_per_second": training.session_env_steps / seconds,
        "versions": versions(),
        "threads": num_threads(),
        "products": {**IN_USE.choice},
        "device": str(training.streams.device),
        "held_out_tasks": {"meta_test": task_counts(evaluation.task_hashes, training.family)},
        "tasks_hash": {"meta_test": hash_of_tasks(evaluation.task_hashes)},
        "lifetime_returns": {"meta_test": evaluation.lifetime_returns},
    }
