"""A paper's table: `./scripts/reproduce rl2_mdps` is `metarl-run experiment=rl2_mdps`, with flags instead of keys.

Finished cells are not run again. Exit codes are those of metarl-run: 6 if a cell failed.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from metarl_run.cli.command import main
from metarl_run.config.grammar import quoted
from metarl_run.config.help import tables_in
from metarl_run.config.nearest import hint
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR


def overrides(argv: Sequence[str]) -> list[str]:
    """The equivalent arguments of metarl-run.

    Raises:
        ConfigError: if there is no such table.
    """
    keys = [text for text in argv if re.match(r"~|[+]*[\w.]+=", text)]
    chosen = parser().parse_args([text for text in argv if text not in keys])
    if chosen.table not in tables_in(CONFIG_DIR / "experiment"):
        raise ConfigError(
            "table", f"there is no {chosen.table!r}", hint(chosen.table, tables_in(CONFIG_DIR / "experiment"))
        )
    given = {
        "output": chosen.output and quoted(chosen.output),
        "columns": chosen.columns and f"[{','.join(map(quoted, chosen.columns))}]",
        "rows": chosen.rows and f"[{','.join(map(quoted, chosen.rows))}]",
        "seeds": chosen.seeds and f"[{','.join(map(str, chosen.seeds))}]",
        "tasks": chosen.tasks,
        "jobs": chosen.jobs,
        "budget": chosen.budget,
        "checkpoints": chosen.checkpoints and quoted(chosen.checkpoints),
        "train": "false" if chosen.no_train else None,
        "report_only": "true" if chosen.report_only else None,
    }
    return [
        f"experiment={chosen.table}",
        *(f"table.{key}={value}" for key, value in given.items() if value is not None),
        *keys,
    ]


class Parser(argparse.ArgumentParser):
    """Argument parser that reports bad usage as metarl-run does."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("command line", message, "./scripts/reproduce --help shows the flags")


def parser() -> argparse.ArgumentParser:
    usage = "reproduce TABLE [flags] [key=value ...]"
    shape = argparse.RawDescriptionHelpFormatter
    made = Parser(prog="reproduce", usage=usage, description=__doc__, formatter_class=shape)
    made.add_argument("table", help=", ".join(tables_in(CONFIG_DIR / "experiment")))
    made.add_argument("--output", metavar="DIR", help="folder of the table (default: outputs/TABLE)")
    made.add_argument("--columns", nargs="+", metavar="NAME", help="only these columns; learned ones run only if named")
    made.add_argument("--rows", nargs="+", metavar="KEY", help="only these rows, e.g. 10,5 100,5 or 10 25")
    made.add_argument("--tasks", type=int, metavar="N", help="tasks that each mean is over (default: 10000)")
    made.add_argument("--jobs", type=int, metavar="N", help="worker processes (default: the cores available)")
    made.add_argument("--checkpoints", metavar="DIR", help="folder of finished runs for learned columns")
    made.add_argument("--no-train", action="store_true", help="never train a learned column")
    made.add_argument("--budget", metavar="NAME", help="budget of training runs: cpu (default) or paper")
    made.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds of training runs (default: 0 1 2)")
    made.add_argument("--report-only", action="store_true", help="run nothing, report finished cells")
    return made


if __name__ == "__main__":
    try:
        sys.argv = [sys.argv[0], *overrides(sys.argv[1:])]
    except ConfigError as refused:
        print(refused, file=sys.stderr)
        sys.exit(refused.exit_code)
    main()
