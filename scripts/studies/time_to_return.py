"""Meta-training time until agents reach a return on held-out tasks after one adaptation step, by surrogate.

Runs MAML with each surrogate and first-order MAML in turn, with several seeds, validating after every meta-iteration.
Only the wall time of meta-iterations counts, without validation and start-up.
"""

import argparse
import csv
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from metarl_run.errors import DONE, TERMINATED
from metarl_run.system.json_text import json_text

SHOWCASE = Path(__file__).resolve().parents[2] / "outputs" / "showcase"
VARIANTS = {
    **{
        f"maml, {name}": ["algo=maml", f"learner.surrogate={name}"]
        for name in ("score", "ratio", "dice", "loaded_dice")
    },
    "fomaml": ["algo=fomaml"],
}


def curve(folder: Path) -> dict[int, float]:
    """Mean held-out return after one adaptation step, by meta-iteration."""
    returns: dict[int, list[float]] = {}
    with (folder / "adaptation.csv").open() as file:
        for row in csv.DictReader(file):
            if row["split"] == "meta_validation" and row["adaptation_step"] == "1":
                returns.setdefault(int(row["iteration"]), []).append(float(row["episode_return"]))
    return {iteration: statistics.fmean(values) for iteration, values in returns.items()}


def time_to(folder: Path, wanted: float) -> tuple[float, float]:
    """Seconds and meta-iterations until the curve first reaches `wanted`; infinite if it never does."""
    with (folder / "timing.csv").open() as file:
        seconds = [float(row["time/seconds"]) for row in csv.DictReader(file)]
    clock = dict(enumerate(itertools.accumulate(seconds), start=1))
    reached = next((iteration for iteration, value in sorted(curve(folder).items()) if value >= wanted), None)
    return (clock[reached], reached) if reached is not None else (float("inf"), float("inf"))


def run(arguments: list[str], folder: Path, wanted: float) -> tuple[float, float]:
    """`time_to` of one run, which is stopped as soon as the return is reached."""
    command = [str(Path(sys.executable).with_name("metarl-run")), *arguments, f"hydra.run.dir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(1)
            if (folder / "timing.csv").exists() and max(curve(folder).values(), default=wanted - 1) >= wanted:
                process.terminate()
                process.wait()
        error = process.stderr.read() if process.stderr else ""
    if process.returncode not in (DONE, TERMINATED):
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {error.strip()}")
    return time_to(folder, wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wanted", type=float, default=180.0, help="return after one step (default 180)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder of time_to_return.md and .json")
    parser.add_argument("overrides", nargs="*", help="configuration overrides, e.g. threads=1")
    options = parser.parse_args()
    common = ["logger=files", "meta_iterations=50", "validate_every=1", "meta_test.num_tasks=1", *options.overrides]

    results: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as temporary:
        # Seed by seed, so that a change of the machine's speed affects all variants.
        for seed, (name, arguments) in itertools.product(range(options.seeds), VARIANTS.items()):
            folder = Path(temporary) / f"{name.replace(', ', '_')}_{seed}"
            results[name].append(run([*common, *arguments, f"seed={seed}"], folder, options.wanted))
            print(f"{name}, seed {seed}: {results[name][-1][0]:.1f} s, {results[name][-1][1]:g} iterations", flush=True)

    lines = [
        "# Time to adapt",
        "",
        f"Wall time of meta-training until the mean return after one step, on held-out tasks, first reaches "
        f"{options.wanted:g}; {options.seeds} seeds, `{' '.join(options.overrides) or 'defaults'}`. Made by "
        "`scripts/studies/time_to_return`.",
        "",
        "| | median, s | fastest – slowest, s | median meta-iterations |",
        "|---|---|---|---|",
    ]
    for name, values in results.items():
        seconds, iterations = zip(*values, strict=True)
        lines.append(
            f"| {name} | {statistics.median(seconds):.1f} | {min(seconds):.1f} – {max(seconds):.1f} "
            f"| {statistics.median(iterations):g} |"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "time_to_return.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = {name: [{"seconds": s, "iterations": i} for s, i in values] for name, values in results.items()}
    (options.out / "time_to_return.json").write_text(json_text(record), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
