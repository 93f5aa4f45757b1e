"""Hydra's composition, with its complaints in one line: flags, overrides, files and interpolations."""

import contextlib
import copy
import dataclasses
import io
import os
import re
import secrets
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra import __version__ as hydra_version
from hydra import version
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metarl_run.config.budget import check_budget
from metarl_run.config.explain import explain, explain_override
from metarl_run.config.hydra_internals import (
    ConfigLoaderImpl,
    FileConfigSource,
    SourcesRegistry,
    create_config_search_path,
    get_args_parser,
)
from metarl_run.config.nearest import hint
from metarl_run.config.renamed import with_current_targets
from metarl_run.config.secret import refuse_in_config
from metarl_run.config.settings import MOST_POINTS, MOST_RANKS, PATHS, Settings
from metarl_run.config.step_sizes import without_step_sizes
from metarl_run.config.syntax import check_yaml
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR, GROUPS

CONFIG_NAME = "train"
LONGEST_KEY, DEEPEST = 300, 20
COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError)


PLUGINS = {
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/launcher", "submitit_local"): "hydra-submitit-launcher submitit",
    ("hydra/launcher", "submitit_slurm"): "hydra-submitit-launcher submitit",
    ("hydra/launcher", "ray"): "hydra-ray-launcher",
    ("hydra/launcher", "ray_aws"): "hydra-ray-launcher",
    ("hydra/launcher", "rq"): "hydra-rq-launcher",
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
    ("hydra/sweeper", "ax"): "hydra-ax-sweeper",
    ("hydra/sweeper", "nevergrad"): "hydra-nevergrad-sweeper",
    ("hydra/job_logging", "colorlog"): "hydra_colorlog",
    ("hydra/hydra_logging", "colorlog"): "hydra_colorlog",
}
"""Distributions of options that come with plugins."""


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


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Make Hydra ready: its version base, our resolver and, for as long as this lasts, our reader of files.

    Launchers that start processes hand Hydra's registries on to them, where only Hydra's own readers are known.
    """
    if tuple(int(part) for part in hydra_version.split(".")[:2]) < (1, 4):
        version.setbase("1.3")
    setup_globals()
    JobRuntime.instance().set("name", CONFIG_NAME)
    OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(3), use_cache=True, replace=True)
    create_config_search_path(None)  # discovers Hydra's own readers, one of which is replaced
    readers = SourcesRegistry.instance().types
    before = readers["file"]
    readers["file"] = CheckedFileSource
    try:
        yield
    finally:
        readers["file"] = before


FEWEST_PARTS = 4
"""Parts of a meta-batch for up to so many ranks: 1, 2 and 4 then end in the same bits, and as fast as they can."""


def number_of_parts(ranks: Any) -> int | None:
    """The parts of a meta-batch, each rank's share being as large as any other's if there are 2, 4, 8, … of them."""
    if not isinstance(ranks, int) or isinstance(ranks, bool) or not 1 <= ranks <= MOST_RANKS:
        return None  # undistributed, or refused elsewhere
    return max(FEWEST_PARTS, 1 << (ranks - 1).bit_length())


# On import, since jobs of a sweep may resolve their configuration in processes that compose nothing
OmegaConf.register_new_resolver("parts", number_of_parts, replace=True)


def parsed_flags(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    parser = get_args_parser()
    parser.allow_abbrev = False  # else --experiment would be --experimental-rerun
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known, unknown = parser.parse_known_intermixed_args(list(argv))
    except SystemExit as error:
        complaint_text = complaint.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError("command line", complaint_text, "metarl-run --help shows the flags") from error
    flags = vars(known)
    overrides = flags.pop("overrides")
    if unknown:
        flag = unknown[0].partition("=")[0]  # its value is not repeated: it may be a secret
        name = flag.lstrip("-").replace("-", "_")
        keys = {"experiment", *GROUPS, *(key.name for key in dataclasses.fields(Settings))}
        meant = hint(flag.lstrip("-"), [f.replace("_", "-") for f in flags])
        raise ConfigError(flag, "unknown flag", f"write {name}=VALUE, without dashes" if name in keys else meant)
    if flags["experimental_rerun"] is not None:
        raise ConfigError(
            "--experimental-rerun", "is refused: it runs what is stored in a pickle", "use resume=RUN_FOLDER"
        )
    if flags["resolve"] and not flags["cfg"]:
        raise ConfigError("--resolve", "only says how --cfg shows a configuration", "add --cfg job")
    if flags["package"] and not flags["cfg"]:
        raise ConfigError("--package", "only says what part of a configuration --cfg shows", "add --cfg job")
    if flags["config_path"] and not os.path.isabs(flags["config_path"]):
        raise ConfigError("--config-path", "must be absolute", "--config-dir adds a folder to metarl-run's own")
    return flags, overrides


def parsed_overrides(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for text in overrides:
        if len(key := text.partition("=")[0]) > LONGEST_KEY:
            raise ConfigError("command line", f"must have keys of at most {LONGEST_KEY} characters, got {key[:40]}…")
        try:
            override = parser.parse_overrides([text])[0]
        except (HydraException, ValueError, RecursionError) as error:  # of numbers and lists that are beyond Python
            raise explain_override(text, error) from error
        if not override.key_or_group:
            raise explain_override(text, ValueError("no key"))
        if not override.is_sweep_override() and _is_deep(override.value(), DEEPEST):
            raise ConfigError(override.key_or_group, f"must be nested at most {DEEPEST} levels deep")
        parsed.append(override)
    keys = [f"{o.key_or_group}@{o.package}" if o.package else o.key_or_group for o in parsed]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise ConfigError(key, "is given twice", f"keep one of {overrides[keys.index(key)]} and {overrides[place]}")
    return parsed


def _is_deep(value: object, levels: int) -> bool:
    """Whether lists and mappings in `value` are nested more than so many levels deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deep(entry, levels - 1) for entry in inner)


