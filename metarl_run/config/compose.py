"""From the command line to validated plain configurations. With `metarl_run.cli.train` what knows Hydra.

All points of a sweep are composed, resolved and validated before anything is created. Hydra's own flags and grammar
work as ever; whatever they say about a mistake becomes one line.
"""

import contextlib
import copy
import dataclasses
import io
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra import __version__ as hydra_version
from hydra import version
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ConfigDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metarl_run.config.budget import check_budget
from metarl_run.config.explain import UNKNOWN, explain, explain_override
from metarl_run.config.hydra_internals import (
    ConfigLoaderImpl,
    FileConfigSource,
    SourcesRegistry,
    create_config_search_path,
    get_args_parser,
)
from metarl_run.config.hydra_tree import check_hydra
from metarl_run.config.nearest import hint
from metarl_run.config.plan import Plan, trained_plan
from metarl_run.config.point import Composed, Point
from metarl_run.config.renamed import with_today_names
from metarl_run.config.said import Said, said_by
from metarl_run.config.secret import refuse_in_config, refuse_on_command_line
from metarl_run.config.settings import Settings
from metarl_run.config.static.signature import signature
from metarl_run.config.step_sizes import without_step_sizes
from metarl_run.config.sweep import listed_runs, sweep_points
from metarl_run.config.syntax import check_yaml
from metarl_run.config.taken import (
    TAKEN,
    TAKEN_GROUPS,
    differences,
    overlaid,
    place_of,
    taken_overrides,
    taken_with,
)
from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError, StateError
from metarl_run.folders import CONFIG_DIR, GROUPS

CONFIG_NAME = "train"
COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError)


class CheckedFileSource(FileConfigSource):
    """Hydra's reader of files, which looks at each file before it is expanded into a configuration.

    Each version of a file is read once: a sweep, or a hint that looks at all options, asks for it again and again.
    """

    read: ClassVar[dict[tuple[str, Path, int], ConfigResult]] = {}

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.is_file():
            return super().load_config(config_path)
        version = (self.provider, path, path.stat().st_mtime_ns)
        if version not in self.read:
            check_yaml(path)
            self.read[version] = super().load_config(config_path)
        return copy.deepcopy(self.read[version])


def compose_points(argv: Sequence[str]) -> Composed:
    """Read, compose and validate the command line.

    Raises:
        ConfigError: naming one key, file or flag; of a sweep, the first combination that is wrong.
        StateError: if a run is to start from a checkpoint that cannot be used.
    """
    with _prepared():
        return _composed(argv)


