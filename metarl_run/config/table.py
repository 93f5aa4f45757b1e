"""Declaration of a paper's table, and its check on plain containers, before torch is imported.

A table is the key `table` of a configuration: conf/table.yaml holds what every table can be asked for, a file in
conf/experiment/ which rows and columns the paper has, and what it published for them.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_type_hints

from metarl_run.config.capability import Chosen, outcomes_of
from metarl_run.config.nearest import hint
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, Fraction, ListOf, Names, NonNegative, Real, Several, Whole, problem

Seeds = Annotated[Sequence[int], ListOf(Whole, at_least=1)]
Validate = Callable[[Mapping[str, Any], Mapping[str, str]], Sequence[Chosen]]
OF_RETURNS = ("lifetime_return", "fraction_of_optimum")
"""Measures; every other is an outcome of the task family."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table: in which tasks and how many episodes an agent has, and the paper's results.

    Attributes:
        episodes: of a lifetime, n.
        env: what of the task family differs from the table's own `env`; with a `_target_`, a family of its own.
        published: by column, the paper's number; null where it prints none.
        deviation: by column, the paper's ±, where it prints one.
        tolerance: how far from the published number ours may lie, in its units.
        wider: by column, a tolerance of its own.
    """

    episodes: Count
    tolerance: NonNegative
    published: Mapping[str, float | None]
    env: Mapping[str, Any] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    wider: Mapping[str, float] = field(default_factory=dict)

    def tolerance_of(self, column: str) -> float:
        return float(self.wider.get(column, self.tolerance))


@dataclass(frozen=True, kw_only=True)
class Agent:
    """Agent of a column: a classical one, or by row the experiment that meta-trains one.

    Attributes:
        algo: the classical agent as an option of the group `algo`, configured; null for learned ones.
        grid: by argument of `algo`, the values that are tried on tuning tasks; every combination is a setting.
        experiments: by row, the option of the group `experiment` that meta-trains the agent of that row.
    """

    algo: Mapping[str, Any] | None = None
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        return self.algo is None

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Every combination of the grid's values; one that changes nothing if there is no grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A paper's table and what is asked of it.

    Attributes:
        title: of the table.
        source: paper and table.
        notes: what a reader must know to compare.
        key: names of the parts of a row's key, such as n and k of `10,5`.
        measure: what the paper prints: the sum of rewards over a lifetime, mean over tasks; or that divided by n times
            the value of an episode by value iteration, mean over the same tasks; or an outcome of the task family, such
            as `success`, in the last episode of a lifetime, mean over tasks.
        planning_discount: γ of this value iteration; 1 makes it the return that the best policies expect.
        blocks: by name, a variant of the whole table: by column, arguments of `algo` that differ; the first holds all
            columns, others those that they name.
        not_compared: blocks and columns whose agents are not the paper's: its numbers stand beside theirs, and no
            verdict is given.
        agents: by column.
        protocol: by row.
        rows, columns: those that are asked for; null for all rows, and for all columns that need no training.
        tasks: that the reported means are over.
        tuning_tasks: others, on which a grid's setting is chosen.
        tasks_at_once: tasks of one batch; part of the result, since randomness is drawn for all of them together.
        seeds: of the runs that meta-train a learned column.
        budget: of these runs, if their experiment has budgets.
        checkpoints: folder with finished runs to take instead of training.
        train: meta-train what no finished run was found for.
        jobs: worker processes; null for one on each core.
        output: folder of the table; null for one named after it under `output_root`.
        report_only: run nothing; report what is there.
    """

    title: str
    source: str
    notes: Names
    key: Names
    measure: str
    planning_discount: Fraction
    blocks: Mapping[str, Mapping[str, Mapping[str, Any]]]
    not_compared: Names
    agents: Mapping[str, Agent]
    protocol: Mapping[str, Row]
    rows: Names | None
    columns: Names | None
    tasks: Several
    tuning_tasks: Count
    tasks_at_once: Count
    seeds: Seeds
    budget: str | None
    checkpoints: str | None
    train: bool
    jobs: Count | None
    output: str | None
    report_only: bool

    @property
    def outcome(self) -> str | None:
        """The outcome that is measured; None if it is the return."""
        return None if self.measure in OF_RETURNS else self.measure

    def compared(self, block: str, column: str) -> bool:
        """The paper's numbers are those of this agent."""
        return not {block, column} & {*self.not_compared}

    @property
    def chosen_rows(self) -> list[str]:
        return [row for row in self.protocol if self.rows is None or row in self.rows]

    @property
    def chosen_columns(self) -> list[str]:
        """Columns asked for; else all but the learned ones, which need training unless finished runs are given."""
        if self.columns is not None:
            return [column for column in self.agents if column in self.columns]
        with_learned = self.checkpoints is not None or self.report_only
        return [column for column, agent in self.agents.items() if with_learned or not agent.learned]


def table_of(content: object) -> Table:
    """The table that `content` declares.

    Raises:
        ConfigError: naming the first key under `table` that is unknown, missing or wrong.
    """
    given = dict(_mapping(content, "table"))
    for key, record in (("agents", Agent), ("protocol", Row)):
        entries = _mapping(given.get(key, {}), f"table.{key}")
        given[key] = {name: _record(record, entry, f"table.{key}.{name}") for name, entry in entries.items()}
    if isinstance(given.get("rows"), list):
        given["rows"] = [str(row) for row in given["rows"]]
    table: Table = _record(Table, given, "table")
    _check_names(table)
    return table


