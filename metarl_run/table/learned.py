"""Learned columns: finished runs that supply a cell, or runs to train for it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan, stored_plan
from metarl_run.config.point import Point
from metarl_run.config.renamed import with_former_targets
from metarl_run.config.settings import keys_that_affect
from metarl_run.config.table import Table, family_of
from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import read_bytes
from metarl_run.folders import checkpoints_in
from metarl_run.report.folder import read_summary
from metarl_run.table.cells import Cell
from metarl_run.table.job import EvaluationJob, identity_of, shared_identity, slug
from metarl_run.table.store import stored_identity


def learned_jobs(
    table: Table, config: Mapping[str, Any], cells: Sequence[Cell], root: Path, arguments: Sequence[str]
) -> dict[Cell, list[EvaluationJob]]:
    """For each cell of a learned column, one job per seed.

    Cells without a finished run are left out unless their column was requested by name.

    Args:
        table: the requested table.
        config: the table's own configuration, resolved.
        cells: cells of learned columns.
        root: the table's folder, in which runs are trained.
        arguments: command-line arguments that experiments are composed with, too.

    Raises:
        ConfigError: if an experiment cannot be composed or draws other tasks than its row, or if there is no finished
            run and none may be trained.
    """
    finished = _finished_runs(Path(table.checkpoints)) if table.checkpoints is not None and cells else []
    jobs = {}
    for cell in cells:
        points = [_point(table, config, cell, seed, arguments) for seed in table.seeds]
        found = [(folder, plan) for folder, plan in finished if _matches(plan, points[0])]
        if found:
            jobs[cell] = [_job(table, config, cell, plan, folder, None) for folder, plan in found]
        elif table.train and table.columns is not None:
            plans = [Plan(point.config, point.choices, list(point.overrides), in_sweep=True) for point in points]
            jobs[cell] = [_job(table, config, cell, plan, None, root) for plan in plans]
        elif table.columns is not None:
            where = table.checkpoints or "table.checkpoints"
            name = table.agents[cell.column].experiments[cell.row]
            reason = f"holds no finished run of experiment={name} for {cell.column} at {cell.row}"
            raise ConfigError(str(where), reason, "give the folder of one, or table.train=true")
    return jobs


def _point(table: Table, config: Mapping[str, Any], cell: Cell, seed: int, arguments: Sequence[str]) -> Point:
    """The run that an experiment composes, checked to draw the tasks of the cell's row."""
    name = table.agents[cell.column].experiments[cell.row]
    budget = [f"budget={table.budget}"] if table.budget is not None else []
    try:
        overrides = [f"experiment={name}", *budget, f"seed={seed}", "logger=files"]
        shared = [f"{key}={config[key]}" for key in ("threads", "products", "device") if key in config]
        point = compose_points([*arguments, *overrides, *shared]).points[0]
    except ConfigError as error:
        where = f"table.agents.{cell.column}.experiments.{cell.row}"
        raise ConfigError(where, f"{error.where}: {error.reason}", error.hint) from error
    wanted = family_of(config, table.protocol[cell.row].env)
    other = [key for key in wanted if point.config["env"].get(key) != wanted[key]]
    if other:
        where = f"table.agents.{cell.column}.experiments.{cell.row}"
        got = f"{point.config['env'].get(other[0])!r}, not {wanted[other[0]]!r}"
        raise ConfigError(where, f"{name} draws other tasks: env.{other[0]} is {got}")
    return point


def _finished_runs(folder: Path) -> list[tuple[Path, Plan]]:
    """Finished runs below `folder`, ordered by name."""
    if not folder.is_dir():
        raise ConfigError("table.checkpoints", f"there is no folder {folder}")
    found = []
    for record in sorted(folder.rglob("run.json")):
        try:
            complete = read_summary(record.parent).get("status") == "complete"
            plan = stored_plan(record.parent)
        except (OSError, ValueError, StateError):
            continue
        if complete and checkpoints_in(record.parent / "checkpoints"):
            found.append(
                (
                    record.parent,
                    Plan({"table": None, "panel": None, "sweep": None, **plan.config}, plan.choices, plan.overrides),
                )
            )
    return found


def _matches(plan: Plan, point: Point) -> bool:
    """Check that a finished run has the experiment, budget, tasks and lifetimes of `point`; seeds may differ."""
    keys = ("env", "budget", "meta_iterations", "network")
    alike = all(plan.config.get(key) == point.config[key] for key in keys)
    episodes = [(each.config.get("algo") or {}).get("episodes") for each in (plan, point)]
    return alike and plan.choices.get("experiment") == point.choices.get("experiment") and episodes[0] == episodes[1]


