"""How time and memory of a meta-iteration grow with the adaptation steps K, and whether memory grows with iterations.

Each measurement is a process of its own. Episodes are all of full length (random MDPs with a horizon of 100), so that
every meta-iteration does the same work.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHOWCASE = Path(__file__).resolve().parents[1] / "outputs" / "showcase"
CONFIG = ("env=random_mdp", "env.horizon=100", "logger=files", "threads=1")
MEBIBYTE = 1024  # ru_maxrss is in KiB


def measure(adaptation_steps: int, iterations: int, sizes: list[str]) -> dict[str, list[float]]:
    """Seconds of each meta-iteration, and the peak of the memory up to its end, MiB."""
    import torch

    from metarl_run.algo.meta_learner import MetaLearner
    from metarl_run.config.compose import compose_points
    from metarl_run.env.vector import TaskVectorEnv
    from metarl_run.lifetime import live
    from metarl_run.run import build_agent
    from metarl_run.seeding import Streams
    from metarl_run.types import Lifetime

    config = compose_points([*CONFIG, *sizes, f"algo.adaptation_steps={adaptation_steps}"]).points[0].config
    torch.set_num_threads(1)
    streams = Streams(0, torch.device("cpu"))
    family, algo = build_agent(config, streams)
    assert isinstance(algo, MetaLearner)
    seconds, peaks = [], []
    for iteration in range(iterations):

        def live_here(steps: int, iteration: int = iteration) -> Lifetime:
            task = family.sample(config["meta_batch_size"], "meta_train", streams("tasks", iteration))
            env = TaskVectorEnv(
                family,
                task,
                episodes_per_task=config["episodes_per_task"],
                generator=streams("env", iteration),
            )
            return live(algo, env, streams("actions", iteration), adaptation_steps=steps)

        start = time.perf_counter()
        algo.meta_update(live_here)
        seconds.append(time.perf_counter() - start)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE)
    return {"seconds": seconds, "peak_mib": peaks}


def apart(adaptation_steps: int, iterations: int, *sizes: str) -> dict[str, list[float]]:
    """`measure` in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, "--measure", str(adaptation_steps), str(iterations), *sizes]
    found: dict[str, list[float]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder of scaling.md")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        steps, iterations, *sizes = options.measure
        print(json.dumps(measure(int(steps), int(iterations), sizes)))
        return
    idle = apart(1, 1, "meta_batch_size=1", "episodes_per_task=1")["peak_mib"][-1]
    found = {K: apart(K, 12) for K in (1, 3, 5)}
    seconds = {K: statistics.median(f["seconds"][2:]) for K, f in found.items()}
    memory = {K: f["peak_mib"][-1] - idle for K, f in found.items()}
    rows = [
        f"| {K} | {seconds[K]:.2f} | {seconds[K] / seconds[1]:.2f} | {(K + 1) / 2:g} | {memory[K]:.0f} "
        f"| {memory[K] / memory[1]:.2f} |"
        for K in seconds
    ]
    long = apart(1, 1000, "meta_batch_size=5", "episodes_per_task=5")["peak_mib"]
    lines = [
        "# Time and memory",
        "",
        "Made by `scripts/scaling`: MAML with exact second derivatives, 20 tasks × 20 episodes × 100 steps, MLP 64×64, "
        "one core. A lifetime with K adaptations has K + 1 rollouts.",
        "",
        "| K | s per meta-iteration | relative | rollouts, relative | MiB above an idle process | relative |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"1000 meta-iterations (5 tasks × 5 episodes): peak memory {long[99]:.1f} MiB after 100, "
        f"{long[499]:.1f} after 500, {long[999]:.1f} after 1000.",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
