"""Results of a table, cell by cell, read from the files of its jobs: the content of table.json."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_run.config.table import Table
from metarl_run.table import store
from metarl_run.table.cells import Cell
from metarl_run.table.job import EvaluationJob
from metarl_run.table.statistics import as_measured, matched, paired, summary
from metarl_run.table.tuning import Choice


def record_of(
    table: Table,
    root: Path,
    cells: Sequence[Cell],
    choices: Mapping[Cell, Choice],
    jobs: Mapping[Cell, Sequence[EvaluationJob]],
) -> dict[str, Any]:
    """The content of table.json.

    Args:
        table: the requested table.
        root: its folder.
        cells: in the order of the table.
        choices: tuning results for the cells of classical columns.
        jobs: jobs that supply each cell, one per seed; none while its setting is unknown.
    """
    entries, by_task = [], {}
    for cell in cells:
        entry, values = _cell(table, root, cell, choices.get(cell), jobs.get(cell, []))
        entries.append(entry)
        if values:
            by_task[cell] = np.stack(values).mean(0)
    return {
        "title": table.title,
        "source": table.source,
        "measure": table.measure,
        "notes": list(table.notes),
        "key": list(table.key),
        "cells": entries,
        "pairs": _pairs(by_task),
    }


def _cell(
    table: Table, root: Path, cell: Cell, choice: Choice | None, jobs: Sequence[EvaluationJob]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The entry of one cell, and the value of each finished seed in each task."""
    row, learned = table.protocol[cell.row], table.agents[cell.column].learned
    jobs, left_out = one_per_agent(jobs)
    results = [(job, store.read(root / job.folder, job)) for job in jobs]
    values, finished = [], []
    for job, result in results:
        if result.totals is not None:
            index = job.episodes.index(row.episodes)
            values.append(as_measured(result.totals[:, index], row.episodes, result.optimum))
            finished.append(job)
    failures = [(job, result.error) for job, result in results if result.error is not None]
    if choice is not None and choice.failed is not None:
        failures.append(choice.failed)
    status = "failed" if failures else "complete" if results and len(values) == len(results) else "missing"
    same_tasks = all(job.drawn_from == finished[0].drawn_from for job in finished)
    numbers: Mapping[str, Any] = dict.fromkeys(NUMBERS)
    if values and status != "missing":
        numbers = summary(values, same_tasks=same_tasks)
    paper, tolerance = row.published[cell.column], row.tolerance_of(cell.column)
    compared = table.compared(cell.block, cell.column)
    error = numbers["standard_error"]
    entry = {
        "row": cell.row,
        "column": cell.column,
        "block": cell.block,
        "status": status,
        **numbers,
        "paper": paper,
        "paper_deviation": row.deviation.get(cell.column),
        "tolerance": tolerance,
        "one_sided": learned,
        "compared": compared,
        "difference": numbers["ours"] - paper if numbers["ours"] is not None and paper is not None else None,
        "matched": matched(numbers["ours"], paper, tolerance, one_sided=learned, standard_error=error)
        if status == "complete" and compared and paper is not None
        else None,
        "setting": dict(choice.setting) if choice is not None and choice.setting is not None else None,
        "tuning_means": list(choice.means) if choice is not None else [],
        "tasks": table.tasks,
        "tasks_done": min((result.tasks_done for _, result in results), default=0),
        "seeds": [_seed(job) for job in jobs],
        "failed_seeds": [_seed(job) for job, _ in failures],
        "failures": [
            {"seed": _seed(job), "setting": dict(job.setting), "folder": job.folder, **error}
            for job, error in failures
            if error is not None
        ],
        "family_versions": list(dict.fromkeys(each for _, result in results for each in result.family_versions)),
        "tasks_hashes": list(dict.fromkeys(result.tasks_hash for _, result in results if result.tasks_hash)),
        "left_out": [f"{again.folder} repeats {first.folder}" for again, first in left_out],
        "budget": next((job.budget for job in jobs), None),
        "seconds": sum(result.seconds for _, result in results),
        "tuning_seconds": choice.seconds if choice is not None else 0.0,
    }
    return entry, values if status == "complete" else []


NUMBERS = ("ours", "low", "high", "standard_error", "first_1000", "deviation_1000")


def one_per_agent(
    jobs: Sequence[EvaluationJob],
) -> tuple[list[EvaluationJob], list[tuple[EvaluationJob, EvaluationJob]]]:
    """The first job of each distinct agent, and every other job paired with the one it repeats.

    Agents are the same if everything that affects their meta-training agrees, the seed included. Their checkpoints may
    differ: the same run on another machine or version is not a second seed.
    """
    counted, left_out = list[EvaluationJob](), list[tuple[EvaluationJob, EvaluationJob]]()
    for job in jobs:
        first = next((one for one in counted if _agent(one) == _agent(job)), None)
        if first is None:
            counted.append(job)
        else:
            left_out.append((job, first))
    return counted, left_out


def _agent(job: EvaluationJob) -> dict[str, Any]:
    return {key: value for key, value in job.identity.items() if key != "agent"} | {"seed": _seed(job)}


def _seed(job: EvaluationJob) -> int:
    return job.seed if job.agent_seed is None else job.agent_seed


def _pairs(by_task: Mapping[Cell, np.ndarray]) -> list[dict[str, Any]]:
    """Difference of each column from the best of its row, in the same tasks."""
    pairs = []
    for (block, row), group in itertools.groupby(by_task, key=lambda cell: (cell.block, cell.row)):
        cells = list(group)
        best = max(cells, key=lambda cell: float(by_task[cell].mean()))
        pairs += [
            {"row": row, "block": block, "column": cell.column, "best": best.column}
            | paired(by_task[cell], by_task[best])
            for cell in cells
            if cell is not best
        ]
    return pairs