def _job(
    table: Table, config: Mapping[str, Any], cell: Cell, plan: Plan, finished: Path | None, root: Path | None
) -> EvaluationJob:
    name, seed, budget = plan.choices["experiment"], plan.config["seed"], plan.config["budget"]
    if finished is not None:
        try:
            validate(plan.config, plan.choices)  # a copied folder is not trusted
        except ConfigError as error:
            where, reason = str(finished / "config.yaml"), f"{error.where}: {error.reason}"
            raise StateError(where, reason, "leave the run out or train it again") from error
        if unnamed := [package for package in plan.config["plugins"] if package not in config["plugins"]]:
            raise ConfigError(str(finished), f"runs code of {', '.join(unnamed)}", "add plugins=[…] if you trust it")
    mark = _fingerprint(finished) if finished is not None else _mark(plan)
    folder = f"cells/{slug([cell.column])}/{slug([cell.row])}/{slug([name, budget, f'seed={seed}', mark])}"
    more = {"experiment": name, "budget": budget, "agent_seed": seed, "agent": mark}
    identity = identity_of({**plan.config, "seed": config["seed"]}, table, "reporting", **more)
    return replace(
        _in_folder(table, cell, folder, identity),
        config=plan.config,
        trained_in=finished if finished is not None else (root or Path()) / folder / "run",
        training=plan if finished is None else None,
    )


def stored_jobs(
    table: Table,
    config: Mapping[str, Any],
    cells: Sequence[Cell],
    root: Path,
    folders: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[Cell, list[EvaluationJob]]:
    """For each cell of a learned column, the jobs stored in the table's folder, to be reported without running.

    Args:
        table: the requested table.
        config: the table's own configuration, resolved.
        cells: cells of learned columns.
        root: the table's folder.
        folders: job folders below `root`, by column and row.
    """
    shared = shared_identity(table, config["seed"])
    jobs = {}
    for cell in cells:
        wanted = {**shared, "experiment": table.agents[cell.column].experiments[cell.row]}
        of_row = {column: by_row.get(cell.row, []) for column, by_row in folders.items()}
        # A folder may predate the column's name; the experiment then identifies its jobs.
        elsewhere = [folder for column, others in of_row.items() if column != cell.column for folder in others]
        for candidates in (of_row.get(cell.column, []), elsewhere):
            found = {folder: stored_identity(root / folder) or {} for folder in candidates}
            found = {folder: job for folder, job in found.items() if wanted.items() <= job.items()}
            if found and cell not in jobs:
                jobs[cell] = [_in_folder(table, cell, folder, _without_episodes(job)) for folder, job in found.items()]
    return jobs


def _without_episodes(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if key != "episodes"}


def _in_folder(table: Table, cell: Cell, folder: str, identity: Mapping[str, Any]) -> EvaluationJob:
    """The job of a meta-trained agent as stored in its folder."""
    row = table.protocol[cell.row]
    return EvaluationJob(
        column=cell.column,
        block=cell.block,
        phase="reporting",
        setting={},
        folder=folder,
        family=cell.row,
        config={},
        identity=identity,
        seed=identity["table_seed"],
        tasks=table.tasks,
        tasks_at_once=table.tasks_at_once,
        episodes=(row.episodes,),
        planning_discount=identity["planning_discount"],
        agent_seed=identity["agent_seed"],
        budget=identity["budget"],
    )


def _fingerprint(run_folder: Path) -> str:
    """Hash of the newest checkpoint's manifest, which itself holds a hash of every tensor."""
    newest = checkpoints_in(run_folder / "checkpoints")[-1]
    return hashlib.blake2b(read_bytes(newest / "manifest.json"), digest_size=4).hexdigest()


def _mark(plan: Plan) -> str:
    """Hash of the keys that affect training, so that a run is never continued with another configuration."""
    matters = {key: value for key, value in plan.config.items() if key not in keys_that_affect("nothing")}
    matters["threads"] = 1  # when it still ordered sums it was among them: folders keep their names
    if matters.get("products") == "auto":  # recorded in the table's folder; marks are older than the key
        del matters["products"]
    for key in ("dataset", "collect"):  # marks are older than these, too
        if matters.get(key) is None:
            matters.pop(key, None)
    if matters.get("compile") == "auto":  # the default was false when folders were named
        matters["compile"] = False
    return hashlib.blake2b(json.dumps(with_former_targets(matters), sort_keys=True).encode(), digest_size=4).hexdigest()
