"""Runs that a command line asks for: one, or the jobs of a sweep."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from metarl_run.config.search import Search


@dataclass(frozen=True)
class Point:
    """One run that the command line asks for.

    Attributes:
        overrides: its own `key=value` arguments, Hydra's left out.
        config: resolved and validated, plain containers, without the `hydra` key.
        choices: the chosen option of each group.
        folder: the run folder of a single run.
        sweep_folder: the folder of the sweep if this is one of its jobs.
        arguments: overrides that Hydra composes the run from: the command line's, after those of a checkpoint.
        differences: from the run that made the checkpoint which this one starts from, a line each.
        composed: Hydra's configuration, its own keys included.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]
    choices: dict[str, str]
    folder: str
    sweep_folder: str
    arguments: tuple[str, ...]
    differences: tuple[str, ...]
    composed: DictConfig


@dataclass(frozen=True)
class Composed:
    """Composed command line.

    Attributes:
        points: the runs, in Hydra's order; empty if nothing is to be run.
        multirun: they are jobs of a sweep.
        passthrough: Hydra is asked to show something instead of running (`--cfg`, `--info`, `-sc`, `--hydra-help`).
        arguments: the command line in the order that Hydra understands: flags first, then overrides.
        lists: the jobs are the points, rather than what a sweeper that searches comes to.
        loader: that they were composed by.
        search: for the best values of some keys, whose ends the points are.
        master: Hydra's configuration of a sweep as a whole.
    """

    points: tuple[Point, ...]
    multirun: bool
    passthrough: bool
    arguments: tuple[str, ...]
    lists: bool = False
    loader: ConfigLoader | None = None
    search: Search | None = None
    master: DictConfig | None = None