def _composed(argv: Sequence[str]) -> Composed:
    flags, overrides = _parsed_flags(argv)
    switches = [argument for argument in argv if argument not in overrides]
    arguments = (*switches, *overrides)
    refuse_on_command_line(overrides)
    if flags["shell_completion"] or flags["hydra_help"]:
        return Composed((), multirun=False, passthrough=True, arguments=arguments)
    parsed = _parsed_overrides(overrides)
    loader = _loader(flags)
    name = flags["config_name"] or CONFIG_NAME
    _check_options(parsed, loader)
    if flags["cfg"] or flags["info"]:
        overrides = _with_origin(loader, name, overrides, _named_plugins(parsed))[0]
        _load(loader, name, overrides, RunMode.RUN)
        return Composed((), multirun=False, passthrough=True, arguments=(*switches, *overrides))
    multirun = bool(flags["multirun"]) or any(
        o.key_or_group == "hydra.mode" and str(o.value()) == "MULTIRUN" for o in parsed
    )
    plugins = _named_plugins(parsed)
    lists = _lists_runs(loader, name, parsed)
    if not multirun and not lists:
        point = _point(loader, name, overrides, plugins)
        return Composed(
            (point,), multirun=False, passthrough=False, arguments=(*switches, *point.arguments), loader=loader
        )
    points = tuple(_sweep(loader, name, parsed, plugins))
    if any(point.config["checkpoint"] is not None for point in points):
        lists, arguments = True, (*switches, *_of_the_sweep(parsed))
    return Composed(points, multirun=True, passthrough=False, arguments=arguments, lists=lists)


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Make Hydra ready: its version base, our resolver and, for as long as this lasts, our reader of files.

    Launchers that start processes hand Hydra's registries on to them, where only Hydra's own readers are known.
    """
    if tuple(int(part) for part in hydra_version.split(".")[:2]) < (1, 4):
        version.setbase("1.3")
    setup_globals()
    OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(3), use_cache=True, replace=True)
    create_config_search_path(None)  # discovers Hydra's own readers, one of which is replaced
    readers = SourcesRegistry.instance().types
    before = readers["file"]
    readers["file"] = CheckedFileSource
    try:
        yield
    finally:
        readers["file"] = before


def _parsed_flags(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    parser = get_args_parser()
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known, unknown = parser.parse_known_intermixed_args(list(argv))
    except SystemExit as error:
        told = complaint.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError("command line", told, "metarl-run --help shows the flags") from error
    flags = vars(known)
    overrides = flags.pop("overrides")
    if unknown:
        raise ConfigError(
            unknown[0], "unknown flag", hint(unknown[0].lstrip("-"), [f.replace("_", "-") for f in flags])
        )
    if flags["experimental_rerun"] is not None:
        raise ConfigError(
            "--experimental-rerun", "is refused: it runs what is stored in a pickle", "use resume=RUN_FOLDER"
        )
    if flags["config_path"] and not os.path.isabs(flags["config_path"]):
        raise ConfigError("--config-path", "must be absolute", "--config-dir adds a folder to metarl-run's own")
    return flags, overrides


def _parsed_overrides(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for text in overrides:
        try:
            override = parser.parse_overrides([text])[0]
        except HydraException as error:
            raise explain_override(text, error) from error
        if not override.key_or_group:
            raise explain_override(text, ValueError("no key"))
        parsed.append(override)
    keys = [f"{o.key_or_group}@{o.package}" if o.package else o.key_or_group for o in parsed]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise ConfigError(key, "is given twice", f"keep one of {overrides[keys.index(key)]} and {overrides[place]}")
    return parsed


def _loader(flags: Mapping[str, Any]) -> ConfigLoaderImpl:
    search_path = create_config_search_path(flags["config_path"] or str(CONFIG_DIR))
    if (extra := flags["config_dir"]) is not None:
        if not os.path.isdir(extra):
            raise ConfigError("--config-dir", f"there is no folder {extra!r}")
        search_path.prepend("command-line", f"file://{os.path.abspath(extra)}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(search_path)


def _check_options(parsed: Sequence[Override], loader: ConfigLoaderImpl) -> None:
    """Every chosen option of a group exists; as folders are named after options, none may lead elsewhere."""
    for override in parsed:
        group = override.key_or_group
        if override.is_delete() or not loader.repository.group_exists(group):
            continue
        options = loader.get_group_options(group)
        chosen: Any = _texts(override, loader) or override.value()
        for option in chosen if isinstance(chosen, list) else [chosen]:
            name = str(option)
            if option is None or not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name or len(name) > 100:
                raise ConfigError(group, f"must be the name of an option, got {name[:100]!r}", hint(name, options))
            if name not in options and not loader.repository.config_exists(f"{group}/{name}"):
                raise ConfigError(group, f"there is no option {name!r}", hint(name, options))


def _named_plugins(parsed: Sequence[Override]) -> list[str]:
    """The packages named on the command line; those that a file names are not trusted."""
    for override in parsed:
        if override.key_or_group == "plugins" and not override.is_sweep_override():
            value = override.value()
            return [str(name) for name in value] if isinstance(value, list) else []
    return []


def _sweep(loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], plugins: Sequence[str]) -> Iterator[Point]:
    """The jobs of a sweep; what is swept is said on the command line, in `hydra.sweeper.params` and in `sweep`."""
    from_checkpoint = "checkpoint" in said_by(parsed, loader.repository).keys
    master = _load(loader, name, _of_the_sweep(parsed) if from_checkpoint else _lines(parsed), RunMode.MULTIRUN)
    _check_hydra(master)
    if from_checkpoint and "BasicSweeper" not in str(master.hydra.sweeper.get("_target_")):
        told = "can only be given to Hydra's basic sweeper, whose jobs are known beforehand"
        raise ConfigError("checkpoint", told, "leave out hydra/sweeper")
    runs = listed_runs(_plain(master, "sweep") if "sweep" in master else None)
    keys = [o.get_key_element() for o in parsed]
    given = [f"{k}={value}" for k, value in (master.hydra.sweeper.get("params") or {}).items() if k not in keys]
    swept = [*_parsed_overrides(given), *parsed]
    choices: list[list[str]] = []
    for override in swept:
        if isinstance(override.value(), IntervalSweep) and "BasicSweeper" in str(master.hydra.sweeper.get("_target_")):
            raise ConfigError(override.key_or_group, "cannot be swept over an interval", "write choice(…) or range(…)")
        swept_to = [f"{override.get_key_element()}={text}" for text in _texts(override, loader)]
        choices.append(swept_to or [str(override.input_line)])
    return sweep_points(runs, choices, _lines(parsed), lambda joint: _point(loader, name, joint, plugins))


def _lists_runs(loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override]) -> bool:
    """Does the command line ask for a sweep over listed runs, as an experiment may?"""
    if not {o.key_or_group for o in parsed} & {"experiment", "sweep"}:
        return False
    with contextlib.suppress(ConfigError):  # which the points themselves will tell
        master = _load(loader, name, _lines(parsed), RunMode.MULTIRUN)
        return master.get("sweep") is not None
    return False


def _of_the_sweep(parsed: Sequence[Override]) -> list[str]:
    """What a sweep as a whole can be composed from: keys of an option may be there in its jobs alone."""
    return [str(o.input_line) for o in parsed if o.key_or_group.partition(".")[0] not in TAKEN_GROUPS]


def _lines(parsed: Sequence[Override]) -> list[str]:
    return [str(override.input_line) for override in parsed]


def _texts(override: Override, loader: ConfigLoaderImpl) -> list[str]:
    """Each swept value as it stands in a single run's override; nothing if the override is no sweep."""
    if not override.is_sweep_override():
        return []
    value = override.value()
    if isinstance(value, IntervalSweep):  # for sweepers that search: its ends stand for what lies between
        return [str(value.start), str(value.end)]
    override.config_loader = loader  # glob(*) looks there for options
    return [str(text) for text in override.sweep_string_iterator()]


