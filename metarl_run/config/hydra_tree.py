"""Hydra's own keys can name code, too: launchers, sweepers, callbacks and the parts of logging. Only known ones may."""

import re
from collections.abc import Mapping
from typing import Any

from metarl_run.errors import ConfigError

TARGETS = re.compile(
    r"hydra\._internal\.core_plugins\.\w+\.Basic(Launcher|Sweeper)"
    r"|hydra_plugins(\.[a-z_]\w*)+\.\w+(Launcher|Sweeper)"
    r"|optuna\.samplers\.\w+Sampler"
)
LOGGING_CLASSES = {
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "colorlog.ColoredFormatter",
}
STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}


def check_hydra(tree: Mapping[str, Any]) -> None:
    """Raise ConfigError unless all code that Hydra's part of the configuration names is Hydra's or logging's.

    Args:
        tree: the `hydra` key as plain containers, interpolations not resolved.
    """
    if tree.get("callbacks"):
        raise ConfigError("hydra.callbacks", "must be empty: callbacks would run code that the configuration names")
    _check(tree, "hydra")
    for key, subdir in (
        ("hydra.sweep.subdir", (tree.get("sweep") or {}).get("subdir")),
        ("hydra.output_subdir", tree.get("output_subdir")),
    ):
        if isinstance(subdir, str) and (subdir.startswith("/") or ".." in subdir.split("/")):
            raise ConfigError(key, f"must stay inside the run's or sweep's folder, got {subdir!r}")
    if not isinstance(tree.get("verbose"), bool | str | list):
        raise ConfigError("hydra.verbose", f"must be true, false or names of loggers, got {tree.get('verbose')!r}")
    jobs = (tree.get("launcher") or {}).get("n_jobs")
    batch = (tree.get("sweeper") or {}).get("max_batch_size")
    if jobs == 0 or isinstance(jobs, bool):
        raise ConfigError("hydra.launcher.n_jobs", f"must be a number of jobs, or -1 for one per core, got {jobs}")
    if isinstance(batch, int) and batch < 1:
        raise ConfigError("hydra.sweeper.max_batch_size", f"must be an integer >= 1, got {batch}")


def _check(node: Any, path: str) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            here = f"{path}.{key}"
            if key == "_target_" and not (isinstance(value, str) and TARGETS.fullmatch(value)):
                raise ConfigError(here, f"must be a launcher or sweeper of Hydra's, got {value!r}")
            if "logging" in path and key in ("()", "class") and value not in LOGGING_CLASSES:
                raise ConfigError(here, f"must be one of logging's own handlers or formatters, got {value!r}")
            _check(value, here)
    elif isinstance(node, list):
        for place, value in enumerate(node):
            _check(value, f"{path}[{place}]")
    elif isinstance(node, str) and "logging" in path and re.match(r"(ext|cfg)://", node) and node not in STREAMS:
        raise ConfigError(path, f"must be one of {', '.join(sorted(STREAMS))}, got {node!r}")
