"""From the command line to validated plain configurations.

All points of a sweep are composed, resolved and validated before anything is created. Hydra's own flags and grammar
work as ever; whatever they say about a mistake becomes one line.
"""

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.default_element import ConfigDefault
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metarl_run.config.episodes import check_minibatches
from metarl_run.config.explain import UNKNOWN
from metarl_run.config.given import given_by
from metarl_run.config.grammar import at_home
from metarl_run.config.hydra_internals import ConfigLoaderImpl
from metarl_run.config.hydra_tree import check_hydra
from metarl_run.config.inherited import INHERITED_GROUPS, differences
from metarl_run.config.loader import (
    COMPOSING,
    CONFIG_NAME,
    check_options,
    current,
    load,
    loader_of,
    one_line,
    parsed_flags,
    parsed_overrides,
    plain_value,
    prepared,
    refuse_overlaps,
    resolved,
    swept_texts,
)
from metarl_run.config.origin import with_origin
from metarl_run.config.point import Composed, Point
from metarl_run.config.renamed import with_current_targets
from metarl_run.config.search import Search, check_pruner, checked_options, given_to_all
from metarl_run.config.search_space import search_space
from metarl_run.config.secret import refuse_copied, refuse_in_config, refuse_on_command_line
from metarl_run.config.settings import PATHS
from metarl_run.config.size import check_sizes
from metarl_run.config.static.signature import signature
from metarl_run.config.sweep import listed_runs, sweep_points
from metarl_run.config.validation import validate
from metarl_run.errors import CONTROLS, ConfigError
from metarl_run.folders import GROUPS

FOLDERS = (*PATHS, "table.output", "table.checkpoints", "hydra.run.dir", "hydra.sweep.dir")
"""Keys of the command line in which `~` is the home folder."""


def compose_points(argv: Sequence[str], *, stored: Collection[str] = ()) -> Composed:
    """Read, compose and validate the command line.

    Args:
        argv: its arguments.
        stored: those of a run that is continued, which others may change.

    Raises:
        ConfigError: naming one key, file or flag; of a sweep, the first combination that is wrong.
        StateError: if a run is to start from a checkpoint that cannot be used.
    """
    with prepared():
        return _composed([at_home(text, FOLDERS) for text in argv], stored)


def _composed(argv: Sequence[str], stored: Collection[str]) -> Composed:
    flags, overrides = parsed_flags(argv)
    switches = [argument for argument in argv if argument not in overrides]
    arguments = (*switches, *overrides)
    refuse_on_command_line(overrides)
    if odd := next((text for text in argv if re.search(f"(?!\t)[{CONTROLS}]", text)), None):  # which Hydra would print
        raise ConfigError(odd.partition("=")[0], "must not contain control characters")
    if odd := next((text for text in argv if re.search("[\ud800-\udfff]", text)), None):
        encoding = sys.getfilesystemencoding()
        raise ConfigError(
            odd.partition("=")[0], f"has bytes that are not of this locale's encoding, {encoding}", "LC_ALL=C.UTF-8"
        )
    if flags["shell_completion"] or flags["hydra_help"]:
        return Composed((), multirun=False, passthrough=True, arguments=arguments)
    parsed = parsed_overrides(overrides)
    loader = loader_of(flags)
    name = flags["config_name"] or CONFIG_NAME
    check_options(parsed, loader)
    refuse_overlaps(parsed, loader, stored)
    if flags["cfg"] or flags["info"]:
        overrides = with_origin(loader, name, overrides, _named_plugins(parsed))[0]
        load(loader, name, overrides, RunMode.RUN)
        return Composed((), multirun=False, passthrough=True, arguments=(*switches, *overrides))
    plugins = _named_plugins(parsed)
    master = _master(loader, name, parsed, asked=bool(flags["multirun"]))
    if master is None:
        point = _point(loader, name, overrides, plugins, stored)
        return Composed(
            (point,), multirun=False, passthrough=False, arguments=(*switches, *point.arguments), loader=loader
        )
    jobs, search = _sweep(loader, name, parsed, plugins, master)
    points, lists = tuple(jobs), _lists_jobs(master)
    if search is None:
        _check_subdir(points)
    return Composed(
        points,
        multirun=True,
        passthrough=False,
        arguments=arguments,
        lists=lists,
        loader=loader,
        search=search,
        master=master,
    )


def _named_plugins(parsed: Sequence[Override]) -> list[str]:
    """The packages named on the command line; those that a file names are not trusted."""
    for override in parsed:
        if override.key_or_group == "plugins" and not override.is_sweep_override():
            value = override.value()
            return [str(name) for name in value] if isinstance(value, list) else []
    return []