def _point(loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], plugins: Sequence[str]) -> Point:
    """One composed and validated run."""
    overrides, origin = _with_origin(loader, name, overrides, plugins)
    failure = None
    try:
        cfg = _load(loader, name, overrides, RunMode.RUN)
    except ConfigError as error:
        if error.reason != UNKNOWN:
            raise
        failure = error  # once more with every key accepted, so that validation tells which name was meant
        forced = [_forced(override, loader) for override in _parsed_overrides(overrides)]
        cfg = _load(loader, name, forced, RunMode.RUN)
    _check_hydra(cfg)
    config = _resolved(cfg)
    choices = {
        str(group): option
        for group, option in cfg.hydra.runtime.choices.items()
        if isinstance(option, str) and not str(group).startswith("hydra/")
    }
    if list(config.get("plugins") or []) != list(plugins):
        raise ConfigError(
            "plugins",
            "may only be named on the command line, got a file that names them",
            "add plugins=[…] if you trust them",
        )
    validate(config, choices, lambda: _offers(loader, ("metarl_run", *plugins)))
    if failure is not None:
        raise failure
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


# --- Starting from a checkpoint ---


def _with_origin(
    loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], plugins: Sequence[str]
) -> tuple[list[str], Plan | None]:
    """The overrides of a run, after those that it takes from the run that made the checkpoint it starts from.

    Returns:
        The overrides and the plan of that run; the overrides as they are and None where there is no checkpoint.

    Raises:
        StateError: if there is none where the key `checkpoint` says, or its run's configuration cannot be used.
    """
    parsed = _parsed_overrides(overrides)
    said = said_by(parsed, loader.repository)
    checkpoint = _checkpoint(loader, name, parsed, said)
    if checkpoint is None:
        return [*overrides], None
    origin = trained_plan(Path(checkpoint))
    own, choices = _own(loader, name, checkpoint, origin, plugins)
    other = {place_of(group) for group, option in said.options.items() if origin.choices.get(group) != option}

    def is_said(key: str) -> bool:
        return key in said.keys or any(key == place or key.startswith(f"{place}.") for place in other)

    chosen = [f"{g}={option}" for g, option in choices.items() if g not in said.options and not is_said(place_of(g))]
    return [*chosen, *taken_overrides(origin.config, own, is_said, checkpoint), *overrides], origin


def _checkpoint(loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], said: Said) -> str | None:
    """The path that the key `checkpoint` comes to; None if there is none, or validation will refuse it."""
    if "checkpoint" not in said.keys and name == CONFIG_NAME:
        return None
    plain = {"experiment", *(field.name for field in dataclasses.fields(Settings))}
    cfg = _load(loader, name, [str(o.input_line) for o in parsed if o.key_or_group in plain], RunMode.RUN)
    with _one_line(), _current(cfg):
        found, others = cfg.get("checkpoint"), (cfg.get("resume"), cfg.get("table"))
    usable = isinstance(found, str) and not re.search(r"[\x00-\x1f\x7f]", found) and others == (None, None)
    return str(found) if usable else None


