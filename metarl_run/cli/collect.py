"""`metarl-run collect env=FAMILY algo=AGENT …`: learning histories of an agent in meta-training tasks, as a dataset.

The command line is that of a run: groups, keys and experiments. The agent is `algo`, or `collect.algo` where it is
given, as in an experiment that learns from the data. What is left of an earlier attempt in the folder is kept.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metarl_run.cli import train
from metarl_run.cli.impossible import refuse_unwritable
from metarl_run.config.collection import dataset_folder
from metarl_run.config.grammar import key_of
from metarl_run.config.size import largest_keys
from metarl_run.dataset.card import Card
from metarl_run.errors import DONE, ConfigError, visible
from metarl_run.report.output import standard_output
from metarl_run.report.run.terminal import number, thousands
from metarl_run.system.crash import Contained

KEYS = "collect=histories"
"""Brings the keys of a collection, unless an experiment does."""


def main(argv: Sequence[str]) -> int:
    """Collect; the exit code.

    Raises:
        RunError: see `metarl_run.errors`.
        Interrupted: on a stop request; shards that are written stay.
    """
    if {"--help", "-h"} & {*argv}:
        from metarl_run.config.help import help_text

        print(visible(f"{__doc__}\n{help_text([KEYS])}", lines=True), end="")
        return DONE
    given = {key_of(text) for text in argv}
    composed = train.compose([*argv, *([] if given & {"collect", "experiment"} else [KEYS])])
    if composed.passthrough:
        return train.carry_out(composed, argv)
    if composed.multirun:
        raise ConfigError("collect", "makes one dataset, got a sweep", "leave out -m and commas")
    (point,) = composed.points
    config = point.config
    for key, wrong in (("collect", config["collect"] is None), ("table", config["table"] is not None)):
        if wrong:
            raise ConfigError(key, "is of no use: this experiment collects nothing", "leave out experiment")
    for key in ("dataset", "resume", "checkpoint"):
        if config[key] is not None:
            raise ConfigError(key, f"must be null where data are collected, got {config[key]}", "collect.folder=FOLDER")
    folder = dataset_folder(config)
    assert folder is not None
    refuse_unwritable(folder.absolute())
    from metarl_run.run.collecting import collect_histories

    train.stop.install()
    with Contained(None, config["plugins"], largest_keys(config)), train.stop.obeyed_at_once(), _progress() as told:
        card = collect_histories(config, point.choices, folder, train.stop, told)
    standard_output().print("\n".join(about(folder, card)), soft_wrap=True)
    return DONE


def about(folder: Path, card: Card) -> Iterator[str]:
    """What a dataset is, in a few lines."""
    each = f"{card.episodes_per_history} episodes" if card.episodes_per_history > 1 else "1 episode"
    labels = "with" if card.labels else "without"
    yield f"{folder}: {thousands(card.num_histories)} histories of {each} in {thousands(card.num_tasks)} tasks"
    yield f"  {card.choices['algo']} in {card.choices['env']}, {thousands(card.steps)} steps, {labels} optimal actions"
    yield f"  return of the first episode {number(card.first_return)}, of the last {number(card.last_return)}"
    yield f"  {len(card.shards)} files, {card.bytes / 1e6:.1f} MB; to learn from it: dataset={folder}"


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; nothing elsewhere."""
    console = standard_output()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("shards", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