def _master(loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], *, asked: bool) -> DictConfig | None:
    """Configuration of a sweep as a whole; None if the command line asks for a single run.

    Args:
        loader: composes it.
        name: of the primary configuration.
        parsed: the overrides.
        asked: they are those of a sweep in any case; else `hydra.mode` or the key `sweep` tells.

    Raises:
        ConfigError: if it cannot be composed, and is one of a sweep.
    """
    keys = {override.key_or_group for override in parsed}
    asked = asked or any(o.key_or_group == "hydra.mode" and str(o.value()) == "MULTIRUN" for o in parsed)
    if not asked and not keys & {"experiment", "sweep"}:
        return None
    from_checkpoint = "checkpoint" in given_by(parsed, loader.repository).keys
    try:
        master = load(loader, name, _of_the_sweep(parsed) if from_checkpoint else _lines(parsed), RunMode.MULTIRUN)
        if not asked:
            with one_line(), current(master):
                if master.hydra.mode is not RunMode.MULTIRUN and master.get("sweep") is None:
                    return None
    except ConfigError:
        if asked:
            raise
        return None  # which the run itself will tell
    _check_hydra(master)
    if from_checkpoint and not _lists_jobs(master):
        reason = "can only be given to Hydra's basic sweeper, whose jobs are known beforehand"
        raise ConfigError("checkpoint", reason, "leave out hydra/sweeper")
    return master


def _lists_jobs(master: DictConfig) -> bool:
    """True of a sweeper whose jobs are known beforehand, rather than found by searching."""
    return str(master.hydra.sweeper.get("_target_")).endswith((".BasicSweeper", ".ListedSweeper"))


def _sweep(
    loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], plugins: Sequence[str], master: DictConfig
) -> tuple[Iterator[Point], Search | None]:
    """Jobs of a sweep over the command line's values, `hydra.sweeper.params` and the key `sweep`.

    Returns:
        The jobs, and the search that they are the ends of, if it is one of ours.
    """
    with one_line(), current(master):
        runs = listed_runs(plain_value(master, "sweep") if "sweep" in master else None)
    keys = [o.get_key_element() for o in parsed]
    given = [f"{k}={value}" for k, value in (master.hydra.sweeper.get("params") or {}).items() if k not in keys]
    swept = [*parsed_overrides(given), *parsed]
    if str(master.hydra.sweeper.get("_target_")).endswith(".SearchSweeper"):
        if runs != [()]:
            raise ConfigError("sweep", "lists runs, which cannot be searched", "leave out hydra/sweeper")
        points, search = _search(loader, name, swept, plugins, plain_value(master.hydra, "sweeper"))
        return iter(points), search
    choices: list[list[str]] = []
    for override in swept:
        if isinstance(override.value(), IntervalSweep) and _lists_jobs(master):
            raise ConfigError(override.key_or_group, "cannot be swept over an interval", "write choice(…) or range(…)")
        swept_to = [f"{override.get_key_element()}={text}" for text in swept_texts(override, loader)]
        choices.append(swept_to or [str(override.input_line)])
    return sweep_points(runs, choices, _lines(parsed), lambda joint: _point(loader, name, joint, plugins)), None


def _search(
    loader: ConfigLoaderImpl, name: str, swept: Sequence[Override], plugins: Sequence[str], options: Mapping[str, Any]
) -> tuple[list[Point], Search]:
    """A search, and runs that stand for all of its runs: each key at its ends while the others are at their first."""
    space = search_space(swept, loader)
    checked = checked_options(options, space)
    given = [str(override.input_line) for override in swept if not override.is_sweep_override()]
    first = {dimension.key: dimension.ends[0] for dimension in space}
    points = [_point(loader, name, [*given, *first.values()], plugins)]
    for key, end in [(dimension.key, end) for dimension in space for end in dimension.ends[1:]]:
        try:
            points.append(_point(loader, name, [*given, *{**first, key: end}.values()], plugins))
        except ConfigError as error:
            raise ConfigError(error.where, f"in {end}: {error.reason}", error.hint) from error
    search = Search(
        options=checked,
        space=space,
        given=given_to_all(points[0].overrides, space),
        config=points[0].config,
        groups=frozenset(o.key_or_group for o in swept if _is_group(o, loader)),
    )
    check_pruner(search)
    return points, search


def _is_group(override: Override, loader: ConfigLoaderImpl) -> bool:
    return not override.is_hydra_override() and loader.repository.group_exists(override.key_or_group)


def _of_the_sweep(parsed: Sequence[Override]) -> list[str]:
    """Overrides that a sweep as a whole can be composed from: keys of an option may exist in its jobs alone."""
    return [str(o.input_line) for o in parsed if o.key_or_group.partition(".")[0] not in INHERITED_GROUPS]


def _lines(parsed: Sequence[Override]) -> list[str]:
    return [str(override.input_line) for override in parsed]