def _own(
    loader: ConfigLoaderImpl, name: str, checkpoint: str, origin: Plan, plugins: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the choices of the run that made a checkpoint amount to without its numbers, unresolved, and these choices.

    Raises:
        StateError: if these choices are no options here, or the run's configuration is not one that may be run.
    """
    choices = {group: origin.choices.get(group, "") for group in TAKEN_GROUPS}
    try:
        if odd := [option for option in choices.values() if not re.fullmatch(r"[\w.-]+", option)]:
            raise ConfigError("choices", f"must be names of options, got {odd[0]!r}")
        cfg = _load(loader, name, [f"{group}={option}" for group, option in choices.items()], RunMode.RUN)
        parts = {
            str(group): origin.choices[str(group)]
            for group, option in cfg.hydra.runtime.choices.items()
            if taken_with(str(group)) and origin.choices.get(str(group), option) != option
        }
        if parts:  # such as algo/meta_optimizer=sgd
            choices |= parts
            cfg = _load(loader, name, [f"{group}={option}" for group, option in choices.items()], RunMode.RUN)
        now = _resolved(cfg)
        run = {key: overlaid(now[key], origin.config.get(key, now[key])) for key in TAKEN}
        validate({**now, **run, "plugins": [*plugins]}, choices)
    except ConfigError as error:
        hint = error.hint or ("give the --config-dir that it was run with" if error.where in choices else None)
        raise StateError(checkpoint, f"{error.where}: {error.reason}", hint) from error
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    return {str(key): value for key, value in raw.items()}, choices


def _forced(override: Override, loader: ConfigLoaderImpl) -> str:
    """The override in the form that also adds keys that do not exist."""
    text, key = str(override.input_line), override.key_or_group
    plain = override.type is OverrideType.CHANGE and override.package is None
    return f"++{text}" if plain and not loader.repository.group_exists(key) else text


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers without interpolations and without Hydra's own keys."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    refuse_in_config({key: value for key, value in raw.items() if key != "hydra"})
    with _one_line(), _current(cfg):
        if raw.get("resume") is None:  # else the budgets are those of the run that is continued
            check_budget(cfg.get("budget"), raw.get("budgets", {}))
        config = {str(key): _plain(cfg, key) for key in cfg if key != "hydra"}
    return without_step_sizes(with_today_names(config))


def _plain(cfg: DictConfig, key: Any) -> Any:
    value = "???" if OmegaConf.is_missing(cfg, key) else cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _folders(cfg: DictConfig) -> tuple[str, str]:
    """Where a single run and a sweep would go."""
    with _one_line(), _current(cfg):
        run, sweep = (str(OmegaConf.select(cfg, key)) for key in ("hydra.run.dir", "hydra.sweep.dir"))
    for key, folder in (("hydra.run.dir", run), ("hydra.sweep.dir", sweep)):
        if re.search(r"[\x00-\x1f]", folder) or any(len(os.fsencode(part)) > 255 for part in folder.split("/")):
            raise ConfigError(key, "must be a path whose parts have at most 255 bytes and no control characters")
    return run, sweep


def _check_hydra(cfg: DictConfig) -> None:
    raw = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(raw, dict)
    check_hydra({str(key): value for key, value in raw.items()})


def _offers(loader: ConfigLoaderImpl, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """The words that the component of each option provides as it is configured."""
    offers = {}
    for group, option in [(name, option) for name in GROUPS for option in loader.get_group_options(name)]:
        with contextlib.suppress(ConfigError, RecursionError, *COMPOSING):  # nobody has chosen a file that is broken
            arguments = with_today_names(_arguments(loader, group, option), warn=False)
            taken = signature(str(arguments.get("_target_")), packages)
            offers[f"{group}={option}"] = taken.declared.provided(arguments) if taken else set()
    return offers


def _arguments(loader: ConfigLoaderImpl, group: str, option: str) -> dict[str, Any]:
    """What an option's file says on top of the options of its group that it is a variant of."""
    result = loader.repository.load_config(f"{group}/{option}")
    if result is None:
        return {}
    arguments: dict[str, Any] = {}
    for default in result.defaults_list or []:
        if isinstance(default, ConfigDefault) and default.path and not default.is_self():
            arguments |= _arguments(loader, group, default.path)
    own = OmegaConf.to_container(result.config, resolve=False)
    return arguments | {str(key): value for key, value in own.items()} if isinstance(own, dict) else arguments


def _load(loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], mode: RunMode) -> DictConfig:
    try:
        with _one_line():
            return loader.load_configuration(name, list(overrides), mode)
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # of Hydra's own, for odd overrides
        raise explain(error) from error


@contextlib.contextmanager
def _current(cfg: DictConfig) -> Iterator[None]:
    """`${hydra:…}` reads from `cfg`."""
    singleton = HydraConfig.instance()
    before = singleton.cfg
    try:
        singleton.set_config(cfg)
        yield
    finally:
        singleton.cfg = before


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Everything that Hydra and OmegaConf raise leaves as a ConfigError."""
    try:
        yield
    except COMPOSING as error:
        raise explain(error) from error