def check_table(config: Mapping[str, Any], choices: Mapping[str, str], validate: Validate) -> None:
    """Raise ConfigError unless every cell of the classical columns can be built.

    Args:
        config: that holds the table, plain containers.
        choices: the option chosen in each group.
        validate: raises ConfigError if no run can be made of a configuration and choices.
    """
    table = table_of(config["table"])
    for where, column, variant in _variants(config, table):
        try:
            components = validate(variant, {**choices, "algo": choices.get(f"algo@table.agents.{column}.algo", "")})
        except ConfigError as error:
            raise ConfigError(f"{where}.{error.where}", error.reason, error.hint) from error
        _check_measure(table, outcomes_of(components))


def _check_measure(table: Table, outcomes: Sequence[str]) -> None:
    known = (*OF_RETURNS, *outcomes)
    if table.measure not in known:
        reason = f"must be one of {', '.join(known)}, got {table.measure!r}"
        raise ConfigError("table.measure", reason, hint(table.measure, known))


def variant_of(config: Mapping[str, Any], *, env: Mapping[str, Any], algo: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of one cell: the table's own with this in its task family, and with this agent."""
    return {**config, "table": None, "env": family_of(config, env), "algo": dict(algo)}


def family_of(config: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, Any]:
    """The task family of a row: the table's own with what differs, or one that the row brings whole."""
    return dict(env) if "_target_" in env else changed(config["env"], env)


def changed(arguments: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of which some differ; in mappings among them, too, only what is named differs."""
    result = dict(arguments)
    for change in changes:
        for key, value in change.items():
            within = result.get(key)
            both = isinstance(within, Mapping) and isinstance(value, Mapping)
            result[key] = changed(within or {}, value) if both else value
    return result


def _variants(config: Mapping[str, Any], table: Table) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each way in which a cell may differ from the table's configuration: the key to blame, the column, and how."""
    hand_made = {column: agent for column, agent in table.agents.items() if agent.algo is not None}
    for column, agent in list(hand_made.items())[:1]:
        for row, declared in table.protocol.items():
            yield f"table.protocol.{row}", column, variant_of(config, env=declared.env, algo=agent.algo or {})
    env = next(iter(table.protocol.values())).env
    for column, agent in hand_made.items():
        for block in table.blocks.values():
            for setting in agent.settings:
                algo = changed(agent.algo or {}, block.get(column, {}), setting)
                yield f"table.agents.{column}", column, variant_of(config, env=env, algo=algo)


def _record(kind: type, content: object, where: str) -> Any:
    """An object of the record `kind`, whose fields without a default must be given."""
    given = _mapping(content, where)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    for key in given:
        if key not in fields:
            raise ConfigError(f"{where}.{key}", "unknown key", hint(str(key), [*fields]))
    for name, each in fields.items():
        needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        if needed and name not in given:
            raise ConfigError(f"{where}.{name}", "is missing", f"add {name} to {where}")
    for name, kind_of_value in get_type_hints(kind, include_extras=True).items():
        if name not in given:
            continue
        if str(kind_of_value).startswith("collections.abc.Mapping"):
            if given[name] is not None or type(None) not in get_args(kind_of_value):
                _mapping(given[name], f"{where}.{name}")
        elif wrong := problem(kind_of_value, given[name]):
            raise ConfigError(f"{where}.{name}", wrong)
    return kind(**given)


def _check_names(table: Table) -> None:
    """Rows and columns are what they are called elsewhere, and every cell has a published number."""
    for name, content in (("agents", table.agents), ("protocol", table.protocol), ("blocks", table.blocks)):
        if not content:
            raise ConfigError(f"table.{name}", "must have an entry, got none")
    for block, columns in table.blocks.items():
        _among(columns, table.agents, f"table.blocks.{block}")
    _among(table.not_compared, {**table.blocks, **table.agents}, "table.not_compared")
    for column, agent in table.agents.items():
        where = f"table.agents.{column}"
        if agent.learned != bool(agent.experiments):
            raise ConfigError(where, "must have either an algo or experiments", "add /algo@… to the defaults")
        _among(agent.experiments, table.protocol, f"{where}.experiments")
        for key, values in agent.grid.items():
            if not isinstance(values, list) or not values:
                raise ConfigError(f"{where}.grid.{key}", f"must be a list of values to try, got {values!r}")
    for key, row in table.protocol.items():
        _check_row(row, table, f"table.protocol.{key}")
    _among(table.rows or [], table.protocol, "table.rows")
    _among(table.columns or [], table.agents, "table.columns")
    for name in ("rows", "columns"):
        if getattr(table, name) is not None and not getattr(table, name):
            raise ConfigError(f"table.{name}", "must name at least one, got none", "null is all")


def _check_row(row: Row, table: Table, where: str) -> None:
    for column in table.agents:
        if column not in row.published:
            raise ConfigError(f"{where}.published.{column}", "is missing", "write null where the paper prints nothing")
    for name, kind in (("published", Real | None), ("deviation", NonNegative), ("wider", NonNegative)):
        _among(getattr(row, name), table.agents, f"{where}.{name}")
        for column, value in getattr(row, name).items():
            if wrong := problem(kind, value):
                raise ConfigError(f"{where}.{name}.{column}", wrong)


def _among(names: Any, known: Mapping[str, Any], where: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(where, f"there is no {name!r} in this table", hint(str(name), [*known]))


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(where, f"must be a mapping of keys to values, got {value!r}")
    return value