def refuse_overlaps(parsed: Sequence[Override], loader: ConfigLoaderImpl, stored: Collection[str] = ()) -> None:
    """Raise ConfigError for a value and a part of it, of which Hydra would merge one into the other.

    Args:
        parsed: the overrides.
        loader: knows groups, whose options may be given along with values.
        stored: texts of those that others may change.
    """
    values = {
        o.key_or_group: str(o.input_line)
        for o in parsed
        if str(o.input_line) not in stored and not loader.repository.group_exists(o.key_or_group)
    }
    for key, text in values.items():
        parents = [key[:place] for place, letter in enumerate(key) if letter == "."]
        if whole := next((parent for parent in parents if parent in values), None):
            raise ConfigError(
                key, f"is given together with {whole}, which holds it", f"keep one of {values[whole]} and {text}"
            )


def loader_of(flags: Mapping[str, Any]) -> ConfigLoaderImpl:
    search_path = create_config_search_path(flags["config_path"] or str(CONFIG_DIR))
    if (extra := flags["config_dir"]) is not None:
        if not os.path.isdir(extra):
            raise ConfigError("--config-dir", f"there is no folder {extra!r}")
        search_path.prepend("command-line", f"file://{os.path.abspath(extra)}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(search_path)


def check_options(parsed: Sequence[Override], loader: ConfigLoaderImpl) -> None:
    """Every chosen option of a group exists; as folders are named after options, none may lead elsewhere."""
    for override in parsed:
        group = override.key_or_group
        if override.is_delete() or not loader.repository.group_exists(group):
            continue
        options = loader.get_group_options(group)
        chosen: Any = swept_texts(override, loader) or override.value()
        for option in chosen if isinstance(chosen, list) else [chosen]:
            name = str(option)
            if option is None or not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name or len(name) > 100:
                raise ConfigError(group, f"must be the name of an option, got {name[:100]!r}", hint(name, options))
            if name not in options and not loader.repository.config_exists(f"{group}/{name}"):
                if packages := PLUGINS.get((group, name)):
                    raise ConfigError(group, f"{name} is not installed", f"pip install {packages}")
                raise ConfigError(group, f"there is no option {name!r}", hint(name, options))


def load(loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], mode: RunMode) -> DictConfig:
    try:
        with one_line(), warnings.catch_warnings():
            warnings.filterwarnings("error", message="provider=.*is not available")
            return loader.load_configuration(name, list(overrides), mode)
    except UserWarning as error:
        (path,) = re.findall(r"path=(.*) is not available", str(error)) or [str(error)]
        raise ConfigError(
            "hydra.searchpath", f"there is no {path}, as a folder or package of configurations"
        ) from error
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # of Hydra's own, for odd overrides
        raise explain(error) from error


def plain_value(cfg: DictConfig, key: Any) -> Any:
    value = "???" if OmegaConf.is_missing(cfg, key) else cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@contextlib.contextmanager
def current(cfg: DictConfig) -> Iterator[None]:
    """`${hydra:…}` reads from `cfg`."""
    singleton = HydraConfig.instance()
    before = singleton.cfg
    try:
        singleton.set_config(cfg)
        yield
    finally:
        singleton.cfg = before


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Everything that Hydra and OmegaConf raise leaves as a ConfigError."""
    try:
        yield
    except COMPOSING as error:
        raise explain(error) from error


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers without interpolations and without Hydra's own keys."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    refuse_in_config({key: value for key, value in raw.items() if key != "hydra"})
    with one_line(), current(cfg):
        if raw.get("resume") is None:  # else the budgets are those of the run that is continued
            check_budget(cfg.get("budget"), raw.get("budgets", {}))
        config = {str(key): plain_value(cfg, key) for key in cfg if key != "hydra"}
    refuse_in_config(config)  # what interpolations came to
    for key in PATHS:
        if isinstance(config.get(key), str):
            config[key] = os.path.expanduser(config[key])
    for key in ("output", "checkpoints"):
        if isinstance(table := config.get("table"), dict) and isinstance(table.get(key), str):
            table[key] = os.path.expanduser(table[key])
    return without_step_sizes(with_current_targets(config))


def _check_range(key: str, value: RangeSweep) -> None:
    """Raise ConfigError for a range without end, or with more values than a sweep may have: it is not expanded then."""
    start, stop, step = (float(x if x is not None else 0) for x in (value.start, value.stop, value.step))
    if step == 0:
        raise ConfigError(key, "must be swept in steps, got a range whose step is 0")
    if (stop - start) / step > MOST_POINTS:
        raise ConfigError(key, f"must have at most {MOST_POINTS} values, got {(stop - start) / step:.0f}")


def swept_texts(override: Override, loader: ConfigLoaderImpl) -> list[str]:
    """Each swept value as it stands in a single run's override; nothing if the override is no sweep."""
    if not override.is_sweep_override():
        return []
    value = override.value()
    if isinstance(value, RangeSweep):
        _check_range(override.key_or_group, value)
    if isinstance(value, IntervalSweep):  # for sweepers that search: its ends stand for what lies between
        return [str(value.start), str(value.end)]
    override.config_loader = loader  # glob(*) looks there for options
    return [str(text) for text in override.sweep_string_iterator()]
