"""Speed of the project beside other libraries doing the same work, measured in turn on this machine.

Workloads:
    step      CartPoles stepped with actions drawn in advance
    rollout   40 tasks × 20 episodes × 100 steps, with separate policy parameters for each task
    maml      one meta-iteration with exact second derivatives, same sizes
    rl2       networks with memory, 512 lifetimes × 100 steps: rollout, and PPO update
    tables    a classical agent in 1000 random MDPs
    mujoco    robots with a model for each task, 800 at a time, beside Gymnasium's in a Python loop
    pool      env=gymnasium, in this process and in two workers (--threads 2), beside the bare environments in a loop
    startup   time until the command answers
    overhead  share of meta-training outside meta-updates

Every repetition measures each subject once, together with the product of two 1024 × 1024 matrices by MKL and by oneDNN,
the libraries that torch contains. --products chooses the project's, as the key of that name does; startup and overhead
start commands of their own, with the default. A row holds medians over repetitions; its spread is the interquartile
range relative to the median. Ratios are formed within repetitions: the subject's time divided by that of metarl-run.
Ratios are comparable only within one call.

Time is wall time, which requires an idle machine. On a busy one, --clock cpu counts the CPU time of all threads and
processes of the subject instead.

--compare FILE measures, and sets the result beside FILE, which --json wrote, perhaps on another machine;
--compare FILE FILE2 sets two files side by side.

Install the peers with pip install '.[bench]'; absent ones are named.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import comparison, machine
from rich import box
from rich.table import Table

from metarl_run.report.output import standard_output
from metarl_run.system.json_text import json_text

WORKLOADS = ("step", "rollout", "maml", "rl2", "tables", "mujoco", "pool", "startup", "overhead")
REPEATS = 7
PROJECT = "metarl-run"


class Parser(argparse.ArgumentParser):
    """Argument parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see ./scripts/benchmark --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parsed(arguments)
    if len(chosen.compare) == 2:
        show_comparison(*chosen.compare, markdown=chosen.markdown)
        return 0
    machine.prepare(chosen.threads)
    libraries = choose(chosen.products)
    found: list[dict[str, Any]] = []
    for row in measured(chosen):
        found.append(row)
        print(progress(row), file=sys.stderr, flush=True)
    rows = [row for row in found if "absent" not in row]
    show(found)
    record = {
        "machine": {**machine.described(chosen.threads), "clock": chosen.clock, **libraries},
        "versions": machine.versions(),
        "rows": rows,
        "absent": [row for row in found if "absent" in row],
    }
    for there in chosen.compare:
        show_comparison(record, there, markdown=chosen.markdown)
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(record), encoding="utf-8")
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=WORKLOADS, metavar="WORKLOAD", help="only this workload; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write machine, versions and rows to FILE")
    parser.add_argument("--profile", action="store_true", help="print a profile of the project's work")
    parser.add_argument("--repeats", type=whole(1), help=f"number of repetitions (default: {REPEATS}, tiny 2)")
    parser.add_argument("--threads", type=whole(1), default=1, help="threads of every subject (default: 1)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="clock to use (default: wall)")
    parser.add_argument(
        "--products", choices=("auto", "mkl", "onednn"), default="auto", help="library of the project (default: auto)"
    )
    parser.add_argument("--compare", nargs="+", type=measurement, default=[], metavar="FILE", help="see above")
    parser.add_argument("--markdown", action="store_true", help="print the comparison as Markdown")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for tests; the numbers mean little")
    chosen = parser.parse_args(arguments)
    if chosen.json is not None and chosen.json.is_dir():
        parser.error(f"argument --json: must be a file, got the folder {chosen.json}")
    if len(chosen.compare) > 2:
        parser.error(f"argument --compare: must be one or two files, got {len(chosen.compare)}")
    if chosen.markdown and not chosen.compare:
        parser.error("argument --markdown: goes with --compare FILE")
    cores = len(machine.cores())
    if chosen.threads > cores:
        parser.error(f"argument --threads: must be at most {cores}, the cores of this process, got {chosen.threads}")
    chosen.repeats = chosen.repeats or (2 if chosen.tiny else REPEATS)
    return chosen


def whole(least: int) -> Any:
    """Argument type: an integer ≥ `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text}")
        return int(text)

    return number


def measurement(path: str) -> dict[str, Any]:
    """Argument type: a file that --json wrote."""
    try:
        return comparison.read(Path(path))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def choose(asked: str) -> dict[str, Any]:
    """Put libraries to use in this process; entries that say which, and how fast each is."""
    from metarl_run.network.product import AVAILABLE, use  # imports torch, which must follow machine.prepare
    from metarl_run.network.product_speed import measured
    from metarl_run.run.products import FIXED, entries

    if asked == "onednn" and not AVAILABLE:
        print("error: argument --products: must be auto or mkl, as torch has no oneDNN, got onednn", file=sys.stderr)
        raise SystemExit(2)
    found = measured()
    if asked in FIXED:
        found = found._replace(choice=FIXED[asked])
    use(found.choice)
    return entries(found)


def measured(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of the chosen workloads, as they are measured."""
    from benchmarks import timing  # imports torch, which must follow machine.prepare

    least_seconds = 0.0 if chosen.tiny else 0.1

    for workload in WORKLOADS:
        if workload in (chosen.only or WORKLOADS):
            for case in importlib.import_module(f"benchmarks.{workload}").cases(chosen.tiny):
                yield from timing.compared(case, chosen.repeats, chosen.clock, least_seconds=least_seconds)
                if chosen.profile:
                    print(timing.profiled(case))


# --- Output ---


def progress(row: dict[str, Any]) -> str:
    outcome = f"absent: {row['absent']}" if "absent" in row else f"{row['median_seconds']:.4g} s"
    return f"{row['workload']} {row['case']}, {row['subject']}: {outcome}"


def show(rows: Sequence[dict[str, Any]]) -> None:
    shares = any("share" in row for row in rows)
    products = any("share_of_product" in row for row in rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("workload", "subject"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "median",
        "steps/s",
        "spread",
        "against metarl-run",
        "MKL",
        "oneDNN",
        *["reached"] * products,
        *["outside"] * shares,
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    before = None
    for row in rows:
        here = f"{row['workload']} {row['case']}"
        if before is not None and here != before:
            table.add_section()
        table.add_row("" if here == before else here, row["subject"], *cells(row, products, shares))
        before = here
    console = standard_output()
    console.width = max(console.width, 116 + 10 * (products + shares))
    console.print(table)
    console.print("against metarl-run: time relative to metarl-run's, with quartiles")
    console.print("MKL, oneDNN: GFLOP/s of the matrix product by each library")
    if products:
        console.print(
            "reached: share of the rate in use reached by the project's products with weights, all else included"
        )
    if shares:
        console.print("outside: share of meta-training outside meta-updates")
    for reason in sorted({f"{row['subject']} is absent: {row['absent']}" for row in rows if "absent" in row}):
        console.print(reason, markup=False)


def show_comparison(here: dict[str, Any], there: dict[str, Any], *, markdown: bool) -> None:
    lines, found = comparison.headings(here, there), comparison.pairs(here, there)
    console = standard_output()
    if markdown:
        console.print(comparison.as_markdown(lines, found), markup=False, soft_wrap=True)
        return
    table = comparison.as_table(found)
    console.width = max(console.width, 100)
    for line in lines:
        console.print(line, markup=False)
    console.print(table)
    console.print("here, there: time of a subject relative to metarl-run's in the same measurement")


def cells(row: dict[str, Any], products: bool, shares: bool) -> list[str]:
    if "absent" in row:
        return ["absent"]
    steps, seconds = row["steps_per_second"], row["median_seconds"]
    found = [
        f"{seconds:.3f} s" if seconds >= 0.1 else f"{seconds * 1000:.3f} ms",
        "" if steps is None else f"{steps:,.0f}",
        f"{row['spread']:.1%}",
        "" if row["subject"] == PROJECT else f"{row['ratio']:.2f}× ({row['ratio_low']:.2f}–{row['ratio_high']:.2f})",
        f"{row['matmul_gflops']:.0f}",
        f"{row['onednn_gflops']:.0f}",
    ]
    reached = [f"{row['share_of_product']:.0%}" if "share_of_product" in row else ""] * products
    outside = [f"{row['share']:.2%}" if "share" in row else ""] * shares
    return [*found, *reached, *outside]


if __name__ == "__main__":
    sys.exit(main())
