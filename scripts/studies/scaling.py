"""Time and memory of a meta-iteration by its sizes, and memory over many iterations.

Each measurement runs in a process of its own, on one core. All episodes have full length (random MDPs), so that every
meta-iteration does the same work. One size varies at a time; the others have their base values.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SHOWCASE = Path(__file__).resolve().parents[2] / "outputs" / "showcase"
CONFIG = ("env=random_mdp", "logger=files", "threads=1")
MEBIBYTE = 1024  # ru_maxrss is in KiB
WARM_UP, ITERATIONS = 2, 6


class Axis(NamedTuple):
    """One size that varies.

    Attributes:
        name: name of the size.
        key: configuration override; `{}` stands for the value.
        base: value while other sizes vary.
        values: ascending, including the base.
    """

    name: str
    key: str
    base: int
    values: Sequence[int]


class Family(NamedTuple):
    """An algorithm and the sizes of its meta-iterations.

    Attributes:
        title: heading of its tables.
        base: overrides common to all measurements, before those of the axes.
        axes: sizes that vary.
    """

    title: str
    base: Sequence[str]
    axes: Sequence[Axis]


FAMILIES = (
    Family(
        "MAML, exact second derivatives: 20 tasks × 20 episodes × 100 steps, K = 1, MLP 64×64",
        ("algo=maml", "env.horizon=100"),
        (
            Axis("tasks", "meta_batch_size={}", 20, (5, 10, 20, 40, 80)),
            Axis("episodes", "episodes_per_task={}", 20, (5, 10, 20, 40, 80)),
            Axis("steps", "env.horizon={}", 100, (25, 50, 100, 200, 400)),
            Axis("K", "algo.adaptation_steps={}", 1, (1, 2, 3, 5, 8)),
            Axis("width", "network.hidden=[{0},{0}]", 64, (16, 32, 64, 128, 256)),
        ),
    ),
    Family(
        "RL², PPO: 256 lifetimes × 10 episodes × 10 steps, GRU 64",
        ("algo=rl2", "meta_batch_size=256", "episodes_per_task=1", "algo.episodes=10", "algo.max_kl=1e6"),
        (
            Axis("lifetimes", "meta_batch_size={}", 256, (64, 128, 256, 512, 1024)),
            Axis("episodes", "algo.episodes={}", 10, (2, 5, 10, 20, 40)),
            Axis("width", "network.hidden={}", 64, (16, 32, 64, 128, 256)),
        ),
    ),
)


def measure(iterations: int, overrides: Sequence[str]) -> dict[str, list[float]]:
    """Seconds and environment steps of each meta-iteration, and the peak of the memory up to its end, MiB."""
    from metarl_run.system import machine

    machine.prepare()
    import torch

    from metarl_run.algo.base import MetaLearner
    from metarl_run.config.compose import compose_points
    from metarl_run.env.vector import TaskVectorEnv
    from metarl_run.lifetime import live
    from metarl_run.run.agent import set_up
    from metarl_run.types import Lifetime

    config = compose_points([*CONFIG, *overrides]).points[0].config
    torch.set_num_threads(1)
    _, streams, family, algo = set_up({**config, "device": "cpu"}, seed=0)
    assert isinstance(algo, MetaLearner)
    found: dict[str, list[float]] = {"seconds": [], "env_steps": [], "peak_mib": []}
    for iteration in range(iterations):
        lifetimes: list[Lifetime] = []

        def live_here(steps: int, iteration: int = iteration, lifetimes: list[Lifetime] = lifetimes) -> Lifetime:
            task = family.sample(config["meta_batch_size"], "meta_train", streams("tasks", iteration))
            env = TaskVectorEnv(
                family,
                task,
                episodes_per_task=config["episodes_per_task"],
                generator=streams("env", iteration),
            )
            lifetimes.append(live(algo, env, streams("actions", iteration), adaptation_steps=steps))
            return lifetimes[-1]

        start = time.process_time()  # excludes other processes of the machine
        algo.meta_update(live_here)
        found["seconds"].append(time.process_time() - start)
        found["env_steps"].append(sum(rollout.env_steps for lifetime in lifetimes for rollout in lifetime.rollouts))
        found["peak_mib"].append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE)
    return found


def apart(iterations: int, *overrides: str) -> dict[str, list[float]]:
    """Run `measure` in a process of its own, to measure its memory alone."""
    command = [sys.executable, __file__, "--measure", str(iterations), *overrides]
    found: dict[str, list[float]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def along(family: Family, axis: Axis) -> list[dict[str, float]]:
    """Measure one row per value of the axis."""
    rows = []
    for value in axis.values:
        own = axis.key.format(value)
        others = [text for text in family.base if text.partition("=")[0] != own.partition("=")[0]]
        found = apart(ITERATIONS, *others, own)
        seconds = statistics.median(found["seconds"][WARM_UP:])
        per_step = 1e6 * seconds / found["env_steps"][-1]
        rows.append({"value": value, "seconds": seconds, "per_step": per_step, "mib": found["peak_mib"][-1]})
        print(
            f"{axis.name} {value}: {seconds:.3f} s, {per_step:.1f} µs per step, {rows[-1]['mib']:.0f} MiB", flush=True
        )
    return rows


def table_of(axis: Axis, rows: list[dict[str, float]], idle: float) -> list[str]:
    return [
        f"| {axis.name} | s per meta-iteration | µs per environment step | MiB above an idle process |",
        "|---|---|---|---|",
        *(
            f"| {row['value']} | {row['seconds']:.2f} | {row['per_step']:.1f} | {max(row['mib'] - idle, 0):.0f} |"
            for row in rows
        ),
        "",
    ]


def draw(out: Path, measured: list[list[list[dict[str, float]]]]) -> None:
    """Draw cost per environment step against each size, relative to the base: a flat line means linear cost."""
    from metarl_run.report.figure import look, save

    def panels(figure: Any) -> None:
        for axes, family, tables in zip(figure.subplots(1, len(FAMILIES)), FAMILIES, measured, strict=True):
            for index, (axis, rows) in enumerate(zip(family.axes, tables, strict=True)):
                base = rows[axis.values.index(axis.base)]["per_step"]
                x = [value / axis.base for value in axis.values]
                axes.plot(x, [row["per_step"] / base for row in rows], label=axis.name, marker="o", **look(index))
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            axes.set_title(family.title.split(":")[0])
            axes.set_xlabel("size, relative to the base")
            axes.set_ylabel("time per environment step, relative")
            axes.legend(frameon=False)

    save(out / "scaling", 9, 4, panels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder of scaling.md and scaling.png")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        iterations, *overrides = options.measure
        print(json.dumps(measure(int(iterations), overrides)))
        return
    idle = apart(1, "algo=maml", "meta_batch_size=1", "episodes_per_task=1")["peak_mib"][-1]
    measured = []
    lines = ["# Time and memory", "", "Made by `scripts/studies/scaling`, one core; time is the processor's.", ""]
    for family in FAMILIES:
        measured.append([along(family, axis) for axis in family.axes])
        lines += [f"## {family.title}", ""]
        for axis, rows in zip(family.axes, measured[-1], strict=True):
            lines += table_of(axis, rows, idle)
    long = apart(1000, "algo=maml", "env.horizon=100", "meta_batch_size=5", "episodes_per_task=5")["peak_mib"]
    lines += [
        f"1000 meta-iterations of MAML (5 tasks × 5 episodes): peak memory {long[99]:.1f} MiB after 100, "
        f"{long[499]:.1f} after 500, {long[999]:.1f} after 1000.",
        "",
        "![Cost by size](scaling.png)",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(options.out, measured)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
