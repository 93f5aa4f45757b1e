"""Memory of tiny runs over thousands of meta-iterations, each in a process of its own, with all local loggers.

Resident memory and the number of Python's allocated blocks are read forty times per run, after a garbage collection;
memory may not grow in the second half. In the first one, caches fill and pages are touched for the first time.
"""

import argparse
import contextlib
import datetime
import gc
import io
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan
from metarl_run.run import run as run_module
from metarl_run.run.folder import versions
from metarl_run.run.training import Training
from metarl_run.system import machine
from metarl_run.system.interruption import StopRequest
from metarl_run.system.json_text import json_text

RUNS = {
    "maml": (1, ["env=random_mdp", "env.horizon=5"]),
    "rl2": (1, ["env=random_mdp", "env.horizon=5"]),
    "varibad": (1, ["env=random_mdp", "env.horizon=5"]),
    "model_based": (1, ["env=random_mdp", "env.horizon=5"]),
    "reptile": (5, ["env=bandit"]),
}
"""By algorithm: its share of meta-iterations, and its other choices."""

READINGS = 40
LIMIT = 32.0
"""KiB of resident memory per 1000 meta-iterations that count as none: a few pages. A list of returns took 70 to 160."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the runs (default: 0)")
    parser.add_argument("--count", type=int, default=2000, help="meta-iterations, five times as many of the last run")
    parser.add_argument("--json", type=Path, help="JSON file for the result")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(readings(chosen.only, chosen.count, chosen.seed)))
        return 0
    result: dict[str, Any] = {
        "seed": chosen.seed,
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "versions": versions(),
        "limit_kib_per_1000": LIMIT,
        "runs": {},
    }
    running = {}
    for algo, (share, _) in RUNS.items():
        own = ["--only", algo, "--count", str(share * chosen.count), "--seed", str(chosen.seed)]
        running[algo] = subprocess.Popen([sys.executable, __file__, *own], stdout=subprocess.PIPE, text=True)
    for algo, process in running.items():
        found, others = json.loads(process.communicate()[0]), RUNS[algo][1]
        grown = {key: growth(found["iteration"], found[key]) for key in ("resident_kib", "python_blocks")}
        flat = grown["resident_kib"] < LIMIT
        result["runs"][algo] = {"overrides": others, "flat": flat, "growth_per_1000": grown, **found}
        print(
            f"{'ok' if flat else 'GROWS'} {algo}: {found['iteration'][-1]} meta-iterations, "
            f"{found['resident_kib'][-1] / 1024:.0f} MiB, {grown['resident_kib']:+.1f} KiB and "
            f"{grown['python_blocks']:+.1f} blocks per 1000",
            flush=True,
        )
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(result))
    return 0 if all(run["flat"] for run in result["runs"].values()) else 1


def readings(algo: str, meta_iterations: int, seed: int) -> dict[str, list[int]]:
    """Memory along one run in this process."""
    machine.prepare()
    found: dict[str, list[int]] = {"iteration": [], "resident_kib": [], "python_blocks": []}
    plain, every = Training._meta_iteration, max(1, meta_iterations // READINGS)

    def meta_iteration(training: Training, learner: Any) -> None:
        plain(training, learner)
        if training.iteration % every == 0:
            gc.collect()
            found["iteration"].append(training.iteration)
            found["resident_kib"].append(int(Path("/proc/self/statm").read_text().split()[1]) * 4)
            found["python_blocks"].append(sys.getallocatedblocks())

    Training._meta_iteration = meta_iteration  # type: ignore[method-assign]
    plan = ["experiment=smoke", "logger=files", "threads=1", "validate_every=100", "checkpoint_every=100"]
    command = [*plan, f"algo={algo}", *RUNS[algo][1], f"meta_iterations={meta_iterations}", f"seed={seed}"]
    (point,) = compose_points(command).points
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(place, "run")
        folder.mkdir()
        run_module.run(Plan(point.config, point.choices, list(point.overrides)), folder, StopRequest())
    return found


def growth(iteration: list[int], amount: list[int]) -> float:
    """Least-squares slope per 1000 meta-iterations, in the second half."""
    x, y = iteration[len(iteration) // 2 :], amount[len(amount) // 2 :]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return round(1000 * covariance / sum((a - mean_x) ** 2 for a in x), 2)


if __name__ == "__main__":
    sys.exit(main())
