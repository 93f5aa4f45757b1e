"""Examine Meta-World's environments and what the command makes of them; the result is JSON.

Environments: of each class, one that has had another task before does the same as a new one, to the last bit; else a
run that is resumed, or that has other workers, could not give the same bytes. Runs: each algorithm's is killed and
resumed, and repeated with worker processes; all files must be equal. Benchmarks: one meta-iteration on each. Speed:
steps of random actions, of one environment alone and of a pool.
"""

import argparse
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import metaworld
import numpy as np
import torch
from black_box import Running, call, iterations_done, record, summary

from metarl_run.env.standalone import make_family
from metarl_run.env.vector import parallel
from metarl_run.system.json_text import json_text

ALGORITHMS = ("fomaml", "rl2", "maml_trpo")
TINY = (
    *("threads=1", "meta_batch_size=4", "episodes_per_task=2", "validate_every=0", "checkpoint_every=2"),
    *("env=metaworld", "env.horizon=25", "meta_test={num_tasks: 6, adaptation_steps: 1, episodes_per_task: 2}"),
)
STEPS = 40
"""Of an episode in which two environments are compared."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=8, help="meta-iterations of each run (default: 8)")
    parser.add_argument("--steps", type=int, default=200, help="steps of each environment that is timed (default: 200)")
    parser.add_argument("--json", type=Path, help="file for the result")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = {
            "versions": {name: version(name) for name in ("metaworld", "mujoco", "gymnasium", "torch")},
            "machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
            "environments": environments(),
            "runs": {algo: runs(Path(place), algo, chosen.iterations) for algo in ALGORITHMS},
            "benchmarks": {name: benchmark(Path(place), name) for name in ("ML10", "ML45")},
            "steps_per_second": speed(chosen.steps),
        }
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(result))
    print(json_text(result))
    differ = result["environments"]["differ"] + [
        algo for algo, run in result["runs"].items() if not run["resumed_is_equal"] or not run["async_is_equal"]
    ]
    return 1 if differ else 0


def environments() -> dict[str, Any]:
    """Names of the classes, and of those in which an environment remembers its former tasks."""
    metaworld._N_GOALS = 2  # 50 take minutes
    tasks = metaworld.ML45(seed=0)
    metaworld._N_GOALS = 50
    classes = {**tasks.train_classes, **tasks.test_classes}
    differ = []
    for name, made in classes.items():
        first, second = [task for task in (*tasks.train_tasks, *tasks.test_tasks) if task.env_name == name]
        used, new = made(), made()
        episode(used, first, 1)
        if not np.array_equal(episode(used, second, 2), episode(new, second, 2)):
            differ.append(name)
    return {"classes": len(classes), "differ": differ}


def episode(env: Any, task: Any, seed: int) -> np.ndarray:
    """Observation, reward and success of every step under random actions."""
    env.set_task(task)
    generator = np.random.default_rng(seed)
    rows = [np.append(env.reset()[0], [0.0, 0.0])]
    for _ in range(STEPS):
        observation, reward, _, _, info = env.step(generator.uniform(-1, 1, 4).astype(np.float32))
        rows.append(np.append(observation, [reward, info["success"]]))
    return np.array(rows)


def runs(place: Path, algo: str, iterations: int) -> dict[str, Any]:
    """One algorithm on ML1 reach: whole, killed and resumed, and with workers."""
    options = (f"algo={algo}", *TINY, f"meta_iterations={iterations}")
    whole, killed, workers = (place / f"{algo}_{name}" for name in ("whole", "killed", "workers"))
    done(place, *options, f"hydra.run.dir={whole}")
    running = Running(*options, f"hydra.run.dir={killed}", cwd=place)
    running.wait_until(lambda: iterations_done(killed) >= iterations // 2 + 1)
    running.signal(signal.SIGKILL)
    running.kill()
    reached = iterations_done(killed)
    done(place, f"resume={killed}")
    done(place, *options, "env.vector=async", "env.workers=2", f"hydra.run.dir={workers}")
    result = summary(whole)["meta_test"]
    return {
        "killed_after": reached,
        "resumed_is_equal": without_config(killed) == without_config(whole),
        "async_is_equal": without_config(workers) == without_config(whole),
        "return": result["mean"],
        "success": result["success"],
    }


def without_config(folder: Path) -> dict[str, bytes]:
    """The run's files but its configuration, which says whether there were workers."""
    return {name: content for name, content in record(folder).items() if name != "config.yaml"}


def benchmark(place: Path, name: str) -> dict[str, Any]:
    """One meta-iteration and a meta-test on a benchmark of many classes."""
    folder, begun = place / name, time.monotonic()
    done(
        *(place, "algo=fomaml", *TINY, f"env.benchmark={name}", "env.task=null", "meta_iterations=1"),
        f"hydra.run.dir={folder}",
    )
    result = summary(folder)
    shutil.rmtree(folder)
    return {"held_out": result["held_out_tasks"]["meta_test"], "seconds": time.monotonic() - begun}


def done(place: Path, *arguments: str) -> None:
    finished = call(*arguments, cwd=place, WANDB_MODE="disabled")
    if finished.returncode:
        sys.exit(f"{' '.join(arguments)}: exit code {finished.returncode}\n{finished.stderr}")


def speed(steps: int) -> dict[str, dict[str, float]]:
    """Environment steps per second, and per second of CPU time of this process: one environment, and 20 in a pool."""
    tasks = metaworld.ML1("reach-v3", seed=0)
    env = tasks.train_classes["reach-v3"]()
    env.set_task(tasks.train_tasks[0])
    env.reset()
    action = np.zeros(4, np.float32)
    found = {"one environment": rates(steps, lambda: env.step(action))}
    for vector, workers in (("sync", None), ("async", 2)):
        family = make_family("metaworld", vector=vector, workers=workers)
        generator = torch.Generator().manual_seed(0)
        envs = parallel(family, family.sample(10, "meta_train", generator), episodes_per_task=2, generator=generator)
        envs.start()
        stay = torch.zeros(10, 2, 4)
        rate = rates(steps, partial(envs.advance, stay), times=20)
        found[f"20 in a pool, {vector}"] = rate if vector == "sync" else {"per second": rate["per second"]}
        family._pool.close()
    return found


def rates(steps: int, step: Callable[[], object], times: int = 1) -> dict[str, float]:
    """How often a second `step` can be called, `times` what it does."""
    begun, begun_cpu = time.monotonic(), time.process_time()
    for _ in range(steps):
        step()
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - begun_cpu
    return {"per second": times * steps / seconds, "per CPU second": times * steps / cpu_seconds}


if __name__ == "__main__":
    sys.exit(main())