def _point(
    loader: ConfigLoaderImpl,
    name: str,
    overrides: Sequence[str],
    plugins: Sequence[str],
    stored: Collection[str] = (),
) -> Point:
    """One composed and validated run."""
    own = [text for text in overrides if text not in stored]
    overrides, origin = with_origin(loader, name, overrides, plugins)
    failure = None
    try:
        cfg = load(loader, name, overrides, RunMode.RUN)
    except ConfigError as error:
        if error.reason != UNKNOWN:
            raise
        failure = error  # once more with every key accepted, so that validation tells which name was meant
        forced = [_forced(override, loader) for override in parsed_overrides(overrides)]
        cfg = load(loader, name, forced, RunMode.RUN)
    _check_hydra(cfg)
    config = resolved(cfg)
    choices = {
        str(group): option
        for group, option in cfg.hydra.runtime.choices.items()
        if isinstance(option, str) and not str(group).startswith("hydra/")
    }
    named = config.get("plugins")
    if isinstance(named, list) and named != list(plugins):
        raise ConfigError(
            "plugins",
            "may only be named on the command line, got a file that names them",
            "add plugins=[…] if you trust them",
        )
    try:
        components = validate(config, choices, lambda: _offers(loader, ("metarl_run", *plugins)))
    except ConfigError as error:
        if f"~{error.where}" in {text.partition("=")[0] for text in overrides}:
            raise ConfigError(error.where, error.reason, f"leave out ~{error.where}") from None
        raise
    if failure is not None:
        raise failure
    if config["resume"] is None and config["table"] is None:
        check_sizes(config, components)
        if any(text.startswith("algo.minibatches=") for text in own):  # a default is for all sizes
            check_minibatches(config)
    run, sweep = _folders(cfg)
    return Point(
        overrides=tuple(str(text) for text in cfg.hydra.overrides.task),
        config=config,
        choices=choices,
        folder=run,
        sweep_folder=sweep,
        arguments=tuple(overrides),
        differences=tuple(differences(origin.config, origin.choices, config, choices)) if origin else (),
        composed=cfg,
    )


def _forced(override: Override, loader: ConfigLoaderImpl) -> str:
    """The override in the form that also adds keys that do not exist."""
    text, key = str(override.input_line), override.key_or_group
    plain = override.type is OverrideType.CHANGE and override.package is None
    return f"++{text}" if plain and not loader.repository.group_exists(key) else text


def _folders(cfg: DictConfig) -> tuple[str, str]:
    """Folders of a single run and of a sweep."""
    with one_line(), current(cfg):
        keys = ("hydra.run.dir", "hydra.sweep.dir")
        run, sweep = (os.path.expanduser(str(OmegaConf.select(cfg, key))) for key in keys)
    for key, folder in (("hydra.run.dir", run), ("hydra.sweep.dir", sweep)):
        refuse_in_config({key: folder})
        if not folder:
            raise ConfigError(key, "must be a path, got an empty one", f"leave out {key}")
        if re.search(f"[{CONTROLS}]", folder) or any(len(os.fsencode(part)) > 255 for part in folder.split("/")):
            raise ConfigError(key, "must be a path whose parts have at most 255 bytes and no control characters")
    return run, sweep


def _check_subdir(points: Sequence[Point]) -> None:
    """Raise ConfigError if jobs of a sweep would have the same folder, which the first of them would keep."""
    if len(points) > 1:
        subdir = OmegaConf.to_container(points[0].composed.hydra.sweep, resolve=False)
        assert isinstance(subdir, dict)
        if "${" not in str(subdir["subdir"]):
            reason = f"must differ from job to job, got {subdir['subdir']!r} for {len(points)} of them"
            raise ConfigError("hydra.sweep.subdir", reason, "put ${hydra:job.num} into it")


def _check_hydra(cfg: DictConfig) -> None:
    raw = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(raw, dict)
    tree = {str(key): value for key, value in raw.items()}
    check_hydra(tree)
    refuse_in_config(tree, "hydra")
    refuse_copied(tree)


def _offers(loader: ConfigLoaderImpl, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Capabilities that the component of each option provides as it is configured; those that need data come last."""
    offers: dict[str, set[str]] = {}
    with_data: dict[str, set[str]] = {}
    for group, option in [(name, option) for name in GROUPS for option in loader.get_group_options(name)]:
        with contextlib.suppress(ConfigError, RecursionError, *COMPOSING):  # nobody has chosen a file that is broken
            arguments = with_current_targets(_arguments(loader, group, option), warn=False)
            taken = signature(str(arguments.get("_target_")), packages)
            of = with_data if taken and "dataset" in taken.parameters else offers
            of[f"{group}={option}"] = taken.declared.provided(arguments) if taken else set()
    return offers | with_data


def _arguments(loader: ConfigLoaderImpl, group: str, option: str) -> dict[str, Any]:
    """Arguments in an option's file, on top of those of the options that it is a variant of."""
    result = loader.repository.load_config(f"{group}/{option}")
    if result is None:
        return {}
    arguments: dict[str, Any] = {}
    for default in result.defaults_list or []:
        if isinstance(default, ConfigDefault) and default.path and not default.is_self():
            arguments |= _arguments(loader, group, default.path)
    own = OmegaConf.to_container(result.config, resolve=False)
    return arguments | {str(key): value for key, value in own.items()} if isinstance(own, dict) else arguments
