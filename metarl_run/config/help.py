"""`metarl-run --help`: the groups, options and keys as the files of the configuration folder describe them.

The text is taken from the files' comments line by line; neither Hydra nor a YAML parser is loaded for it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from metarl_run.folders import CONFIG_DIR

GROUPS = ("algo", "env", "learner", "network", "logger", "experiment", "hydra/sweeper")

HEAD = """\
metarl-run: meta-train an agent on a family of tasks, then measure how it adapts to tasks it has never seen.

usage: metarl-run [-m] [--config-dir DIR] [group=option] [key=value] ...

examples:
  metarl-run                                           the default: algo=maml env=cartpole_family
  metarl-run algo=reptile env=random_mdp seed=1        other options, another seed
  metarl-run experiment=smoke                          the whole path of a run in seconds
  metarl-run algo.inner_lr=0.2 meta_iterations=50      any key of an option or of a run
  metarl-run env.meta_test.gravity=[uniform,15,25]     test beyond what was trained on
  metarl-run resume=FOLDER                             continue a run or sweep that was stopped
  metarl-run checkpoint=RUN_FOLDER meta_iterations=0   meta-test alone, also on another env
  metarl-run -m algo=maml,reptile,scratch seed=0,1,2   all combinations, then a comparison of their curves
  metarl-run -m hydra/sweeper=search 'algo.inner_lr=tag(log,interval(0.01,1))'   a search for the largest objective
"""

TAIL = """\
flags:
  -m, --multirun          run all combinations of key=a,b,c; also key=range(0,5), group=glob(*)
  --config-dir DIR        a folder with options of your own, laid out like conf/ (classes: add plugins=[your_package])
  --config-name NAME      another primary configuration than train
  --cfg job               show the configuration instead of running; with --resolve, interpolations filled in
  --hydra-help            Hydra's own flags
  --version, --help

tab completion (bash; also zsh and fish):
  eval "$(metarl-run -sc install=bash)"

exit codes:
  0 done   1 a bug   2 bad usage or configuration, nothing created   3 run folder or checkpoint unusable
  4 a number that is not finite   5 disk, memory or device   6 some jobs of a sweep failed
  130, 143 stopped by Ctrl-C or TERM, 129, 138, 140 by HUP, USR1, USR2, after saving
"""


def help_text(argv: Sequence[str]) -> str:
    """The whole help, with the options in the folder that `--config-dir` names, if any."""
    folders = [CONFIG_DIR, *_extra_folders(argv)]
    parts = [HEAD]
    for group in GROUPS:
        options = {name: line for folder in folders for name, line in _options(folder / group)}
        width = max(map(len, options), default=0)
        parts.append(
            "\n".join([f"{group}=", *(f"  {name:<{width}}  {line}" for name, line in sorted(options.items()))]) + "\n"
        )
    parts.append("\n".join(["keys of a run:", *_keys(CONFIG_DIR / "train.yaml")]) + "\n")
    keys = _keys(CONFIG_DIR / "hydra" / "sweeper" / "search.yaml", "hydra.sweeper.")
    parts.append("\n".join(["keys of a search, hydra/sweeper=search:", *keys]) + "\n")
    tables = ", ".join(tables_in(CONFIG_DIR / "experiment"))
    keys = _keys(CONFIG_DIR / "table.yaml", "table.")
    parts.append("\n".join([f"keys of a paper's table, experiment= {tables}:", *keys]) + "\n")
    return "\n".join([*parts, TAIL])


def _extra_folders(argv: Sequence[str]) -> Iterator[Path]:
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            yield Path(value if equals else following)


def _options(folder: Path) -> Iterator[tuple[str, str]]:
    """Each option of a group with the first line of comment in its file."""
    for path in filter(Path.is_file, folder.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        comments = (line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line)
        yield path.stem, next(comments, "")


def tables_in(folder: Path) -> list[str]:
    """The experiments that declare a table."""
    files = sorted(folder.glob("*.yaml"))
    return [path.stem for path in files if re.search(r"^table:", path.read_text(encoding="utf-8"), re.MULTILINE)]


def _keys(path: Path, prefix: str = "") -> Iterator[str]:
    """The keys of a file, each with its default and comment."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("hydra:"):
            return
        found = re.fullmatch(r"( *)(\w+):\s*(.*?)\s*(?:# (.*))?", line)
        if found and found[2] not in ("defaults", "_target_"):
            indent, key, value, comment = found.groups(default="")
            start = f"  {indent}{prefix}{key}{'=' if value else '.'}{value}"
            yield f"{start:<27} {comment}".rstrip()
