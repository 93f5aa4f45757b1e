"""`metarl-run list [FOLDER]`: the runs below a folder, the latest last."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from metarl_run.cli.arguments import Parser
from metarl_run.config.plan import stored_plan
from metarl_run.errors import DONE, StateError
from metarl_run.report.folder import read_summary, short
from metarl_run.report.output import standard_output
from metarl_run.report.run.terminal import duration, number
from metarl_run.report.sweep.jobs import job_folders
from metarl_run.system.lock import is_held

USAGE = "metarl-run list [FOLDER]"
DAY = 24 * 60 * 60
"""Seconds."""

MAX_WIDTH = 4000
"""Characters: folders are shown whole, so that they can be copied."""

STYLES = {"complete": "green", "running": "cyan", "failed": "red", "damaged": "red"}


@dataclass(frozen=True)
class Row:
    """One run as the list shows it; what is not known is empty."""

    folder: Path
    status: str
    algo: str = ""
    env: str = ""
    seed: str = ""
    result: str = ""
    changed: float = 0.0


def main(argv: Sequence[str]) -> int:
    """Print the list; the exit code.

    Raises:
        RunError: see `metarl_run.errors`.
    """
    parser = Parser("list", __doc__, USAGE)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"))
    folder: Path = parser.parse_args(argv).folder.expanduser()
    if not folder.is_dir():
        raise StateError(str(folder), "there is no such folder", USAGE)
    rows = sorted(map(row_of, [folder] if is_run(folder) else job_folders(folder)), key=lambda row: row.changed)
    if not rows:
        raise StateError(str(folder), "holds no runs", "metarl-run experiment=smoke makes one in seconds")
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", border_style="dim", pad_edge=False)
    for title in ("status", "algo", "env", "seed", "return before → after", "age", "folder"):
        table.add_column(title, justify="right" if title in ("seed", "age") else "left", no_wrap=True)
    now = time.time()
    for row in rows:
        status = Text(row.status, STYLES.get(row.status, ""))
        table.add_row(status, row.algo, row.env, row.seed, row.result, age(now - row.changed), short(row.folder))
    console = standard_output()
    console.width = MAX_WIDTH
    console.width = console.measure(table).maximum
    console.print(table, crop=False)
    return DONE


def is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def row_of(folder: Path) -> Row:
    """What the files of a run tell."""
    changed = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
    try:
        summary = read_summary(folder) if (folder / "summary.json").exists() else {}
        if not {"algo", "env", "seed"} <= summary.keys():
            plan = stored_plan(folder)
            summary = {**plan.choices, "seed": plan.config.get("seed"), **summary}
    except (OSError, ValueError, StateError):
        return Row(folder, "damaged", changed=changed)
    status = "running" if is_held(folder) else str(summary.get("status", "unfinished"))
    curve = summary.get("meta_test")
    means = curve.get("mean") if isinstance(curve, dict) else None
    ends = [means[0], means[-1]] if isinstance(means, list) and means else []
    result = " → ".join(number(x) for x in ends if isinstance(x, int | float))
    algo, env, seed = (str(summary.get(key, "")) for key in ("algo", "env", "seed"))
    return Row(folder, status, algo, env, seed, result, changed)


def age(seconds: float) -> str:
    """`3 min 20 s`, or days."""
    return f"{seconds / DAY:.0f} d" if seconds >= 2 * DAY else duration(max(seconds, 0.0))
