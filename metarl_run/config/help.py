"""`metarl-run --help`, and `--help` beside an option, a group or a key."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from metarl_run.config.described import (
    GROUPS,
    SEARCH,
    Key,
    Option,
    chosen,
    folders_of,
    in_words,
    option,
    options,
    run_keys,
    search_keys,
    table_keys,
    tables_in,
)
from metarl_run.config.nearest import hint
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR

HEAD = """\
metarl-run: meta-train an agent on a family of tasks, then measure how it adapts to tasks it has never seen.

usage: metarl-run [-m] [--config-dir DIR] [group=option] [key=value] ...
       metarl-run collect [group=option] [key=value] ...; metarl-run list|report|watch FOLDER ...

examples:
  metarl-run                                           the default: algo=maml env=cartpole_family
  metarl-run algo=reptile env=random_mdp seed=1        other options, another seed
  metarl-run experiment=smoke                          the whole path of a run in seconds
  metarl-run algo.inner_lr=0.2 meta_iterations=50      any key of an option or of a run
  metarl-run env.meta_test.gravity=[uniform,15,25]     test beyond what was trained on
  metarl-run resume=FOLDER                             continue a run or sweep that was stopped
  metarl-run report FOLDER...                          tables, pictures and a page of any runs and sweeps, compared
  metarl-run checkpoint=RUN_FOLDER meta_iterations=0   meta-test alone, also on another env
  metarl-run collect env=darkroom algo=q_learner       an agent's learning histories, as data for algo=ad or algo=dpt
  metarl-run list [FOLDER]                             the runs below outputs/ or another folder, and their results
  metarl-run -m algo=maml,reptile,scratch seed=0,1,2   all combinations, then a comparison of their curves
  metarl-run -m hydra/sweeper=search 'algo.inner_lr=tag(log,interval(0.01,1))'   a search for the largest objective

more:
  metarl-run algo=varibad --help    the keys of an option: default, values, unit
  metarl-run algo --help            the options of a group, a line each
  metarl-run keys --help            the keys of a run; also meta_test --help, table --help, hydra/sweeper --help
"""

TAIL = """\
flags:
  -m, --multirun          run all combinations of key=a,b,c; also key=range(0,5), group=glob(*)
  --config-dir DIR        a folder with options of your own, laid out like conf/ (classes: add plugins=[your_package])
  --config-name NAME      another primary configuration than train
  --cfg job               show the configuration instead of running; with --resolve, interpolations filled in
  --hydra-help, --version, --help
tab completion, bash; also zsh and fish:  eval "$(metarl-run -sc install=bash)"
exit codes:
  0 done   1 a bug   2 bad usage or configuration, nothing created   3 run folder or checkpoint unusable
  4 a number that is not finite   5 disk, memory or device   6 some jobs of a sweep failed
  130, 143 stopped by Ctrl-C or TERM, 129, 138, 140 by HUP, USR1, USR2, after saving
"""

WIDTH = 118


def help_text(argv: Sequence[str]) -> str:
    """The help for a command line: of each option, group and key that it names, or of the command.

    Args:
        argv: its arguments; folders named by `--config-dir` have options, too.

    Raises:
        ConfigError: if there is no such option, group or key.
    """
    folders = folders_of(argv)
    named = [word for word in _words(argv) if word.partition("=")[0] not in ("plugins",)]
    return "\n".join(text for word in named for text in _about(word, named, folders)) or _overview(folders)


def _words(argv: Sequence[str]) -> Iterator[str]:
    """Arguments that are neither flags nor a flag's value."""
    values = {"--config-dir", "-cd", "--config-name", "-cn", "--cfg", "-c", "--package", "-p", "--info", "-i"}
    for before, argument in zip(["", *argv[:-1]], argv, strict=False):
        if not argument.startswith("-") and before not in values:
            yield argument.lstrip("+~")


# --- The whole ---


def _overview(folders: Sequence[Path]) -> str:
    parts = [HEAD, "options:\n" + "".join(_wrapped(f"  {g}=", [*options(g, folders)], ", ") for g in GROUPS)]
    keys = [f"{key.path}={key.value}" for key in run_keys().values() if key.value]
    parts.append("keys of a run:\n" + _wrapped(" ", keys, "  "))
    return "\n".join([*parts, TAIL])


def _wrapped(start: str, words: Sequence[str], separator: str) -> str:
    joined = separator.join(word.replace(" ", "\xa0") for word in words)
    lines = textwrap.wrap(
        f"{start} {joined}", WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "".join(f"{line}\n" for line in lines).replace("\xa0", " ")


# --- Parts of it ---


def _about(word: str, words: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    """The help for one word of a command line."""
    name, _, value = word.partition("=")
    name = name.replace("hydra/sweeper", SEARCH)
    if name in GROUPS:
        for of in value.split(",") if value else [None]:
            yield _group(name, folders) if of is None else _option(name, of, folders)
        return
    known, title = {**run_keys(), **table_keys(), **search_keys()}, "keys of a run"
    if name == "keys":
        yield _table(title, run_keys())
        return
    group = name.split(".")[0]
    chosen_option = chosen(words, folders).get(group)
    if chosen_option is not None:
        known, title = _of(group, chosen_option, folders).keys, f"keys of {group}={chosen_option}"
    elif group == "table":
        title = f"keys of a paper's table, experiment={','.join(tables_in(CONFIG_DIR / 'experiment'))}"
    elif name.startswith(SEARCH):
        title = "keys of a search, hydra/sweeper=search"
    found = {path: key for path, key in known.items() if f"{path}.".startswith(f"{name}.")}
    if not found:
        raise ConfigError(name, "unknown key", hint(name, [*known, *GROUPS]))
    yield _table(title, found)


def _group(group: str, folders: Sequence[Path]) -> str:
    found = options(group, folders)
    width = max(map(len, found), default=0)
    lines = [f"  {name:<{width}}  {line}\n" for name, line in found.items()]
    return f"{group}= (keys of one: metarl-run {group}=OPTION --help)\n" + "".join(lines)


def _of(group: str, name: str, folders: Sequence[Path]) -> Option:
    if name not in options(group, folders):
        raise ConfigError(group, f"there is no option {name!r}", hint(name, [*options(group, folders)]))
    return option(group, name, folders)


def _option(group: str, name: str, folders: Sequence[Path]) -> str:
    of = _of(group, name, folders)
    notes = [of.summary, *of.notes]
    if of.base:
        notes.append(f"a variant of {group}={of.base}")
    if of.target:
        notes.append(f"class {of.target}")
    if of.brings:
        notes.append(
            f"brings {' '.join(f'{part}={other}' for part, other in of.brings.items())}, unless others are given"
        )
    return _table(f"{group}={name}", of.keys, notes)


def _table(title: str, keys: Mapping[str, Key], notes: Sequence[str] = ()) -> str:
    """A line for each key: default, values it may have, comment."""
    shown = [key for key in keys.values() if key.is_of_interest]
    rows = [
        (f"{key.path}{f'={_short(key.value)}' if key.value else '.'}", in_words(key.kind), key.comment) for key in shown
    ]
    first = max((len(row[0]) for row in rows if len(row[0]) <= 52), default=0)
    second = max((len(row[1]) for row in rows if len(row[1]) <= 24), default=0)
    lines = [f"  {start:<{first}}  {values:<{second}}  {comment}".rstrip() for start, values, comment in rows]
    return "\n".join([title, *(f"  {note}" for note in notes), *([""] if notes else []), *lines]) + "\n"


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:50].rstrip(' ,')}, …{value[-1]}"
