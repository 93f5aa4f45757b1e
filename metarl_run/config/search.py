"""A search for the best values of some keys: its options under `hydra.sweeper`, and all else that it is made of."""

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from metarl_run.config.grammar import key_of
from metarl_run.config.nearest import hint
from metarl_run.config.objective import is_cost
from metarl_run.config.plan import flat
from metarl_run.config.search_space import Choices, Dimension
from metarl_run.config.settings import MOST_POINTS, keys_that_affect
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, Whole, problem

OPTION = "hydra/sweeper=search"
WHERE = "hydra.sweeper"
OLDEST = 4
"""Major version of Optuna: its ask-and-tell interface is in use."""

PRUNED_BY = ("meta_test.", "lifetime_return.mean")
"""Objectives that validations foretell."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keys of conf/hydra/sweeper/search.yaml."""

    trials: Count
    sampler: Literal["tpe", "cmaes", "random"]
    pruner: Literal["none", "median", "hyperband"]
    seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    n_jobs: Count | None


KEYS = tuple(f"{WHERE}.{field.name}" for field in dataclasses.fields(Options))
"""Keys that choose no code."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search as a command line asks for it.

    Attributes:
        options: how it is done.
        space: what is chosen from.
        given: overrides of every run.
        config: resolved configuration of one of the runs.
        groups: keys of overrides that choose options of a group.
    """

    options: Options
    space: tuple[Dimension, ...]
    given: tuple[str, ...]
    config: Mapping[str, Any]
    groups: frozenset[str]

    @property
    def objective(self) -> str:
        return str(self.config["objective"])

    @property
    def minimises(self) -> bool:
        return is_cost(self.objective)

    @property
    def validations(self) -> int:
        """Validations of one run."""
        every = self.config["validate_every"]
        return int(self.config["meta_iterations"] // every) if every else 0

    @property
    def record(self) -> dict[str, Any]:
        """All that results depend on, dotted key → value: a study goes on with the same alone."""
        searched = {dimension.key.lstrip("+") for dimension in self.space}
        indifferent = {*keys_that_affect("nothing", "indirectly"), *searched}
        config = {
            key: value
            for key, value in flat(self.config).items()
            if key.partition(".")[0] not in indifferent and key not in searched
        }
        space = {dimension.key: str(dimension) for dimension in self.space}
        return {**config, **space, "objective": self.objective, f"{WHERE}.seeds": [*self.options.seeds]}

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Overrides of a run, its seed aside.

        Args:
            values: of each searched key.
        """
        return [*self.given, *self.chosen(values)]

    def chosen(self, values: Mapping[str, Any]) -> list[str]:
        """Overrides of what is searched."""
        return [dimension.override(values[dimension.key]) for dimension in self.space]


def given_to_all(overrides: Sequence[str], space: Sequence[Dimension]) -> tuple[str, ...]:
    """Overrides that all runs of a search have in common."""
    searched = {key_of(dimension.key) for dimension in space}
    return tuple(text for text in overrides if key_of(text) not in {"seed", *searched})


def checked_options(given: Mapping[str, Any], space: Sequence[Dimension]) -> Options:
    """The options of a search.

    Args:
        given: the content of `hydra.sweeper`.
        space: what is searched.

    Raises:
        ConfigError: naming the one that is wrong, or a package that is missing.
    """
    require_optuna()
    kinds = get_type_hints(Options, include_extras=True)
    values: dict[str, Any] = {key: value for key, value in given.items() if key not in ("_target_", "params")}
    for key, value in values.items():
        where = f"{WHERE}.{key}"
        if key not in kinds:
            raise ConfigError(where, "unknown key", hint(key, [*kinds]))
        if key in ("seeds", "final_seeds"):
            wanted = "a list of different integers >= 0"
            if not isinstance(value, list) or any(problem(Whole, x) for x in value) or len({*value}) < len(value):
                raise ConfigError(where, f"must be {wanted}, got {value!r}")
            values[key] = tuple(value)
        elif wrong := problem(kinds[key], value):
            raise ConfigError(where, wrong)
    options = Options(**values)
    if not options.seeds:
        raise ConfigError(f"{WHERE}.seeds", "must name a seed, got none")
    if twice := {*options.seeds} & {*options.final_seeds}:
        reason = f"must be others than hydra.sweeper.seeds, by which the best point is chosen, got {min(twice)}"
        raise ConfigError(f"{WHERE}.final_seeds", reason)
    if options.trials * len(options.seeds) > MOST_POINTS:
        reason = f"must ask for at most {MOST_POINTS} runs, got {options.trials * len(options.seeds)}"
        raise ConfigError(f"{WHERE}.trials", reason)
    if options.sampler == "cmaes":
        if all(isinstance(dimension, Choices) for dimension in space):
            raise ConfigError(f"{WHERE}.sampler", "cmaes needs a number to search, got choices alone", "tpe or random")
        if importlib.util.find_spec("cmaes") is None:
            raise ConfigError(f"{WHERE}.sampler", "cmaes is not installed", "pip install cmaes")
    return options


def check_pruner(search: Search) -> None:
    """Raise ConfigError if runs are to be ended by validations that there are none of, or that foretell nothing."""
    if search.options.pruner == "none":
        return
    where = f"{WHERE}.pruner"
    if not search.objective.startswith(PRUNED_BY):
        raise ConfigError(where, f"cannot tell {search.objective} from validations", f"{where}=none")
    if search.validations == 0:
        reason = f"needs validations, got none in {search.config['meta_iterations']} meta-iterations"
        raise ConfigError(where, reason, "give validate_every, or " + f"{where}=none")


def require_optuna() -> None:
    """Raise ConfigError unless a current Optuna is installed, which is not imported here."""
    hint = "pip install 'metarl-run[optuna]'"
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("hydra/sweeper", "search needs Optuna, which is not installed", hint)
    version = importlib.metadata.version("optuna")
    if int(version.partition(".")[0]) < OLDEST:
        raise ConfigError("hydra/sweeper", f"search needs Optuna {OLDEST} or newer, got {version}", hint)
