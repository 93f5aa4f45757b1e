"""The cells of a table and the evaluation jobs of classical agents that supply them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl_run.config.table import Agent, Table, changed, variant_of
from metarl_run.table.job import EvaluationJob, Phase, identity_of, shared_identity, slug

Setting = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Cell:
    """One number of the table."""

    block: str
    row: str
    column: str


def cells_of(table: Table) -> list[Cell]:
    """Requested cells that exist: learned columns need an experiment, later blocks hold only columns they change."""
    first = next(iter(table.blocks))
    return [
        Cell(block, row, column)
        for block, changes in table.blocks.items()
        for row in table.chosen_rows
        for column in table.chosen_columns
        if (block == first or column in changes)
        if (row in table.agents[column].experiments and block == first) or not table.agents[column].learned
    ]


def is_tuned(agent: Agent) -> bool:
    return len(agent.settings) > 1


def tuning_jobs(table: Table, config: Mapping[str, Any], cells: Sequence[Cell]) -> dict[Cell, list[EvaluationJob]]:
    """For each cell of a column with a grid, one job per setting in grid order; cells may share jobs."""
    tuned = [cell for cell in cells if is_tuned(table.agents[cell.column])]
    settings = {cell: table.agents[cell.column].settings for cell in tuned}
    jobs: dict[Cell, list[EvaluationJob]] = {cell: [] for cell in tuned}
    for index in range(max(map(len, settings.values()), default=0)):
        having = {cell: settings[cell][index] for cell in tuned if index < len(settings[cell])}
        for cell, job in shared_jobs(table, config, "tuning", having).items():
            jobs[cell].append(job)
    return jobs


def shared_jobs(
    table: Table, config: Mapping[str, Any], phase: Phase, settings: Mapping[Cell, Setting]
) -> dict[Cell, EvaluationJob]:
    """The job that supplies each cell; cells that differ in n alone share one.

    Args:
        table: the requested table.
        config: the table's own configuration, resolved.
        phase: tuning or reporting.
        settings: the setting of each cell of a classical column.
    """
    sharing: dict[str, list[Cell]] = {}
    for cell, setting in settings.items():
        sharing.setdefault(folder_of(table, cell, phase, setting), []).append(cell)
    jobs: dict[Cell, EvaluationJob] = {}
    for folder, cells in sharing.items():
        cell, setting = cells[0], settings[cells[0]]
        agent, row = table.agents[cell.column], table.protocol[cell.row]
        algo = changed(agent.algo or {}, table.blocks[cell.block].get(cell.column, {}), setting)
        cell_config = variant_of(config, env=row.env, algo=algo)
        job = EvaluationJob(
            column=cell.column,
            block=cell.block,
            phase=phase,
            setting=setting,
            folder=folder,
            family=", ".join(assignments(row.env)),
            config=cell_config,
            identity=identity_of(cell_config, table, phase),
            seed=config["seed"],
            tasks=table.tuning_tasks if phase == "tuning" else table.tasks,
            tasks_at_once=table.tasks_at_once,
            episodes=tuple(sorted({table.protocol[cell.row].episodes for cell in cells})),
            planning_discount=shared_identity(table, config["seed"])["planning_discount"],
        )
        jobs |= dict.fromkeys(cells, job)
    return jobs


def folder_of(table: Table, cell: Cell, phase: Phase, setting: Setting) -> str:
    """The folder of a cell's job, named by everything that the cells sharing it have in common."""
    family = slug(list(assignments(table.protocol[cell.row].env)) or ["family"])
    named = slug([phase, *assignments(setting)])
    return f"cells/{slug([cell.column])}/{slug([cell.block])}/{family}/{named}"


def assignments(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key}={value}"
